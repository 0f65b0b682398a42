//! A cache in memory, for tests: keeps what it is sent, and fails when it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rbuild_oci::{Descriptor, Digest};
use rbuild_progress::CancelToken;
use rbuild_store::Store;

use super::{Backend, IndexDocument, NewIndex};
use crate::{Error, Result};

/// A place that is gone with the test.
pub(crate) struct MemoryBackend {
    blobs: Mutex<BTreeMap<Digest, Vec<u8>>>,
    indexes: Mutex<Vec<IndexDocument>>,
    /// How many blobs may still be fetched.
    fetches: AtomicUsize,
    /// Whether the one that is too much cancels the build instead of failing.
    cancels: AtomicBool,
}

impl MemoryBackend {
    pub(crate) fn new() -> Self {
        Self {
            blobs: Mutex::default(),
            indexes: Mutex::default(),
            fetches: AtomicUsize::new(usize::MAX),
            cancels: AtomicBool::new(false),
        }
    }

    /// Cancels the build after this many fetches.
    pub(crate) fn cancel_after(&self, fetches: usize) {
        self.break_after(fetches);
        self.cancels.store(true, Ordering::SeqCst);
    }

    /// Fails after this many fetches.
    pub(crate) fn break_after(&self, fetches: usize) {
        self.fetches.store(fetches, Ordering::SeqCst);
    }

    /// Puts in bytes as they are.
    pub(crate) fn put(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256_of(bytes);
        self.lock().insert(digest.clone(), bytes.to_vec());
        digest
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Vec<u8>>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for MemoryBackend {
    fn name(&self) -> &str {
        "memory"
    }

    fn read_indexes(&self, _: &CancelToken) -> Result<Vec<IndexDocument>> {
        let all = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(all.clone())
    }

    fn write_index(&self, index: &NewIndex<'_>, _: &CancelToken) -> Result<()> {
        let mut all = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|document| !index.merged.contains(&document.name));
        let name = Digest::sha256_of(index.bytes).to_string();
        all.insert(
            0,
            IndexDocument {
                name,
                bytes: index.bytes.to_vec(),
            },
        );
        Ok(())
    }

    fn present(&self, blobs: &[Descriptor], _: &CancelToken) -> Result<BTreeSet<Digest>> {
        let all = self.lock();
        let found = blobs.iter().map(|blob| &blob.digest);
        Ok(found
            .filter(|digest| all.contains_key(digest))
            .cloned()
            .collect())
    }

    fn fetch(
        &self,
        blob: &Descriptor,
        store: &Store,
        progress: &dyn Fn(u64),
        cancel: &CancelToken,
    ) -> Result<()> {
        cancel.check()?;
        let left = |left: usize| left.checked_sub(1);
        let allowed = self
            .fetches
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left);
        if allowed.is_err() && self.cancels.load(Ordering::SeqCst) {
            cancel.cancel();
            cancel.check()?;
        }
        allowed.map_err(|_| Error::place("memory", "fetch a blob", "it is broken"))?;
        let bytes = self.lock().get(&blob.digest).cloned();
        let bytes = bytes.ok_or_else(|| Error::Gone {
            place: "memory".to_owned(),
            digest: blob.digest.clone(),
        })?;
        let mut ingest = store.ingest()?;
        ingest
            .write_all(&bytes)
            .map_err(Error::at("write", store.root()))?;
        ingest.commit(Some(&blob.digest))?;
        progress(bytes.len() as u64);
        Ok(())
    }

    fn send(&self, blob: &Descriptor, store: &Store, cancel: &CancelToken) -> Result<()> {
        cancel.check()?;
        let mut bytes = Vec::new();
        store
            .open_blob(&blob.digest)?
            .read_to_end(&mut bytes)
            .map_err(Error::at("read", store.root()))?;
        self.put(&bytes);
        Ok(())
    }
}
