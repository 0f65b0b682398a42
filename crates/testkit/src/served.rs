//! A program that serves on a loopback port for as long as a value lives.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long one may take to start.
const START: Duration = Duration::from_secs(60);
/// Between two looks at whether it has.
const PAUSE: Duration = Duration::from_millis(20);

/// A running program; stopped by its process id on `Drop`.
#[derive(Debug)]
pub struct Served {
    child: Child,
    port: u16,
}

impl Served {
    /// Starts what `command` makes for a free port, and returns when it listens there. It says nothing on standard
    /// output; its errors are the test's.
    pub fn start(command: impl FnOnce(u16) -> Command) -> Self {
        let port = free_port();
        let mut command = command(port);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let mut served = Self { child, port };
        let end = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = served.child.try_wait().expect("look at the program");
            assert!(ended.is_none(), "{command:?} ended: {ended:?}");
            assert!(Instant::now() < end, "{command:?} does not listen");
            thread::sleep(PAUSE);
        }
        served
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Another process could take the port before the one that it is for does; that one would then fail loudly.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .unwrap_or_else(|error| panic!("find a free port: {error}"))
}
