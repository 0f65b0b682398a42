//! A small HTTP server on a loopback port whose answers a test writes down, misbehaviour included.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct WebAsked {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, chunks put together.
    pub body: Vec<u8>,
}

impl WebAsked {
    /// The value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct WebReply {
    /// The status; 0 is 200.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// What is sent behind the headers.
    pub body: Vec<u8>,
    /// Length that is stated.
    pub length: WebLength,
    /// How long to wait behind the headers.
    pub delay: Duration,
}

impl WebReply {
    /// Status 200 with this body.
    pub fn of(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..Self::default()
        }
    }

    /// Another status, without a body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// What an answer says about the length of its body.
#[derive(Debug, Clone, Copy, Default)]
pub enum WebLength {
    /// The truth.
    #[default]
    True,
    /// Another number, to make it look cut off.
    Stated(usize),
    /// Nothing: the body ends with the connection.
    Unstated,
}

type Handler = dyn Fn(&WebAsked) -> WebReply + Send + Sync;

/// A server that runs as long as the value lives.
pub struct WebServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<WebAsked>>>,
    stop: Arc<AtomicBool>,
}

impl WebServer {
    /// Starts one; every request is answered by `handler`, on a thread of its own.
    pub fn start(handler: impl Fn(&WebAsked) -> WebReply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound port has an address");
        let (asked, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let server = Self {
            address,
            asked: Arc::clone(&asked),
            stop: Arc::clone(&stop),
        };
        let handler: Arc<Handler> = Arc::new(handler);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (handler, asked) = (Arc::clone(&handler), Arc::clone(&asked));
                // A client that went away is its own affair.
                thread::spawn(move || drop(serve(stream, &*handler, &asked)));
            }
        });
        server
    }

    /// `http://127.0.0.1:PORT` with `path` behind it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far, in the order in which they came.
    pub fn asked(&self) -> Vec<WebAsked> {
        lock(&self.asked).clone()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
    }
}

fn lock(asked: &Mutex<Vec<WebAsked>>) -> std::sync::MutexGuard<'_, Vec<WebAsked>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(
    stream: TcpStream,
    handler: &Handler,
    asked: &Mutex<Vec<WebAsked>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let request = read_request(&mut reader)?;
    lock(asked).push(request.clone());
    let reply = handler(&request);
    let status = if reply.status == 0 { 200 } else { reply.status };
    let mut head = format!("HTTP/1.1 {status} Answer\r\nConnection: close\r\n");
    let length = match reply.length {
        WebLength::True => Some(reply.body.len()),
        WebLength::Stated(length) => Some(length),
        WebLength::Unstated => None,
    };
    if let Some(length) = length.filter(|_| status != 304) {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    stream.flush()?;
    thread::sleep(reply.delay);
    stream.write_all(&reply.body)
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<WebAsked> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let mut request = WebAsked {
        method: words.next().unwrap_or_default().to_owned(),
        target: words.next().unwrap_or_default().to_owned(),
        ..WebAsked::default()
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let header = (name.to_ascii_lowercase(), value.trim().to_owned());
        request.headers.push(header);
    }
    if request.header("transfer-encoding") == Some("chunked") {
        request.body = read_chunks(reader)?;
    } else if let Some(length) = request.header("content-length") {
        let length = length.parse().unwrap_or(0);
        reader.take(length).read_to_end(&mut request.body)?;
    }
    Ok(request)
}

fn read_chunks(reader: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
        reader.take(length).read_to_end(&mut body)?;
        reader.read_line(&mut line)?;
        if length == 0 {
            return Ok(body);
        }
    }
}
