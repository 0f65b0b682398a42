//! A step's standard streams, on the engine's side.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rbuild_progress::Stream;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::wire::Streams;

/// Where a step's standard streams go.
pub enum StepIo<'a> {
    /// Both outputs to a callback, in chunks as they come, neither lines nor UTF-8; input is `/dev/null`.
    Output {
        /// Called on the thread that called `run_step`; a slow callback slows the step down.
        on_output: &'a mut dyn FnMut(Stream, &[u8]),
    },
    /// The caller's descriptors.
    Inherit {
        /// Standard input.
        stdin: BorrowedFd<'a>,
        /// Standard output.
        stdout: BorrowedFd<'a>,
        /// Standard error.
        stderr: BorrowedFd<'a>,
    },
    /// A terminal of the step's own: its controlling one and all three streams.
    Terminal {
        /// Called once, before the program runs, with the master side: the place to set its size. Not
        /// called for a step whose set-up fails. Must not wait for the program.
        on_open: &'a mut dyn FnMut(OwnedFd),
    },
}

impl StepIo<'_> {
    /// Tells which descriptors the step gets.
    pub(crate) fn streams(&self) -> Streams {
        match self {
            Self::Output { .. } => Streams::Output,
            Self::Inherit { .. } => Streams::Inherit,
            Self::Terminal { .. } => Streams::Terminal,
        }
    }
}

/// The engine's end of one output stream.
pub(crate) struct Output {
    /// Which stream.
    pub(crate) stream: Stream,
    /// Read end, not blocking.
    pub(crate) fd: OwnedFd,
}

impl Output {
    /// Makes a pipe; returns the engine's end and the step's.
    pub(crate) fn pipe(stream: Stream) -> io::Result<(Self, OwnedFd)> {
        let (fd, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        // The flag sits on the open file, of which each end of a pipe has its own: the step's end blocks.
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        Ok((Self { stream, fd }, theirs))
    }

    /// Passes on one chunk, if there is one. `false` at the end of the stream.
    pub(crate) fn pass_on(
        &self,
        buffer: &mut [u8],
        on_output: &mut dyn FnMut(Stream, &[u8]),
    ) -> io::Result<Progress> {
        match read(self.fd.as_fd(), &mut *buffer) {
            Ok(0) => Ok(Progress::Closed),
            Ok(count) => {
                on_output(self.stream, buffer.get(..count).unwrap_or_default());
                Ok(Progress::Passed)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Progress::Empty),
            Err(error) => Err(error.into()),
        }
    }
}

/// What reading an output stream once came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// A chunk was passed on.
    Passed,
    /// Nothing there now.
    Empty,
    /// Nobody can write any more.
    Closed,
}
