//! Files of trees, opened one by one as they are asked for: descriptors pass, bytes do not.
//!
//! Both ends of the socket are here. A datagram with a tree and a path goes one way, a datagram with
//! a descriptor or a reason the other. The open file is the asker's to read, whoever owns it.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::io::retry_on_intr;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::hash::open_file;
use crate::beneath::Root;
use crate::encode::{Input, put_bytes};
use crate::path::{self, MAX_PATH};
use crate::{Error, Result};

/// Longest request or reason: two paths, and their lengths.
const MAX_DATAGRAM: usize = 2 * MAX_PATH + 64;
/// First byte of an answer that carries a descriptor.
const OPENED: u8 = 0;
/// First byte of an answer that carries a reason.
const REFUSED: u8 = 1;

/// Makes the socket: the asker's end, and the one that a job serves.
pub(crate) fn socket() -> Result<(OwnedFd, OwnedFd)> {
    let made = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    );
    made.map_err(|source| Error::io("make", "a socket", source.into()))
}

/// Asks for a regular file of a tree. `None`: nobody serves any more.
pub(crate) fn ask(socket: &OwnedFd, tree: &Path, path: &[u8]) -> Option<Result<File>> {
    let mut request = Vec::with_capacity(256);
    put_bytes(&mut request, tree.as_os_str().as_bytes());
    put_bytes(&mut request, path);
    send(socket, &request, None).ok()?;
    let (answer, fd) = receive(socket).ok()??;
    Some(match (answer.split_first(), fd) {
        (Some((&OPENED, _)), Some(fd)) => Ok(File::from(fd)),
        (Some((&REFUSED, reason)), _) => Err(Error::TreeWork {
            reason: String::from_utf8_lossy(reason).into_owned(),
        }),
        _ => Err(Error::TreeWork {
            reason: "an answer that no job gives".to_owned(),
        }),
    })
}

/// Answers requests until the other end is closed.
pub(super) fn serve(socket: File) -> Result<()> {
    let socket = OwnedFd::from(socket);
    let broken = |source| Error::io("serve", "files of trees", source);
    // Requests come in runs of one tree.
    let mut last: Option<(PathBuf, Root)> = None;
    while let Some((request, _)) = receive(&socket).map_err(broken)? {
        let sent = match open(&request, &mut last) {
            Ok(file) => send(&socket, &[OPENED], Some(file.into())),
            Err(error) => {
                let mut answer = vec![REFUSED];
                answer.extend_from_slice(crate::job::whole_text(&error).as_bytes());
                answer.truncate(MAX_DATAGRAM);
                send(&socket, &answer, None)
            }
        };
        match sent {
            // The asker left without waiting for the answer.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            sent => sent.map_err(broken)?,
        }
    }
    Ok(())
}

fn open(request: &[u8], last: &mut Option<(PathBuf, Root)>) -> Result<File> {
    let mut input = Input(request);
    let tree = std::ffi::OsString::from_vec(input.bytes(MAX_PATH)?.to_vec());
    let tree = PathBuf::from(tree);
    let path = input.bytes(MAX_PATH)?;
    path::check(path).map_err(Error::index)?;
    let root = match last.take() {
        Some((known, root)) if known == tree => root,
        _ => Root::open(&tree)?,
    };
    let (_, root) = last.insert((tree, root));
    open_file(root, path)
}

fn send(socket: &OwnedFd, bytes: &[u8], fd: Option<OwnedFd>) -> io::Result<()> {
    let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    let bytes = [IoSlice::new(bytes)];
    retry_on_intr(|| sendmsg(socket, &bytes, &mut ancillary, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Receives one datagram, and its descriptor if there is one; `None` when the other end is closed.
fn receive(socket: &OwnedFd) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    let mut bytes = vec![0; MAX_DATAGRAM];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        let mut into = [IoSliceMut::new(&mut bytes)];
        recvmsg(socket, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut fd = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut rights) = message {
            fd = rights.next();
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(received.bytes);
    Ok(Some((bytes, fd)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn files_are_served_until_the_asker_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("d")).unwrap();
        std::fs::write(tree.join("d/f"), "bytes").unwrap();
        std::fs::write(dir.path().join("canary"), "secret").unwrap();
        std::os::unix::fs::symlink("../canary", tree.join("out")).unwrap();
        let (ours, theirs) = socket().unwrap();
        let server = std::thread::spawn(move || serve(File::from(theirs)));
        for _ in 0..2 {
            let mut file = ask(&ours, &tree, b"d/f").unwrap().unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "bytes");
            for bad in [&b"d"[..], b"none", b"../canary", b"out"] {
                let error = ask(&ours, &tree, bad).unwrap().unwrap_err();
                assert!(matches!(error, Error::TreeWork { .. }), "{error}");
            }
        }
        drop(ours);
        server.join().unwrap().unwrap();
    }

    #[test]
    fn a_server_that_is_gone_is_no_answer() {
        let (ours, theirs) = socket().unwrap();
        drop(theirs);
        assert!(ask(&ours, Path::new("/"), b"x").is_none());
    }
}
