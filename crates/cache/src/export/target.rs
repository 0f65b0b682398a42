//! A place that is written: what it has, sending blobs to it, and its index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use rbuild_layer::Compression;
use rbuild_oci::{Descriptor, Digest};
use rbuild_progress::CancelToken;
use rbuild_store::Store;

use super::wanted::Wanted;
use super::{Results, Shared, Written};
use crate::backend::{Backend, NewIndex};
use crate::clock::Clock;
use crate::entry::{BlobRef, Entry, LayerEntry, Signed, StepEntry};
use crate::imports::{Merged, now_secs, read_merged};
use crate::index::Index;
use crate::option::{CacheTo, Mode};
use crate::{Error, Result};

/// How often an index is written before it is left to others.
const ATTEMPTS: u32 = 8;

/// How old the note of an entry's last use may be before an index is written for it alone, in seconds.
const SEEN_SLACK: u64 = 24 * 3600;

/// One of the places that a build writes.
pub(super) struct Target {
    pub spec: CacheTo,
    pub compression: Compression,
    backend: Arc<dyn Backend>,
    /// Blobs that its index named when it was first read, without those that the build missed there; none if it could
    /// not be read.
    named: Mutex<Option<BTreeSet<Digest>>>,
    sent: Mutex<BTreeMap<Digest, u64>>,
}

impl Target {
    pub fn new(spec: CacheTo, backend: Arc<dyn Backend>, usual: Compression) -> Self {
        Self {
            compression: spec.compression.unwrap_or(usual),
            spec,
            backend,
            named: Mutex::default(),
            sent: Mutex::default(),
        }
    }

    pub fn name(&self) -> &str {
        self.backend.name()
    }

    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub fn takes(&self, wanted: &Wanted) -> bool {
        self.spec.mode == Mode::Max || wanted.in_result
    }

    /// Sends a blob unless it is there.
    pub fn send(&self, blob: &Descriptor, store: &Store, cancel: &CancelToken) -> Result<()> {
        let is_named = self
            .named()
            .get_or_insert_with(|| {
                let read = read_merged(&*self.backend, cancel);
                read.map_or_else(|_| BTreeSet::new(), |merged| digests(&merged.index))
            })
            .contains(&blob.digest);
        if is_named || self.sent().contains_key(&blob.digest) {
            return Ok(());
        }
        self.backend.send(blob, store, cancel)?;
        self.sent().insert(blob.digest.clone(), blob.size);
        Ok(())
    }

    fn named(&self) -> MutexGuard<'_, Option<BTreeSet<Digest>>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self) -> MutexGuard<'_, BTreeMap<Digest, u64>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digests(index: &Index) -> BTreeSet<Digest> {
    index.blobs().into_iter().map(|blob| blob.digest).collect()
}

impl Shared {
    /// Sends what a place lacks, and writes its index.
    pub(super) fn write(
        &self,
        target: &Target,
        (wanted, results): (&[&Wanted], &Results<'_>),
        (deadline, cancel): (Option<Instant>, &CancelToken),
    ) -> Result<Written> {
        let merged = read_replaceable(&*target.backend, cancel)?;
        target
            .named()
            .get_or_insert_with(|| digests(&merged.index))
            .retain(|digest| !results.lost.contains(digest));
        let mut written = Written::default();
        let mut own = Index::default();
        let mut missing = Vec::new();
        for one in wanted {
            match self.known(target, (&merged.index, results.lost), one) {
                Some(line) => {
                    written.known += 1;
                    own.steps.push(line);
                }
                None => missing.push(*one),
            }
        }
        self.sort_by_value(&mut missing)?;
        let clock = Clock::start(deadline, cancel)?;
        for one in missing {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                written.left_out += 1;
                continue;
            }
            match self.entry(target, one, &clock.token) {
                Ok(entry) => {
                    written.new += 1;
                    own.steps.push(self.signed(entry));
                }
                Err(Error::Cancelled) if !cancel.is_cancelled() => written.left_out += 1,
                Err(error) => return Err(error),
            }
        }
        // After the steps: what they save is known.
        let mounts = self.mounts((target, &merged.index), results, (&clock.token, cancel))?;
        (own.mounts, written.mounts) = (mounts.lines, mounts.told);
        drop(clock);
        written.sent_bytes = target.sent().values().sum();
        self.write_index(target, merged, own, cancel)?;
        Ok(written)
    }

    /// The line of the index that says the same as we would.
    fn known(
        &self,
        target: &Target,
        (index, lost): (&Index, &BTreeSet<Digest>),
        wanted: &Wanted,
    ) -> Option<Signed<StepEntry>> {
        let ours = self.writer.key.as_ref().map(|key| key.public().to_string());
        let line = index.steps.iter().find(|line| {
            let entry = &line.entry;
            let signer = line.signature.as_ref().map(|signature| &signature.key);
            signer == ours.as_ref()
                && entry.scope == target.spec.scope
                && entry.identity == wanted.identity
                && wanted.keys.iter().all(|key| entry.keys.contains(key))
                && !entry.blobs().iter().any(|blob| lost.contains(&blob.digest))
        })?;
        let mut line = line.clone();
        line.seen = now_secs();
        Some(line)
    }

    /// Puts first what saves most time for its bytes.
    fn sort_by_value(&self, missing: &mut [&Wanted]) -> Result<()> {
        let mut values = BTreeMap::new();
        for one in missing.iter() {
            let index = self.layers.find(&one.layer)?.and_then(|info| {
                let original = info.original.map(|original| original.descriptor.size);
                let twins = info.twins.values().map(|twin| twin.size).max();
                original.or(twins)
            });
            let bytes = index.unwrap_or(1).max(1);
            values.insert(one.layer, one.cost_ms.saturating_mul(1 << 20) / bytes);
        }
        missing.sort_by_key(|one| std::cmp::Reverse(values.get(&one.layer).copied()));
        Ok(())
    }

    /// Sends a result's blobs; the entry that names them.
    fn entry(&self, target: &Target, one: &Wanted, cancel: &CancelToken) -> Result<StepEntry> {
        cancel.check()?;
        let store = self.layers.store();
        let blob = self
            .layers
            .compressed(&one.layer, target.compression, cancel)?;
        let index = self.layers.packed_index(&one.layer, cancel)?;
        let diff_id = self.layers.diff_id(&one.layer, cancel)?;
        let made = self.layers.info(&one.layer)?.created;
        let made = made.duration_since(UNIX_EPOCH).unwrap_or_default();
        for blob in [&blob, &index] {
            target.send(blob, store, cancel)?;
        }
        let (inputs, lists) = self.lists(target, one, cancel)?;
        Ok(StepEntry {
            keys: one.keys.clone(),
            identity: one.identity.clone(),
            layer: LayerEntry {
                diff_id,
                blob: BlobRef::from(&blob),
                index: Some(BlobRef::from(&index)),
                made_ns: u64::try_from(made.as_nanos()).unwrap_or(u64::MAX),
            },
            scope: target.spec.scope.clone(),
            writer: self.writer.name.clone(),
            created: now_secs(),
            cost_ms: one.cost_ms,
            inputs,
            lists,
            inline: false,
        })
    }

    pub(super) fn signed<T: Entry>(&self, entry: T) -> Signed<T> {
        let signature = self.writer.key.as_ref().and_then(|key| key.sign(&entry));
        Signed {
            entry,
            seen: now_secs(),
            signature,
        }
    }

    /// Writes the index with our lines in it; as often as somebody else writes at the same time.
    fn write_index(
        &self,
        target: &Target,
        mut merged: Merged,
        own: Index,
        cancel: &CancelToken,
    ) -> Result<()> {
        if !needs_writing(&merged, &own) {
            return Ok(());
        }
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                // Others that had to try again do so at another moment.
                cancel.wait(pause(attempt))?;
                merged = read_replaceable(&*target.backend, cancel)?;
                if !merged.index.lacks(&own) {
                    return Ok(());
                }
            }
            let mut index = merged.index;
            index.merge(own.clone());
            index.drop_stale(target.spec.keep, now_secs());
            let blobs: Vec<Descriptor> = index.blobs().iter().map(BlobRef::descriptor).collect();
            let new = NewIndex {
                bytes: &index.encode()?,
                blobs: &blobs,
                merged: &merged.names,
            };
            match target.backend.write_index(&new, cancel) {
                Ok(()) | Err(Error::Moved { .. }) => {}
                Err(error) => return Err(error),
            }
            merged = read_replaceable(&*target.backend, cancel)?;
            // What is too much or too old is not missed.
            if !merged.index.lacks(&own)
                || merged.index.steps.len() >= index.steps.len() && index.lacks(&own)
            {
                return Ok(());
            }
        }
        Err(Error::Moved {
            place: target.name().to_owned(),
        })
    }
}

/// Reads all indexes of a place; what nobody can read is of no use to anybody, and counts as nothing.
fn read_replaceable(backend: &dyn Backend, cancel: &CancelToken) -> Result<Merged> {
    match read_merged(backend, cancel) {
        Err(Error::Document { .. } | Error::TooLarge { .. }) => {
            let names = backend.read_indexes(cancel).unwrap_or_default();
            Ok(Merged {
                index: Index::default(),
                names: names.into_iter().map(|document| document.name).collect(),
            })
        }
        read => read,
    }
}

/// Whether there is anything to say: something new, or a use long after the last that is noted.
fn needs_writing(merged: &Merged, own: &Index) -> bool {
    let all = &merged.index;
    merged.names.len() > 1
        || all.lacks(own)
        || has_news(&all.steps, &own.steps)
        || has_news(&all.mounts, &own.mounts)
}

fn has_news<T: Entry>(all: &[Signed<T>], own: &[Signed<T>]) -> bool {
    let seen = all.iter().map(|line| (line.entry.names(), line.seen));
    let seen: BTreeMap<_, _> = seen.collect();
    own.iter().any(|line| {
        let before = seen.get(&line.entry.names());
        before.is_none_or(|before| line.seen.saturating_sub(*before) > SEEN_SLACK)
    })
}

/// A pause that grows, and is another one in each process.
fn pause(attempt: u32) -> Duration {
    let spread = u64::from(std::process::id()) % 50;
    Duration::from_millis((10 << attempt) + spread)
}
