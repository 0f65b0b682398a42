//! A limit that builds keep themselves: looked at before a build writes, before a step of it if so much was
//! written that the limit may have been reached, and when the build ends.

use std::sync::{Arc, Mutex, PoisonError};

use rbuild_progress::{CancelToken, Event, Sink, WarningNote};
use rbuild_store::Store;
use rbuild_worker::BeforeStep;

use super::{Limits, PruneRequest, Tombstone, prune_for, taken};
use crate::Result;

/// What is left of a store that grew over its limit, in tenths: to the brim, every build would collect.
const LEFT: u64 = 9;

/// Where a store that is held over its limit is looked at again: after so much more, as a part of the limit.
const HELD: u64 = 50;

/// The limit of a store, and how far away it was when it was last looked at.
pub(crate) struct Cap {
    store: Arc<Store>,
    max: u64,
    seen: Mutex<Seen>,
}

/// What the disk had free at the last look, what this process had committed by then, and how much may be
/// written until the next one, in bytes.
#[derive(Clone, Copy, Default)]
struct Seen {
    free: u64,
    committed: u64,
    room: u64,
}

impl Cap {
    /// At most `max` bytes; nothing is looked at yet.
    pub(crate) fn new(store: Arc<Store>, max: u64) -> Self {
        Self {
            store,
            max,
            seen: Mutex::default(),
        }
    }

    /// Brings the store down if it takes more than the limit.
    ///
    /// What images with names and running builds hold stays, and a warning says so. Failing is a warning,
    /// too: a build does not fail for it.
    pub(crate) fn enforce(&self, (sink, cancel): (&dyn Sink, &CancelToken)) {
        let max = self.max;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match self.look(&mut seen, cancel) {
            Ok(used) if used <= max => {}
            Ok(used) => warn(
                sink,
                format!("the store takes {used} bytes, more than the limit of {max}"),
                "Images with names and running builds hold the rest; `rbuild du` lists what takes how much.",
            ),
            Err(error) if cancel.is_cancelled() => {
                tracing::debug!(%error, "the limit was not looked at")
            }
            Err(error) => warn(
                sink,
                format!("the limit of the store could not be kept: {error}"),
                "`rbuild store verify` shows what is wrong with it.",
            ),
        }
    }

    fn look(&self, seen: &mut Seen, cancel: &CancelToken) -> Result<u64> {
        let used = enforced(&self.store, self.max, cancel)?;
        *seen = Seen {
            free: self.store.free_bytes()?,
            committed: self.store.committed_bytes(),
            room: match self.max.checked_sub(used) {
                Some(room) => room,
                // Most of it is held: collecting before every step would gain little.
                None => self.max / HELD,
            },
        };
        Ok(used)
    }
}

impl BeforeStep for Cap {
    /// Costs one question to the disk, unless so much was written to it that the store may have reached its
    /// limit: by this build, which counts, or by others, which the disk tells. It may tell late: what is
    /// deleted on ext4 is free with the next commit of its journal, and hides as much that is written.
    fn before_step(&self, cancel: &CancelToken) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(free) = self.store.free_bytes() else {
            return;
        };
        let committed = self.store.committed_bytes();
        let written = committed.saturating_sub(seen.committed);
        if written.max(seen.free.saturating_sub(free)) < seen.room {
            return;
        }
        // The look at the end says what is wrong.
        if let Err(error) = self.look(&mut seen, cancel) {
            tracing::debug!(%error, "the limit was not looked at");
        }
    }
}

/// Returns what the store takes afterwards.
fn enforced(store: &Store, max: u64, cancel: &CancelToken) -> Result<u64> {
    let used = taken(store, cancel)?;
    if used <= max {
        return Ok(used);
    }
    let limits = Limits {
        max_used: (max / 10).saturating_mul(LEFT).max(1),
        ..Limits::default()
    };
    let request = PruneRequest {
        limits,
        ..PruneRequest::default()
    };
    prune_for(store, &request, Tombstone::now(Some(max)), cancel)?;
    let used = taken(store, cancel)?;
    // Logs are for people to read, as long as there is room.
    Ok(match used > max {
        true => used - store.delete_logs()?.min(used),
        false => used,
    })
}

fn warn(sink: &dyn Sink, what: String, detail: &str) {
    sink.send(Event::Warning(WarningNote {
        vertex: None,
        short: format!("CacheMax: {what}"),
        detail: vec![detail.to_owned()],
        url: None,
        file: None,
        line: None,
        end_line: None,
    }));
}
