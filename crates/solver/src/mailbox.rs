//! Messages from worker threads to the one thread that owns the state.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rbuild_progress::CancelToken;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

/// A queue that can be waited for together with a cancel token.
pub(crate) struct Mailbox<M> {
    messages: Mutex<Vec<M>>,
    bell: OwnedFd,
}

/// What ended a wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// There are messages.
    Mail,
    /// The token was set.
    Cancelled,
}

impl<M> Mailbox<M> {
    /// Returns an empty mailbox; fails if the process can open no further descriptor.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            messages: Mutex::default(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Leaves a message and wakes whoever waits.
    pub(crate) fn post(&self, message: M) {
        self.lock().push(message);
        // A full counter is readable all the same.
        rustix::io::write(&self.bell, &1u64.to_ne_bytes()).ok();
    }

    /// Takes out all messages in the order posted; may be none.
    pub(crate) fn take(&self) -> Vec<M> {
        // Silence the bell first: a message posted in between rings it again, and at worst the next
        // look finds nothing.
        rustix::io::read(&self.bell, &mut [0u8; 8]).ok();
        std::mem::take(&mut *self.lock())
    }

    /// Waits for a message, or for `cancel` if one is given.
    pub(crate) fn wait(&self, cancel: Option<&CancelToken>) -> Woken {
        let mut fds = vec![PollFd::from_borrowed_fd(self.bell.as_fd(), PollFlags::IN)];
        fds.extend(cancel.map(|token| PollFd::from_borrowed_fd(token.as_fd(), PollFlags::IN)));
        loop {
            // Fails only when interrupted by a signal, since both descriptors are open.
            poll(&mut fds, None).ok();
            if fds.len() > 1 && !fds[1].revents().is_empty() {
                return Woken::Cancelled;
            }
            if !fds[0].revents().is_empty() {
                return Woken::Mail;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<M>> {
        // A poisoned lock only means that a push ran out of memory; the queue itself is whole.
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_wake_in_order() {
        let mailbox = Mailbox::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..100).for_each(|n| mailbox.post(n)));
            let mut heard = Vec::new();
            while heard.len() < 100 {
                assert_eq!(mailbox.wait(None), Woken::Mail);
                heard.extend(mailbox.take());
            }
            assert_eq!(heard, (0..100).collect::<Vec<_>>());
        });
    }

    #[test]
    fn token_wakes_too() {
        let mailbox: Mailbox<()> = Mailbox::new().unwrap();
        let token = CancelToken::new();
        std::thread::scope(|scope| {
            scope.spawn(|| token.cancel());
            assert_eq!(mailbox.wait(Some(&token)), Woken::Cancelled);
        });
    }
}
