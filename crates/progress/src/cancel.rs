//! Cancellation: a latch that loops look at and waits include.
//!
//! Cancelling is a value that travels up as an error; guards undo on the way. Nothing here unwinds,
//! and nothing is ever un-cancelled.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

/// The work was cancelled before it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

impl Cancelled {
    /// Tells whether an I/O error is a cancellation that passed through a [`CancelReader`].
    pub fn caused(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Cancelled>())
    }
}

impl From<Cancelled> for io::Error {
    fn from(cancelled: Cancelled) -> Self {
        // Not `ErrorKind::Interrupted`, which the standard library takes as "try again".
        io::Error::other(cancelled)
    }
}

/// A latch: once set by anyone, seen by everyone, for good.
///
/// Clones share the latch. Backed by an eventfd that becomes readable when set and is never read, so
/// any number of `poll` calls may include it.
#[derive(Clone, Debug)]
pub struct CancelToken {
    latch: Arc<Latch>,
}

#[derive(Debug)]
struct Latch {
    set: AtomicBool,
    event: OwnedFd,
}

impl CancelToken {
    /// Returns a token that is not set.
    ///
    /// # Panics
    /// When the process can open no further descriptor; see [`CancelToken::try_new`].
    pub fn new() -> Self {
        Self::try_new().expect("a process that begins a build has a free descriptor")
    }

    /// Returns a token that is not set, or why no descriptor could be opened.
    pub fn try_new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            latch: Arc::new(Latch {
                set: AtomicBool::new(false),
                event,
            }),
        })
    }

    /// Sets the latch and wakes every wait that includes it.
    ///
    /// Takes no lock and allocates nothing, so a signal handler may call it.
    pub fn cancel(&self) {
        self.latch.set.store(true, Ordering::Release);
        // The counter can only be full if it is readable already.
        rustix::io::write(&self.latch.event, &1u64.to_ne_bytes()).ok();
    }

    /// Tells whether the latch is set.
    pub fn is_cancelled(&self) -> bool {
        self.latch.set.load(Ordering::Acquire)
    }

    /// Fails once the latch is set; what a loop calls on each turn.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }

    /// Waits for `time` to pass, or fails as soon as the latch is set.
    pub fn wait(&self, time: Duration) -> Result<(), Cancelled> {
        let end = Instant::now() + time;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            // Woken early, by a signal or by the latch: the top of the loop tells which.
            poll(
                &mut [PollFd::new(&self.latch.event, PollFlags::IN)],
                Some(&timeout),
            )
            .ok();
        }
    }
}

impl CancelToken {
    /// Waits until this latch or `other` is set.
    ///
    /// Also returns, with neither set, where the system cannot wait.
    pub fn wait_either(&self, other: &CancelToken) {
        while !self.is_cancelled() && !other.is_cancelled() {
            let mut fds = [
                PollFd::new(self, PollFlags::IN),
                PollFd::new(other, PollFlags::IN),
            ];
            // A wait that a signal interrupted comes round again.
            if poll(&mut fds, None).is_err_and(|errno| errno != Errno::INTR) {
                return;
            }
        }
    }

    /// Returns a descriptor that polls readable once the latch is set; do not read it.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.latch.event.as_fd()
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl AsFd for CancelToken {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.latch.event.as_fd()
    }
}

/// A reader that fails with [`Cancelled`] once the token is set.
///
/// Looks before each read; a read that blocks is not woken.
#[derive(Debug)]
pub struct CancelReader<R> {
    inner: R,
    cancel: CancelToken,
}

impl<R> CancelReader<R> {
    /// Wraps `inner`.
    pub fn new(inner: R, cancel: &CancelToken) -> Self {
        Self {
            inner,
            cancel: cancel.clone(),
        }
    }

    /// Returns the wrapped reader.
    pub fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for CancelReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.cancel.check()?;
        self.inner.read(buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_is_seen_by_clones_and_polls() {
        let token = CancelToken::new();
        let other = token.clone();
        assert_eq!(token.check(), Ok(()));
        other.cancel();
        other.cancel();
        assert_eq!(token.check(), Err(Cancelled));
        let mut fds = [PollFd::new(&token, PollFlags::IN)];
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut fds, Some(&zero)), Ok(1));
    }

    #[test]
    fn wait_ends_by_time_or_by_latch() {
        let token = CancelToken::new();
        assert_eq!(token.wait(Duration::from_millis(1)), Ok(()));
        let waiter = {
            let token = token.clone();
            std::thread::spawn(move || token.wait(Duration::from_secs(60)))
        };
        token.cancel();
        assert_eq!(waiter.join().unwrap(), Err(Cancelled));
    }

    #[test]
    fn reader_stops_and_read_to_end_does_not_retry() {
        let token = CancelToken::new();
        let mut reader = CancelReader::new(io::repeat(7), &token);
        let mut buf = [0; 4];
        reader.read_exact(&mut buf).unwrap();
        token.cancel();
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(Cancelled::caused(&error));
        assert!(!Cancelled::caused(&io::Error::other("else")));
    }
}
