//! What is remembered of the network, for how long, and builds that may not ask.

use std::fs;

use rbuild_testkit::{Finished, Privilege, Registry, Tree, WebReply, WebServer, granted, run};

use crate::add_git::Repository;
use crate::place::{LIMIT, Place, busybox};

/// Builds to a directory, so that layers are read.
fn build_files(place: &Place, words: &[&str]) -> Finished {
    let out = format!("type=local,dest={}", place.dir().join("out").display());
    let mut all = vec!["-o", out.as_str()];
    all.extend(words);
    place.build(&all)
}

#[test]
fn what_the_store_has_is_built_offline() {
    let registry = Registry::start();
    registry.push_layout(busybox(), "team/busybox:1");
    let text = format!("FROM {}/team/busybox:1\nCOPY f /f\n", registry.host());
    let place = Place::new(&text);
    place.write("f", "one");
    build_files(&place, &[]).expect_success();
    drop(registry);
    place.write("f", "two");
    // An age of nothing would have it ask; offline there is nobody to ask.
    build_files(&place, &["--offline", "--tag-age", "0"]).expect_success();
    let built = fs::read_to_string(place.dir().join("out/f")).expect("it is built");
    assert_eq!(built, "two");
    place.build(&["--pull", "--offline"]).expect_code(2);
    place.assert_intact();
}

#[test]
fn what_is_missing_offline_is_named() {
    let registry = Registry::start();
    registry.push_layout(busybox(), "team/busybox:1");
    let name = format!("{}/team/busybox:1", registry.host());
    let place = Place::new(&format!("FROM {name}\nLABEL a=b\n"));
    let missing = place.build(&["--offline"]).expect_code(1);
    for wanted in [
        &name,
        "is not in the store",
        "Dockerfile:1",
        "build once without --offline",
    ] {
        assert!(missing.stderr.contains(wanted), "{missing}");
    }
    // Now the manifest is here, but no layer.
    place.build(&[]).expect_success();
    place.write("Dockerfile", &format!("FROM {name}\nCOPY Dockerfile /\n"));
    let missing = build_files(&place, &["--offline"]).expect_code(1);
    for wanted in ["sha256:", "offline"] {
        assert!(missing.stderr.contains(wanted), "{missing}");
    }
    place.assert_intact();
}

#[test]
fn downloads_answer_offline_with_what_came_last() {
    let server = WebServer::start(|_| WebReply::of("hello"));
    let text = format!("FROM scratch\nADD {} /\n", server.url("/f"));
    let place = Place::new(&text);
    let missing = build_files(&place, &["--offline"]).expect_code(1);
    assert!(missing.stderr.contains(&server.url("/f")), "{missing}");
    assert!(missing.stderr.contains("is not in the store"), "{missing}");
    assert!(server.asked().is_empty());
    build_files(&place, &[]).expect_success();
    let before = server.asked().len();
    build_files(&place, &["--offline", "--no-cache"]).expect_success();
    let built = fs::read_to_string(place.dir().join("out/f")).expect("it is built");
    assert_eq!((built.as_str(), server.asked().len()), ("hello", before));
}

#[test]
fn tags_are_believed_for_as_long_as_is_said() {
    let registry = Registry::start();
    registry.push_layout(busybox(), "team/busybox:1");
    let place = Place::new(&format!(
        "FROM {}/team/busybox:1\nLABEL a=b\n",
        registry.host()
    ));
    place.build(&[]).expect_success();
    drop(registry);
    // The registry is gone: whoever asks it fails.
    place.build(&[]).expect_success();
    place.build(&["--tag-age", "7d"]).expect_success();
    place.build(&["--tag-age", "0"]).expect_code(1);
    place.build(&["--pull"]).expect_code(1);
    place.build(&["--tag-age", "1w"]).expect_code(2);
    let mut command = place.build_command(&[]);
    run(command.env("RBUILD_TAG_AGE", "0s"), LIMIT).expect_code(1);
    let mut command = place.build_command(&["--tag-age", "1h"]);
    run(command.env("RBUILD_TAG_AGE", "0s"), LIMIT).expect_success();
    let mut command = place.build_command(&[]);
    run(command.env("RBUILD_TAG_AGE", "soon"), LIMIT)
        .expect_code(2)
        .expect_text("RBUILD_TAG_AGE");
}

#[test]
fn a_digest_that_was_seen_is_never_asked_for() {
    let registry = Registry::start();
    let digest = registry.push_layout(busybox(), "team/busybox:1");
    let name = format!("{}/team/busybox@{}", registry.host(), digest.trim());
    let place = Place::new(&format!("FROM {name}\nLABEL a=b\n"));
    place.build(&[]).expect_success();
    drop(registry);
    place.build(&["--tag-age", "0"]).expect_success();
    place.build(&["--pull"]).expect_success();
}

#[test]
fn steps_offline_keep_their_cache() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new("FROM busybox\nRUN echo made > /made\n");
    place.build(&[]).expect_success();
    let again = place.build(&["--offline"]).expect_success();
    assert!(again.stderr.contains("CACHED"), "{again}");
}

#[test]
fn git_references_stand_offline_for_what_they_stood_for() {
    let repository = Repository::new(Tree::new().file("f", "hello"));
    let server = repository.serve();
    let url = server.url("r.git/.git");
    let place = Place::new(&format!("FROM scratch\nADD {url}#main /\n"));
    let missing = build_files(&place, &["--offline"]).expect_code(1);
    assert!(missing.stderr.contains("is not in the store"), "{missing}");
    build_files(&place, &[]).expect_success();
    drop(server);
    build_files(&place, &[]).expect_code(1);
    build_files(&place, &["--offline", "--no-cache"]).expect_success();
    let built = fs::read_to_string(place.dir().join("out/f")).expect("it is built");
    assert_eq!(built, "hello");
}
