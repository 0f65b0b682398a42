//! A small proxy on a loopback port that wants a login and knows the hosts a test tells it of.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Most bytes of the head of a request.
const HEAD_LIMIT: u64 = 64 << 10;

const WHO_ARE_YOU: &[u8] = b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

/// What somebody asked the proxy for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyAsked {
    /// `CONNECT`, `GET`, …
    pub method: String,
    /// Host and port of a CONNECT, else a whole address.
    pub target: String,
    /// The login, as it came.
    pub authorization: Option<String>,
}

/// A proxy that runs as long as the value lives.
pub struct ProxyServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<ProxyAsked>>>,
    stop: Arc<AtomicBool>,
}

/// Names with a port, and where they lead.
type Hosts = BTreeMap<String, SocketAddr>;

impl ProxyServer {
    /// Starts one that leads `HOST:PORT` to an address; other hosts are answered with 502, and whoever
    /// does not log in, under whatever name, with 407.
    pub fn start(hosts: &[(&str, SocketAddr)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound port has an address");
        let own = |(name, address): &(&str, SocketAddr)| ((*name).to_owned(), *address);
        let hosts: Arc<Hosts> = Arc::new(hosts.iter().map(own).collect());
        let (asked, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let server = Self {
            address,
            asked: Arc::clone(&asked),
            stop: Arc::clone(&stop),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (hosts, asked) = (Arc::clone(&hosts), Arc::clone(&asked));
                // A client that went away is its own affair.
                thread::spawn(move || drop(serve(stream, &hosts, &asked)));
            }
        });
        server
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far, in the order in which they came.
    pub fn asked(&self) -> Vec<ProxyAsked> {
        lock(&self.asked).clone()
    }
}

impl Drop for ProxyServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
    }
}

fn lock(asked: &Mutex<Vec<ProxyAsked>>) -> std::sync::MutexGuard<'_, Vec<ProxyAsked>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(client: TcpStream, hosts: &Hosts, asked: &Mutex<Vec<ProxyAsked>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let head = read_head(&mut reader)?;
    let mut words = head.first().map_or("", String::as_str).split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().to_owned();
    let login = head.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_login = name.eq_ignore_ascii_case("proxy-authorization");
        is_login.then(|| value.trim().to_owned())
    });
    let is_known = login.is_some();
    lock(asked).push(ProxyAsked {
        method: method.clone(),
        target: target.clone(),
        authorization: login,
    });
    let (host, path) = split(&method, &target);
    let mut client = client;
    if !is_known {
        return client.write_all(WHO_ARE_YOU);
    }
    let Some(address) = hosts.get(&host) else {
        return client
            .write_all(b"HTTP/1.1 502 Unknown\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let mut server = TcpStream::connect(address)?;
    if method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    } else {
        server.write_all(passed_on(&method, &path, &head).as_bytes())?;
    }
    let mut back = server.try_clone()?;
    let answers = thread::spawn(move || {
        io::copy(&mut back, &mut client).ok();
        client.shutdown(std::net::Shutdown::Both).ok();
    });
    io::copy(&mut reader, &mut server).ok();
    server.shutdown(std::net::Shutdown::Write).ok();
    answers.join().ok();
    Ok(())
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut head = Vec::new();
    let mut limited = reader.take(HEAD_LIMIT);
    loop {
        let mut line = String::new();
        limited.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(head);
        }
        head.push(line.to_owned());
    }
}

/// Host with port, and path.
fn split(method: &str, target: &str) -> (String, String) {
    if method == "CONNECT" {
        return (target.to_owned(), String::new());
    }
    let rest = target.strip_prefix("http://").unwrap_or(target);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = if host.contains(':') { "" } else { ":80" };
    (format!("{host}{port}"), format!("/{path}"))
}

/// The head as the server behind the proxy gets it.
fn passed_on(method: &str, path: &str, head: &[String]) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    let proxy = |line: &&String| !line.to_ascii_lowercase().starts_with("proxy-");
    for line in head.iter().skip(1).filter(proxy) {
        text.push_str(&format!("{line}\r\n"));
    }
    text + "\r\n"
}
