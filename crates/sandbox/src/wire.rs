//! Messages and descriptors between the engine and its nursery.
//!
//! Two sockets: one *control* socket per nursery carries datagrams, each starting one task and handing over
//! its descriptors; one *task* socket per task carries frames back, written first by the task's child and
//! last by the nursery, which alone knows how the child ended. Closing a task socket means: kill it. So
//! answers need no routing, and any number of engine threads may ask at once.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::spec::{Limits, Network};

/// Most descriptors that one datagram may carry (SCM_MAX_FD).
pub(crate) const MAX_FDS: usize = 253;
/// Longest control datagram; task payloads go through a memory file instead.
const MAX_DATAGRAM: usize = 16 * 1024;

/// What a nursery says on the control socket while it starts.
#[derive(Serialize, Deserialize)]
pub(crate) enum Hello {
    /// In a new user namespace that waits for its id maps.
    Unshared,
    /// Ready for tasks.
    Ready,
    /// Cannot go on.
    Failed(String),
}

/// The engine's answer to [`Hello::Unshared`]: the maps are written.
#[derive(Serialize, Deserialize)]
pub(crate) struct Mapped;

/// What a step sends over the socket that it got for a terminal. Descriptor: the master side.
#[derive(Serialize, Deserialize)]
pub(crate) struct TerminalOpen;

/// The engine's answer to [`TerminalOpen`]: the program may run.
#[derive(Serialize, Deserialize)]
pub(crate) struct TerminalTaken;

/// Starts one task. Descriptors: the task socket, the payload, then the task's own.
#[derive(Serialize, Deserialize)]
pub(crate) enum Start {
    /// The payload is the request of a job; its descriptors follow.
    Job,
    /// The payload is a step's spec; the descriptors for its standard streams follow.
    Step {
        /// Which descriptors they are.
        streams: Streams,
        /// Decides about a namespace at the fork.
        network: Network,
        /// Decide about a cgroup before the fork.
        limits: Limits,
        /// How many descriptors follow that the nursery keeps open as long as the step runs.
        held: usize,
    },
}

/// Which descriptors come with a step.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Streams {
    /// Standard output and error; input is `/dev/null`.
    Output,
    /// Input, output and error.
    Inherit,
    /// A socket over which the step hands out the master side of its terminal.
    Terminal,
}

/// What comes back on a task socket.
#[derive(Debug)]
pub(crate) enum Frame {
    /// A job's answer.
    Reply(Vec<u8>),
    /// Why a step's program was not started.
    Failed(Failure),
    /// How the child ended; always the last frame.
    Ended(Ended),
}

/// Why a step's program was not started, or a job not done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// As [`Error::Setup`].
    Setup { stage: String, detail: String },
    /// As [`Error::User`].
    User(String),
    /// As [`Error::MissingSource`].
    MissingSource { target: String, path: String },
    /// As [`Error::Job`].
    Job(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Setup { stage, detail } => Self::Setup { stage, detail },
            Failure::User(text) => Self::User(text),
            Failure::MissingSource { target, path } => Self::MissingSource { target, path },
            Failure::Job(detail) => Self::Job { detail },
        }
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Ended {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// By its cgroup's memory limit.
    OutOfMemory,
}

/// Makes a connected pair of sockets, close-on-exec.
pub(crate) fn pair(kind: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        kind,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends one datagram with descriptors.
pub(crate) fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    if fds.len() > MAX_FDS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "more descriptors than one message can carry",
        ));
    }
    let bytes = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::NOBUFS.into());
    }
    // Rebuilding the ancillary buffer per attempt is not needed: a signal interrupts before anything is sent.
    loop {
        match sendmsg(
            &socket,
            &[IoSlice::new(&bytes)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        ) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// Receives one datagram and its descriptors; `None` when the other end is closed.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MAX_DATAGRAM];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let message = bytes.get(..received.bytes).ok_or(Errno::MSGSIZE)?;
    Ok(Some((serde_json::from_slice(message)?, fds)))
}

/// Puts a payload into a memory file, rewound for the reader.
pub(crate) fn payload(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("rbuild-task", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// Reads a payload.
pub(crate) fn read_payload(fd: OwnedFd) -> io::Result<Vec<u8>> {
    let mut file = File::from(fd);
    let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len()).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Length of a frame's head: one byte of kind, eight of length.
const HEAD: usize = 9;
const REPLY: u8 = 1;
const FAILED: u8 = 2;
const ENDED: u8 = 3;

/// Writes one frame to a task socket.
pub(crate) fn write_frame(socket: impl AsFd, frame: &Frame) -> io::Result<()> {
    let json;
    let (kind, body) = match frame {
        Frame::Reply(bytes) => (REPLY, bytes.as_slice()),
        Frame::Failed(failure) => {
            json = serde_json::to_vec(failure)?;
            (FAILED, json.as_slice())
        }
        Frame::Ended(ended) => {
            json = serde_json::to_vec(ended)?;
            (ENDED, json.as_slice())
        }
    };
    let mut head = [kind; HEAD];
    let length = u64::try_from(body.len()).map_err(io::Error::other)?;
    if let Some(slot) = head.get_mut(1..) {
        slot.copy_from_slice(&length.to_le_bytes());
    }
    send_all(&socket, &head)?;
    send_all(&socket, body)
}

/// Sends all bytes over a stream socket, without SIGPIPE.
fn send_all(socket: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = retry_on_intr(|| rustix::net::send(&socket, bytes, SendFlags::NOSIGNAL))?;
        bytes = bytes.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Puts frames together from what arrives on a task socket.
#[derive(Default)]
pub(crate) struct FrameReader {
    pending: Vec<u8>,
}

impl FrameReader {
    /// Takes bytes as they came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Returns the next complete frame.
    ///
    /// Errors: `InvalidData` for a frame that no nursery sends; the stream is useless then.
    pub(crate) fn next(&mut self) -> io::Result<Option<Frame>> {
        let Some((&kind, rest)) = self.pending.split_first() else {
            return Ok(None);
        };
        let Some(length) = rest.first_chunk::<8>() else {
            return Ok(None);
        };
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(io::Error::other)?;
        let end = HEAD
            .checked_add(length)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let Some(body) = self.pending.get(HEAD..end) else {
            return Ok(None);
        };
        let frame = match kind {
            REPLY => Frame::Reply(body.to_vec()),
            FAILED => Frame::Failed(serde_json::from_slice(body)?),
            ENDED => Frame::Ended(serde_json::from_slice(body)?),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        self.pending.drain(..end);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagram_carries_descriptors() {
        let (a, b) = pair(SocketType::SEQPACKET).unwrap();
        let file = payload(b"spec").unwrap();
        send(&a, &Start::Job, &[file.as_fd()]).unwrap();
        let (start, mut fds) = receive::<Start>(&b).unwrap().unwrap();
        assert!(matches!(start, Start::Job));
        assert_eq!(read_payload(fds.remove(0)).unwrap(), b"spec");
        drop(a);
        assert!(receive::<Start>(&b).unwrap().is_none(), "closed is an end");
    }

    #[test]
    fn too_many_descriptors_are_refused_by_us() {
        let (a, _b) = pair(SocketType::SEQPACKET).unwrap();
        let fds = vec![a.as_fd(); MAX_FDS + 1];
        let error = send(&a, &Start::Job, &fds).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn frames_survive_any_split() {
        let (a, b) = pair(SocketType::STREAM).unwrap();
        write_frame(&a, &Frame::Reply(b"answer".to_vec())).unwrap();
        write_frame(&a, &Frame::Ended(Ended::Code(3))).unwrap();
        drop(a);
        let mut bytes = Vec::new();
        File::from(b).read_to_end(&mut bytes).unwrap();
        let mut reader = FrameReader::default();
        let mut frames = Vec::new();
        for byte in bytes {
            reader.push(&[byte]);
            frames.extend(reader.next().unwrap());
        }
        assert!(
            matches!(frames.as_slice(), [Frame::Reply(r), Frame::Ended(Ended::Code(3))] if r == b"answer")
        );
    }

    #[test]
    fn unknown_frame_is_an_error() {
        let mut reader = FrameReader::default();
        reader.push(&[9; HEAD]);
        reader.push(&[0; 64]);
        assert!(reader.next().is_err() || reader.next().unwrap().is_none());
        let mut reader = FrameReader::default();
        reader.push(&[9, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(reader.next().is_err());
    }
}
