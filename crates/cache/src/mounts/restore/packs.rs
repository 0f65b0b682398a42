//! The packs of a list on their way into the store.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rbuild_progress::CancelToken;
use rbuild_store::Store;

use super::flow::{Flow, Stopped, lost};
use crate::backend::Backend;
use crate::entry::BlobRef;
use crate::mounts::list::List;
use crate::{Error, Result};

/// Packs that are fetched at the same time.
const AT_ONCE: usize = 4;

pub(super) struct Packs<'a> {
    list: &'a List,
    pub backend: &'a dyn Backend,
    store: &'a Store,
    pub cancel: &'a CancelToken,
    pub flow: Flow,
    /// Positions of packs, in the order in which they are needed.
    order: Vec<u32>,
    next: AtomicUsize,
    fetched: AtomicU64,
}

impl<'a> Packs<'a> {
    pub fn of(
        list: &'a List,
        (backend, store, cancel): (&'a dyn Backend, &'a Store, &'a CancelToken),
    ) -> Self {
        let mut seen = BTreeSet::new();
        let used = list.files.iter().flatten();
        let used = used.filter_map(|chunk| Some(list.place(*chunk)?.1.pack));
        let order = used.filter(|pack| seen.insert(*pack)).collect();
        Self {
            list,
            backend,
            store,
            cancel,
            flow: Flow::default(),
            order,
            next: AtomicUsize::new(0),
            fetched: AtomicU64::new(0),
        }
    }

    /// How many may fetch.
    pub fn hands(&self) -> usize {
        AT_ONCE.min(self.order.len())
    }

    /// What was fetched, in bytes.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Fetches one pack after the other, beside others that do the same.
    pub fn fetch_all(&self) {
        let _guard = self.flow.guard();
        while let Some(pack) = self.order.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if self.flow.is_over() {
                return;
            }
            match self.fetch(*pack) {
                Ok(()) => self.flow.change(|state| {
                    state.packs.insert(*pack);
                }),
                Err(error) => {
                    self.flow.fail(error);
                    return;
                }
            }
        }
    }

    fn fetch(&self, pack: u32) -> Result<()> {
        let blob = self.blob(pack)?;
        if self.store.has_blob(&blob.digest) {
            return Ok(());
        }
        let descriptor = blob.descriptor();
        self.backend
            .fetch(&descriptor, self.store, &|_| {}, self.cancel)?;
        self.fetched.fetch_add(blob.size, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until a pack is there, and opens it.
    pub fn open(&self, pack: u32) -> Result<File, Stopped> {
        self.flow
            .wait(|state| state.packs.contains(&pack).then_some(()))?;
        let open = || -> Result<File> { Ok(self.store.open_blob(&self.blob(pack)?.digest)?) };
        open().map_err(|error| self.flow.fail(error))
    }

    /// Says that a pack holds what it must not.
    pub fn damaged(&self, pack: u32, reason: String) -> Error {
        match self.blob(pack) {
            Ok(blob) => Error::Corrupt {
                place: self.backend.name().to_owned(),
                digest: blob.digest.clone(),
                reason,
            },
            Err(error) => error,
        }
    }

    fn blob(&self, pack: u32) -> Result<&BlobRef> {
        self.list.packs.get(pack as usize).ok_or_else(lost)
    }
}
