//! Contexts that are no directory: archives on standard input, behind URLs, git repositories.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rbuild_testkit::{Finished, TempDir, Tree, WebReply, WebServer, run, run_with_input};

use crate::add_git::Repository;
use crate::interrupt::ends_when_interrupted;
use crate::place::{LIMIT, Place, cached_steps};

fn files() -> Tree {
    Tree::new()
        .file("Dockerfile", "FROM scratch\nCOPY a d /\n")
        .file("other", "FROM scratch\nCOPY d/b /renamed\n")
        .file(".dockerignore", "a\n")
        .file("a", "hello")
        .file("d/b", "below")
}

/// An archive of these files, made with `tar` and these options.
fn archive(files: Tree, options: &[&str]) -> Vec<u8> {
    let dir = TempDir::new();
    files.write_to(&dir);
    let out = Command::new("tar")
        .args(options)
        .args(["--owner=7", "--group=8", "-C"])
        .arg(dir.to_path_buf())
        .args(["-cf", "-", "."])
        .output()
        .expect("run tar");
    assert!(out.status.success());
    out.stdout
}

/// `rbuild build` of `context` into a directory.
fn command(place: &Place, words: &[&str], context: &str) -> (PathBuf, Command) {
    let out = place.dir().join("out");
    let spec = format!("type=local,dest={}", out.display());
    let mut command = place.rbuild(&["build", "--progress", "plain", "-o", &spec]);
    command.args(words).arg(context);
    (out, command)
}

fn build(place: &Place, words: &[&str], context: &str, input: &[u8]) -> (PathBuf, Finished) {
    let (out, mut command) = command(place, words, context);
    (out, run_with_input(&mut command, input, LIMIT))
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn an_archive_on_standard_input_is_the_context() {
    for options in [
        &[][..],
        &["-z"],
        &["-j"],
        &["-J"],
        &["--zstd"],
        &["--format=v7"],
    ] {
        let place = Place::new("FROM nothing\n");
        let bytes = archive(files(), options);
        let (out, finished) = build(&place, &[], "-", &bytes);
        finished.expect_success();
        // The ignore file is for directories of the user's.
        assert_eq!(text(out.join("a")), "hello", "{options:?}");
        assert_eq!(text(out.join("b")), "below", "{options:?}");
        place.assert_intact();
    }
}

#[test]
fn the_dockerfile_is_looked_for_in_the_archive() {
    let place = Place::new("FROM nothing\n");
    let bytes = archive(files(), &["-z"]);
    let (out, finished) = build(&place, &["-f", "other"], "-", &bytes);
    finished.expect_success();
    assert_eq!(text(out.join("renamed")), "below");
    let (_, finished) = build(&place, &["-f", "missing"], "-", &bytes);
    finished.expect_code(1).expect_text("missing");
    let (_, finished) = build(&place, &["-f", "-"], "-", &bytes);
    finished.expect_code(2);
    let (_, finished) = build(&place, &["-f", "x"], "-", b"FROM scratch\n");
    finished.expect_code(2).expect_text("must be an archive");
}

#[test]
fn a_dockerfile_in_an_archive_can_be_checked_and_asked() {
    let place = Place::new("FROM nothing\n");
    let text = "# one the first\nFROM scratch as one\n";
    let bytes = archive(Tree::new().file("Dockerfile", text), &["-z"]);
    let ask = |call: &str| run_with_input(&mut place.rbuild(&["build", call, "-"]), &bytes, LIMIT);
    ask("--check").expect_code(1).expect_text("FromAsCasing");
    ask("--call=targets")
        .expect_success()
        .expect_text("the first");
    ask("--call=outline").expect_success().expect_text("one");
}

#[test]
fn the_second_build_of_an_archive_is_cached() {
    let place = Place::new("FROM nothing\n");
    let bytes = archive(files(), &[]);
    build(&place, &[], "-", &bytes).1.expect_success();
    let (_, second) = build(&place, &[], "-", &bytes);
    let second = second.expect_success();
    assert!(!cached_steps(&second).is_empty(), "{second}");
}

#[test]
fn owners_of_an_archive_are_kept() {
    let place = Place::new("FROM nothing\n");
    let tar = place.dir().join("out.tar");
    let spec = format!("type=tar,dest={}", tar.display());
    let mut command = place.rbuild(&["build", "-o", &spec, "-"]);
    run_with_input(&mut command, &archive(files(), &[]), LIMIT).expect_success();
    let listed = Command::new("tar").arg("-tvf").arg(&tar).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("7/8"), "{listed}");
}

/// One entry of a ustar archive.
fn entry(name: &str, kind: u8, link: &str, body: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", body.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = kind;
    header[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend_from_slice(body);
    header.resize(header.len().div_ceil(512) * 512, 0);
    header
}

#[test]
fn hostile_archives_stay_inside() {
    let dockerfile = entry("Dockerfile", b'0', "", b"FROM scratch\nCOPY . /\n");
    let outside = TempDir::new();
    let target = outside.join("planted");
    let place = Place::new("FROM nothing\n");
    let try_with = |entries: &[Vec<u8>]| {
        let mut bytes = dockerfile.clone();
        bytes.extend(entries.concat());
        bytes.resize(bytes.len() + 1024, 0);
        let (_, finished) = build(&place, &[], "-", &bytes);
        assert!(!target.exists(), "{finished}");
        place.assert_intact();
        finished
    };
    try_with(&[entry("../../../../../planted", b'0', "", b"x")])
        .expect_code(1)
        .expect_text("leaves the archive");
    let absolute = target.to_str().unwrap();
    try_with(&[entry(absolute, b'0', "", b"x")]).expect_success();
    let parent = outside.to_str().unwrap();
    try_with(&[
        entry("link", b'2', parent, b""),
        entry("link/planted", b'0', "", b"x"),
    ])
    .expect_success();
    try_with(&[entry("hard", b'1', "../../etc/passwd", b"")])
        .expect_code(1)
        .expect_text("leaves the archive");
    // The Dockerfile itself must be a file of the context.
    let mut bytes = entry("Dockerfile", b'2', "/etc/passwd", b"");
    bytes.resize(2048, 0);
    build(&place, &[], "-", &bytes).1.expect_code(1);
    let mut bytes = entry("Dockerfile", b'6', "", b"");
    bytes.resize(2048, 0);
    let (_, finished) = build(&place, &[], "-", &bytes);
    finished.expect_code(1).expect_text("no regular file");
}

#[test]
fn devices_of_an_archive_are_copied_as_they_are() {
    let place = Place::new("FROM nothing\n");
    let tar = place.dir().join("out.tar");
    let spec = format!("type=tar,dest={}", tar.display());
    let with_devices = |devices: &[Vec<u8>]| {
        let mut bytes = entry("Dockerfile", b'0', "", b"FROM scratch\nCOPY d /d\n");
        bytes.extend(devices.concat());
        bytes.resize(bytes.len() + 1024, 0);
        let mut command = place.rbuild(&["build", "-o", &spec, "-"]);
        run_with_input(&mut command, &bytes, LIMIT)
    };
    with_devices(&[
        device("d/null", b'3', (1, 3)),
        device("d/disk", b'4', (7, 200)),
        entry("d/pipe", b'6', "", b""),
    ])
    .expect_success();
    let listed = Command::new("tar").arg("-tvf").arg(&tar).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for (kind, numbers, name) in [('c', "1,3", "d/null"), ('b', "7,200", "d/disk")] {
        let is_it = |line: &&str| line.starts_with(kind) && line.ends_with(name);
        let line = listed.lines().find(is_it);
        assert!(line.is_some_and(|line| line.contains(numbers)), "{listed}");
    }
    let pipe = listed.lines().find(|line| line.ends_with("d/pipe"));
    assert!(pipe.is_some_and(|line| line.starts_with('p')), "{listed}");
    // To an overlay this device says that a file is gone.
    with_devices(&[device("d/gone", b'3', (0, 0))])
        .expect_code(1)
        .expect_text("a character device 0:0");
    place.assert_intact();
}

/// The entry of a device with these numbers.
fn device(name: &str, kind: u8, (major, minor): (u32, u32)) -> Vec<u8> {
    let mut header = entry(name, kind, "", b"");
    header[329..337].copy_from_slice(format!("{major:07o}\0").as_bytes());
    header[337..345].copy_from_slice(format!("{minor:07o}\0").as_bytes());
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[test]
fn a_cut_archive_is_refused() {
    let place = Place::new("FROM nothing\n");
    let bytes = archive(files(), &["-z"]);
    let (_, finished) = build(&place, &[], "-", &bytes[..bytes.len() / 2]);
    finished.expect_code(1);
    place.assert_intact();
}

#[test]
fn an_interrupt_does_not_wait_for_standard_input() {
    let place = Place::new("FROM nothing\n");
    let (_, mut command) = command(&place, &[], "-");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start rbuild");
    let mut input = child.stdin.take().expect("standard input is piped");
    let bytes = archive(files(), &[]);
    // More than the head that is read to tell an archive: the build has begun then.
    input.write_all(&bytes[..bytes.len() - 512]).unwrap();
    let limit = Instant::now() + Duration::from_secs(10);
    while !place.store().exists() {
        assert!(Instant::now() < limit, "the build never began");
        std::thread::yield_now();
    }
    ends_when_interrupted(&mut child);
    drop(input);
}

#[test]
fn an_archive_behind_a_url_is_the_context() {
    let bytes = archive(files(), &["-z"]);
    let server = WebServer::start(move |asked| match asked.header("if-none-match") {
        Some("\"1\"") => WebReply::status(304),
        _ => WebReply::of(bytes.clone()).header("ETag", "\"1\""),
    });
    let place = Place::new("FROM nothing\n");
    let (out, finished) = build(&place, &[], &server.url("/x.tgz"), b"");
    finished.expect_success();
    assert_eq!(text(out.join("a")), "hello");
    let (_, second) = build(&place, &[], &server.url("/x.tgz"), b"");
    let second = second.expect_success();
    assert!(!cached_steps(&second).is_empty(), "{second}");
    assert_eq!(server.asked().len(), 2, "one question for each build");
    let (_, third) = build(
        &place,
        &["-f", "-"],
        &server.url("/x.tgz"),
        b"FROM scratch\nCOPY a /z\n",
    );
    third.expect_success();
    assert_eq!(text(out.join("z")), "hello");
}

#[test]
fn a_single_file_behind_a_url_is_the_dockerfile() {
    let server = WebServer::start(|_| WebReply::of("FROM scratch\nCOPY context /copied\n"));
    let place = Place::new("FROM nothing\n");
    let (out, finished) = build(&place, &[], &server.url("/any"), b"");
    finished.expect_success();
    assert!(text(out.join("copied")).starts_with("FROM scratch"));
}

#[test]
fn a_context_that_is_not_there_is_said() {
    let server = WebServer::start(|_| WebReply::status(404));
    let place = Place::new("FROM nothing\n");
    let (_, finished) = build(&place, &[], &server.url("/any"), b"");
    finished
        .expect_code(1)
        .expect_text("invalid response status 404");
    let (_, finished) = build(&place, &[], &server.url("/any.git"), b"");
    finished
        .expect_code(1)
        .expect_text("failed to fetch remote");
}

#[test]
fn a_git_repository_is_the_context() {
    let repository = Repository::new(files());
    let server = repository.serve();
    let url = server.url("r.git/.git");
    let place = Place::new("FROM nothing\n");
    let (out, finished) = build(&place, &[], &url, b"");
    finished.expect_success();
    assert_eq!(text(out.join("a")), "hello");
    let (_, second) = build(&place, &[], &url, b"");
    let second = second.expect_success();
    assert!(!cached_steps(&second).is_empty(), "{second}");
    repository.commit(
        Tree::new().file("d/Dockerfile", "FROM scratch\nCOPY b /\n"),
        "sub",
    );
    let (out, third) = build(&place, &[], &format!("{url}#main:d"), b"");
    third.expect_success();
    assert_eq!(text(out.join("b")), "below");
    place.assert_intact();
}

#[test]
fn the_git_directory_of_a_context_is_kept_by_an_argument() {
    let repository = Repository::new(Tree::new().file("Dockerfile", "FROM scratch\nCOPY . /\n"));
    let server = repository.serve();
    let url = server.url("r.git/.git");
    let place = Place::new("FROM nothing\n");
    let (out, finished) = build(&place, &[], &url, b"");
    finished.expect_success();
    assert!(!out.join(".git").exists());
    let words = ["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"];
    build(&place, &words, &url, b"").1.expect_success();
    assert!(out.join(".git/HEAD").exists());
}

#[test]
fn named_contexts_come_from_git_and_urls() {
    let repository = Repository::new(Tree::new().file("a", "from git"));
    let git_server = repository.serve();
    let web = WebServer::start(|_| WebReply::of("from the web"));
    let place = Place::new(
        "FROM tree AS t\nFROM scratch\nCOPY --from=t a /1\nCOPY --from=tree a /2\n\
         COPY --from=file context /3\n",
    );
    let named = [
        format!("tree={}", git_server.url("r.git/.git#v1")),
        format!("file={}", web.url("/some.tgz")),
    ];
    let words = ["--build-context", &named[0], "--build-context", &named[1]];
    let context = place.context();
    let (out, mut command) = command(&place, &words, context.to_str().unwrap());
    run(&mut command, LIMIT).expect_success();
    let read = |name: &str| text(Path::new(&out).join(name));
    assert_eq!(read("1"), "from git");
    assert_eq!(read("2"), "from git");
    assert_eq!(read("3"), "from the web");
}

#[test]
fn the_time_of_a_context_can_be_the_time_of_the_image() {
    let repository = Repository::new(files());
    let git_server = repository.serve();
    let bytes = archive(files(), &["-z", "--mtime=@1100000000"]);
    let web = WebServer::start(move |_| WebReply::of(bytes.clone()));
    let dated = WebServer::start(|_| {
        let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
        WebReply::of("FROM scratch\nCOPY context /\n").header("Last-Modified", modified)
    });
    let inspected = |place: &Place, words: &[&str], wanted: &str| {
        let all = [&["build", "-t", "dated", "--build-arg"], words].concat();
        place.run(&all).expect_success();
        place.run(&["inspect", "dated"]).expect_text(wanted);
    };
    let git_url = git_server.url("r.git/.git");
    for (address, wanted) in [
        (&git_url, "2001-09-09T01:46:40Z"),
        (&web.url("/x.tgz"), "2004-11-09T11:33:20Z"),
        (&dated.url("/x"), "1994-11-06T08:49:37Z"),
    ] {
        let place = Place::new("FROM nothing\n");
        inspected(&place, &["SOURCE_DATE_EPOCH=context", address], wanted);
        // The same of a named context, and of a stage that is one ADD.
        let text = format!(
            "ARG AT={address}\nFROM scratch AS Source\nARG TO=/d\nADD $AT $TO/\nFROM scratch\n\
             COPY Dockerfile /\n"
        );
        let place = Place::new(&text);
        let context = place.context();
        let context = context.to_str().expect("a path of text");
        inspected(&place, &["SOURCE_DATE_EPOCH=source", context], wanted);
        let named = format!("other={address}");
        let words = [
            "SOURCE_DATE_EPOCH=other",
            "--build-context",
            &named,
            context,
        ];
        inspected(&place, &words, wanted);
    }
}

#[test]
fn what_has_no_time_to_take_is_said() {
    let web = WebServer::start(|_| WebReply::status(404));
    let url = web.url("/x");
    let check = |stage: &str, wanted: &str| {
        let place = Place::new(&format!("{stage}\nFROM scratch\nCOPY Dockerfile /\n"));
        let words = ["--build-arg", "SOURCE_DATE_EPOCH=s", "-t", "x"];
        place.build(&words).expect_code(1).expect_text(wanted);
        place.assert_intact();
    };
    let one = "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD";
    check(
        "FROM busybox AS s",
        "SOURCE_DATE_EPOCH stage must use FROM scratch",
    );
    check("FROM scratch AS s", one);
    check(&format!("FROM scratch AS s\nADD {url} /\nADD {url} /"), one);
    check(
        &format!("FROM scratch AS s\nADD {url} {url} /"),
        "must contain exactly one remote ADD source",
    );
    check(
        "FROM scratch AS s\nADD Dockerfile /",
        "source must be a single HTTP(S) or Git ADD",
    );
    check(
        &format!("FROM scratch AS s\nADD {url} /\nENV A=b"),
        "does not meet source-only requirements: unsupported ENV instruction",
    );
    check(
        &format!("FROM scratch AS s\nADD {url} /"),
        "invalid response status 404",
    );
    check("FROM scratch AS other", "invalid SOURCE_DATE_EPOCH: s");
    // Directories and images have none: it is as if nothing were said.
    let place = Place::new("FROM scratch\nCOPY Dockerfile /\n");
    let words = ["--build-arg", "SOURCE_DATE_EPOCH=busybox", "-t", "x"];
    place.build(&words).expect_success();
}
