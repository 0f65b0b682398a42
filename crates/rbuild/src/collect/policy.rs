//! What to remove: a pure choice among entries.
//!
//! With limits, what saves least time for its bytes goes first: the time that making an entry took,
//! times how often it was used, over its size and over the time since its last use.

use std::time::{Duration, SystemTime};

use super::entry::EntryKey;
use super::{CacheEntry, CacheFilter, CacheKind};

/// Added to the time since the last use, which is known to the minute.
const SOFTENING: Duration = Duration::from_secs(60);

/// How fast things come that nobody has timed (pulled layers, downloads, mounts), in bytes a millisecond.
const FETCH_SPEED: u64 = 20_000;

/// Whether what images with names hold is forgotten as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PruneScope {
    /// No: the steps that made their layers stay in the cache.
    #[default]
    Private,
    /// Yes. The images stay, with their layers.
    All,
}

/// How much may stay; nothing is removed beyond what the limits ask for. Zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that stay in any case.
    pub reserved: u64,
    /// Bytes that the store may take at most.
    pub max_used: u64,
    /// Bytes that shall be free on its disk.
    pub min_free: u64,
}

impl Limits {
    /// How many bytes may stay; `None` if there is no limit.
    fn keep(self, disk: Disk) -> Option<u64> {
        if self == Limits::default() {
            return None;
        }
        let missing = self.min_free.saturating_sub(disk.free);
        let by_free = disk.used.saturating_sub(missing);
        let keep = match (self.max_used, missing) {
            (0, 0) => disk.used,
            (0, _) => by_free,
            (max, 0) => max,
            (max, _) => max.min(by_free),
        };
        // Only what is reserved: all above it goes.
        let keep = if self.max_used == 0 && self.min_free == 0 {
            0
        } else {
            keep
        };
        Some(keep.max(self.reserved))
    }
}

/// What is to be removed.
#[derive(Clone, Debug, Default)]
pub struct PruneRequest {
    /// Whether what images hold is forgotten as well.
    pub scope: PruneScope,
    /// All of them must hold.
    pub filters: Vec<CacheFilter>,
    /// How much may stay.
    pub limits: Limits,
}

/// How full it is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    /// What the store takes.
    pub used: u64,
    /// What is free on its disk.
    pub free: u64,
}

/// The entries to remove, in the order in which they go.
pub(super) fn victims(
    entries: &[CacheEntry],
    request: &PruneRequest,
    (disk, now): (Disk, SystemTime),
) -> Vec<EntryKey> {
    let is_meant = |entry: &&CacheEntry| {
        let in_scope = request.scope == PruneScope::All || !entry.shared;
        in_scope && !entry.in_use && request.filters.iter().all(|it| it.holds(entry, now))
    };
    let mut meant: Vec<&CacheEntry> = entries.iter().filter(is_meant).collect();
    let Some(keep) = request.limits.keep(disk) else {
        return meant.into_iter().map(|entry| entry.key.clone()).collect();
    };
    // What an image holds frees nothing.
    meant.retain(|entry| !entry.shared);
    meant.sort_by(|a, b| {
        let worth = worth(a, now).total_cmp(&worth(b, now));
        worth
            .then_with(|| b.idle(now).cmp(&a.idle(now)))
            .then_with(|| a.key.cmp(&b.key))
    });
    // What nothing leads to goes in any case.
    let unled = entries.iter();
    let unled = unled.filter(|entry| entry.kind == CacheKind::Internal && !entry.in_use);
    let unled: u64 = unled.map(|entry| entry.size_bytes).sum();
    let mut used = disk.used.saturating_sub(unled);
    meant.retain(|entry| entry.kind != CacheKind::Internal);
    let mut gone = Vec::new();
    for entry in meant {
        if used <= keep {
            break;
        }
        used = used.saturating_sub(entry.size_bytes);
        gone.push(entry.key.clone());
    }
    gone
}

/// Seconds that an entry is likely to save in a second, for each of its bytes.
#[allow(clippy::cast_precision_loss)]
fn worth(entry: &CacheEntry, now: SystemTime) -> f64 {
    let fetch = Duration::from_millis(entry.size_bytes / FETCH_SPEED);
    let cost = if entry.cost.is_zero() {
        fetch
    } else {
        entry.cost
    };
    let idle = entry.idle(now).saturating_add(SOFTENING).as_secs_f64();
    let uses = entry.uses.max(1) as f64;
    cost.as_secs_f64() * uses / idle / entry.size_bytes.max(1) as f64
}

#[cfg(test)]
mod tests;
