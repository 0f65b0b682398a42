//! The same tests as on an older kernel, or in a container host that filters: calls that rbuild can do without
//! are answered with `ENOSYS`.

use std::env;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};

use rbuild_sys::seccomp::{Instruction, install};

static OLD: AtomicBool = AtomicBool::new(false);

/// Tells whether this process is the one that plays an older kernel.
pub fn is_old() -> bool {
    OLD.load(Ordering::Relaxed)
}

/// Runs this binary again as on an older kernel.
pub fn run(filters: &[String]) -> ExitCode {
    println!("with calls of newer kernels refused:");
    let status = Command::new(env::current_exe().unwrap())
        .arg("--old")
        .args(filters)
        .status()
        .unwrap();
    ExitCode::from(u8::from(!status.success()))
}

/// Installs a filter that all children inherit, the nursery and its steps among them.
pub fn forget_new_calls() {
    const LOAD_NUMBER: Instruction = Instruction {
        code: 0x20,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let answer = |k| Instruction {
        code: 0x06,
        jt: 0,
        jf: 0,
        k,
    };
    let mut program = vec![LOAD_NUMBER];
    for number in [
        libc::SYS_openat2,
        libc::SYS_mount_setattr,
        libc::SYS_close_range,
        libc::SYS_clone3,
    ] {
        program.push(Instruction {
            code: 0x15,
            jt: 0,
            jf: 1,
            k: number.try_into().unwrap(),
        });
        program.push(answer(0x0005_0000 | 38));
    }
    program.push(answer(0x7fff_0000));
    install(&program).unwrap();
    OLD.store(true, Ordering::Relaxed);
}
