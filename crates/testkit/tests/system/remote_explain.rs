//! Why a step was missed, told by what another machine left in a cache.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rbuild_testkit::{Finished, Privilege, Tree, granted, run};

use crate::machines::{Shared, build, max};
use crate::place::{LIMIT, Place};

const STEPS: &str = "FROM busybox\n\
    COPY src /src\n\
    RUN --mount=type=bind,source=bound,target=/bound cat /bound/* > /sum\n";

fn machine() -> Place {
    let tree = Tree::new()
        .file("src/a.txt", "1\n")
        .file("src/b.txt", "1\n")
        .file("bound/only-bound", "1\n");
    Place::with(STEPS, tree)
}

/// Why steps were missed, in their order.
fn reasons(built: &Finished) -> Vec<&str> {
    let lines = built.stderr.lines();
    let reasons = lines.filter_map(|line| Some(line.split_once("cache miss: ")?.1));
    reasons.collect()
}

/// The blobs of a cache that hold a list of files, and their texts.
fn lists(shared: &Shared) -> Vec<(PathBuf, String)> {
    let unpacked = shared.blobs().into_iter().map(|path| {
        let shown = run(Command::new("zstd").args(["-dc"]).arg(&path), LIMIT);
        (path, shown.stdout)
    });
    let is_list = |(_, text): &(PathBuf, String)| text.starts_with("rbuild-listing");
    unpacked.filter(is_list).collect()
}

#[test]
fn copied_files_are_named() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, a, b) = (Shared::new(), machine(), machine());
    build(&a, &[&max(&shared)]);
    b.write("src/b.txt", "2\n");
    b.write("src/new", "");
    let built = build(&b, &[&shared.from("")]);
    let expected = [
        "2 of 3 files differ: `src/b.txt` content, `src/new` new",
        "because [stage-0 1/3] COPY src /src was made again",
    ];
    assert_eq!(reasons(&built), expected, "{built}");
    assert!(!built.text().contains("RemoteCache"), "{built}");
    // What it has learned it knows without the cache.
    fs::remove_dir_all(shared.dir()).expect("remove the cache");
    let explained = b.run(&["explain", "COPY"]).expect_success();
    assert!(explained.text().contains(expected[0]), "{explained}");
}

#[test]
fn what_was_taken_over_is_compared_file_by_file_later() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, a, b) = (Shared::new(), machine(), machine());
    build(&a, &[&max(&shared)]);
    assert!(reasons(&build(&b, &[&shared.from("")])).is_empty());
    b.write("src/a.txt", "2\n");
    let built = build(&b, &[&shared.from("")]);
    let told = reasons(&built);
    assert!(
        told[0].contains("1 of 2 files differs: `src/a.txt` content"),
        "{told:?}"
    );
}

#[test]
fn files_that_no_layer_holds_are_not_listed() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, a, b) = (Shared::new(), machine(), machine());
    build(&a, &[&max(&shared)]);
    let lists = lists(&shared);
    assert_eq!(lists.len(), 1, "{lists:?}");
    let listed = |name: &str| lists[0].1.contains(name);
    assert!(listed("b.txt") && !listed("only-bound"), "{lists:?}");
    b.write("bound/only-bound", "2\n");
    let built = build(&b, &[&shared.from("")]);
    let told = reasons(&built);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("files differ") && !told[0].contains("only-bound"),
        "{told:?}"
    );
}

#[test]
fn a_list_that_is_gone_or_damaged_costs_its_names_only() {
    if !granted(Privilege::Root) {
        return;
    }
    let remove = |path: &PathBuf| fs::remove_file(path).expect("remove");
    let damage = |path: &PathBuf| fs::write(path, "rubbish").expect("write");
    let breaks: [&dyn Fn(&PathBuf); 2] = [&remove, &damage];
    for break_it in breaks {
        let (shared, a, b) = (Shared::new(), machine(), machine());
        build(&a, &[&max(&shared)]);
        let lists = lists(&shared);
        assert_eq!(lists.len(), 1, "{lists:?}");
        break_it(&lists[0].0);
        b.write("src/b.txt", "2\n");
        let built = build(&b, &[&shared.from("")]);
        let told = reasons(&built);
        assert_eq!(told[0], "files differ", "{told:?}");
        assert!(!built.text().contains("RemoteCache"), "{built}");
        b.assert_intact();
    }
}
