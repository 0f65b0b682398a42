//! Interrupting the command while a step runs.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rbuild_testkit::{Privilege, TempDir, Tree, busybox_layout, granted, run};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(60);

fn rbuild(dir: &TempDir, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rbuild"));
    command
        .args(words)
        .current_dir(dir.path())
        .env_clear()
        .env("RBUILD_ROOT", dir.path().join("store"));
    command
}

/// Starts a build and waits until its step has begun to speak.
fn running(dir: &TempDir) -> Child {
    let mut child = rbuild(dir, &["--progress", "plain", "context"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.as_mut().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().ends_with("awake")),
        "the step never began"
    );
    child
}

#[test]
fn first_interrupt_cancels_within_a_second_and_the_store_stays_usable() {
    if !granted(Privilege::Root) {
        return;
    }
    let dir = TempDir::new();
    busybox_layout(&dir.path().join("layout"));
    let dockerfile = "FROM box\nRUN trap '' INT TERM; echo awake; while :; do sleep 1; done\n";
    Tree::new()
        .file("context/Dockerfile", dockerfile)
        .write_to(dir.path());
    run(&mut rbuild(&dir, &["import", "box", "layout"]), LIMIT).expect_success();
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = running(&dir);
        let sent = Instant::now();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(130));
        assert!(
            sent.elapsed() < Duration::from_secs(1),
            "{:?}",
            sent.elapsed()
        );
    }
    run(&mut rbuild(&dir, &["store", "verify"]), LIMIT).expect_success();
}

#[test]
fn an_interrupt_ends_the_wait_for_standard_input() {
    let dir = TempDir::new();
    Tree::new().file("context/a", "").write_to(dir.path());
    for words in [&["build", "-"][..], &["build", "-f", "-", "context"]] {
        let mut child = rbuild(&dir, words)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // More than fits into the pipe's buffer, so that it has been read in part: the command listens by then.
        let mut input = child.stdin.take().unwrap();
        input
            .write_all(&b"# FROM scratch\n".repeat(1 << 14))
            .unwrap();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("ERROR: canceled"), "{said}");
        drop(input);
    }
}
