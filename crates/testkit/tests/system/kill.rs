//! `kill -9` at random moments: the kernel takes everything along, and the store is none the worse.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rbuild_testkit::{Privilege, Tree, granted, need_tool, run};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::host::{Grant, User};
use crate::leftovers::{holders_left, mounts_below, processes_left};
use crate::place::{LIMIT, Place, shell_in};

/// Kills in one run; `RBUILD_KILLS` sets another number.
const KILLS: u32 = 10;

/// Steps of several kinds: as root, as another user, with children of their own, and much to copy.
const DOCKERFILE: &str = "FROM busybox AS data\n\
    ARG MARK\n\
    COPY many /many\n\
    RUN cat /many/* > /all\n\
    FROM busybox\n\
    ARG MARK\n\
    RUN for i in 1 2 3 4 5 6 7 8; do echo $i > /f$i; sleep 0.02; done\n\
    USER nobody\n\
    RUN (sleep 0.2; true) & sleep 0.1; echo $MARK > /tmp/n; wait\n\
    USER root\n\
    RUN dd if=/dev/zero of=/big bs=1M count=16 2> /dev/null\n\
    COPY --from=data /all /all\n\
    RUN sha256sum /all /big > /sums\n";

/// Small and reproducible when the seed is printed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

fn seed() -> u64 {
    let given = env::var("RBUILD_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("the clock is past 1970");
        now.as_nanos() as u64 | 1
    })
}

/// The files of the context.
fn tree() -> Tree {
    let mut tree = Tree::new();
    for number in 0..200 {
        tree = tree.file(&format!("many/f{number}"), vec![number as u8; 8192]);
    }
    tree
}

/// Words of a build without the cache, with a mark in the environment of every step.
fn words(mark: &str) -> [String; 5] {
    let arg = format!("MARK={mark}");
    ["--no-cache", "-t", "killed", "--build-arg", &arg].map(str::to_owned)
}

/// Kills the process after `delay` unless it ends before; says whether it was killed.
fn kill_after(command: &mut Command, delay: Duration) -> bool {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start rbuild");
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a child has an id");
    let handle = pidfd_open(pid, PidfdFlags::empty()).expect("open the child");
    let timeout = Timespec {
        tv_sec: delay.as_secs().cast_signed(),
        tv_nsec: delay.subsec_nanos().into(),
    };
    let ended = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout)).expect("wait");
    if ended == 0 {
        kill_process(pid, Signal::KILL).expect("kill it");
    }
    child.wait().expect("wait for rbuild");
    ended == 0
}

/// What is killed, and how to see that nothing came of it.
struct Victim<'a> {
    /// Makes the command of a build; its process becomes `rbuild`.
    build: &'a dyn Fn(&str) -> Command,
    /// Directory that holds the store.
    dir: &'a Path,
    /// Panics unless the store is whole and nothing half-made is in it.
    intact: &'a dyn Fn(),
}

/// Kills builds at random moments and looks for traces.
fn torment(name: &str, victim: &Victim<'_>) {
    let kills = env::var("RBUILD_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(KILLS);
    let seed = seed();
    println!("{name}: {kills} kills, RBUILD_SEED={seed}");
    let mut random = Random(seed);
    let mut whole = 0;
    // The second one shows how long it takes with the base unpacked, as it is from now on.
    for mark in ["first", "second"] {
        let begun = Instant::now();
        let built = (victim.build)(mark).output().expect("build once");
        assert!(built.status.success(), "{built:?}");
        whole = begun.elapsed().as_millis() as u64;
    }
    let mut count = 0;
    for round in 0..kills {
        let mark = format!("rbuild-kill-{name}-{}-{round}", std::process::id());
        let delay = Duration::from_millis(random.below(whole));
        let killed = kill_after(&mut (victim.build)(&mark), delay);
        count += u32::from(killed);
        // The kernel needs a moment to end a process namespace; a second is far more.
        let left = processes_left(&mark, Duration::from_secs(1));
        assert!(
            left.is_empty(),
            "round {round}, killed={killed} after {delay:?}: still running: {left:?}"
        );
        let holders = holders_left(victim.dir, Duration::from_secs(1));
        assert!(
            holders.is_empty(),
            "round {round}: still at work in the store: {holders:?}"
        );
        let mounts = mounts_below(victim.dir);
        assert!(
            mounts.is_empty(),
            "round {round}: still mounted: {mounts:?}"
        );
        (victim.intact)();
    }
    println!("{name}: {count} of {kills} builds of {whole} ms were still running when killed");
}

#[test]
fn kills_at_random_moments_leave_no_trace_and_no_damage() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::with(DOCKERFILE, tree());
    let build = |mark: &str| {
        let words = words(mark);
        place.build_command(&words.each_ref().map(String::as_str))
    };
    torment(
        "root",
        &Victim {
            build: &build,
            dir: place.dir(),
            intact: &|| place.assert_intact(),
        },
    );
    place.build(&["-t", "survivor"]).expect_success();
    let sums = shell_in(&place, "survivor", "sha256sum -c /sums");
    assert_eq!(sums, "/all: OK\n/big: OK\n");
    place.assert_intact();
}

#[test]
fn kills_of_rootless_builds_leave_no_trace_and_no_damage() {
    if !granted(Privilege::Root) || !granted(Privilege::UserNamespaces) {
        return;
    }
    need_tool("newuidmap");
    let user = User::new(Grant::Ranges);
    tree().file("Dockerfile", DOCKERFILE).write_to(user.work());
    let build = |mark: &str| {
        let words = words(mark).join(" ");
        user.shell(&format!(
            "exec rbuild build --progress plain --build-context \"$BASE\" {words} ."
        ))
    };
    let intact = || {
        let script = "test ! -e ~/.local/share/rbuild && exit; rbuild store verify >&2 && \
                      ls -A ~/.local/share/rbuild/stage";
        let done = run(&mut user.shell(script), LIMIT).expect_success();
        assert_eq!(done.stdout, "", "left in the stage: {done}");
    };
    torment(
        "rootless",
        &Victim {
            build: &build,
            dir: &user.work(),
            intact: &intact,
        },
    );
    let script = "rbuild build --build-context \"$BASE\" -t survivor . >&2 && rbuild run survivor sha256sum -c /sums";
    let sums = run(&mut user.shell(script), LIMIT).expect_success();
    assert_eq!(sums.stdout, "/all: OK\n/big: OK\n", "{sums}");
    intact();
}
