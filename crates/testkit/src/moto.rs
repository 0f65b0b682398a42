//! `moto_server`, which speaks S3, on a loopback port for as long as a value lives.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::find_tool;
use crate::served::free_port;

/// Names the program for the tests.
const VARIABLE: &str = "RBUILD_MOTO";
/// How long it may take to start.
const START: Duration = Duration::from_secs(60);
/// Between two looks at whether it has.
const PAUSE: Duration = Duration::from_millis(50);

/// A running server; stopped by its process id on `Drop`.
#[derive(Debug)]
pub struct Moto {
    child: Child,
    scheme: &'static str,
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Moto {
    /// Starts one with an empty bucket, and returns when it answers.
    ///
    /// `None`, with a word about it on standard error, where there is no such program. `cargo xtask test`
    /// gets one and names it in `RBUILD_MOTO`; one that is named must start.
    pub fn start(bucket: &str) -> Option<Self> {
        let server = Self::run(&[])?;
        let end = Instant::now() + START;
        let made = loop {
            match server.ask("PUT", &format!("/{bucket}")) {
                Err(_) if Instant::now() < end => thread::sleep(PAUSE),
                other => break other.expect("moto_server answers"),
            }
        };
        assert!(made.contains(" 200 "), "{made}");
        Some(server)
    }

    /// Starts one with TLS, a certificate and its key, and without a bucket; returns when it listens.
    pub fn start_with_tls((certificate, key): (&Path, &Path)) -> Option<Self> {
        let words = [
            OsStr::new("-c"),
            certificate.as_os_str(),
            OsStr::new("-k"),
            key.as_os_str(),
        ];
        let server = Self::run(&words)?;
        let end = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", server.port)).is_err() {
            assert!(Instant::now() < end, "moto_server does not listen");
            thread::sleep(PAUSE);
        }
        Some(server)
    }

    fn run(words: &[&OsStr]) -> Option<Self> {
        let named = env::var_os(VARIABLE).map(PathBuf::from);
        let Some(program) = named.or_else(|| find_tool("moto_server")) else {
            eprintln!(
                "skipped: needs moto_server; name it in {VARIABLE}, or run `cargo xtask test`"
            );
            return None;
        };
        let port = free_port();
        let mut child = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .args(words)
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {program:?}: {error}"));
        let requests = keep_requests(&mut child);
        Some(Self {
            child,
            scheme: if words.is_empty() { "http" } else { "https" },
            port,
            requests,
        })
    }

    /// `http://127.0.0.1:PORT`, or with `https:`.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// The requests that it has answered so far, as `METHOD PATH STATUS`, the path with its query.
    pub fn requests(&self) -> Vec<String> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request without a body and without a signature; returns the whole answer.
    pub fn ask(&self, method: &str, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        let host = format!("127.0.0.1:{}", self.port);
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads its access log: `… "METHOD PATH HTTP/1.1" STATUS -`, with colours where it failed.
fn keep_requests(child: &mut Child) -> Arc<Mutex<Vec<String>>> {
    let log = child.stderr.take().expect("standard error is piped");
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&requests);
    thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let mut parts = line.split('"').skip(1);
            let (Some(asked), Some(answer)) = (parts.next(), parts.next()) else {
                continue;
            };
            let asked = asked
                .rsplit_once(" HTTP/")
                .map_or(asked, |(asked, _)| asked);
            let status = answer.split_whitespace().next().unwrap_or_default();
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push(format!("{asked} {status}"));
        }
    });
    requests
}
