//! Removal: rows and objects of what was chosen, beside running builds.
//!
//! Under the collector's lock, which makes all builds wait, only rows are read and deleted and objects
//! moved away; the bytes go after it. Killed between, it leaves objects that nothing leads to, which the
//! next removal takes, and what was moved away goes with the next opening of the store.

use std::collections::BTreeSet;

use rbuild_progress::CancelToken;
use rbuild_store::{Change, Discarded, Object, Store};

use super::entry::EntryKey;
use super::inventory::Inventory;
use super::plan::{Plan, plan};
use super::tombstone::{self, Tombstone};
use crate::Result;

/// Entries that go under one hold of the lock: builds get their turn between.
const BATCH: usize = 200;

/// What was removed.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// Entries that were asked for and stay: they are in use by now.
    pub spared: BTreeSet<EntryKey>,
    /// Blocks given back, in bytes.
    pub freed_bytes: u64,
}

/// Removes entries, and whatever nothing leads to any more.
///
/// `grave` is left for each record that goes.
pub(super) fn sweep(
    store: &Store,
    victims: &BTreeSet<EntryKey>,
    grave: Tombstone,
    cancel: &CancelToken,
) -> Result<Swept> {
    let mut swept = Swept::default();
    let keys: Vec<&EntryKey> = victims.iter().collect();
    // Once also for nobody: what nothing leads to goes in any case.
    let none: &[&EntryKey] = &[];
    let batches = keys.chunks(BATCH);
    for batch in batches.chain(keys.is_empty().then_some(none)) {
        let batch = batch.iter().copied().cloned().collect();
        let (plan, discarded) = take_out(store, &batch, grave, cancel)?;
        swept.spared.extend(plan.spared);
        // From here on it is done: interrupting would only leave it to the next opening.
        swept.freed_bytes += discarded.delete()?;
    }
    tombstone::tidy(store);
    for key in victims {
        let EntryKey::Mount(id) = key else { continue };
        cancel.check()?;
        let removed = store.clear_cache_mount(id)?;
        swept.freed_bytes += removed.freed_bytes;
        if removed.in_use {
            swept.spared.insert(key.clone());
        } else {
            store.forget_cache_mount(id)?;
        }
    }
    Ok(swept)
}

/// The part under the lock.
fn take_out(
    store: &Store,
    victims: &BTreeSet<EntryKey>,
    grave: Tombstone,
    cancel: &CancelToken,
) -> Result<(Plan, Discarded)> {
    let lock = store.gc_lock(cancel)?;
    let all = Inventory::read(store)?;
    let plan = plan(&all, victims, lock.leased());
    let objects = there(store)?;
    let gone: Vec<Object> = objects.difference(&plan.kept).cloned().collect();
    let changes: Vec<Change<'_>> = plan
        .rows
        .iter()
        .map(|(table, key)| Change::Delete(*table, key))
        .collect();
    tombstone::bury(store, &plan.rows, grave);
    let discarded = match store.transact(&changes) {
        Ok(()) => store.discard(&lock, &gone)?,
        // Not even the log of the database can grow. Bytes first then: rows that lead to nothing are
        // noticed by whoever follows them.
        Err(error) if error.is_disk_full() => {
            let discarded = store.discard_at_once(&lock, &gone)?;
            store.transact(&changes)?;
            discarded
        }
        Err(error) => return Err(error.into()),
    };
    Ok((plan, discarded))
}

/// All objects of the store, those in doubt since a restart included.
fn there(store: &Store) -> Result<BTreeSet<Object>> {
    let blobs = store.blobs()?.into_iter().map(Object::Blob);
    let trees = store.trees()?.into_iter().map(Object::Tree);
    Ok(blobs.chain(trees).chain(store.suspects()?).collect())
}
