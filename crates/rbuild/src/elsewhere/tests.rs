//! Limits of what comes from elsewhere.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::process::Command;

use rbuild_progress::NullSink;
use rbuild_testkit::{GitServer, TempDir, Tree, WebLength, WebReply, WebServer, git};

use super::*;
use crate::{DockerfileInput, EngineConfig, RemoteLimits};

const SMALL: RemoteLimits = RemoteLimits {
    file_bytes: 1 << 20,
    unpacked_bytes: 1 << 20,
    entries: 10,
};

/// The error of a build of `context` within small limits; nothing half-made may stay behind.
fn refused(context: ContextInput, dockerfile: &str) -> String {
    let dir = TempDir::new();
    let mut config = EngineConfig::new(dir.join("store"));
    config.limits = SMALL;
    let engine = Engine::open(config).unwrap();
    let mut request = BuildRequest::new(context);
    request.dockerfile = DockerfileInput::Text(dockerfile.into());
    let built = engine.build(&request, &NullSink, &CancelToken::new());
    let error = built.expect_err("it is beyond the limits").to_string();
    drop(engine);
    let staged = std::fs::read_dir(dir.join("store/stage")).unwrap();
    assert_eq!(staged.count(), 0, "after {error}");
    error
}

/// A compressed archive of these files, as standard input would hand it over.
fn archive(files: Tree) -> ContextInput {
    let dir = TempDir::new();
    files.write_to(&dir);
    let mut out = tempfile::tempfile().unwrap();
    let status = Command::new("tar")
        .arg("-C")
        .arg(dir.to_path_buf())
        .args(["-czf", "-", "."])
        .stdout(out.try_clone().unwrap())
        .status()
        .expect("run tar");
    assert!(status.success());
    out.seek(SeekFrom::Start(0)).unwrap();
    ContextInput::Archive(ArchiveInput {
        head: [].into(),
        rest: Arc::new(out),
    })
}

#[test]
fn an_archive_that_swells_is_stopped() {
    let bomb = archive(Tree::new().file("zeros", vec![0; 64 << 20]));
    let error = refused(bomb, "FROM scratch\nCOPY . /\n");
    assert!(
        error.contains("unpacks to more than 1048576 bytes"),
        "{error}"
    );
}

#[test]
fn an_archive_of_too_many_files_is_stopped() {
    let many = (0..20).fold(Tree::new(), |tree, n| tree.file(&format!("f{n}"), "x"));
    let error = refused(archive(many), "FROM scratch\nCOPY . /\n");
    assert!(error.contains("more than 10 entries"), "{error}");
}

#[test]
fn standard_input_without_end_is_stopped() {
    let zeros = ContextInput::Archive(ArchiveInput {
        head: [].into(),
        rest: Arc::new(File::open("/dev/zero").unwrap()),
    });
    let error = refused(zeros, "FROM scratch\n");
    assert!(
        error.contains("larger than the limit of 1048576"),
        "{error}"
    );
}

#[test]
fn a_download_beyond_the_limit_is_stopped_stated_or_not() {
    for length in [WebLength::True, WebLength::Unstated] {
        let server = WebServer::start(move |_| WebReply {
            length,
            ..WebReply::of(vec![0; 3 << 20])
        });
        let dockerfile = format!("FROM scratch\nADD {} /\n", server.url("/f"));
        let error = refused(ContextInput::Empty, &dockerfile);
        assert!(
            error.contains("larger than the limit of 1048576"),
            "{error}"
        );
    }
}

#[test]
fn a_repository_beyond_the_limits_is_stopped() {
    let dir = TempDir::new();
    let work = dir.join("r.git");
    Tree::new().file("zeros", vec![0; 2 << 20]).write_to(&work);
    git(&work, &["init", "-q", "-b", "main"]);
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-q", "-m", "x"]);
    let server = GitServer::start(dir.to_path_buf(), |_| true);
    let context = ContextInput::Remote(server.url("r.git/.git"));
    let error = refused(context, "FROM scratch\nCOPY . /\n");
    assert!(
        error.contains("larger than the limit of 1048576"),
        "{error}"
    );
}

#[test]
fn an_archive_is_read_once_only() {
    let dir = TempDir::new();
    let engine = Engine::open(EngineConfig::new(dir.join("store"))).unwrap();
    let context = archive(Tree::new().file("Dockerfile", "FROM scratch\nCOPY . /\n"));
    let request = BuildRequest::new(context);
    let build = || engine.build(&request, &NullSink, &CancelToken::new());
    build().unwrap();
    let error = build().expect_err("nothing is left of it").to_string();
    assert!(error.contains("no tar archive"), "{error}");
}

#[test]
fn a_host_without_git_lacks_something() {
    let dir = TempDir::new();
    let mut config = EngineConfig::new(dir.join("store"));
    config.git.program = dir.join("no-such-git");
    let engine = Engine::open(config).unwrap();
    let mut request = BuildRequest::new(ContextInput::Empty);
    let text = "FROM scratch\nADD https://host/r.git /\n";
    request.dockerfile = DockerfileInput::Text(text.into());
    let built = engine.build(&request, &NullSink, &CancelToken::new());
    let error = built.expect_err("there is no git");
    assert_eq!(error.kind(), crate::ErrorKind::Host);
}
