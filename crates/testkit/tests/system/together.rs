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

/// A RUN that wants these cache mounts for itself, in this order.
fn locking(ids: &[&str], script: &str) -> String {
    let mount = |id| format!("--mount=type=cache,id={id},sharing=locked,target=/{id} ");
    let mounts: String = ids.iter().map(mount).collect();
    format!("FROM busybox\nARG N\nRUN {mounts}{script}\n")
}

#[test]
fn a_step_may_mount_one_cache_twice() {
    if !granted(Privilege::Root) {
        return;
    }
    let again = "--mount=type=cache,id=a,target=/again";
    let script = format!("{again} echo kept > /a/file && cp /again/file /file");
    let place = Place::new(&locking(&["a"], &script));
    place.build(&["-t", "twice"]).expect_success();
    assert_eq!(shell_in(&place, "twice", "cat /file"), "kept\n");
}

#[test]
fn steps_that_lock_the_same_caches_in_another_order_do_not_wait_for_each_other() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(&locking(&["b"], "touch /b/held; sleep 1"));
    for (name, ids) in [("ab", ["a", "b"]), ("ba", ["b", "a"])] {
        let text = locking(
            &ids,
            "test ! -e /a/in && touch /a/in && sleep 0.05; rm /a/in",
        );
        place.write(name, &text);
    }
    let build = |file: &str, n: usize| {
        let file = place.context().join(file);
        let file = file.to_str().expect("a path in UTF-8").to_owned();
        place.build(&["-f", &file, "--build-arg", &format!("N={n}")])
    };
    thread::scope(|scope| {
        // Whoever holds one of both while this one lasts would keep the others from it for ever.
        scope.spawn(|| place.build(&[]).expect_success());
        for n in 0..6 {
            let file = if n < 2 { "ab" } else { "ba" };
            let build = &build;
            scope.spawn(move || build(file, n).expect_success());
        }
    });
}
