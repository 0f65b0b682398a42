//! ADD of git trees, from git's own server on a loopback port.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rbuild_testkit::{Finished, GitServer, Listing, TempDir, Tree, git, need_tool};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::interrupt::{ends_when_interrupted, start_until};
use crate::leftovers::processes_left;
use crate::place::{Place, cached_steps};

/// A repository with two commits: the first is tagged `v1`, `main` is one ahead.
pub struct Repository {
    dir: TempDir,
}

impl Repository {
    pub fn new(files: Tree) -> Self {
        let dir = TempDir::new();
        let work = dir.join("r.git");
        fs::create_dir(&work).expect("make the repository");
        git(&work, &["init", "-q", "-b", "main"]);
        let repository = Self { dir };
        repository.commit(files, "first");
        git(&work, &["tag", "-a", "-m", "one", "v1"]);
        repository
    }

    pub fn root(&self) -> &Path {
        &self.dir
    }

    pub fn work(&self) -> PathBuf {
        self.dir.join("r.git")
    }

    /// Writes files and commits everything; returns the commit's name.
    pub fn commit(&self, files: Tree, message: &str) -> String {
        files.write_to(self.work());
        git(self.work(), &["add", "-A"]);
        git(self.work(), &["commit", "-q", "-m", message]);
        git(self.work(), &["rev-parse", "HEAD"])
    }

    pub fn serve(&self) -> GitServer {
        // Served as a bare one: its `.git` is what a server has.
        GitServer::start(self.dir.to_path_buf(), |_| true)
    }
}

fn sample() -> Repository {
    let repository = Repository::new(
        Tree::new()
            .file("a", "one")
            .file("run", "#!/bin/sh\n")
            .mode(0o755)
            .symlink("link", "a")
            .file("d/b", "below"),
    );
    repository.commit(Tree::new().file("a", "two"), "second");
    repository
}

/// Builds `FROM scratch` and these lines; URL stands for the repository's address.
fn build(server: &GitServer, lines: &str, words: &[&str]) -> (Place, Finished) {
    let text = lines.replace("URL", &server.url("r.git/.git"));
    let place = Place::new(&format!("FROM scratch\n{text}\n"));
    let spec = format!("type=local,dest={}", place.dir().join("out").display());
    let mut all = vec!["-o", spec.as_str()];
    all.extend(words);
    let finished = place.build(&all);
    (place, finished)
}

fn built(server: &GitServer, lines: &str) -> (Place, PathBuf) {
    let (place, finished) = build(server, lines, &[]);
    finished.expect_success();
    let out = place.dir().join("out");
    (place, out)
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn a_tree_comes_without_its_git_directory() {
    let repository = sample();
    let server = repository.serve();
    let (place, out) = built(&server, "ADD URL /src");
    let names: Vec<_> = Listing::of(&out).paths().map(str::to_owned).collect();
    assert_eq!(
        names,
        ["src", "src/a", "src/d", "src/d/b", "src/link", "src/run"]
    );
    assert_eq!(text(out.join("src/a")), "two");
    let mode = |name: &str| fs::metadata(out.join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("src/a"), mode("src/run")), (0o644, 0o755));
    place.assert_intact();
}

#[test]
fn references_of_all_kinds_are_found() {
    let repository = sample();
    let first = git(repository.work(), &["rev-parse", "v1^{commit}"]);
    let server = repository.serve();
    let check = |address: &str, wanted: &str| {
        let (_place, out) = built(&server, &format!("ADD {address} /src/"));
        assert_eq!(text(out.join("src/a")), wanted, "{address}");
    };
    check("URL#main", "two");
    check("URL#HEAD", "two");
    check("URL#v1", "one");
    check("URL#refs/tags/v1", "one");
    check("URL?tag=v1", "one");
    check("URL?branch=main", "two");
    check(&format!("URL#{first}"), "one");
    check(&format!("URL?ref=v1&checksum={}", &first[..10]), "one");
}

#[test]
fn a_subdirectory_is_taken_alone() {
    let server = sample().serve_all();
    let (_place, out) = built(&server.1, "ADD URL#main:d /src\nADD URL?subdir=/d/ /again");
    assert_eq!(text(out.join("src/b")), "below");
    assert_eq!(text(out.join("again/b")), "below");
    let (_, finished) = build(&server.1, "ADD URL#main:nope /src", &[]);
    finished.expect_code(1).expect_text("no such directory");
    let (_, finished) = build(&server.1, "ADD URL#main:link /src", &[]);
    finished.expect_code(1).expect_text("no such directory");
}

impl Repository {
    /// The repository and its server, where nothing else is done with the former.
    fn serve_all(self) -> (Repository, GitServer) {
        let server = self.serve();
        (self, server)
    }
}

#[test]
fn the_git_directory_is_kept_on_demand() {
    let server = sample().serve_all();
    let (_place, out) = built(&server.1, "ADD --keep-git-dir URL#v1 /src");
    let head = git(out.join("src"), &["log", "--format=%s"]);
    assert_eq!(head, "first");
    assert_eq!(git(out.join("src"), &["status", "--porcelain"]), "");
    let origin = git(out.join("src"), &["remote", "get-url", "origin"]);
    assert_eq!(origin, server.1.url("r.git/.git"));
    let (_place, out) = built(&server.1, "ADD --keep-git-dir URL /src");
    let branches = git(out.join("src"), &["branch", "--format=%(refname:short)"]);
    assert!(branches.lines().any(|name| name == "main"), "{branches}");
    let config = text(out.join("src/.git/config"));
    assert!(!config.contains("hooksPath"), "{config}");
    let (_, finished) = build(
        &server.1,
        "ADD --keep-git-dir=false URL?keep-git-dir=1 /src",
        &[],
    );
    finished
        .expect_code(1)
        .expect_text("inconsistent keep-git-dir configuration");
}

#[test]
fn the_same_commit_is_fetched_once() {
    let server = sample().serve_all();
    let (place, _) = built(&server.1, "ADD URL#main /src");
    let fetches = || {
        let asked = server.1.asked();
        asked.iter().filter(|asked| asked.method == "POST").count()
    };
    let before = fetches();
    let again = place.build(&["-t", "again"]);
    let again = again.expect_success();
    assert!(!cached_steps(&again).is_empty(), "{again}");
    // One question for what the branch stands for now, and no files.
    assert_eq!(fetches() - before, 1);
    server.0.commit(Tree::new().file("a", "three"), "third");
    place.build(&["-t", "again"]).expect_success();
    place.assert_intact();
}

#[test]
fn a_checksum_must_name_the_commit() {
    let server = sample().serve_all();
    let zeros = "0".repeat(40);
    let (_, finished) = build(&server.1, &format!("ADD --checksum={zeros} URL#v1 /s"), &[]);
    finished
        .expect_code(1)
        .expect_text(&format!("expected checksum to match {zeros}, got "));
    let (_, finished) = build(&server.1, "ADD --checksum=foobar URL /s", &[]);
    finished
        .expect_code(1)
        .expect_text("invalid checksum")
        .expect_text("expected hex commit hash");
}

#[test]
fn what_is_not_there_is_said() {
    let server = sample().serve_all();
    let check = |line: &str, wanted: &str| {
        let (place, finished) = build(&server.1, line, &[]);
        finished.expect_code(1).expect_text(wanted);
        place.assert_intact();
    };
    check("ADD URL#nope /s", "repository does not contain ref nope");
    check(
        &format!("ADD URL#{} /s", "1".repeat(40)),
        "repository does not contain ref 1111",
    );
    let other = server.1.url("other.git");
    check(&format!("ADD {other} /s"), "failed to fetch remote");
    check(
        "ADD URL#--upload-pack=x /s",
        "invalid ref \"--upload-pack=x\"",
    );
    check("ADD URL?what=1 /s", "unexpected query \"what\"");
}

#[test]
fn a_login_comes_from_a_secret() {
    let repository = sample();
    let server = GitServer::start(repository.root().to_path_buf(), |asked| {
        // x-access-token:abc
        asked.header("authorization") == Some("basic eC1hY2Nlc3MtdG9rZW46YWJj")
    });
    let (place, finished) = build(&server, "ADD URL /s", &[]);
    finished
        .expect_code(1)
        .expect_text("terminal prompts disabled");
    let file = place.dir().join("token");
    fs::write(&file, "abc\n").unwrap();
    let secret = format!("id=GIT_AUTH_TOKEN,src={}", file.display());
    place.build(&["--secret", &secret]).expect_success();
}

#[test]
fn submodules_come_along_but_not_from_this_machine() {
    let inner = sample();
    let inner_server = inner.serve();
    let outer = Repository::new(Tree::new().file("top", "x"));
    let url = inner_server.url("r.git/.git");
    git(outer.work(), &["submodule", "add", "-q", &url, "sub"]);
    git(outer.work(), &["commit", "-q", "-m", "sub"]);
    let server = outer.serve();
    let (_place, out) = built(&server, "ADD URL /s\nADD URL?submodules=false /t");
    assert_eq!(text(out.join("s/sub/a")), "two");
    assert!(!out.join("s/sub/.git").exists());
    assert!(!out.join("t/sub/a").exists());
    // A repository of this machine must not be reached through a submodule.
    let config = format!(
        "[submodule \"sub\"]\n\tpath = sub\n\turl = {}\n",
        inner.work().display()
    );
    outer.commit(Tree::new().file(".gitmodules", &config), "evil");
    let (_, finished) = build(&server, "ADD URL /s", &[]);
    finished
        .expect_code(1)
        .expect_text("failed to update submodules");
}

#[test]
fn times_are_those_of_the_commit_on_demand() {
    let server = sample().serve_all();
    let (_place, out) = built(&server.1, "ADD URL?mtime=commit /s");
    let meta = fs::metadata(out.join("s/a")).unwrap();
    assert_eq!(meta.mtime(), 1_000_000_000);
}

/// A git daemon that ends with the value: the program and the one that it starts.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        kill_process_group(Pid::from_child(&self.0), Signal::KILL).ok();
        self.0.wait().ok();
    }
}

#[test]
fn the_git_protocol_is_spoken_too() {
    let repository = sample();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let daemon = Command::new(need_tool("git"))
        .args(["-c", "safe.directory=*", "daemon", "--export-all"])
        .arg(format!("--base-path={}", repository.root().display()))
        .args(["--listen=127.0.0.1", &format!("--port={port}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("start git daemon");
    let _daemon = Daemon(daemon);
    let limit = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < limit, "git daemon does not listen");
        std::thread::yield_now();
    }
    let place = Place::new(&format!(
        "FROM scratch\nADD git://127.0.0.1:{port}/r.git/.git#v1 /s\n"
    ));
    let out = place.dir().join("out");
    let spec = format!("type=local,dest={}", out.display());
    place.build(&["-o", &spec]).expect_success();
    assert_eq!(text(out.join("s/a")), "one");
}

/// A build that waits for git, which waits for a server that is in no hurry.
fn waiting_for_git() -> (GitServer, String, Place, Child) {
    let server = GitServer::start(TempDir::new().to_path_buf(), |_| {
        std::thread::sleep(Duration::from_secs(20));
        false
    });
    let url = server.url("slow.git");
    let place = Place::new(&format!("FROM scratch\nADD {url} /\n"));
    let child = start_until(&place, &[], "slow.git");
    let limit = Instant::now() + Duration::from_secs(10);
    while server.asked().is_empty() {
        assert!(Instant::now() < limit, "the server was never asked");
        std::thread::yield_now();
    }
    (server, url, place, child)
}

#[test]
fn git_ends_with_all_its_helpers_when_rbuild_is_killed() {
    let (_server, url, place, mut child) = waiting_for_git();
    child.kill().expect("send SIGKILL");
    child.wait().expect("it ends");
    let left = processes_left(&url, Duration::from_secs(5));
    assert!(left.is_empty(), "still running: {left:?}");
    // The next one sweeps what was half-made.
    place.run(&["images"]).expect_success();
    place.assert_intact();
}

#[test]
fn an_interrupt_ends_git_at_once() {
    let (_server, url, place, mut child) = waiting_for_git();
    ends_when_interrupted(&mut child);
    let left = processes_left(&url, Duration::from_secs(1));
    assert!(left.is_empty(), "still running: {left:?}");
    place.assert_intact();
}
