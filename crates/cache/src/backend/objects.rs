//! Caches in a store of objects by key, whoever runs it: blobs by digest, and an object for every index.
//!
//! What differs between services is behind [`Bucket`].

mod blobs;
mod bucket;
mod failure;
mod folders;
mod indexes;
mod layout;
mod making;
mod presence;
mod renewal;
mod upload;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use rbuild_oci::{Descriptor, Digest};
use rbuild_progress::CancelToken;
use rbuild_registry::Client;
use rbuild_store::Store;
use tokio::sync::Semaphore;

pub(super) use bucket::{Bucket, Fault};
pub(super) use failure::{code, is_denied, is_missing, said, text_of, unanswered};
pub(super) use folders::Folders;
pub(super) use wire::Wire;

use super::ask::ask;
use super::{Backend, IndexDocument, NewIndex};
use crate::{Error, Result};
use layout::Layout;

/// Uploads at the same time, unless the attributes say otherwise.
pub(super) const PARALLELISM: usize = 4;

/// A cache in a bucket.
struct Objects {
    name: String,
    layout: Layout,
    client: Client,
    bucket: Box<dyn Bucket>,
    /// What is known of blobs that were asked for or sent.
    seen: Mutex<BTreeMap<Digest, Sighting>>,
    /// Permits for parts of blobs in memory.
    parts: Semaphore,
    /// Whether the bucket is there, as far as is known.
    is_made: Mutex<Option<bool>>,
}

/// What is known of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sighting {
    /// It is not there.
    Absent,
    /// It is there, and young.
    Fresh,
    /// It is there, and old enough for its age to be renewed.
    Stale,
}

/// Opens a cache in a bucket. Asks nothing yet; `parallelism` parts of blobs are sent at the same time.
pub(super) fn open(
    (name, folders): (String, &Folders),
    (bucket, parallelism): (Box<dyn Bucket>, usize),
    client: &Client,
) -> Result<Arc<dyn Backend>> {
    Ok(Arc::new(Objects {
        name,
        layout: Layout::of(folders)?,
        client: client.clone(),
        bucket,
        seen: Mutex::default(),
        parts: Semaphore::new(parallelism),
        is_made: Mutex::default(),
    }))
}

/// How requests are tried again: as the registry client does.
pub(super) fn retry(client: &Client, attempts: Option<u32>) -> RetryConfig {
    let policy = client.retry_policy();
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: policy.first_pause,
            max_backoff: policy.longest_pause,
            base: 2.0,
        },
        // The first attempt is none more.
        max_retries: attempts.unwrap_or(policy.attempts).saturating_sub(1) as usize,
        retry_timeout: wire::LONGEST,
    }
}

impl Objects {
    /// Does something at the place; `action` is a verb and an object.
    fn ask<T>(
        &self,
        action: &'static str,
        cancel: &CancelToken,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        // `object_store` takes some answers for granted.
        let work = AssertUnwindSafe(work).catch_unwind().map(|outcome| {
            outcome.unwrap_or_else(|_| {
                Err(Error::place(&self.name, action, "an answer makes no sense"))
            })
        });
        ask(&self.client, (&self.name, action), cancel, work)
    }

    /// Says what went wrong.
    fn failed(&self, action: &'static str) -> impl Fn(object_store::Error) -> Error {
        move |error| Error::place(&self.name, action, self.bucket.told(&error))
    }

    fn store(&self) -> &dyn ObjectStore {
        self.bucket.objects()
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<Digest, Sighting>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Objects {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_indexes(&self, cancel: &CancelToken) -> Result<Vec<IndexDocument>> {
        self.ask("read the indexes", cancel, self.all_indexes())
    }

    fn write_index(&self, index: &NewIndex<'_>, cancel: &CancelToken) -> Result<()> {
        self.add_index(index, cancel)
    }

    fn present(&self, blobs: &[Descriptor], cancel: &CancelToken) -> Result<BTreeSet<Digest>> {
        self.ask("look for blobs", cancel, self.which(blobs))
    }

    fn fetch(
        &self,
        blob: &Descriptor,
        store: &Store,
        progress: &dyn Fn(u64),
        cancel: &CancelToken,
    ) -> Result<()> {
        self.ask("read a blob", cancel, self.bring(blob, store, progress))
    }

    fn send(&self, blob: &Descriptor, store: &Store, cancel: &CancelToken) -> Result<()> {
        self.send_blob(blob, store, cancel)
    }
}
