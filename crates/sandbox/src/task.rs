//! One running task, followed by the engine's thread that asked for it.

use std::os::fd::{AsFd, OwnedFd};

use rbuild_progress::{CancelToken, Cancelled, Stream};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use rustix::net::{Shutdown, shutdown};

use crate::nursery::wire_error;
use crate::stdio::{Output, Progress};
use crate::wire::{Ended, Failure, Frame, FrameReader};
use crate::{Error, Result};

/// The engine's end of a task socket. Dropping it kills the task.
pub(crate) struct Task {
    socket: OwnedFd,
    frames: FrameReader,
}

/// What was heard of a task until its socket closed.
#[derive(Debug)]
pub(crate) struct Heard {
    reply: Option<Vec<u8>>,
    failure: Option<Failure>,
    ended: Option<Ended>,
    cancelled: bool,
}

/// What a task came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// A job's answer.
    pub(crate) reply: Option<Vec<u8>>,
    /// How its process ended.
    pub(crate) ended: Ended,
}

impl Heard {
    /// Decides what the task came to.
    pub(crate) fn into_result(self) -> Result<Outcome> {
        if self.cancelled {
            return Err(Cancelled.into());
        }
        if let Some(failure) = self.failure {
            return Err(failure.into());
        }
        match self.ended {
            None => Err(Error::Gone),
            Some(ended) => Ok(Outcome {
                reply: self.reply,
                ended,
            }),
        }
    }
}

/// Size of one read from a stream, the capacity of a pipe.
const CHUNK: usize = 64 * 1024;

impl Task {
    /// Takes over the engine's end.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            frames: FrameReader::default(),
        }
    }

    /// Passes on output and collects frames until the nursery has reaped the task.
    ///
    /// On cancellation it hangs up and goes on waiting, so that nothing of the task is left when it returns.
    pub(crate) fn follow(
        mut self,
        mut outputs: Vec<Output>,
        on_output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &CancelToken,
    ) -> Result<Heard> {
        let mut heard = Heard {
            reply: None,
            failure: None,
            ended: None,
            cancelled: false,
        };
        let mut buffer = vec![0; CHUNK];
        loop {
            let ready = self.wait(&outputs, (!heard.cancelled).then_some(cancel))?;
            if cancel.is_cancelled() && !heard.cancelled {
                heard.cancelled = true;
                shutdown(&self.socket, Shutdown::Write).ok();
            }
            pump(&mut outputs, &mut buffer, on_output)?;
            if ready == Ready::Socket && self.listen(&mut buffer, &mut heard)? == Line::Closed {
                break;
            }
        }
        // All of the step is dead, so what it wrote is in the pipes; a descriptor that it passed to somebody
        // outside must not keep us waiting for an end of stream.
        while !outputs.is_empty() && pump(&mut outputs, &mut buffer, on_output)? {}
        Ok(heard)
    }

    /// Waits until something can be read or the token is set.
    fn wait(&self, outputs: &[Output], cancel: Option<&CancelToken>) -> Result<Ready> {
        let mut waiting = vec![PollFd::new(&self.socket, PollFlags::IN)];
        waiting.extend(
            outputs
                .iter()
                .map(|output| PollFd::new(&output.fd, PollFlags::IN)),
        );
        let token = cancel.map(CancelToken::as_fd);
        waiting.extend(
            token
                .iter()
                .map(|token| PollFd::from_borrowed_fd(*token, PollFlags::IN)),
        );
        match poll(&mut waiting, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(wire_error("wait for a task")(error.into())),
        }
        Ok(match waiting.first().map(PollFd::revents) {
            Some(events) if !events.is_empty() => Ready::Socket,
            _ => Ready::Other,
        })
    }

    /// Reads from the socket once and keeps what the frames say.
    fn listen(&mut self, buffer: &mut [u8], heard: &mut Heard) -> Result<Line> {
        let count = match read(self.socket.as_fd(), &mut *buffer) {
            Ok(0) | Err(Errno::CONNRESET) => return Ok(Line::Closed),
            Ok(count) => count,
            Err(Errno::INTR) => return Ok(Line::Open),
            Err(error) => return Err(wire_error("read a task's answer")(error.into())),
        };
        self.frames.push(buffer.get(..count).unwrap_or_default());
        while let Some(frame) = self
            .frames
            .next()
            .map_err(wire_error("read a task's answer"))?
        {
            match frame {
                Frame::Reply(bytes) => heard.reply = Some(bytes),
                Frame::Failed(failure) => heard.failure = Some(failure),
                Frame::Ended(ended) => heard.ended = Some(ended),
            }
        }
        // Not the end of the stream: a job's child forked meanwhile holds a copy of the nursery's end.
        Ok(match heard.ended {
            Some(_) => Line::Closed,
            None => Line::Open,
        })
    }
}

/// What woke the engine's thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ready {
    Socket,
    Other,
}

/// Whether more can come over a task socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Open,
    Closed,
}

/// Reads each output once, dropping those that are closed; tells whether anything came.
fn pump(
    outputs: &mut Vec<Output>,
    buffer: &mut [u8],
    on_output: &mut dyn FnMut(Stream, &[u8]),
) -> Result<bool> {
    let mut passed = false;
    let mut failed = None;
    outputs.retain(|output| match output.pass_on(buffer, on_output) {
        Ok(Progress::Closed) => false,
        Ok(progress) => {
            passed |= progress == Progress::Passed;
            true
        }
        Err(error) => {
            failed = Some(error);
            false
        }
    });
    match failed {
        Some(error) => Err(wire_error("read a step's output")(error)),
        None => Ok(passed),
    }
}
