//! One client's connection: requests in, answers out, each within its limits.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use rbuild_oci::Digest;
use rbuild_progress::CancelToken;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::ServeLimits;
use super::answer::{Answer, Body, answer, refusal};
use super::content::Content;
use super::head::{Head, Parsed, parse};

/// Most bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;

/// Bytes sent between two looks at the latch.
const STRIDE: u64 = 4 << 20;

/// A connection and what was read of it beyond the last request.
pub(super) struct Connection {
    socket: TcpStream,
    read: Vec<u8>,
    limits: ServeLimits,
}

/// What comes next on a connection.
enum Next {
    Request(Head),
    /// Something that is no request.
    Wrong,
    /// The client is done or too slow, or the server ends.
    End,
}

impl Connection {
    pub(super) fn new(socket: TcpStream, limits: ServeLimits) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        // What a client that reads nothing runs into.
        socket.set_write_timeout(Some(limits.stall))?;
        Ok(Self {
            socket,
            read: Vec::new(),
            limits,
        })
    }

    /// Answers requests until either side has enough.
    pub(super) fn serve(&mut self, content: &Content, stop: &CancelToken) {
        loop {
            match self.next(stop) {
                Next::Request(head) => {
                    let sent = self.send(answer(content, &head), content, stop);
                    if let Err(error) = sent {
                        tracing::debug!(%error, path = head.path, "loopback registry: cut off");
                        return;
                    }
                    if !head.keep {
                        return;
                    }
                }
                Next::Wrong => {
                    self.send(refusal(), content, stop).ok();
                    return;
                }
                Next::End => return,
            }
        }
    }

    /// Waits for a whole head; the time counts from here, so that a byte now and then is of no use.
    fn next(&mut self, stop: &CancelToken) -> Next {
        let deadline = Instant::now() + self.limits.request;
        loop {
            match parse(&self.read) {
                Parsed::Whole(head, length) => {
                    self.read.drain(..length);
                    return Next::Request(head);
                }
                Parsed::Wrong => return Next::Wrong,
                Parsed::Partial if self.read.len() >= MAX_HEAD => return Next::Wrong,
                Parsed::Partial => {}
            }
            if !readable(&self.socket, stop, deadline) {
                return Next::End;
            }
            let mut piece = [0; 4096];
            match self.socket.read(&mut piece) {
                Ok(0) | Err(_) => return Next::End,
                Ok(got) => self.read.extend_from_slice(&piece[..got]),
            }
        }
    }

    fn send(&mut self, answer: Answer, content: &Content, stop: &CancelToken) -> io::Result<()> {
        match answer.body {
            Body::Nothing => self.socket.write_all(answer.head.as_bytes()),
            Body::Text(text) => self.socket.write_all((answer.head + &text).as_bytes()),
            Body::Document(bytes) => {
                let mut whole = answer.head.into_bytes();
                whole.extend_from_slice(&bytes);
                self.socket.write_all(&whole)?;
                content.count_document(bytes.len() as u64);
                Ok(())
            }
            Body::Blob(digest, part) => {
                // Before the head: a blob that is gone ends the connection, not a promised body.
                let file = self.open(&digest, &part, content)?;
                self.socket.write_all(answer.head.as_bytes())?;
                self.send_file(file, part, content, stop)
            }
        }
    }

    fn open(&self, digest: &Digest, part: &Range<u64>, content: &Content) -> io::Result<File> {
        let mut file = content.open(digest)?;
        file.seek(SeekFrom::Start(part.start))?;
        Ok(file)
    }

    /// Sends a part of a file from where it stands, and counts what went out even if it breaks off.
    fn send_file(
        &mut self,
        mut file: File,
        part: Range<u64>,
        content: &Content,
        stop: &CancelToken,
    ) -> io::Result<()> {
        let mut at = part.start;
        while at < part.end {
            stop.check()?;
            let stride = (part.end - at).min(STRIDE);
            // Between a file and a socket the standard library copies in the kernel.
            let copied = io::copy(&mut (&file).take(stride), &mut self.socket);
            let now = file.stream_position()?.clamp(at, part.end);
            content.count_blob(now - at);
            if copied? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at = now;
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The acceptor holds the socket too: the client is to see the end now. Fails if it is gone.
        self.socket.shutdown(Shutdown::Both).ok();
    }
}

/// Waits until there is something to read; not beyond the deadline, nor once the latch is set.
fn readable(socket: &TcpStream, stop: &CancelToken, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stop.is_cancelled() {
            return false;
        }
        let mut fds = [
            PollFd::new(socket, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut fds, Some(&timespec(left))) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return false,
            Ok(_) if !fds[0].revents().is_empty() => return !stop.is_cancelled(),
            Ok(_) => continue,
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}
