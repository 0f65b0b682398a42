//! Git repositories made by a script, and a real git server on a loopback port.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::tool::need_tool;
use crate::web::{WebAsked, WebReply, WebServer};

/// A folder of repositories, served by `git http-backend`.
pub struct GitServer {
    web: WebServer,
}

/// Runs git in `dir`, as a nameless person at a fixed time; returns what it printed.
pub fn git(dir: impl AsRef<Path>, words: &[&str]) -> String {
    let mut command = Command::new(need_tool("git"));
    let out = command
        .current_dir(dir)
        .args(words)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ALLOW_PROTOCOL", "file:http")
        .envs([
            ("GIT_AUTHOR_NAME", "a"),
            ("GIT_AUTHOR_EMAIL", "a@b"),
            ("GIT_AUTHOR_DATE", "1000000000 +0000"),
            ("GIT_COMMITTER_NAME", "a"),
            ("GIT_COMMITTER_EMAIL", "a@b"),
            ("GIT_COMMITTER_DATE", "1000000000 +0000"),
        ])
        .output()
        .expect("start git");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "git {words:?}: {said}");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

impl GitServer {
    /// Serves the repositories below `root`; only requests that `allows` are answered.
    pub fn start(
        root: impl Into<PathBuf>,
        allows: impl Fn(&WebAsked) -> bool + Send + Sync + 'static,
    ) -> Self {
        let (program, root) = (need_tool("git"), root.into());
        let web = WebServer::start(move |asked| match allows(asked) {
            true => answer(&program, &root, asked),
            false => WebReply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
        });
        Self { web }
    }

    /// The address of a repository below the root.
    pub fn url(&self, name: &str) -> String {
        self.web.url(&format!("/{name}"))
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> std::net::SocketAddr {
        self.web.address()
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<WebAsked> {
        self.web.asked()
    }
}

/// Lets git's own program answer, by the rules of CGI.
fn answer(program: &Path, root: &Path, asked: &WebAsked) -> WebReply {
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let mut command = Command::new(program);
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("REQUEST_METHOD", &asked.method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for (header, name) in [
        ("content-type", "CONTENT_TYPE"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ] {
        if let Some(value) = asked.header(header) {
            command.env(name, value);
        }
    }
    command.env("CONTENT_LENGTH", asked.body.len().to_string());
    let mut child = command.spawn().expect("start git http-backend");
    let mut input = child.stdin.take().expect("standard input is piped");
    let body = asked.body.clone();
    let feeder = std::thread::spawn(move || drop(input.write_all(&body)));
    let out = child.wait_with_output().expect("wait for git http-backend");
    drop(feeder.join());
    reply(&out.stdout)
}

fn reply(out: &[u8]) -> WebReply {
    let end = out.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.expect("an answer has a head");
    let mut reply = WebReply::of(&out[end + 4..]);
    for line in String::from_utf8_lossy(&out[..end]).lines() {
        match line.split_once(": ") {
            Some(("Status", status)) => {
                let number = status.split(' ').next().and_then(|n| n.parse().ok());
                reply.status = number.expect("a status is a number");
            }
            Some((name, value)) => reply = reply.header(name, value),
            None => {}
        }
    }
    reply
}
