//! Ctrl-C: over in a second, nothing left.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rbuild_testkit::{Privilege, granted};
use rustix::process::{Pid, Signal, kill_process};

use crate::leftovers::{holders_left, mounts_below, processes_left};
use crate::place::{Place, cached_steps};

/// Starts a build and returns it when its step has said that it runs.
pub fn start_until(place: &Place, words: &[&str], sign: &str) -> Child {
    let mut command = place.build_command(words);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start rbuild");
    let mut lines = BufReader::new(child.stderr.take().expect("standard error is piped"));
    let mut seen = String::new();
    loop {
        let from = seen.len();
        let read = lines.read_line(&mut seen).expect("read what it prints");
        assert!(read > 0, "it ended before it said {sign:?}:\n{seen}");
        if seen[from..].contains(sign) {
            break;
        }
    }
    std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
    child
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a child has an id");
    kill_process(pid, Signal::INT).expect("send the interrupt");
}

/// Interrupts a build and waits; panics unless it ends within a second, with the code that says so.
pub fn ends_when_interrupted(child: &mut Child) {
    let begun = Instant::now();
    interrupt(child);
    let status = child.wait().expect("wait for rbuild");
    let elapsed = begun.elapsed();
    assert_eq!(status.code(), Some(130), "{status}");
    assert!(elapsed < Duration::from_secs(1), "it took {elapsed:?}");
}

#[test]
fn an_interrupt_ends_the_build_within_a_second_and_leaves_nothing() {
    if !granted(Privilege::Root) {
        return;
    }
    // The step ignores signals and has changed its user: neither may help it.
    let mark = "41731.25";
    let place = Place::new(&format!(
        "FROM busybox\nUSER nobody\nRUN trap '' INT TERM HUP; (sleep {mark} &) ; echo going-$((1+1)); sleep {mark}\n"
    ));
    let mut child = start_until(&place, &["-t", "never"], "going-2");
    ends_when_interrupted(&mut child);
    let left = processes_left(mark, Duration::from_secs(1));
    assert!(left.is_empty(), "still running: {left:?}");
    let holders = holders_left(place.dir(), Duration::ZERO);
    assert!(
        holders.is_empty(),
        "still at work in the store: {holders:?}"
    );
    let mounts = mounts_below(place.dir());
    assert!(mounts.is_empty(), "still mounted: {mounts:?}");
    place.assert_intact();
    place.run(&["inspect", "never"]).expect_code(1);
}

#[test]
fn an_interrupted_build_goes_on_where_it_was() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(
        "FROM busybox\nRUN echo done > /one\nRUN echo going-$((1+1)); [ -e /m ] || sleep 600\n",
    );
    let mut child = start_until(&place, &[], "going-2");
    interrupt(&child);
    child.wait().expect("wait for rbuild");
    place.write(
        "Dockerfile",
        "FROM busybox\nRUN echo done > /one\nRUN true\n",
    );
    let second = place.build(&[]).expect_success();
    assert_eq!(cached_steps(&second).len(), 1, "{second}");
}

#[test]
fn an_interrupt_ends_work_on_finished_layers_too() {
    if !granted(Privilege::Root) {
        return;
    }
    // Much to compress, slowly, while the step sleeps.
    let place = Place::new("FROM busybox\nCOPY noise /\nRUN echo going-$((1+1)); sleep 600\n");
    let mut state = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(64 << 20)
    .collect();
    std::fs::write(place.context().join("noise"), noise).expect("write a file");
    let archive = format!(
        "type=oci,dest={},compression=zstd,compression-level=22",
        place.dir().join("out.tar").display()
    );
    let mut child = start_until(&place, &["-o", &archive], "going-2");
    ends_when_interrupted(&mut child);
    assert!(!place.dir().join("out.tar").exists());
    place.assert_intact();
}
