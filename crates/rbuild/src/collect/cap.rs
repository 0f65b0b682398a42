//! A limit that builds keep themselves: looked at before a build writes, and when it ends.

use rbuild_progress::{CancelToken, Event, Sink, WarningNote};
use rbuild_store::Store;

use super::{Limits, PruneRequest, Tombstone, prune_for, taken};
use crate::Result;

/// What is left of a store that grew over its limit, in tenths: to the brim, every build would collect.
const LEFT: u64 = 9;

/// Brings the store down if it takes more than `max` bytes.
///
/// What images with names and running builds hold stays, and a warning says so. Failing is a warning, too:
/// a build does not fail for it.
pub(crate) fn enforce(store: &Store, max: u64, (sink, cancel): (&dyn Sink, &CancelToken)) {
    match enforced(store, max, cancel) {
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
    taken(store, cancel)
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
