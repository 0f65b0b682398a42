//! The state of one vertex and the ways it may change.

use std::sync::Arc;

use crate::CacheKey;
use crate::attempt::{Done, Missed};
use crate::keying::Keys;

/// Where a vertex stands.
pub(crate) enum State<O> {
    /// Inputs are missing, this many different ones.
    Waiting(usize),
    /// All inputs have results; it is being keyed and looked up, or queued for that.
    Keying,
    /// Nothing was found. It waits for another vertex that does the same work.
    Keyed(Missed<O>),
    /// It is being carried out, or queued for that.
    Running(Arc<Keys>),
    /// Nothing needs its result.
    Spared,
    /// It has a result.
    Done(Done<O>),
    /// It failed.
    Failed,
    /// It was stopped, or never begun, because of something else.
    Cancelled,
}

impl<O> State<O> {
    /// Counts one input as there; tells whether it was the last that was missing.
    pub(crate) fn input_arrived(&mut self) -> bool {
        match self {
            Self::Waiting(missing) => {
                *missing = missing.saturating_sub(1);
                *missing == 0
            }
            _ => false,
        }
    }

    /// The result, if there is one.
    pub(crate) fn done(&self) -> Option<&Done<O>> {
        match self {
            Self::Done(done) => Some(done),
            _ => None,
        }
    }

    /// The key whose work lock this vertex would hold.
    pub(crate) fn work_key(&self) -> Option<&CacheKey> {
        match self {
            Self::Running(keys) => Some(&keys.content),
            _ => None,
        }
    }
}
