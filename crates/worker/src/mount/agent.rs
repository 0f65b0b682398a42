//! `--mount=type=ssh`: a socket for one step, behind which the user's ssh agent answers.
//!
//! The agent's own socket is never shown to a step: it has the wrong owner and mode for it, and takes
//! requests that no step has a right to make. A step may list keys and have something signed; adding,
//! removing and locking keys, and extensions, are answered with a failure, as in BuildKit. Where keys are
//! in files (`--ssh ID=FILE`), the engine is the agent: see `ssh`. It is that for git, too, which reaches the
//! user's own agent directly.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rbuild_graph::{ExecMount, ExecMountKind, ExecOp};
use rbuild_progress::CancelToken;
use rbuild_sandbox::{MountSource, MountSpec};
use rbuild_source::AgentSocket;
use rbuild_store::{StagedDir, Store};
use rustix::event::{PollFd, PollFlags, poll};

use super::StepMounts;
use crate::ssh::{FAILURE, Keyring, REQUEST_IDENTITIES, SIGN_REQUEST, SshAgent};
use crate::{Error, LocalWorker, Result};

/// Longest message of an agent, as OpenSSH has it.
const MAX_MESSAGE: usize = 256 * 1024;
/// Most connections of one step at a time.
const MAX_CONNECTIONS: usize = 64;

/// What the socket is called in its directory.
const SOCKET: &str = "agent";
/// Longest address of a socket, in bytes: `sun_path` without its last zero.
const MAX_ADDRESS: usize = 107;

impl LocalWorker<'_> {
    pub(super) fn ssh(&self, mount: &ExecMount, op: &ExecOp, all: &mut StepMounts) -> Result<()> {
        let ExecMountKind::Ssh {
            id,
            target,
            required,
            mode,
            uid,
            gid,
        } = &mount.kind
        else {
            return Err(Error::Input);
        };
        let number = all
            .env
            .iter()
            .filter(|(name, _)| name == "SSH_AUTH_SOCK")
            .count();
        let target = match target {
            Some(target) => target.clone(),
            None => format!("/run/buildkit/ssh_agent.{number}"),
        };
        let set =
            |pairs: &[(String, String)]| pairs.iter().any(|(name, _)| name == "SSH_AUTH_SOCK");
        if !set(&op.env) && !set(&all.env) {
            all.env.push(("SSH_AUTH_SOCK".to_owned(), target.clone()));
        }
        let agent = match self.agents.get(id) {
            Some(agent) => agent,
            None if *required => return Err(Error::NoAgent { id: id.clone() }),
            None => return Ok(()),
        };
        let door = AgentDoor::open(self.store.stage_dir()?, agent.clone())?;
        all.specs.push(MountSpec {
            target,
            source: MountSource::Socket {
                path: door.socket(),
                mode: *mode,
                uid: *uid,
                gid: *gid,
            },
            read_only: false,
        });
        all.agents.push(door);
        Ok(())
    }
}

/// A socket for a program that is no step: the agent's own, or ours before keys in files.
pub(crate) fn socket_of(agent: &SshAgent, store: &Store) -> Result<Box<dyn AgentSocket>> {
    match agent {
        SshAgent::Socket(path) => Ok(Box::new(path.clone())),
        SshAgent::Keys(_) => Ok(Box::new(AgentDoor::open(
            store.stage_dir()?,
            agent.clone(),
        )?)),
    }
}

/// A socket that answers as an agent for as long as this exists.
pub(super) struct AgentDoor {
    dir: StagedDir,
    /// The same, open.
    top: File,
    /// Set when it closes.
    closing: CancelToken,
    thread: Option<JoinHandle<()>>,
}

impl AgentDoor {
    /// Makes the socket in `dir`, which nobody else can enter, and starts answering.
    fn open(dir: StagedDir, agent: SshAgent) -> Result<Self> {
        let fail = |source| Error::Io {
            attempt: "make a socket in",
            path: dir.path().to_owned(),
            source,
        };
        let top = File::open(dir.path()).map_err(fail)?;
        let listener = listen_in(&top).map_err(fail)?;
        let closing = CancelToken::try_new().map_err(fail)?;
        let token = closing.clone();
        let thread = thread::Builder::new()
            .name("rbuild-agent".to_owned())
            .spawn(move || answer(&listener, &agent, &token))
            .map_err(fail)?;
        Ok(Self {
            dir,
            top,
            closing,
            thread: Some(thread),
        })
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join(SOCKET)
    }
}

impl AgentSocket for AgentDoor {
    fn path(&self) -> PathBuf {
        let path = self.socket();
        if path.as_os_str().as_bytes().len() <= MAX_ADDRESS {
            return path;
        }
        let (process, number) = (std::process::id(), self.top.as_raw_fd());
        format!("/proc/{process}/fd/{number}/{SOCKET}").into()
    }
}

impl Drop for AgentDoor {
    fn drop(&mut self) {
        self.closing.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Binds by descriptor: the name of a socket may have 107 bytes, that of a store may be longer.
fn listen_in(top: &File) -> io::Result<UnixListener> {
    let name = format!("/proc/self/fd/{}/{SOCKET}", top.as_fd().as_raw_fd());
    let listener = UnixListener::bind(name)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes connections until the door closes, and then ends those that are open.
fn answer(listener: &UnixListener, agent: &SshAgent, closing: &CancelToken) {
    let open: Arc<Mutex<Vec<(u64, UnixStream)>>> = Arc::default();
    let mut connections: Vec<JoinHandle<()>> = Vec::new();
    for number in 0.. {
        let Some(stream) = next(listener, closing) else {
            break;
        };
        connections.retain(|connection| !connection.is_finished());
        let Ok(known) = stream.try_clone() else {
            continue;
        };
        if connections.len() >= MAX_CONNECTIONS {
            continue;
        }
        lock(&open).push((number, known));
        let (agent, list) = (agent.clone(), Arc::clone(&open));
        connections.push(thread::spawn(move || {
            let served = match &agent {
                SshAgent::Socket(socket) => relay(&stream, socket),
                SshAgent::Keys(keys) => serve(&stream, keys),
            };
            if let Err(error) = served {
                tracing::debug!(%error, "connection to the agent ended");
            }
            lock(&list).retain(|(other, _)| *other != number);
        }));
    }
    for (_, stream) in lock(&open).iter() {
        stream.shutdown(std::net::Shutdown::Both).ok();
    }
    for connection in connections {
        connection.join().ok();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a connection; `None` once the door closes.
fn next(listener: &UnixListener, closing: &CancelToken) -> Option<UnixStream> {
    loop {
        let mut waiting = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::from_borrowed_fd(closing.as_fd(), PollFlags::IN),
        ];
        poll(&mut waiting, None).ok();
        if closing.is_cancelled() {
            return None;
        }
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).ok();
                return Some(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Without descriptors, say: steps then find nobody there.
            Err(error) => {
                tracing::debug!(%error, "no more connections to the agent");
                return None;
            }
        }
    }
}

/// Passes requests on one by one, and answers those that are not allowed.
fn relay(mut step: &UnixStream, agent: &Path) -> io::Result<()> {
    let mut agent = UnixStream::connect(agent)?;
    while let Some(request) = read_message(&mut step)? {
        let answer = match request.first() {
            Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)) => {
                write_message(&mut agent, &request)?;
                match read_message(&mut agent)? {
                    Some(answer) => answer,
                    None => return Ok(()),
                }
            }
            _ => vec![FAILURE],
        };
        write_message(&mut step, &answer)?;
    }
    Ok(())
}

/// Answers requests with keys of our own.
fn serve(mut step: &UnixStream, keys: &Keyring) -> io::Result<()> {
    while let Some(request) = read_message(&mut step)? {
        write_message(&mut step, &keys.answer(&request))?;
    }
    Ok(())
}

/// Reads a message; `None` at the end of the stream.
fn read_message(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; 4];
    match from.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if length > MAX_MESSAGE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "longer than any message of an agent",
        ));
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

fn write_message(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    to.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbuild_store::Store;

    /// An agent that answers each request with its bytes, and 99 before them.
    fn echo(path: &Path) -> JoinHandle<usize> {
        let listener = UnixListener::bind(path).unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut count = 0;
            while let Some(request) = read_message(&mut &stream).unwrap() {
                count += 1;
                let answer = [&[99], request.as_slice()].concat();
                write_message(&mut &stream, &answer).unwrap();
            }
            count
        })
    }

    fn ask(stream: &UnixStream, request: &[u8]) -> Vec<u8> {
        write_message(&mut &*stream, request).unwrap();
        read_message(&mut &*stream).unwrap().unwrap()
    }

    #[test]
    fn steps_may_list_and_sign_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let agent = dir.path().join("agent");
        let served = echo(&agent);
        let door = AgentDoor::open(store.stage_dir().unwrap(), SshAgent::Socket(agent)).unwrap();
        let socket = door.socket();
        let stream = UnixStream::connect(&socket).unwrap();
        assert_eq!(ask(&stream, &[REQUEST_IDENTITIES]), [99, 11]);
        assert_eq!(ask(&stream, &[SIGN_REQUEST, 1, 2]), [99, 13, 1, 2]);
        // Add, remove, remove all, lock, extension; and a message without a type.
        for refused in [&[17][..], &[18], &[19], &[22], &[27], &[]] {
            assert_eq!(ask(&stream, refused), [FAILURE]);
        }
        // Closes while a connection is open, and leaves nothing.
        drop(door);
        assert!(!socket.exists());
        assert_eq!(read_message(&mut &stream).unwrap(), None);
        assert_eq!(served.join().unwrap(), 2);
    }

    #[test]
    fn a_socket_can_be_reached_however_deep_the_store_lies() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["short".to_owned(), "x".repeat(120)] {
            let store = Store::open(&dir.path().join(name)).unwrap();
            let agent = dir.path().join("agent");
            std::fs::remove_file(&agent).ok();
            let served = echo(&agent);
            let door = AgentDoor::open(store.stage_dir().unwrap(), SshAgent::Socket(agent));
            let door = door.unwrap();
            let stream = UnixStream::connect(door.path()).unwrap();
            assert_eq!(ask(&stream, &[REQUEST_IDENTITIES]), [99, 11]);
            drop(door);
            assert_eq!(served.join().unwrap(), 1);
        }
    }

    #[test]
    fn an_agent_that_is_gone_or_talks_too_long_ends_the_connection() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let none = dir.path().join("none");
        let door = AgentDoor::open(store.stage_dir().unwrap(), SshAgent::Socket(none)).unwrap();
        let stream = UnixStream::connect(door.socket()).unwrap();
        let mut rest = Vec::new();
        (&stream).read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
        let huge = u32::MAX.to_be_bytes();
        assert!(read_message(&mut &huge[..]).is_err());
    }
}
