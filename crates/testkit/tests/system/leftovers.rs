//! Looks for processes and mounts that a build should have taken with it.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Returns the processes that have `mark` in their command line or environment, ourselves left out.
fn marked(mark: &str) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("list processes").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let text = |name: &str| {
            let bytes = fs::read(entry.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let line = text("cmdline");
        let ours = pid == std::process::id().cast_signed();
        if !ours && (line.contains(mark) || text("environ").contains(mark)) {
            found.push((pid, line));
        }
    }
    found
}

/// Waits for every process with `mark` to end; returns those that are still there after `limit`.
///
/// Looks again until it finds none: a process that is killed may have forked, or come by the mark with
/// its program, after the first look.
pub fn processes_left(mark: &str, limit: Duration) -> Vec<(i32, String)> {
    let until = Instant::now() + limit;
    loop {
        let found = marked(mark);
        if found.is_empty() || Instant::now() >= until {
            return found;
        }
        for (pid, _) in found {
            wait_for(pid, until);
        }
    }
}

/// Returns the processes that still have a file or directory below `dir` open after `limit`, ourselves
/// left out.
pub fn holders_left(dir: &Path, limit: Duration) -> Vec<i32> {
    let until = Instant::now() + limit;
    loop {
        let found = holders_of(dir);
        if found.is_empty() || Instant::now() >= until {
            return found;
        }
        for pid in found {
            wait_for(pid, until);
        }
    }
}

fn holders_of(dir: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("list processes").flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = pid.filter(|pid| *pid != std::process::id().cast_signed()) else {
            continue;
        };
        let open = fs::read_dir(entry.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        let mut places = open.map(|fd| fd.path()).chain([entry.path().join("cwd")]);
        if places.any(|link| fs::read_link(link).is_ok_and(|target| target.starts_with(dir))) {
            found.push(pid);
        }
    }
    found
}

fn wait_for(pid: i32, until: Instant) {
    if let Some(handle) =
        Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
    {
        wait(&handle, until);
    }
}

fn wait(process: &OwnedFd, until: Instant) {
    let left = until.saturating_duration_since(Instant::now());
    let timeout = Timespec {
        tv_sec: left.as_secs().cast_signed(),
        tv_nsec: left.subsec_nanos().into(),
    };
    let _ = poll(
        &mut [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)],
        Some(&timeout),
    );
}

/// Returns the mounts of this mount namespace that lie below `dir` or use a directory below it.
pub fn mounts_below(dir: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("read the mount table");
    let dir = dir.to_string_lossy();
    table
        .lines()
        .filter(|line| line.contains(dir.as_ref()))
        .map(str::to_owned)
        .collect()
}
