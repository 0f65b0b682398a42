//! Standard input, read without being held up once the work is cancelled.

use std::io::{self, Read};
use std::os::fd::AsFd;

use rbuild_progress::CancelToken;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};

/// Standard input; a wait for more ends when the token is set.
pub(super) struct Stdin {
    cancel: CancelToken,
}

impl Stdin {
    pub(super) fn new(cancel: &CancelToken) -> Self {
        Self {
            cancel: cancel.clone(),
        }
    }

    /// Waits until there is something to read.
    fn wait(&self) -> io::Result<()> {
        let stdin = io::stdin();
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.cancel.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(self.cancel.check()?)
    }
}

impl Read for Stdin {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.wait()?;
        // Past the buffer of the standard library, which would hide what it has from the wait.
        Ok(read(io::stdin().as_fd(), buf)?)
    }
}
