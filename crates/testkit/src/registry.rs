//! Debian's `docker-registry` on a loopback port, for as long as a value lives.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::tool::need_tool;
use crate::{TempDir, run};

/// A running registry (plain HTTP, no login); stopped by its process id and emptied on `Drop`.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Registry {
    /// Starts one on a free port and returns when it listens.
    pub fn start() -> Self {
        let program = need_tool("docker-registry");
        let dir = TempDir::new();
        let port = free_port();
        let config = format!(
            "version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: true\n\
             storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n\
             http:\n  addr: 127.0.0.1:{port}\n",
            dir.join("data").display()
        );
        let file = dir.join("config.yml");
        fs::write(&file, config).unwrap_or_else(|error| panic!("write {file:?}: {error}"));
        let mut child = Command::new(program)
            .arg("serve")
            .arg(&file)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start docker-registry: {error}"));
        await_listening(&mut child);
        Self { child, port, dir }
    }

    /// Returns `127.0.0.1:PORT`, the domain part of references to it.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the directory in which it keeps its blobs, for tests that tamper with them.
    pub fn data(&self) -> std::path::PathBuf {
        self.dir.join("data")
    }

    /// Copies an OCI layout into it as `name:tag` with skopeo; returns the manifest's digest there.
    ///
    /// The digest differs from the layout's own, since skopeo compresses layers on the way.
    pub fn push_layout(&self, layout: &Path, name: &str) -> String {
        let digest = self.dir.join("digest");
        let mut command = Command::new(need_tool("skopeo"));
        command
            .args([
                "--insecure-policy",
                "copy",
                "--quiet",
                "--dest-tls-verify=false",
            ])
            .arg(format!("oci:{}", layout.display()))
            .arg(format!("docker://{}/{name}", self.host()));
        command.arg("--digestfile").arg(&digest);
        run(&mut command, std::time::Duration::from_secs(60)).expect_success();
        fs::read_to_string(&digest).unwrap_or_else(|error| panic!("read {digest:?}: {error}"))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Another process could take the port before the registry does; it would then fail loudly.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .unwrap_or_else(|error| panic!("find a free port: {error}"))
}

/// Reads its log until it says that it listens, then keeps the pipe empty from a thread.
fn await_listening(child: &mut Child) {
    let log = child.stderr.take().expect("standard error is piped");
    let mut lines = BufReader::new(log).lines();
    let mut seen = String::new();
    loop {
        match lines.next() {
            Some(Ok(line)) if line.contains("listening on") => break,
            Some(Ok(line)) => seen.push_str(&(line + "\n")),
            _ => panic!("docker-registry ended before it listened:\n{seen}"),
        }
    }
    thread::spawn(move || lines.for_each(drop));
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::busybox_layout;

    fn get(host: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(host).expect("connect to the registry");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("hear the answer");
        answer
    }

    #[test]
    fn it_takes_a_layout_and_ends_with_its_value() {
        let dir = TempDir::new();
        busybox_layout(&dir.join("layout"));
        let registry = Registry::start();
        registry.push_layout(&dir.join("layout"), "team/box:1");
        let host = registry.host();
        let tags = get(&host, "/v2/team/box/tags/list");
        assert!(
            tags.contains("200 OK") && tags.contains(r#"["1"]"#),
            "{tags}"
        );
        drop(registry);
        assert!(TcpStream::connect(&host).is_err());
    }
}
