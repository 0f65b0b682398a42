//! A door in front of a registry that does the wrong thing when asked to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// What happens instead of the right thing.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, with words; the registry hears nothing.
    Status(u16, &'static str),
    /// Nothing: the connection ends.
    Cut,
    /// So many bytes of the answer, then the connection ends.
    CutAnswer(usize),
    /// The registry does it, and the answer is lost.
    LoseAnswer,
    /// This is done first, and then the right thing.
    Before(fn(&Door)),
}

/// Which requests are concerned, and how many times more; `usize::MAX` is for ever.
#[derive(Clone, Debug)]
struct Rule {
    method: &'static str,
    path: &'static str,
    fault: Fault,
    left: usize,
}

#[derive(Default)]
struct Shared {
    rules: Vec<Rule>,
    log: Vec<String>,
}

/// An address that leads to a registry.
#[derive(Clone)]
pub struct Door {
    address: SocketAddr,
    inside: String,
    shared: Arc<Mutex<Shared>>,
}

impl Door {
    /// Opens one to the registry at `inside`, for as long as the process lives.
    pub fn to(inside: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Self {
            address: listener.local_addr().unwrap(),
            inside: inside.to_owned(),
            shared: Arc::default(),
        };
        let served = door.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let door = served.clone();
                // A broken connection is what it is here for.
                thread::spawn(move || door.serve(stream).ok());
            }
        });
        door
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Does `fault` to the next `times` requests with this method whose path contains `path`.
    pub fn arm(&self, (method, path): (&'static str, &'static str), times: usize, fault: Fault) {
        self.lock().rules.push(Rule {
            method,
            path,
            fault,
            left: times,
        });
    }

    pub fn disarm(&self) {
        self.lock().rules.clear();
    }

    /// The requests since the last call, as `METHOD path`.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().log)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    fn fault(&self, method: &str, path: &str) -> Option<Fault> {
        let mut shared = self.lock();
        shared.log.push(format!("{method} {path}"));
        let mut rules = shared.rules.iter_mut();
        let rule = rules
            .find(|rule| rule.left > 0 && rule.method == method && path.contains(rule.path))?;
        if rule.left != usize::MAX {
            rule.left -= 1;
        }
        Some(rule.fault.clone())
    }

    /// Answers one request.
    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        let (mut head, mut length, mut chunked) = (String::new(), 0_u64, false);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            chunked |= lower.starts_with("transfer-encoding:");
            if lower.trim().is_empty() {
                break;
            }
            if !lower.starts_with("connection:") {
                head.push_str(&line);
            }
        }
        assert!(!chunked, "the client states lengths");
        let mut words = head.split_whitespace();
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let fault = self.fault(method, path);
        if let Some(Fault::Status(..) | Fault::Cut) = &fault {
            // Whoever is told too early, while still sending, does not hear it.
            std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        }
        match &fault {
            Some(Fault::Cut) => return Ok(()),
            Some(Fault::Status(status, words)) => {
                let size = words.len();
                return write!(
                    client,
                    "HTTP/1.1 {status} X\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n{words}"
                );
            }
            Some(Fault::Before(act)) => act(self),
            _ => {}
        }
        let mut inside = TcpStream::connect(&self.inside)?;
        write!(inside, "{head}Connection: close\r\n\r\n")?;
        std::io::copy(&mut reader.take(length), &mut inside)?;
        match fault {
            Some(Fault::LoseAnswer) => {
                std::io::copy(&mut inside, &mut std::io::sink())?;
            }
            Some(Fault::CutAnswer(bytes)) => {
                std::io::copy(&mut inside.take(bytes as u64), &mut client)?;
            }
            _ => {
                std::io::copy(&mut inside, &mut client)?;
            }
        }
        Ok(())
    }
}
