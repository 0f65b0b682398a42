//! Fork, exec and end of processes, for a process that has one thread.
//!
//! Waiting and killing go through pidfds and rustix; they need nothing from here.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::namespace::Namespaces;

/// Proof that this process has one thread only.
///
/// A forked child of such a process may do anything (allocate, lock, panic), since no other thread can
/// hold a lock across the fork. The token cannot be sent to another thread; whoever holds it must not
/// start threads.
#[derive(Debug)]
pub struct SingleThreaded(PhantomData<*const ()>);

impl SingleThreaded {
    /// Counts this process' threads and returns the proof if there is one.
    ///
    /// Errors: `EBUSY` when there are more, or what reading `/proc/self/task` fails with.
    pub fn prove() -> io::Result<Self> {
        match std::fs::read_dir("/proc/self/task")?.take(2).count() {
            1 => Ok(Self(PhantomData)),
            _ => Err(Errno::BUSY.into()),
        }
    }
}

/// A child process that has not been reaped.
#[derive(Debug)]
pub struct Child {
    /// Its id in the caller's pid namespace.
    pub pid: Pid,
    /// Descriptor that names it whatever happens to the number; polls readable when it has ended.
    pub pidfd: OwnedFd,
}

/// On which side of a fork the caller finds itself.
#[derive(Debug)]
pub enum Forked {
    /// In the parent.
    Parent(Child),
    /// In the child.
    Child,
}

/// Forks the calling process as `fork(2)` does, running the C library's handlers.
///
/// Use for a child that goes on as an ordinary process and may start threads.
pub fn fork(_proof: &SingleThreaded) -> io::Result<Forked> {
    // SAFETY: `fork` is unsound only if another thread holds a lock that the child needs; the proof says
    // there is no other thread. WHY: rustix has no fork.
    match unsafe { libc::fork() } {
        0 => Ok(Forked::Child),
        raw if raw > 0 => {
            let pid = Pid::from_raw(raw).ok_or(Errno::SRCH)?;
            // The child cannot be reaped by anybody else before this returns, so the number is still its own.
            let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
            Ok(Forked::Parent(Child { pid, pidfd }))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Forks the calling process with the child in new namespaces.
///
/// `clone(2)` rather than `clone3(2)`: container hosts refuse the latter with `ENOSYS`, and nothing of it is
/// needed. The C library does not learn of this fork: the child should exec or end, not start threads.
/// Source: clone(2).
pub fn fork_into(_proof: &SingleThreaded, namespaces: Namespaces) -> io::Result<Forked> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: without CLONE_VM and with a null stack the child continues on a copy of this stack, as after
    // `fork`; the proof says no other thread can hold a lock across it. The kernel writes one int through
    // the third argument, which is a live local. WHY: rustix has no clone.
    match unsafe { raw_clone(namespaces.bits() | libc::CLONE_PIDFD, &raw mut pidfd) } {
        0 => Ok(Forked::Child),
        raw if raw > 0 => {
            let pid = Pid::from_raw(raw).ok_or(Errno::SRCH)?;
            // SAFETY: with CLONE_PIDFD and success the kernel has stored a new descriptor that nobody else
            // owns. WHY: it arrives as a number, by the call above.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Forked::Parent(Child { pid, pidfd }))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Calls `clone(2)` with no stack, for a child that runs on a copy of the caller's memory.
///
/// # Safety
///
/// `flags` must not hold `CLONE_VM`; with `CLONE_PIDFD`, `pidfd` must be valid for a write. In a process
/// with several threads the child may only make raw system calls.
pub(crate) unsafe fn raw_clone(flags: libc::c_int, pidfd: *mut libc::c_int) -> i32 {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: the caller keeps the contract above. The last two arguments differ in order between x86_64
    // and aarch64, and are null. WHY: rustix has no clone, and libc's wrapper demands a stack and a function.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, none, pidfd, none, none) };
    // Process ids and -1 fit.
    result as i32
}

/// Replaces the calling process' program; returns only when that fails, with the reason.
///
/// `path` is used as it is, without a search. Source: execve(2).
pub fn exec(path: &CStr, args: &[CString], env: &[CString]) -> Errno {
    let argv = pointers(args);
    let envp = pointers(env);
    // SAFETY: both arrays end with null, and they and the strings they point to are borrowed past the call.
    // WHY: rustix offers execve only in its unstable runtime part.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Returns the null-terminated array of pointers that exec wants.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// Ends the process at once: no destructor, no buffer, no handler of the parent's runs.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition and does not return. WHY: rustix offers it only in its unstable
    // runtime part, and `std::process::exit` runs handlers that belong to the process forked from.
    unsafe { libc::_exit(code) }
}

/// Sets every signal to its default action and unblocks all.
///
/// An exec'd program inherits ignored signals and the mask, and Rust's runtime ignores SIGPIPE: `yes | head`
/// would not end.
pub fn default_signals() -> io::Result<()> {
    for signal in 1..=64 {
        // SAFETY: the default action is no function, so nothing can be called later. Errors (for KILL,
        // STOP and the two that the C library keeps) are meant to be passed over. WHY: rustix offers
        // sigaction only in its unstable runtime part.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: writes the whole set through a pointer to a live local. WHY: as above.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set was initialised by the call before; the old mask is not asked for. WHY: as above.
    match unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Leaves the session keyring for a new, empty one, so that later programs do not reach the old one's keys.
///
/// Errors: `ENOSYS` on kernels without keys, `EDQUOT` when the user has too many. Source: keyctl(2).
pub fn new_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    let unnamed = ptr::null::<libc::c_char>();
    // SAFETY: a null name asks for a new keyring without one; nothing else is read. WHY: rustix has no keyctl.
    match unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, unnamed) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Marks every descriptor from `first` on close-on-exec.
///
/// Linux 5.11 does it in one call; before that each is marked by name.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: sets a flag on descriptors, closes none, so no owner is invalidated. WHY: rustix has no
    // close_range.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            CLOSE_RANGE_CLOEXEC,
        )
    };
    if result == 0 {
        return Ok(());
    }
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let Some(fd) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if u32::try_from(fd).is_ok_and(|fd| fd >= first) {
            // SAFETY: sets a flag by number; a number that is no longer open fails harmlessly. WHY: rustix
            // needs a borrowed descriptor, which a listing cannot give.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}
