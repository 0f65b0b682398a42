//! Asking on the terminal, with or without showing what is typed.

use std::io::{self, Write};
use std::os::fd::AsFd;

use rbuild::progress::CancelToken;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Most bytes of an answer.
const LIMIT: usize = 64 * 1024;

/// Whether what is typed is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// Yes.
    On,
    /// No.
    Off,
}

/// The terminal as it was; put back when the value goes.
struct Restore(Termios);

impl Drop for Restore {
    fn drop(&mut self) {
        tcsetattr(io::stdin(), OptionalActions::Flush, &self.0).ok();
        // The end of the line was not shown either.
        io::stderr().write_all(b"\n").ok();
    }
}

/// Asks on standard error and reads a line of standard input; `None` once `cancel` is set, or if the
/// input ends.
pub fn prompt(question: &str, echo: Echo, cancel: &CancelToken) -> io::Result<Option<String>> {
    io::stderr().write_all(question.as_bytes())?;
    let _restore = match echo {
        Echo::On => None,
        Echo::Off => Some(hide()?),
    };
    read_line(cancel)
}

fn hide() -> io::Result<Restore> {
    let before = tcgetattr(io::stdin())?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
    Ok(Restore(before))
}

fn read_line(cancel: &CancelToken) -> io::Result<Option<String>> {
    let stdin = io::stdin();
    let mut line = Vec::new();
    loop {
        let stop = cancel.as_fd();
        let mut fds = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(&stop, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            outcome => outcome?,
        };
        if cancel.is_cancelled() {
            return Ok(None);
        }
        let mut byte = [0];
        // Unbuffered, so that the next question finds what is typed ahead.
        let got = rustix::io::read(stdin.as_fd(), &mut byte)?;
        match (got, byte[0]) {
            (0, _) if line.is_empty() => return Ok(None),
            (0, _) | (_, b'\n') => break,
            (_, other) => line.push(other),
        }
        if line.len() > LIMIT {
            return Err(io::Error::other("the answer does not end"));
        }
    }
    let text = String::from_utf8(line).map_err(|_| io::Error::other("the answer is no text"))?;
    Ok(Some(text.trim_end_matches('\r').to_owned()))
}
