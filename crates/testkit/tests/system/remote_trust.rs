//! Who may change a build by what lies in a cache: whoever is trusted, and nobody else.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rbuild_testkit::{Privilege, TempDir, granted, run};

use crate::machines::{STEPS, Shared, build, image_id, machine, max};
use crate::place::{LIMIT, cached_steps};

/// Makes a key; the file and the public half.
fn key(dir: &Path, name: &str) -> (String, String) {
    let file = dir.join(name).display().to_string();
    let place = machine();
    let public = place.run(&["cache", "key", &file]).expect_success().stdout;
    (file, public.trim().to_owned())
}

fn signing(file: &str) -> [String; 2] {
    ["--cache-key".to_owned(), file.to_owned()]
}

fn trusting(key: &str) -> [String; 2] {
    ["--cache-trust".to_owned(), key.to_owned()]
}

#[test]
fn whoever_may_write_the_place_cannot_change_a_build_that_trusts_a_key() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, keys) = (Shared::new(), TempDir::new());
    let (main_key, main) = key(&keys, "main");
    let (evil_key, _) = key(&keys, "evil");
    let evil = machine();
    // The attacker's own results, under the very keys that main asks for: unsigned, and signed by them.
    build(&evil, &[&max(&shared)]);
    build(&evil, &[&max(&shared), &signing(&evil_key)]);
    let reader = machine();
    let built = build(&reader, &[&shared.from(""), &trusting(&main)]);
    assert!(cached_steps(&built).is_empty(), "{built}");
    assert!(built.text().contains("not signed"), "{built}");
    assert!(built.text().contains("not trusted"), "{built}");
    // Beside them main's own entries are found, and the attacker's later ones do not displace them.
    let author = machine();
    build(&author, &[&max(&shared), &signing(&main_key)]);
    build(
        &evil,
        &[
            &["--no-cache".to_owned()],
            &max(&shared),
            &signing(&evil_key),
        ],
    );
    let reader = machine();
    let built = build(&reader, &[&shared.from(""), &trusting(&main)]);
    assert_eq!(cached_steps(&built).len(), 4, "{built}");
    assert_eq!(image_id(&reader, "x"), image_id(&author, "x"));
}

/// Copies a cache as it is now.
fn copied(shared: &Shared) -> Shared {
    let copy = Shared::new();
    let mut command = Command::new("cp");
    command.arg("-a").arg(shared.dir()).arg(copy.dir());
    run(&mut command, LIMIT).expect_success();
    copy
}

/// Makes all entries of a cache say that they were written at another time.
fn redate(shared: &Shared, created: u64) {
    shared.edit_index(|text| {
        let mut parts = text.split("\"created\":");
        let mut dated = parts.next().expect("a beginning").to_owned();
        for part in parts {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            dated += &format!("\"created\":{created}{rest}");
        }
        dated
    });
}

#[test]
fn an_old_entry_that_is_put_back_does_not_pass_for_a_new_one() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, keys) = (Shared::new(), TempDir::new());
    let (main_key, main) = key(&keys, "main");
    let (first, second) = (machine(), machine());
    build(&first, &[&max(&shared), &signing(&main_key)]);
    let old = copied(&shared);
    // Ages are counted in seconds.
    thread::sleep(Duration::from_millis(2100));
    let afresh = ["--no-cache".to_owned()];
    build(&second, &[&afresh, &max(&shared), &signing(&main_key)]);
    assert_ne!(image_id(&first, "x"), image_id(&second, "x"));
    // Beside what is newer it does not count, whichever is named first.
    for places in [[&old, &shared], [&shared, &old]] {
        let from = places.map(|place| place.from(""));
        let reader = machine();
        let built = build(&reader, &[&from[0], &from[1], &trusting(&main)]);
        assert_eq!(cached_steps(&built).len(), 4, "{built}");
        assert_eq!(image_id(&reader, "x"), image_id(&second, "x"));
    }
    // Alone it is what main once made; who asks for an age is not given it.
    let reader = machine();
    build(&reader, &[&old.from(""), &trusting(&main)]);
    assert_eq!(image_id(&reader, "x"), image_id(&first, "x"));
    let age = ["--cache-max-age".to_owned(), "1s".to_owned()];
    let reader = machine();
    let built = build(&reader, &[&old.from(""), &trusting(&main), &age]);
    assert!(cached_steps(&built).is_empty(), "{built}");
    assert!(built.text().contains("too old"), "{built}");
    // Nor does it get younger by saying so.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    redate(&old, now.expect("a clock").as_secs());
    let reader = machine();
    let built = build(&reader, &[&old.from(""), &trusting(&main)]);
    assert!(cached_steps(&built).is_empty(), "{built}");
    assert!(built.text().contains("does not fit"), "{built}");
}

#[test]
fn a_pull_request_reads_main_and_writes_its_own_scope() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, main, request) = (Shared::new(), machine(), machine());
    build(&main, &[&shared.to(",mode=max,scope=main")]);
    request.write("Dockerfile", &format!("{STEPS}RUN echo pr > /pr\n"));
    let (from_main, from_own) = (shared.from(",scope=main"), shared.from(",scope=pr-7"));
    let built = build(
        &request,
        &[&from_main, &from_own, &shared.to(",mode=max,scope=pr-7")],
    );
    assert_eq!(cached_steps(&built).len(), 4, "{built}");
    // Main does not see it; the request's next machine does.
    for (scopes, expected) in [(vec![&from_main], 4), (vec![&from_main, &from_own], 5)] {
        let place = machine();
        place.write("Dockerfile", &format!("{STEPS}RUN echo pr > /pr\n"));
        let lists: Vec<&[String]> = scopes.iter().map(|words| words.as_slice()).collect();
        let built = build(&place, &lists);
        assert_eq!(cached_steps(&built).len(), expected, "{built}");
    }
}
