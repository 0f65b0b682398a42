//! A terminal for a process: a pseudo terminal made in its `/dev`, copied to and from the user's.
//!
//! Keys go through unchanged while it runs; an interrupt typed by the user reaches the process, not
//! us.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use rbuild::progress::CancelToken;
use rbuild::{Engine, RunIo, RunRequest};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::super::CommandResult;
use super::carry_out;
use crate::signal;

/// Bytes copied at a time.
const BUFFER: usize = 16 * 1024;

/// Runs a process with a terminal of its own.
pub fn run(engine: &Engine, request: &RunRequest, interactive: bool) -> CommandResult {
    let master: Arc<OnceLock<OwnedFd>> = Arc::default();
    let resized = Arc::clone(&master);
    let on_resize = move || {
        if let Some(master) = resized.get() {
            copy_size(master);
        }
    };
    let cancel = signal::listen(on_resize).map_err(anyhow::Error::from)?;
    let _raw = interactive.then(Raw::enter).flatten();
    let done = CancelToken::new();
    std::thread::scope(|scope| {
        let mut output = None;
        let mut on_open = |opened: OwnedFd| {
            let master = master.get_or_init(|| opened);
            copy_size(master);
            output = Some(scope.spawn(move || copy_output(master)));
            if interactive {
                let done = &done;
                scope.spawn(move || copy_input(master, done));
            }
        };
        let io = RunIo::Terminal {
            on_open: &mut on_open,
        };
        let result = carry_out(engine, request, io, &cancel);
        // The reading side sees the end once nobody has the other open: the process does not any more.
        if let Some(output) = output {
            output.join().ok();
        }
        done.cancel();
        result
    })
}

/// Gives the process's terminal the size of the user's, if there is one.
fn copy_size(master: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(io::stdout()) {
        tcsetwinsize(master, size).ok();
    }
}

/// Copies what the process prints until its end.
fn copy_output(master: &OwnedFd) {
    let mut buffer = vec![0; BUFFER];
    // EIO is how Linux says that the slave is closed.
    while let Ok(count @ 1..) = rustix::io::read(master, &mut buffer) {
        let mut out = io::stdout().lock();
        if out
            .write_all(&buffer[..count])
            .and_then(|()| out.flush())
            .is_err()
        {
            return;
        }
    }
}

/// Copies what the user types until the process is done.
fn copy_input(master: &OwnedFd, done: &CancelToken) {
    let mut buffer = vec![0; BUFFER];
    while wait(io::stdin().as_fd(), done) {
        match io::stdin().lock().read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if write_all(master, &buffer[..count]).is_err() {
                    return;
                }
            }
        }
    }
}

fn write_all(master: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::write(master, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Waits for something to read; false once `done` is set.
fn wait(stdin: BorrowedFd<'_>, done: &CancelToken) -> bool {
    let mut fds = [
        PollFd::from_borrowed_fd(stdin, PollFlags::IN),
        PollFd::from_borrowed_fd(done.as_fd(), PollFlags::IN),
    ];
    loop {
        poll(&mut fds, None).ok();
        if done.is_cancelled() {
            return false;
        }
        if !fds[0].revents().is_empty() {
            return true;
        }
    }
}

/// Puts the user's terminal back as it was.
struct Raw(Termios);

impl Raw {
    /// Lets keys through unchanged; `None` if standard input is no terminal.
    fn enter() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        tcsetattr(io::stdin(), OptionalActions::Flush, &self.0).ok();
    }
}
