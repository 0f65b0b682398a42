//! Work on the side that waits for the threads that do it, until nobody waits for them any more.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What is to be done on the side of a build, oldest first. Closing it drops what was not begun.
#[derive(Debug)]
pub struct Backlog<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    is_closed: bool,
}

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        let state = State {
            waiting: VecDeque::new(),
            is_closed: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }
}

impl<T> Backlog<T> {
    /// Adds a piece of work; tells whether it will be handed out, which it is not after closing.
    pub fn push(&self, work: T) -> bool {
        self.extend([work])
    }

    /// Adds several pieces of work; as `push`.
    pub fn extend(&self, work: impl IntoIterator<Item = T>) -> bool {
        let mut state = self.lock();
        if !state.is_closed {
            state.waiting.extend(work);
            self.changed.notify_all();
        }
        !state.is_closed
    }

    /// Waits for a piece of work; `None` once it is closed.
    pub fn next(&self) -> Option<T> {
        self.filled().waiting.pop_front()
    }

    /// Waits until there is a piece of work; false once it is closed.
    pub fn has_some(&self) -> bool {
        !self.filled().is_closed
    }

    /// Hands nothing out any more.
    pub fn close(&self) {
        let mut state = self.lock();
        state.waiting.clear();
        state.is_closed = true;
        self.changed.notify_all();
    }

    /// Waits until there is work or it is closed.
    fn filled(&self) -> MutexGuard<'_, State<T>> {
        let idle = |state: &mut State<T>| state.waiting.is_empty() && !state.is_closed;
        self.changed
            .wait_while(self.lock(), idle)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_comes_in_order_until_it_is_closed() {
        let backlog = Backlog::default();
        assert!(backlog.push(1));
        assert!(backlog.extend([2, 3]));
        assert!(backlog.has_some());
        assert_eq!((backlog.next(), backlog.next()), (Some(1), Some(2)));
        backlog.close();
        assert!(!backlog.push(4));
        assert_eq!(backlog.next(), None);
        assert!(!backlog.has_some());
    }

    #[test]
    fn whoever_waits_is_woken() {
        let backlog = Backlog::default();
        std::thread::scope(|scope| {
            let all = [0; 3].map(|_| scope.spawn(|| backlog.next()));
            backlog.push(7);
            while !all.iter().any(|one| one.is_finished()) {
                std::thread::yield_now();
            }
            backlog.close();
            let got = all.map(|one| one.join().unwrap());
            assert_eq!(got.into_iter().flatten().collect::<Vec<_>>(), [7]);
        });
    }
}
