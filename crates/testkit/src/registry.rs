//! Debian's `docker-registry` on a loopback port, for as long as a value lives.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::served::free_port;
use crate::tool::need_tool;
use crate::{TempDir, run};

/// Who may use a registry that wants a login.
pub const REGISTRY_USER: &str = "tester";
/// The password of [`REGISTRY_USER`].
pub const REGISTRY_PASSWORD: &str = "secret";

/// How a registry is set up; the default is plain HTTP without a login.
#[derive(Debug, Clone, Default)]
pub struct RegistrySetup {
    /// The only user, and the password.
    pub login: Option<(String, String)>,
    /// TLS.
    pub tls: Option<RegistryTls>,
    /// A service whose tokens it wants to see.
    pub tokens: Option<RegistryTokens>,
}

/// Files for TLS, PEM all of them.
#[derive(Debug, Clone)]
pub struct RegistryTls {
    /// The registry's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority whose clients alone are spoken to.
    pub clients: Option<PathBuf>,
}

/// A token service.
#[derive(Debug, Clone)]
pub struct RegistryTokens {
    /// Address that clients are sent to.
    pub realm: String,
    /// What the service calls itself.
    pub issuer: String,
    /// What it calls the registry.
    pub service: String,
    /// Certificates of the keys that it signs with, PEM.
    pub certificates: PathBuf,
}

impl RegistrySetup {
    /// The part of the configuration file that it makes.
    fn config(&self, dir: &Path) -> String {
        let mut text = String::new();
        if let Some(tls) = &self.tls {
            let (certificate, key) = (tls.certificate.display(), tls.key.display());
            text.push_str(&format!(
                "  tls:\n    certificate: {certificate}\n    key: {key}\n"
            ));
            if let Some(clients) = &tls.clients {
                text.push_str(&format!("    clientcas:\n      - {}\n", clients.display()));
            }
        }
        if let Some((user, password)) = &self.login {
            let mut command = Command::new(need_tool("htpasswd"));
            command.args(["-Bbn", user, password]);
            let done = run(&mut command, std::time::Duration::from_secs(30)).expect_success();
            let file = dir.join("htpasswd");
            fs::write(&file, done.stdout).unwrap_or_else(|error| panic!("write {file:?}: {error}"));
            let file = file.display();
            text.push_str(&format!(
                "auth:\n  htpasswd:\n    realm: test\n    path: {file}\n"
            ));
        }
        if let Some(tokens) = &self.tokens {
            text.push_str(&format!(
                "auth:\n  token:\n    realm: {}\n    issuer: {}\n    service: {}\n    rootcertbundle: {}\n",
                tokens.realm,
                tokens.issuer,
                tokens.service,
                tokens.certificates.display()
            ));
        }
        text
    }
}

/// A running registry; stopped by its process id and emptied on `Drop`.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    port: u16,
    dir: TempDir,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    /// Starts a plain one that lets everybody in, on a free port, and returns when it listens.
    pub fn start() -> Self {
        Self::start_with(&RegistrySetup::default())
    }

    /// Starts a plain one that lets only [`REGISTRY_USER`] in.
    pub fn start_with_login() -> Self {
        Self::start_with(&RegistrySetup {
            login: Some((REGISTRY_USER.to_owned(), REGISTRY_PASSWORD.to_owned())),
            ..RegistrySetup::default()
        })
    }

    /// Starts one on a free port and returns when it listens.
    pub fn start_with(setup: &RegistrySetup) -> Self {
        let program = need_tool("docker-registry");
        let dir = TempDir::new();
        let port = free_port();
        let config = format!(
            "version: 0.1\nlog:\n  level: info\n\
             storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n\
             http:\n  addr: 127.0.0.1:{port}\n{}",
            dir.join("data").display(),
            setup.config(&dir)
        );
        let file = dir.join("config.yml");
        fs::write(&file, config).unwrap_or_else(|error| panic!("write {file:?}: {error}"));
        let mut child = Command::new(program)
            .arg("serve")
            .arg(&file)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start docker-registry: {error}"));
        await_listening(&mut child);
        let requests = keep_requests(&mut child);
        Self {
            child,
            port,
            dir,
            requests,
        }
    }

    /// Returns the requests that it has answered so far, as `METHOD PATH STATUS`, the path with its query.
    pub fn requests(&self) -> Vec<String> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Returns `127.0.0.1:PORT`, the domain part of references to it.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the directory in which it keeps its blobs, for tests that tamper with them.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Copies an OCI layout into it as `name:tag` with skopeo; returns the manifest's digest there.
    ///
    /// The digest differs from the layout's own, since skopeo compresses layers on the way.
    pub fn push_layout(&self, layout: &Path, name: &str) -> String {
        self.push_layout_with(layout, name, &[])
    }

    /// As [`Registry::push_layout`], with these words more for skopeo.
    pub fn push_layout_with(&self, layout: &Path, name: &str, words: &[&str]) -> String {
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
        command.arg("--digestfile").arg(&digest).args(words);
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

/// Reads its access log, in the format of Apache: `… "METHOD PATH HTTP/1.1" STATUS …`.
fn keep_requests(child: &mut Child) -> Arc<Mutex<Vec<String>>> {
    let log = child.stdout.take().expect("standard output is piped");
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&requests);
    thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let mut parts = line.split('"').skip(1);
            let (Some(asked), Some(answer)) = (parts.next(), parts.next()) else {
                continue;
            };
            let asked = asked.rsplit_once(' ').map_or(asked, |(asked, _)| asked);
            let status = answer.split_whitespace().next().unwrap_or_default();
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push(format!("{asked} {status}"));
        }
    });
    requests
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
