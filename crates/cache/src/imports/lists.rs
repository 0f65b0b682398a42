//! Lists of files that caches elsewhere have.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rbuild_oci::Digest;
use rbuild_progress::CancelToken;
use rbuild_store::{Store, Table};

use super::{Imports, Known};
use crate::backend::Backend;
use crate::clock::Clock;
use crate::entry::{BlobRef, MAX_LIST};
use crate::{Error, Result};

/// Most lists that a build looks for.
const MOST: usize = 8;

/// Most entries of which one list is taken.
const CANDIDATES: usize = 3;

/// How long all of it may take: steps wait for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What may still be looked for, and what was not found.
pub(super) struct Patience {
    lists: usize,
    time: Duration,
    in_vain: BTreeSet<Digest>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            lists: MOST,
            time: PATIENCE,
            in_vain: BTreeSet::new(),
        }
    }
}

impl Imports<'_> {
    /// A list that an entry of one of the caches names, which the store keeps from now on; `None` if it cannot be had
    /// soon. Reads no index.
    ///
    /// Nobody is told of what goes wrong: an explanation is lost, not a result.
    pub fn list(&self, name: &Digest, store: &Store, cancel: &CancelToken) -> Option<Vec<u8>> {
        let candidates = self.known.get()?.lists.get(name)?;
        let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        if patience.in_vain.contains(name) || patience.time.is_zero() {
            return None;
        }
        patience.lists = patience.lists.checked_sub(1)?;
        let began = Instant::now();
        let deadline = began + patience.time;
        let mut fetched = None;
        for known in candidates.iter().take(CANDIDATES) {
            let Some((blob, backend)) = self.where_list(known, name) else {
                continue;
            };
            match fetch(&blob, &*backend, store, (deadline, cancel)) {
                Ok(bytes) => {
                    fetched = Some(bytes);
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, %name, "a list of files cannot be had");
                    if !matches!(error, Error::Gone { .. } | Error::Corrupt { .. }) {
                        // A place that fails is not waited for again.
                        patience.lists = 0;
                        break;
                    }
                }
            }
        }
        if fetched.is_none() {
            patience.in_vain.insert(name.clone());
        }
        patience.time = patience.time.saturating_sub(began.elapsed());
        fetched
    }

    /// Where the list of an entry is, if its writer is trusted.
    fn where_list(&self, known: &Known, name: &Digest) -> Option<(BlobRef, Arc<dyn Backend>)> {
        let mut lists = known.line.entry.lists.iter();
        let blob = lists.find(|blob| blob.digest == *name && blob.size <= MAX_LIST)?;
        if self.is_lost(known) || !self.trust.proves(&known.line) {
            return None;
        }
        let mut from = self.from.iter();
        let from = from.find(|from| from.spec.place.text() == &*known.place)?;
        Some((blob.clone(), Arc::clone(&from.backend)))
    }
}

fn fetch(
    blob: &BlobRef,
    backend: &dyn Backend,
    store: &Store,
    (deadline, cancel): (Instant, &CancelToken),
) -> Result<Vec<u8>> {
    if Instant::now() >= deadline {
        return Err(Error::Cancelled);
    }
    let clock = Clock::start(Some(deadline), cancel)?;
    backend.fetch(&blob.descriptor(), store, &|_| (), &clock.token)?;
    let bytes = store.read_blob(&blob.digest, MAX_LIST)?;
    store.put(Table::Listings, blob.digest.as_str(), &bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
