//! Where the Dockerfile and the files come from.

use std::os::unix::net::UnixListener;

use rbuild_testkit::{Listing, Tree, run_with_input};

use crate::place::{LIMIT, Place};

/// A Dockerfile without RUN needs no privilege, so these run for every user.
fn files_of(place: &Place, words: &[&str]) -> Listing {
    let out = place.dir().join("out");
    let spec = format!("type=local,dest={}", out.display());
    let mut all = vec!["-o", spec.as_str()];
    all.extend(words);
    place.build(&all).expect_success();
    Listing::of(out)
}

#[test]
fn the_ignore_file_hides_files_and_lets_some_back_in() {
    let place = Place::with(
        "FROM scratch\nCOPY . /\n",
        Tree::new()
            .file(
                ".dockerignore",
                "*.log\nnode_modules\n!keep.log\nDockerfile\n.dockerignore\n",
            )
            .file("a.log", "")
            .file("keep.log", "")
            .file("node_modules/x/index.js", "")
            .file("src/main.c", ""),
    );
    let files = files_of(&place, &[]);
    assert_eq!(
        files.paths().collect::<Vec<_>>(),
        ["keep.log", "src", "src/main.c"]
    );
}

#[test]
fn the_ignore_file_beside_the_dockerfile_wins() {
    let place = Place::with(
        "FROM scratch\n",
        Tree::new()
            .file(".dockerignore", "a\n")
            .file("docker/app", "FROM scratch\nCOPY . /\n")
            .file(
                "docker/app.dockerignore",
                "b\ndocker\nDockerfile\n.dockerignore\n",
            )
            .file("a", "")
            .file("b", ""),
    );
    let file = place.context().join("docker/app");
    let files = files_of(&place, &["-f", file.to_str().expect("the path is text")]);
    assert_eq!(files.paths().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn an_empty_ignore_file_beside_the_dockerfile_hides_nothing() {
    let place = Place::with(
        "FROM scratch\nCOPY sub /\n",
        Tree::new()
            .file(".dockerignore", "**/a\n")
            .file("sub/a", "")
            .file("sub/b", ""),
    );
    let files = files_of(&place, &[]);
    assert_eq!(files.paths().collect::<Vec<_>>(), ["b"]);
    place.write("Dockerfile.dockerignore", "# nothing is hidden\n");
    let files = files_of(&place, &[]);
    assert_eq!(files.paths().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn the_dockerfile_may_come_from_standard_input() {
    let place = Place::new("FROM nothing-here\n");
    place.write("hello", "x");
    let out = place.dir().join("out");
    let spec = format!("type=local,dest={}", out.display());
    let mut command = place.build_command(&["-f", "-", "-o", &spec]);
    run_with_input(&mut command, b"FROM scratch\nCOPY hello /\n", LIMIT).expect_success();
    assert_eq!(Listing::of(out).paths().collect::<Vec<_>>(), ["hello"]);
}

#[test]
fn links_in_the_context_cannot_lead_out_of_it() {
    let place = Place::with(
        "FROM scratch\nCOPY link /x\n",
        Tree::new().symlink("link", "/etc/passwd"),
    );
    place
        .build(&["-o", "type=cacheonly"])
        .expect_code(1)
        .expect_text("not found");
}

#[test]
fn modes_links_and_names_arrive_unchanged() {
    let place = Place::with(
        "FROM scratch\nCOPY tree /\n",
        Tree::new()
            .file("tree/run", "#!/bin/sh\n")
            .mode(0o755)
            .file("tree/read", "")
            .mode(0o440)
            .symlink("tree/dangling", "../no/where")
            .file("tree/with blank \u{e4}", "")
            .hardlink("tree/zz", "tree/run"),
    );
    let files = files_of(&place, &[]);
    let starts = |path: &str, text: &str| {
        let line = files.get(path).unwrap_or("missing");
        assert!(line.starts_with(text), "{path}: {line}");
    };
    starts("run", "file 0755");
    starts("read", "file 0440");
    starts("with blank \u{e4}", "file 0644");
    assert!(
        files
            .get("dangling")
            .is_some_and(|line| line.ends_with("-> ../no/where"))
    );
    assert!(
        files.get("zz").is_some_and(|line| line.ends_with("= run")),
        "{files}"
    );
}

#[test]
fn a_socket_arrives_as_an_empty_file() {
    let place = Place::new("FROM scratch\nCOPY run /\n");
    place.write("run/pid", "1\n");
    let _socket =
        UnixListener::bind(place.context().join("run/sock")).expect("make a socket in the context");
    let files = files_of(&place, &[]);
    assert_eq!(files.paths().collect::<Vec<_>>(), ["pid", "sock"]);
    let line = files.get("sock").unwrap_or("missing");
    assert!(line.starts_with("file "), "{line}");
}
