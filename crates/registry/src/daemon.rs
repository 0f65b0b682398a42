//! Docker's Engine API, as far as it takes to bring an image into an engine.
//!
//! HTTP/1.1 over a socket, a connection per request, blocking; every wait ends with the cancel token
//! and after a stretch of silence. What an engine says is shown, not trusted: sizes are limited, and a
//! stream of progress that does not come to its end is a failure.
//!
//! Source: Docker Engine API 1.51 (moby, api/swagger.yaml), without a version in the paths, so that
//! each engine answers by the newest that it knows.

mod images;
mod message;
mod wire;

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;

use rbuild_oci::Platform;
use rbuild_progress::CancelToken;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use images::{DaemonImage, LoadStream, PullProgress, PullStep};

use crate::{Error, Result};
use message::{Body, read_head};
use wire::Wire;

/// Most bytes of a document that is read whole.
const MAX_DOCUMENT: u64 = 8 << 20;

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaemonAddress {
    /// A socket in the file system.
    Unix(PathBuf),
    /// `HOST:PORT`, without TLS.
    Tcp(String),
}

impl fmt::Display for DaemonAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// An engine that speaks Docker's API.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// Where it listens.
    pub address: DaemonAddress,
    /// How long it may say nothing at all. Unpacking a large layer onto a slow disk takes minutes.
    pub silence: Duration,
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonInfo {
    /// What its containers run on.
    pub platform: Platform,
    /// How it keeps images.
    pub images: ImageStore,
}

/// How an engine keeps images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageStore {
    /// Docker's own: unpacked layers, images of one platform, named by the digest of their config.
    Unpacked,
    /// containerd's: blobs as they came beside unpacked layers, images of several platforms, named by
    /// the digest of their manifest or index.
    Containerd,
}

/// The fields of `GET /info` that matter.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default)]
    driver_status: Option<Vec<Vec<String>>>,
    #[serde(rename = "OSType", default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

impl Daemon {
    /// An engine with the usual patience. Nothing is opened.
    pub fn new(address: DaemonAddress) -> Self {
        Self {
            address,
            silence: Duration::from_secs(300),
        }
    }

    /// Asks what it is.
    ///
    /// Errors: [`Error::NoDaemon`] where none listens, and others of the same family.
    pub fn info(&self, cancel: &CancelToken) -> Result<DaemonInfo> {
        let info: Info = self.document("ask about itself", ("GET", "/info"), cancel)?;
        let is_containerd = |pair: &Vec<String>| {
            matches!(pair.as_slice(), [key, value]
                if key == "driver-type" && value.starts_with("io.containerd.snapshotter"))
        };
        let containerd = info.driver_status.iter().flatten().any(is_containerd);
        let platform = format!("{}/{}", info.os, info.architecture);
        Ok(DaemonInfo {
            platform: Platform::parse(&platform)
                .map_or_else(|_| Platform::host(), |p| p.normalized()),
            images: match containerd {
                true => ImageStore::Containerd,
                false => ImageStore::Unpacked,
            },
        })
    }

    /// Sends a request without a body and returns the body of the answer, if that is a success.
    fn ask(
        &self,
        attempt: &'static str,
        (method, path): (&str, &str),
        cancel: &CancelToken,
    ) -> Result<Body<BufReader<Wire>>> {
        let mut wire = Wire::connect(self, cancel)?;
        let head = request_head(method, path, 0, "");
        let broken = |source| self.broken(attempt, source);
        wire.send(head.as_bytes()).map_err(broken)?;
        self.answer(attempt, wire)
    }

    /// Reads an answer up to its body; what is no success becomes an error with the engine's words.
    fn answer(&self, attempt: &'static str, wire: Wire) -> Result<Body<BufReader<Wire>>> {
        let broken = |source| self.broken(attempt, source);
        let mut reader = BufReader::with_capacity(32 << 10, wire);
        let head = read_head(&mut reader).map_err(broken)?;
        let mut body = Body::of(&head, reader);
        if (200..300).contains(&head.status) {
            return Ok(body);
        }
        let mut text = Vec::new();
        // What cannot be read is not told.
        (&mut body).take(MAX_DOCUMENT).read_to_end(&mut text).ok();
        Err(Error::DaemonRefused {
            address: self.address.to_string(),
            attempt,
            status: head.status,
            message: message_in(&text),
        })
    }

    fn document<T: DeserializeOwned>(
        &self,
        attempt: &'static str,
        request: (&str, &str),
        cancel: &CancelToken,
    ) -> Result<T> {
        let mut body = self.ask(attempt, request, cancel)?;
        let mut bytes = Vec::new();
        let read = (&mut body).take(MAX_DOCUMENT).read_to_end(&mut bytes);
        read.map_err(|source| self.broken(attempt, source))?;
        serde_json::from_slice(&bytes).map_err(|error| self.broken(attempt, error.into()))
    }

    fn broken(&self, attempt: &'static str, source: std::io::Error) -> Error {
        if rbuild_progress::Cancelled::caused(&source) {
            return rbuild_progress::Cancelled.into();
        }
        Error::DaemonBroken {
            address: self.address.to_string(),
            attempt,
            source,
        }
    }
}

fn request_head(method: &str, path: &str, length: u64, more: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: docker\r\nUser-Agent: rbuild\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{more}\r\n"
    )
}

/// The words in an error document, else the beginning of what came instead.
fn message_in(bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Said {
        message: String,
    }
    match serde_json::from_slice(bytes) {
        Ok(Said { message }) => message,
        Err(_) => String::from_utf8_lossy(bytes)
            .trim()
            .chars()
            .take(500)
            .collect(),
    }
}

/// Reads a line of at most so many bytes; empty at the end.
fn read_line(reader: &mut impl BufRead, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader.take(limit).read_until(b'\n', &mut line)?;
    if line.len() as u64 >= limit {
        return Err(std::io::Error::other("a line has no end"));
    }
    Ok(line)
}
