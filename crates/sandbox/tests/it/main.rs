//! The nursery and its steps, as a real process runs them.
//!
//! No test harness: the nursery is this very binary executed again, so `nursery_main` must come first in
//! `main`, and the tests follow one after the other in it.

use std::os::fd::OwnedFd;

use rbuild_progress::{CancelToken, Stream};
use rbuild_sandbox::*;

struct Upper;

impl Duties for Upper {
    fn job(&self, request: &[u8], _fds: Vec<OwnedFd>) -> Vec<u8> {
        request.to_ascii_uppercase()
    }
}

fn main() {
    nursery_main(&Upper);
    let mode = NurseryMode::probe().unwrap();
    println!("{mode:?}");
    let nursery = Nursery::start(&NurseryConfig {
        helper: "/proc/self/exe".into(),
        mode,
    })
    .unwrap();
    println!("{:?}", nursery.run_job(b"abc", &[], &CancelToken::new()));
    let temp = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    std::fs::create_dir_all(temp.join("lower/bin")).unwrap();
    std::fs::copy("/bin/busybox", temp.join("lower/bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", temp.join("lower/bin/sh")).ok();
    std::fs::create_dir_all(temp.join("upper")).unwrap();
    std::fs::create_dir_all(temp.join("work")).unwrap();
    let spec = StepSpec {
        args: std::env::args().skip(2).collect(),
        env: vec![],
        cwd: "/w/x".into(),
        user: "".into(),
        hostname: "h".into(),
        network: Network::Default,
        security: Security::Sandbox,
        root: RootSpec {
            lowers: vec![temp.join("lower")],
            upper: temp.join("upper"),
            work: temp.join("work"),
        },
        mounts: vec![],
        hosts: vec![],
        shm_size: 0,
        ulimits: vec![],
        no_new_privileges: false,
        limits: Limits::default(),
    };
    let t = std::time::Instant::now();
    let r = nursery.run_step(
        &spec,
        StepIo::Output {
            on_output: &mut |s, b| println!("{s:?}: {}", String::from_utf8_lossy(b)),
        },
        &CancelToken::new(),
    );
    println!("{r:?} {:?}", t.elapsed());
    let _ = Stream::Stdout;
}
