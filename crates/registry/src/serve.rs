//! A registry on a loopback port that serves one image out of the store, for as long as a value lives.
//!
//! Container engines pull better than they load: they leave out the layers that they have. The
//! registry answers `GET` and `HEAD` below one repository, whose name is 128 random bits told to the
//! engine alone: other users of the machine can reach the port but can neither list nor guess what is
//! there. Anything else, and anything malformed, gets an error and nothing of the store.
//!
//! Plain threads rather than the client's runtime: a blocking copy from a file to a socket stays
//! in the kernel, and the whole server costs no more than a parser of request heads.
//!
//! Source: OCI distribution-spec, "Pull".

mod answer;
mod connection;
mod content;
mod head;

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rbuild_oci::Digest;
use rbuild_progress::CancelToken;
use rbuild_store::Store;
use rustix::event::{PollFd, PollFlags, poll};

pub use content::{ServedDocument, ServedImage, Traffic};

use crate::{Error, Result};
use connection::Connection;
use content::Content;

/// What a client may take of the server.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// Connections at a time; further ones are closed at once.
    pub connections: usize,
    /// How long a request may take to arrive, and a connection may stay without one.
    pub request: Duration,
    /// How long a client may take nothing of an answer.
    pub stall: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 32,
            request: Duration::from_secs(15),
            stall: Duration::from_secs(60),
        }
    }
}

/// Where the bytes of configs and layers come from.
pub trait BlobSource: Send + Sync {
    /// Opens a blob; may take as long as fetching it does.
    fn open(&self, digest: &Digest) -> io::Result<File>;
}

impl BlobSource for Store {
    fn open(&self, digest: &Digest) -> io::Result<File> {
        self.open_blob(digest).map_err(io::Error::other)
    }
}

/// A registry on `127.0.0.1` with one image in it. Dropping it ends every connection and every thread.
#[derive(Debug)]
#[must_use = "dropping it ends the registry"]
pub struct LoopbackRegistry {
    address: SocketAddr,
    content: Arc<Content>,
    stop: CancelToken,
    acceptor: Option<JoinHandle<()>>,
}

impl LoopbackRegistry {
    /// Starts on a port that the kernel picks. Blobs are opened when they are asked for, and not before;
    /// whoever calls keeps them from collection meanwhile.
    ///
    /// Errors: [`Error::Setup`].
    pub fn start(
        image: ServedImage,
        blobs: Arc<dyn BlobSource>,
        limits: ServeLimits,
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(setup)?;
        // Whoever hangs up between readiness and `accept` must not block the thread.
        listener.set_nonblocking(true).map_err(setup)?;
        let address = listener.local_addr().map_err(setup)?;
        let content = Arc::new(Content::new(image, blobs).map_err(setup)?);
        let stop = CancelToken::try_new().map_err(setup)?;
        let shared = (Arc::clone(&content), stop.clone());
        let acceptor = Builder::new()
            .name("rbuild-serve".to_owned())
            .spawn(move || accept(&listener, &shared.0, &shared.1, limits))
            .map_err(setup)?;
        Ok(Self {
            address,
            content,
            stop,
            acceptor: Some(acceptor),
        })
    }

    /// `127.0.0.1:PORT/REPOSITORY`, what stands before the tag or digest in a reference.
    pub fn name(&self) -> String {
        format!("{}/{}", self.address, self.content.repository)
    }

    /// Digest of the manifest or index that is served.
    pub fn digest(&self) -> &Digest {
        &self.content.image.top
    }

    /// What was served so far.
    pub fn traffic(&self) -> Traffic {
        self.content.traffic()
    }
}

impl Drop for LoopbackRegistry {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(acceptor) = self.acceptor.take() {
            // A panic there was reported by the thread itself.
            acceptor.join().ok();
        }
    }
}

/// A connection's thread, and a handle to its socket with which it can be ended.
struct Served {
    thread: JoinHandle<()>,
    socket: TcpStream,
}

/// Takes connections until told to stop, then ends those there are.
fn accept(listener: &TcpListener, content: &Arc<Content>, stop: &CancelToken, limits: ServeLimits) {
    let mut open: Vec<Served> = Vec::new();
    while !stop.is_cancelled() {
        let mut fds = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        // An interrupted wait comes round again.
        poll(&mut fds, None).ok();
        let Ok((socket, _)) = listener.accept() else {
            continue;
        };
        open.retain(|served| !served.thread.is_finished());
        if open.len() < limits.connections
            && let Ok(served) = serve(socket, content, stop, limits)
        {
            open.push(served);
        }
    }
    for served in &open {
        // Fails if the client is gone already.
        served.socket.shutdown(Shutdown::Both).ok();
    }
    for served in open {
        served.thread.join().ok();
    }
}

fn serve(
    socket: TcpStream,
    content: &Arc<Content>,
    stop: &CancelToken,
    limits: ServeLimits,
) -> io::Result<Served> {
    let handle = socket.try_clone()?;
    let mut connection = Connection::new(socket, limits)?;
    let (content, stop) = (Arc::clone(content), stop.clone());
    let thread = Builder::new()
        .name("rbuild-serving".to_owned())
        .spawn(move || connection.serve(&content, &stop))?;
    Ok(Served {
        thread,
        socket: handle,
    })
}

fn setup(source: io::Error) -> Error {
    Error::Loopback { source }
}
