//! Jobs, and many things at once.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use rbuild_progress::CancelToken;
use rbuild_sandbox::{Duties, Error, StepExit};

use crate::Test;
use crate::bed::Bed;

pub const TESTS: &[Test] = &[
    ("job_answers_with_bytes", job_answers_with_bytes),
    ("job_gets_descriptors", job_gets_descriptors),
    ("job_that_panics_is_an_error", job_that_panics_is_an_error),
    (
        "job_runs_with_the_rights_of_the_mode",
        job_runs_with_the_rights_of_the_mode,
    ),
    ("job_is_killed_on_cancel", job_is_killed_on_cancel),
    ("many_at_once", many_at_once),
    ("orphans_of_a_job_are_reaped", orphans_of_a_job_are_reaped),
];

/// What the nursery of these tests can do: the first word says what.
pub struct TestDuties;

impl Duties for TestDuties {
    fn job(&self, request: &[u8], fds: Vec<OwnedFd>) -> Vec<u8> {
        let text = String::from_utf8_lossy(request);
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        match word {
            "upper" => rest.to_uppercase().into_bytes(),
            "fill" => vec![7; rest.parse().unwrap()],
            "read" => {
                let mut all = Vec::new();
                for fd in fds {
                    File::from(fd).read_to_end(&mut all).unwrap();
                }
                all
            }
            "chown" => match std::os::unix::fs::chown(rest, Some(77), Some(77)) {
                Ok(()) => b"ok".to_vec(),
                Err(error) => error.to_string().into_bytes(),
            },
            "threads" => {
                let sum: u64 = (0..4_u64)
                    .map(|n| thread::spawn(move || n * n))
                    .map(|handle| handle.join().unwrap())
                    .sum();
                sum.to_string().into_bytes()
            }
            // Left to the nursery, which has to reap it.
            #[allow(clippy::zombie_processes)]
            // Left behind on purpose: the nursery is to reap it.
            #[expect(clippy::zombie_processes)]
            "spawn" => {
                std::process::Command::new("/bin/sh")
                    .args(["-c", rest])
                    .spawn()
                    .unwrap();
                Vec::new()
            }
            "hang" => loop {
                thread::park();
            },
            "children" => std::fs::read_to_string("/proc/thread-self/children")
                .map(|_| zombies().to_string().into_bytes())
                .unwrap_or_default(),
            other => panic!("unknown job {other}"),
        }
    }
}

/// Counts dead processes that nobody has reaped, in this pid namespace as far as `/proc` shows.
fn zombies() -> usize {
    let me = std::fs::read_to_string("/proc/self/stat").unwrap();
    let parent = |stat: &str| {
        stat.rsplit(')')
            .next()
            .and_then(|s| s.split(' ').nth(2).map(str::to_owned))
    };
    let state = |stat: &str| {
        stat.rsplit(')')
            .next()
            .and_then(|s| s.split(' ').nth(1).map(str::to_owned))
    };
    let nursery = parent(&me);
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok())
        .filter(|stat| parent(stat) == nursery && state(stat).as_deref() == Some("Z"))
        .count()
}

fn job_answers_with_bytes(bed: &Bed) {
    let cancel = CancelToken::new();
    let ask = |request: &str| {
        bed.nursery
            .run_job(request.as_bytes(), &[], &cancel)
            .unwrap()
    };
    assert_eq!(ask("upper abc"), b"ABC");
    assert_eq!(ask("fill 5000000"), vec![7; 5_000_000]);
    assert_eq!(ask("fill 0"), b"");
    assert_eq!(ask("threads"), b"14");
    let long = format!("upper {}", "x".repeat(3_000_000));
    assert_eq!(ask(&long).len(), 3_000_000);
}

fn job_gets_descriptors(bed: &Bed) {
    let dir = bed.dir("fds");
    let files: Vec<File> = (0..100)
        .map(|index| {
            let path = dir.join(index.to_string());
            File::create(&path).unwrap().write_all(b"x").unwrap();
            File::open(path).unwrap()
        })
        .collect();
    let fds: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let read = bed
        .nursery
        .run_job(b"read", &fds, &CancelToken::new())
        .unwrap();
    assert_eq!(read, [b'x'; 100]);
    let too_many: Vec<_> = fds.iter().copied().cycle().take(300).collect();
    let error = bed
        .nursery
        .run_job(b"read", &too_many, &CancelToken::new())
        .unwrap_err();
    assert!(matches!(error, Error::Wire { .. }), "{error:?}");
}

fn job_that_panics_is_an_error(bed: &Bed) {
    let error = bed
        .nursery
        .run_job(b"nonsense", &[], &CancelToken::new())
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("unknown job nonsense") && text.contains("jobs.rs"),
        "{text}"
    );
    assert!(
        bed.nursery
            .run_job(b"upper a", &[], &CancelToken::new())
            .is_ok()
    );
}

fn job_runs_with_the_rights_of_the_mode(bed: &Bed) {
    let file = bed.dir("owned").join("f");
    File::create(&file).unwrap();
    let request = format!("chown {}", file.display());
    let answer = bed
        .nursery
        .run_job(request.as_bytes(), &[], &CancelToken::new())
        .unwrap();
    assert_eq!(
        answer == b"ok",
        bed.has_many_ids(),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

fn job_is_killed_on_cancel(bed: &Bed) {
    let cancel = CancelToken::new();
    thread::scope(|scope| {
        let job = scope.spawn(|| bed.nursery.run_job(b"hang", &[], &cancel));
        let begun = Instant::now();
        cancel.cancel();
        let result = job.join().unwrap();
        assert!(matches!(result, Err(Error::Cancelled(_))), "{result:?}");
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
    });
}

fn many_at_once(bed: &Bed) {
    const THREADS: usize = 8;
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                for round in 0..8 {
                    let word = format!("{number}-{round}");
                    if round % 2 == 0 {
                        let ran = bed.run(&bed.shell(&format!("echo {word}; exit {number}")));
                        assert_eq!(ran.stdout, format!("{word}\n"));
                        assert_eq!(ran.exit, StepExit::Code(number.try_into().unwrap()));
                    } else {
                        let request = format!("upper x{word}");
                        let reply =
                            bed.nursery
                                .run_job(request.as_bytes(), &[], &CancelToken::new());
                        assert_eq!(reply.unwrap(), format!("X{word}").into_bytes());
                    }
                }
            });
        }
    });
}

fn orphans_of_a_job_are_reaped(bed: &Bed) {
    let cancel = CancelToken::new();
    let ask = |request: &str| {
        bed.nursery
            .run_job(request.as_bytes(), &[], &cancel)
            .unwrap()
    };
    for _ in 0..5 {
        ask("spawn true");
    }
    // The loop reaps whenever it wakes; by the third turn all five have ended and been seen.
    let mut left = usize::MAX;
    for _ in 0..200 {
        left = String::from_utf8_lossy(&ask("children"))
            .parse()
            .unwrap_or(0);
        if left == 0 {
            break;
        }
    }
    assert_eq!(left, 0, "zombies");
}
