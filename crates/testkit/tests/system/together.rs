//! Several processes on one store.

use std::process::Command;
use std::thread;

use rbuild_testkit::{Finished, Privilege, granted, need_tool, run};

use crate::place::{LIMIT, Place, shell_in};

const STEPS: &str = "FROM busybox\n\
    RUN sleep 0.5; echo ran-one-$((1+1)); date +%N > /one\n\
    RUN sleep 0.5; echo ran-two-$((1+1)); date +%N > /two\n";

fn count(outputs: &[Finished], text: &str) -> usize {
    outputs
        .iter()
        .map(|done| done.text().matches(text).count())
        .sum()
}

#[test]
fn two_processes_run_each_step_once() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(STEPS);
    let outputs: Vec<Finished> = thread::scope(|scope| {
        let builds: Vec<_> = ["left", "right"]
            .map(|tag| scope.spawn(|| place.build(&["-t", tag])))
            .into_iter()
            .collect();
        builds
            .into_iter()
            .map(|build| build.join().expect("no panic").expect_success())
            .collect()
    });
    for step in ["ran-one-2", "ran-two-2"] {
        assert_eq!(count(&outputs, step), 1, "{}\n{}", outputs[0], outputs[1]);
    }
    let of = |tag: &str| shell_in(&place, tag, "cat /one /two");
    assert_eq!(of("left"), of("right"));
    place.assert_intact();
}

/// The command as the first process of namespaces of its own, as in a container.
fn contained(command: &Command) -> Command {
    let mut contained = Command::new(need_tool("unshare"));
    contained.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--uts",
        "--ipc",
    ]);
    contained
        .arg("--cgroup")
        .arg(command.get_program())
        .args(command.get_args());
    contained.env_remove("RBUILD_ROOT");
    contained
}

#[test]
fn containers_run_each_step_once() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(STEPS);
    let outputs: Vec<Finished> = thread::scope(|scope| {
        let build = |tag: &'static str| {
            let mut command = contained(&place.build_command(&["-t", tag]));
            scope.spawn(move || run(&mut command, LIMIT).expect_success())
        };
        let builds = ["one", "two", "three"].map(build);
        builds.map(|build| build.join().expect("no panic")).into()
    });
    for step in ["ran-one-2", "ran-two-2"] {
        assert_eq!(count(&outputs, step), 1, "{}\n{}", outputs[0], outputs[1]);
    }
    let of = |tag: &str| shell_in(&place, tag, "cat /one /two");
    assert_eq!(of("one"), of("three"));
    place.assert_intact();
}

#[test]
fn many_processes_may_begin_a_store_at_once() {
    let place = Place::new("FROM scratch\nCOPY Dockerfile /\n");
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| place.build(&["-t", "same"]).expect_success());
        }
    });
    place.run(&["inspect", "same"]).expect_success();
    place.assert_intact();
}

#[test]
fn a_cache_mount_is_shared_between_builds() {
    if !granted(Privilege::Root) {
        return;
    }
    let mount = "RUN --mount=type=cache,id=c,sharing=locked,target=/c";
    let place = Place::new(&format!("FROM busybox\n{mount} echo kept > /c/file\n"));
    place.build(&[]).expect_success();
    place.write(
        "Dockerfile",
        &format!("FROM busybox\n{mount} cp /c/file /file && ls /c\n"),
    );
    place.build(&["-t", "second"]).expect_success();
    assert_eq!(
        shell_in(&place, "second", "cat /file; ls /c 2> /dev/null || true"),
        "kept\n"
    );
}
