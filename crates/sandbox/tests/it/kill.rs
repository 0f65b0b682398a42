//! Ends: cancellation, and the death of the engine.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rbuild_progress::{CancelToken, Stream};
use rbuild_sandbox::{Error, Nursery, NurseryConfig, StepIo};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::Test;
use crate::bed::Bed;

pub const TESTS: &[Test] = &[
    ("cancel_kills_within_a_second", cancel_kills_within_a_second),
    (
        "cancel_before_the_start_starts_nothing",
        cancel_before_the_start_starts_nothing,
    ),
    ("killed_engine_leaves_nothing", killed_engine_leaves_nothing),
    (
        "held_locks_last_as_long_as_the_step",
        held_locks_last_as_long_as_the_step,
    ),
    (
        "dropped_nursery_leaves_nothing",
        dropped_nursery_leaves_nothing,
    ),
    ("dead_nursery_is_reported", dead_nursery_is_reported),
];

/// A step whose processes try to stay: another user, other sessions, ignored signals.
const STUBBORN: &str = "trap '' TERM INT HUP; (setsid sh -c 'trap \"\" TERM HUP; sleep MARK' &); \
    (sleep MARK &); echo running; while :; do sleep MARK; done";

/// Returns the stubborn script with a number that no other process has on its command line.
fn stubborn(mark: &str) -> String {
    STUBBORN.replace("MARK", mark)
}

/// Returns a number that marks this test's processes.
fn mark(which: u32) -> String {
    format!("{}{which:02}", 100_000 + std::process::id())
}

/// Returns descriptors of all processes that carry the mark.
fn marked(mark: &str) -> Vec<OwnedFd> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(mark)
            && pid != i32::try_from(std::process::id()).unwrap()
            && let Some(pid) = Pid::from_raw(pid)
            && let Ok(fd) = pidfd_open(pid, PidfdFlags::empty())
        {
            found.push(fd);
        }
    }
    found
}

/// Waits for all of them to end, at most a second.
#[track_caller]
fn assert_all_end(processes: &[OwnedFd]) {
    let deadline = Instant::now() + Duration::from_secs(1);
    for process in processes {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: 0,
            tv_nsec: left.as_nanos().min(999_999_999).try_into().unwrap(),
        };
        let mut waiting = [PollFd::new(process, PollFlags::IN)];
        assert_eq!(poll(&mut waiting, Some(&left)), Ok(1), "a process is left");
    }
}

fn cancel_kills_within_a_second(bed: &Bed) {
    let mark = mark(1);
    let mut spec = bed.shell(&stubborn(&mark));
    spec.user = "nobody".into();
    let cancel = CancelToken::new();
    let mut cancelled_at = None;
    let io = StepIo::Output {
        on_output: &mut |_: Stream, bytes: &[u8]| {
            assert_eq!(bytes, b"running\n");
            cancelled_at = Some(Instant::now());
            cancel.cancel();
        },
    };
    let result = bed.nursery.run_step(&spec, io, &cancel);
    let took = cancelled_at.unwrap().elapsed();
    assert!(matches!(result, Err(Error::Cancelled(_))), "{result:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(marked(&mark).len(), 0, "reaped before it returns");
}

fn cancel_before_the_start_starts_nothing(bed: &Bed) {
    let cancel = CancelToken::new();
    cancel.cancel();
    let spec = bed.shell("touch /started");
    let io = StepIo::Output {
        on_output: &mut |_, _| {},
    };
    let result = bed.nursery.run_step(&spec, io, &cancel);
    assert!(matches!(result, Err(Error::Cancelled(_))));
    assert_eq!(Bed::names(&spec.root.upper), Vec::<String>::new());
}

/// Other programs that have a file open; this one has children beside the nursery.
fn holders(file: &Path) -> Vec<String> {
    let of = |process: &Path| {
        let open = fs::read_dir(process.join("fd")).into_iter().flatten();
        let mut links = open.flatten().map(|entry| fs::read_link(entry.path()));
        links.any(|link| link.is_ok_and(|link| link == file))
    };
    let name = |process: &Path| fs::read_to_string(process.join("comm")).unwrap_or_default();
    let own = name(Path::new("/proc/self"));
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let holders = processes.filter(|entry| of(&entry.path()));
    let names = holders.map(|entry| name(&entry.path()));
    names.filter(|name| *name != own).collect()
}

fn held_locks_last_as_long_as_the_step(bed: &Bed) {
    let path = bed.temp.path().join("lock");
    let lock = fs::File::create(&path).unwrap();
    lock.lock().unwrap();
    let spec = bed.shell("echo running; sleep 0.2");
    let mut found = Vec::new();
    let io = StepIo::Output {
        on_output: &mut |_, _| found = holders(&path),
    };
    let held = [lock.as_fd()];
    let result = bed
        .nursery
        .run_step_holding(&spec, io, &held, &CancelToken::new());
    result.unwrap();
    // The nursery alone: what the step starts could let go of it.
    assert_eq!(found.len(), 1, "{found:?}");
    // Closed, not unlocked: the nursery's copy would keep it, if it had not seen the end of the step.
    drop(lock);
    let until = Instant::now() + Duration::from_secs(5);
    while fs::File::open(&path).unwrap().try_lock().is_err() {
        assert!(Instant::now() < until, "held after the step");
        thread::yield_now();
    }
}

/// The engine that is going to be killed: `--engine MARK`.
pub fn engine(arguments: &[String]) -> ExitCode {
    let mode = rbuild_sandbox::NurseryMode::probe().unwrap();
    let bed = Bed::new(mode);
    println!("dir {}", bed.temp.path().display());
    // Two at once, one as root of the image and one as another user.
    thread::scope(|scope| {
        for user in ["", "nobody"] {
            let bed = &bed;
            let script = stubborn(&arguments[1]);
            scope.spawn(move || {
                let mut spec = bed.shell(&script);
                spec.user = user.into();
                let io = StepIo::Output {
                    on_output: &mut |_, bytes| print!("{}", String::from_utf8_lossy(bytes)),
                };
                bed.nursery.run_step(&spec, io, &CancelToken::new())
            });
        }
    });
    ExitCode::FAILURE
}

fn killed_engine_leaves_nothing(_bed: &Bed) {
    let mark = mark(2);
    let mut engine = Command::new(env::current_exe().unwrap())
        .args(["--engine", &mark])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(engine.stdout.take().unwrap()).lines();
    let dir = lines.next().unwrap().unwrap();
    let dir = dir.strip_prefix("dir ").unwrap().to_owned();
    for _ in 0..2 {
        assert_eq!(lines.next().unwrap().unwrap(), "running");
    }
    let processes = marked(&mark);
    assert!(processes.len() >= 6, "{} processes", processes.len());
    engine.kill().unwrap();
    engine.wait().unwrap();
    assert_all_end(&processes);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&dir), "a mount is left");
    // The stages belong to the subordinate ids of another namespace only if a step wrote there; none did.
    fs::remove_dir_all(dir).ok();
}

fn dropped_nursery_leaves_nothing(bed: &Bed) {
    let nursery = Nursery::start(&NurseryConfig {
        helper: "/proc/self/exe".into(),
        mode: bed.mode.clone(),
    })
    .unwrap();
    // A job leaves a process behind; it must not outlive the handle.
    let mark = mark(3);
    let job = format!("spawn sleep {mark}");
    nursery
        .run_job(job.as_bytes(), &[], &CancelToken::new())
        .unwrap();
    let processes = marked(&mark);
    drop(nursery);
    assert_all_end(&processes);
    assert_eq!(marked(&mark).len(), 0);
}

fn dead_nursery_is_reported(bed: &Bed) {
    let before = children();
    let nursery = Nursery::start(&NurseryConfig {
        helper: "/proc/self/exe".into(),
        mode: bed.mode.clone(),
    })
    .unwrap();
    // The stem is our child and the nursery its own: killing the stem kills the nursery.
    let new: Vec<i32> = children().difference(&before).copied().collect();
    let [stem] = new.as_slice() else {
        panic!("a kernel without CONFIG_PROC_CHILDREN? {new:?}");
    };
    let stem = Pid::from_raw(*stem).unwrap();
    rustix::process::kill_process(stem, rustix::process::Signal::KILL).unwrap();
    // Until its death is through, requests may still be taken and never answered.
    for job in [&b"hang"[..], b"upper a"] {
        let result = nursery.run_job(job, &[], &CancelToken::new());
        assert!(matches!(result, Err(Error::Gone)), "{result:?}");
    }
}

/// Returns the process ids of this process' children.
fn children() -> BTreeSet<i32> {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| {
            let pids: Vec<i32> = list.split_whitespace().flat_map(str::parse).collect();
            pids
        })
        .collect()
}
