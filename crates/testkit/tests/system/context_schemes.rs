//! Every way to name a context, once each: what is behind it is the same, and so is what comes out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rbuild_testkit::{
    Finished, Image, Privilege, TempDir, Tree, WebReply, WebServer, granted, run_with_input,
    write_layout,
};

use crate::add_git::Repository;
use crate::place::{LIMIT, Place};

const TEXT: &str = "what the context holds";

fn files() -> Tree {
    Tree::new()
        .file("Dockerfile", "FROM scratch\nCOPY d/f /copied\n")
        .file("d/f", TEXT)
        .file("d/Dockerfile", "FROM scratch\nCOPY f /copied\n")
}

/// Builds into a directory and returns the text of `/copied`.
#[track_caller]
fn copied(place: &Place, words: &[&str], input: &[u8]) -> String {
    let (out, finished) = build(place, words, input);
    let finished = finished.expect_success();
    let file = out.join("copied");
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{e}: {finished}"));
    place.assert_intact();
    text
}

fn build(place: &Place, words: &[&str], input: &[u8]) -> (PathBuf, Finished) {
    let out = place.dir().join("out");
    let spec = format!("type=local,dest={}", out.display());
    let mut command = place.rbuild(&["build", "--progress", "plain", "-o", &spec]);
    command.args(words);
    (out, run_with_input(&mut command, input, LIMIT))
}

/// The files as an archive that `program` compresses.
fn archive(program: &[&str]) -> Vec<u8> {
    let dir = TempDir::new();
    files().write_to(&dir);
    let tar = Command::new("tar")
        .args(program)
        .arg("-C")
        .arg(&*dir)
        .args(["-cf", "-", "."])
        .output()
        .expect("start tar");
    assert!(tar.status.success(), "{tar:?}");
    tar.stdout
}

#[test]
fn a_directory_is_a_context() {
    let place = Place::with("FROM scratch\nCOPY d/f /copied\n", files());
    let context = place.context();
    assert_eq!(copied(&place, &[context.to_str().unwrap()], b""), TEXT);
    let other = place.context().join("d/Dockerfile");
    let words = ["-f", other.to_str().unwrap(), context.to_str().unwrap()];
    let (_, finished) = build(&place, &words, b"");
    finished.expect_code(1).expect_text("\"/f\": not found");
}

#[test]
fn an_archive_on_standard_input_is_a_context_however_it_is_packed() {
    for program in [&[][..], &["--gzip"], &["--bzip2"], &["--xz"], &["--zstd"]] {
        let place = Place::new("FROM nothing\n");
        assert_eq!(
            copied(&place, &["-"], &archive(program)),
            TEXT,
            "{program:?}"
        );
    }
}

#[test]
fn a_dockerfile_on_standard_input_has_no_context() {
    let place = Place::new("FROM nothing\n");
    let text = format!("FROM scratch\nCOPY <<-E /copied\n{TEXT}\nE\n");
    assert_eq!(copied(&place, &["-"], text.as_bytes()), format!("{TEXT}\n"));
    let (_, finished) = build(&place, &["-"], b"FROM scratch\nCOPY f /\n");
    finished
        .expect_code(1)
        .expect_text("the build has no context to copy from");
    // Beside a directory it has one.
    let place = Place::with("FROM nothing\n", files());
    let context = place.context();
    let words = ["-f", "-", context.to_str().unwrap()];
    let text = b"FROM scratch\nCOPY d/f /copied\n";
    assert_eq!(copied(&place, &words, text), TEXT);
}

#[test]
fn a_git_repository_is_a_context_with_reference_and_folder() {
    let repository = Repository::new(files());
    let server = repository.serve();
    let url = server.url("r.git/.git");
    for address in [
        url.clone(),
        format!("{url}#main"),
        format!("{url}#v1:d"),
        format!("{url}#:d"),
        format!("{url}?branch=main&subdir=d"),
    ] {
        let place = Place::new("FROM nothing\n");
        assert_eq!(copied(&place, &[&address], b""), TEXT, "{address}");
    }
}

#[test]
fn an_archive_or_a_dockerfile_behind_a_url_is_a_context() {
    let packed = archive(&["--gzip"]);
    let server = WebServer::start(move |asked| match asked.target.as_str() {
        "/files.tgz" => WebReply::of(packed.clone()),
        _ => WebReply::of(format!("FROM scratch\nCOPY <<-E /copied\n{TEXT}\nE\n")),
    });
    let place = Place::new("FROM nothing\n");
    assert_eq!(copied(&place, &[&server.url("/files.tgz")], b""), TEXT);
    let other = copied(&place, &[&server.url("/Dockerfile")], b"");
    assert_eq!(other, format!("{TEXT}\n"));
}

/// A place to try a named context in: `x`, whose file `name` is copied.
struct Named {
    place: Place,
    name: &'static str,
}

impl Named {
    fn new(name: &'static str) -> Self {
        let place = Place::new("FROM nothing\n");
        Self { place, name }
    }

    fn words(&self, context: &str) -> [String; 3] {
        let context_dir = self.place.context().display().to_string();
        [
            "--build-context".to_owned(),
            format!("x={context}"),
            context_dir,
        ]
    }

    #[track_caller]
    fn check(&self, context: &str) {
        let name = self.name;
        let words = self.words(context);
        let words = words.each_ref().map(String::as_str);
        for text in [
            format!("FROM scratch\nCOPY --from=x {name} /copied\n"),
            format!("FROM x\nCOPY --from=x {name} /copied\n"),
            // In place of an image, and of a stage.
            format!("FROM x AS base\nFROM scratch\nCOPY --from=base {name} /copied\n"),
            format!("FROM nothing AS x\nFROM scratch\nCOPY --from=x {name} /copied\n"),
        ] {
            self.place.write("Dockerfile", &text);
            assert_eq!(copied(&self.place, &words, b""), TEXT, "{context}: {text}");
        }
        if granted(Privilege::Root) {
            self.check_mount(context);
        }
    }

    fn check_mount(&self, context: &str) {
        let text = format!(
            "FROM busybox\nRUN --mount=from=x,target=/m cp /m/{} /copied\n",
            self.name
        );
        self.place.write("Dockerfile", &text);
        let out = self.place.dir().join("mounted");
        let spec = format!("type=local,dest={}", out.display());
        let words = self.words(context);
        let built = self.place.build(&["-o", &spec, &words[0], &words[1]]);
        built.expect_success();
        assert_eq!(
            fs::read_to_string(out.join("copied")).expect("it is there"),
            TEXT
        );
    }
}

#[test]
fn a_named_context_may_be_a_directory() {
    let named = Named::new("d/f");
    let dir = TempDir::new();
    files().write_to(&dir);
    named.check(dir.to_str().unwrap());
    // It has an ignore file of its own.
    fs::write(dir.join(".dockerignore"), "d\n").unwrap();
    named
        .place
        .write("Dockerfile", "FROM scratch\nCOPY --from=x d/f /copied\n");
    let words = named.words(dir.to_str().unwrap());
    let (_, finished) = build(&named.place, &words.each_ref().map(String::as_str), b"");
    finished.expect_code(1).expect_text("not found");
}

/// An image with the files, as a layout; returns it and the digest of its manifest.
fn layout(dir: &Path) -> (PathBuf, String) {
    let (layout, layer) = (dir.join("layout"), dir.join("layer.tar"));
    fs::write(&layer, archive(&[])).expect("write the layer");
    let image = Image::new("one", &layer, &["sh"]);
    let digest = write_layout(&layout, &image).expect("write the layout");
    (layout, digest)
}

#[test]
fn a_named_context_may_be_an_image() {
    let named = Named::new("d/f");
    let dir = TempDir::new();
    files().write_to(&dir);
    named
        .place
        .write("Dockerfile", "FROM scratch\nCOPY --from=x . /\n");
    let words = named.words(dir.to_str().unwrap());
    let mut all = vec!["build", "-t", "example.test/made:1"];
    all.extend(words.iter().map(String::as_str));
    named.place.run(&all).expect_success();
    named.check("docker-image://example.test/made:1");
}

#[test]
fn a_named_context_may_be_a_layout() {
    let named = Named::new("d/f");
    let (layout, digest) = layout(named.place.dir());
    let address = format!("oci-layout://{}", layout.display());
    named.check(&address);
    named.check(&format!("{address}:one"));
    named.check(&format!("{address}@{digest}"));
}

#[test]
fn a_named_context_may_be_a_git_repository() {
    let repository = Repository::new(files());
    let server = repository.serve();
    let url = server.url("r.git/.git");
    Named::new("d/f").check(&url);
    Named::new("f").check(&format!("{url}#v1:d"));
}

#[test]
fn a_named_context_behind_a_url_is_one_file() {
    let server = WebServer::start(|_| WebReply::of(TEXT));
    Named::new("context").check(&server.url("/any.txt"));
}

#[test]
fn a_named_context_that_is_not_there_is_said() {
    let named = Named::new("f");
    named
        .place
        .write("Dockerfile", "FROM scratch\nCOPY --from=x f /\n");
    let server = WebServer::start(|_| WebReply::status(404));
    for (context, code, wanted) in [
        ("/no/such/directory", 2, "/no/such/directory"),
        ("docker-image://127.0.0.1:1/none", 1, "127.0.0.1:1"),
        ("docker-image://UPPER/", 2, "UPPER"),
        ("oci-layout:///no/such/layout", 1, "/no/such/layout"),
        (&server.url("/x.git"), 1, "failed to fetch remote"),
        (&server.url("/x"), 1, "invalid response status 404"),
    ] {
        let words = named.words(context);
        let (_, finished) = build(&named.place, &words.each_ref().map(String::as_str), b"");
        finished.expect_code(code).expect_text(wanted);
    }
}
