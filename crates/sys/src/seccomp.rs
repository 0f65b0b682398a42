//! Installing a system call filter. What the filter allows is decided in `rbuild-sandbox`.
#![allow(unsafe_code)]

use std::io;

use rustix::io::Errno;

/// One instruction of a classic BPF program, in the kernel's layout (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    len: libc::c_ushort,
    filter: *const Instruction,
}

/// Installs `program` as filter of the calling thread and of what it forks and executes.
///
/// Needs `CAP_SYS_ADMIN` in the user namespace, or no_new_privs. Errors: `EINVAL` when the program is
/// longer than 4096 instructions or malformed. Source: seccomp(2).
pub fn install(program: &[Instruction]) -> io::Result<()> {
    /// Without this flag, kernels before 5.16 slow every filtered program down (speculative store bypass).
    const SPEC_ALLOW: libc::c_ulong = 4;
    match set_filter(program, SPEC_ALLOW) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => set_filter(program, 0),
        result => result,
    }
}

/// Calls seccomp(2) with SECCOMP_SET_MODE_FILTER.
fn set_filter(program: &[Instruction], flags: libc::c_ulong) -> io::Result<()> {
    let prog = Program {
        len: libc::c_ushort::try_from(program.len()).map_err(|_| Errno::INVAL)?,
        filter: program.as_ptr(),
    };
    // SAFETY: `prog` and the slice it points to outlive the call; the kernel copies both before returning
    // and keeps no pointer. WHY: rustix offers no filter install.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::c_ulong::from(libc::SECCOMP_SET_MODE_FILTER),
            flags,
            &raw const prog,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
