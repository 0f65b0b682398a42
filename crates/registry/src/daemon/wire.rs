//! A connection to an engine whose waits end: with the cancel token, and after a stretch of silence.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rbuild_progress::{CancelToken, Cancelled};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Daemon, DaemonAddress};
use crate::{Error, Result};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection.
pub(super) struct Wire {
    socket: Socket,
    cancel: CancelToken,
    silence: Duration,
}

enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Wire {
    pub(super) fn connect(daemon: &Daemon, cancel: &CancelToken) -> Result<Self> {
        cancel.check()?;
        let socket = open(&daemon.address).map_err(|source| Error::NoDaemon {
            address: daemon.address.to_string(),
            source,
        })?;
        Ok(Self {
            socket,
            cancel: cancel.clone(),
            silence: daemon.silence,
        })
    }

    /// Sends something short.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            self.ready(PollFlags::OUT)?;
            let sent = match &mut self.socket {
                Socket::Unix(socket) => socket.write(bytes),
                Socket::Tcp(socket) => socket.write(bytes),
            }?;
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// The socket once more, for writing a long body.
    pub(super) fn writer(&self) -> io::Result<OwnedFd> {
        let writer = self.socket.as_fd().try_clone_to_owned()?;
        // Copies into it block: the engine may take nothing for as long as it may say nothing.
        match &self.socket {
            Socket::Unix(socket) => socket.set_write_timeout(Some(self.silence))?,
            Socket::Tcp(socket) => socket.set_write_timeout(Some(self.silence))?,
        }
        Ok(writer)
    }

    /// Returns what ends the connection from another thread.
    pub(super) fn hangup(&self) -> io::Result<Hangup> {
        let socket = self.socket.as_fd().try_clone_to_owned()?;
        Ok(Hangup(socket))
    }

    /// Waits until the socket is ready.
    fn ready(&self, flags: PollFlags) -> io::Result<()> {
        let deadline = Instant::now() + self.silence;
        loop {
            if self.cancel.is_cancelled() {
                return Err(Cancelled.into());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let message = format!("silent for {} s", self.silence.as_secs_f32());
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            let left = Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut fds = [
                PollFd::new(&self.socket, flags),
                PollFd::new(&self.cancel, PollFlags::IN),
            ];
            match poll(&mut fds, Some(&left)) {
                Err(rustix::io::Errno::INTR) => continue,
                outcome => outcome?,
            };
            if !fds[0].revents().is_empty() && !self.cancel.is_cancelled() {
                return Ok(());
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.ready(PollFlags::IN)?;
        match &mut self.socket {
            Socket::Unix(socket) => socket.read(buffer),
            Socket::Tcp(socket) => socket.read(buffer),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(socket) => socket.as_fd(),
            Self::Tcp(socket) => socket.as_fd(),
        }
    }
}

/// Ends a connection from another thread.
pub(super) struct Hangup(OwnedFd);

impl Hangup {
    pub(super) fn end(&self) {
        // Fails if it has ended.
        rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both).ok();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Descriptors for writing may still be open; the engine is to see the end now.
        match &self.socket {
            Socket::Unix(socket) => socket.shutdown(Shutdown::Both),
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Both),
        }
        .ok();
    }
}

fn open(address: &DaemonAddress) -> io::Result<Socket> {
    match address {
        DaemonAddress::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path)?)),
        DaemonAddress::Tcp(host) => {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in host.to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, CONNECT) {
                    Ok(socket) => return Ok(Socket::Tcp(socket)),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    }
}
