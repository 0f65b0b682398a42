//! How far a restore has come, for all who work on it, and why it stopped.
//!
//! Who waits here does not look at the build's token: somebody who fetches or unpacks does, and stops all.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::Error;

/// The state of a restore, and waiting for it to change.
#[derive(Default)]
pub(super) struct Flow {
    state: Mutex<State>,
    changed: Condvar,
}

/// How far it is.
#[derive(Default)]
pub(super) struct State {
    /// Positions of packs that are in the store.
    pub packs: HashSet<u32>,
    /// Unpacked frames by their turn.
    pub frames: HashMap<usize, Vec<u8>>,
    /// How many frames were taken: the turn of the next one.
    pub taken: usize,
    is_over: bool,
    failure: Option<Error>,
}

/// Nothing more is to be done; the flow knows why.
pub(super) struct Stopped;

impl Flow {
    /// Stops all if the thread that has it panics, so that nobody waits for it.
    pub fn guard(&self) -> Guard<'_> {
        Guard(self)
    }

    /// Changes the state, and wakes all who wait for that.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Waits until `look` finds something. What it changes wakes the others.
    pub fn wait<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> Result<T, Stopped> {
        let mut state = self.state();
        loop {
            if state.is_over {
                return Err(Stopped);
            }
            if let Some(found) = look(&mut state) {
                self.changed.notify_all();
                return Ok(found);
            }
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Stops all; the first failure is the one that is told.
    pub fn fail(&self, error: Error) -> Stopped {
        self.change(|state| {
            if !state.is_over {
                state.failure = Some(error);
                state.is_over = true;
            }
        });
        Stopped
    }

    /// Stops all.
    pub fn end(&self) {
        self.change(|state| state.is_over = true);
    }

    pub fn is_over(&self) -> bool {
        self.state().is_over
    }

    /// Why it stopped, for who asks first.
    pub fn failure(&self) -> Error {
        self.state().failure.take().unwrap_or(Error::Cancelled)
    }

    /// Locks the state; what is done meanwhile is short and waits for nothing.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A position that was checked leads nowhere: a mistake of ours.
pub(super) fn lost() -> Error {
    let source = io::Error::other("its list has changed");
    Error::at("unpack", Path::new("a cache mount"))(source)
}

/// See [`Flow::guard`].
pub(super) struct Guard<'a>(&'a Flow);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end();
        }
    }
}
