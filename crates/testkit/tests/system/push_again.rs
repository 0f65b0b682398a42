//! Pushes that did not end: gone on with, or given up.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rbuild_testkit::{REGISTRY_PASSWORD, Registry, Tree, run};

use crate::place::{LIMIT, Place};
use crate::push::{login, noise, skopeo};

#[test]
fn a_push_that_fails_again_does_not_keep_others_from_being_finished() {
    let registry = Registry::start_with_login();
    let tree = Tree::new().file("first", "1");
    let place = Place::with("FROM scratch\nCOPY first /first\n", tree);
    // It comes first: pushes are gone on with in the order of their names.
    let hopeless = "127.0.0.1:1/app:1";
    let name = format!("{}/team/app:1", registry.host());
    place.build(&["-t", hopeless, "-t", &name]).expect_success();
    let push = |words: &[&str], password| {
        let mut command = place.rbuild(&["push"]);
        let login = login(&place, &registry, password);
        run(command.args(words).env("DOCKER_CONFIG", login), LIMIT)
    };
    push(&[hopeless], "wrong").expect_code(1);
    push(&[&name], "wrong").expect_code(1);
    push(&["--resume"], REGISTRY_PASSWORD)
        .expect_code(1)
        .expect_text("127.0.0.1:1");
    push(&["--resume", &name], REGISTRY_PASSWORD)
        .expect_code(1)
        .expect_text("is unfinished");
    push(&["--resume", hopeless], REGISTRY_PASSWORD)
        .expect_code(1)
        .expect_text("127.0.0.1:1");
    // What is given up is not tried any more.
    push(&["--forget", &name], REGISTRY_PASSWORD)
        .expect_code(1)
        .expect_text("is unfinished");
    push(&["--forget", hopeless], REGISTRY_PASSWORD)
        .expect_success()
        .expect_text(hopeless);
    push(&["--resume"], REGISTRY_PASSWORD)
        .expect_success()
        .expect_text("no push is unfinished");
}

#[test]
fn a_killed_push_leaves_no_tag_and_is_finished_later() {
    let registry = Registry::start();
    let place = Place::new("FROM scratch\nCOPY large /large\n");
    fs::write(place.context().join("large"), noise(64 << 20)).expect("write the large file");
    let name = format!("{}/team/app:1", registry.host());
    let mut child = place
        .build_command(&["-t", &name, "--push"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start rbuild");
    let told = BufReader::new(child.stderr.take().expect("standard error is piped"));
    let begun = told
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("pushing sha256:"));
    child.kill().expect("kill rbuild");
    child.wait().expect("wait for rbuild");
    assert!(begun);
    let is_tagged = |requests: &[String]| requests.iter().any(|r| r.contains("/manifests/1 "));
    assert!(
        !is_tagged(&registry.requests()),
        "{:?}",
        registry.requests()
    );
    let finished = place.run(&["push", "--resume"]).expect_success();
    assert!(
        finished.stdout.starts_with(&format!("{name}@sha256:")),
        "{}",
        finished.stdout
    );
    assert!(is_tagged(&registry.requests()));
    skopeo(&["inspect"], &format!("docker://{name}")).expect_success();
    place.assert_intact();
}
