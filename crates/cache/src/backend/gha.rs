//! The cache of GitHub Actions, and of runners that speak its protocol.
//!
//! Entries are found by key, or by the beginning of a key (the newest first), and never change. A blob's key is
//! `rbuild-blob-DIGEST`, an index's `index-rbuild-SCOPE#TIME-RANDOM`: the newest is looked up by what stands
//! before the time. Only who may use GitHub's API as well can list and delete.

mod api;
mod download;
mod failure;
mod keys;
mod place;
mod requests;
mod service;
mod upload;
mod v1;
mod v2;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use rbuild_oci::{Descriptor, Digest};
use rbuild_progress::CancelToken;
use rbuild_registry::Client;
use rbuild_store::Store;

pub use place::{GhaEnv, GhaPlace};

use super::ask::ask;
use super::content::Content;
use super::{Backend, IndexDocument, NewIndex};
use crate::{Error, Result};
use failure::Fault;
use requests::Requests;
use service::Reserved;

/// Lookups and uploads of one blob's parts at the same time.
const PARALLEL: usize = 4;
/// Most indexes that are read.
const INDEXES: usize = 32;
/// Attempts to find a key for an index that nobody has taken.
const NAMES: usize = 3;

/// The cache of one repository.
struct Gha {
    name: String,
    place: GhaPlace,
    client: Client,
    requests: Requests,
    /// Whether blobs that were asked for or sent are there.
    seen: Mutex<BTreeMap<Digest, bool>>,
    /// Keys that were reserved here and stay empty.
    broken: Mutex<BTreeSet<String>>,
    /// Held by whoever sends a blob: others of this process find it there when they come next.
    sending: Mutex<BTreeMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

/// Opens a place. Asks nothing yet; connections, proxies and authorities are those of `client`.
pub fn open(place: GhaPlace, client: &Client) -> Arc<dyn Backend> {
    Arc::new(Gha {
        name: place.name(),
        requests: Requests::new(&place, client),
        client: client.clone(),
        seen: Mutex::default(),
        broken: Mutex::default(),
        sending: Mutex::default(),
        place,
    })
}

impl Gha {
    /// Does something at the place; `action` is a verb and an object.
    fn ask<T>(
        &self,
        action: &'static str,
        cancel: &CancelToken,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let limit = self.place.timeout;
        let work = async {
            let outcome = tokio::time::timeout(limit, work).await;
            outcome.unwrap_or_else(|_| {
                let secs = limit.as_secs_f32();
                let reason = format!("it took longer than {secs} s (timeout=)");
                Err(Error::place(&self.name, action, reason))
            })
        };
        ask(&self.client, (&self.name, action), cancel, work)
    }

    fn failed(&self, action: &'static str) -> impl Fn(Fault) -> Error {
        move |fault| Error::place(&self.name, action, fault.to_string())
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<Digest, bool>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest index, or all of them where they can be listed.
    async fn all_indexes(&self) -> Result<Vec<IndexDocument>> {
        let failed = self.failed("read the indexes");
        let prefix = keys::index_prefix(&self.place.scope);
        let wanted = match self.place.has_api() {
            false => vec![prefix],
            true => self.list(&prefix, INDEXES).await.map_err(&failed)?,
        };
        let reads = wanted.into_iter().map(|key| self.read_index(key));
        let all: Vec<_> = stream::iter(reads).buffered(PARALLEL).try_collect().await?;
        Ok(all.into_iter().flatten().collect())
    }

    /// Reads the newest index whose key begins so; `None` if there is none, or not for us.
    async fn read_index(&self, prefix: String) -> Result<Option<IndexDocument>> {
        let failed = self.failed("read the indexes");
        let found = self.look_up(&prefix).await.map_err(&failed)?;
        let Some(entry) = found.filter(|entry| entry.key.starts_with(&prefix)) else {
            return Ok(None);
        };
        let bytes = self.download_index(&entry).await?;
        let name = entry.key;
        Ok(bytes.map(|bytes| IndexDocument { name, bytes }))
    }

    async fn add_index(&self, index: &NewIndex<'_>) -> Result<()> {
        let failed = self.failed("write an index");
        if !self.place.has_api() {
            // Only the newest is ever found: it must hold what the one before held.
            let prefix = keys::index_prefix(&self.place.scope);
            let newest = self.look_up(&prefix).await.map_err(&failed)?;
            let newest = newest.filter(|entry| entry.key.starts_with(&prefix));
            if newest.is_some_and(|entry| !index.merged.contains(&entry.key)) {
                return Err(Error::Moved {
                    place: self.name.clone(),
                });
            }
        }
        for _ in 0..NAMES {
            let key = keys::new_index(&self.place.scope)?;
            let content = Content::Bytes(Bytes::copy_from_slice(index.bytes));
            if self.save(&key, content, &failed).await? == Reserved::Now {
                self.delete_merged(index.merged).await;
                return Ok(());
            }
        }
        Err(failed(Fault::said("no key for an index is free")))
    }

    /// Which of the blobs are there: from a list, or looked up one by one.
    async fn which(&self, blobs: &[Descriptor]) -> Result<BTreeSet<Digest>> {
        let failed = self.failed("look for blobs");
        let wanted: BTreeSet<Digest> = blobs.iter().map(|blob| blob.digest.clone()).collect();
        let found = match self.place.has_api() && wanted.len() > PARALLEL {
            true => self.listed(&wanted).await.map_err(&failed)?,
            false => {
                let looks = wanted.iter().map(|digest| async move {
                    let key = keys::blob(digest);
                    let found = self.look_up(&key).await?;
                    let is_it = found.is_some_and(|entry| entry.key == key);
                    Ok::<_, Fault>(is_it.then(|| digest.clone()))
                });
                let looks = stream::iter(looks).buffer_unordered(PARALLEL);
                let found: Vec<_> = looks.try_collect().await.map_err(&failed)?;
                found.into_iter().flatten().collect()
            }
        };
        let mut seen = self.seen();
        for digest in wanted {
            let is_there = found.contains(&digest);
            seen.insert(digest, is_there);
        }
        Ok(found)
    }

    fn broken(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One sender's turn with a blob.
    fn turn(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sending.entry(digest.clone()).or_default())
    }

    async fn send_blob(&self, blob: &Descriptor, content: Content) -> Result<()> {
        let turn = self.turn(&blob.digest);
        let _turn = turn.lock().await;
        if self.seen().get(&blob.digest) == Some(&true) {
            return Ok(());
        }
        let failed = self.failed("send a blob");
        // Reserved by another process: it is there, or will be when they are done.
        self.save(&keys::blob(&blob.digest), content, &failed)
            .await?;
        self.seen().insert(blob.digest.clone(), true);
        Ok(())
    }

    /// Makes an entry, unless its key is taken.
    async fn save(
        &self,
        key: &str,
        mut content: Content,
        failed: &impl Fn(Fault) -> Error,
    ) -> Result<Reserved> {
        let length = content.length();
        let Some(slot) = self.reserve(key, length).await.map_err(failed)? else {
            if self.broken().contains(key) {
                let reason = "its key is taken by an upload that was broken off";
                return Err(failed(Fault::said(reason)));
            }
            return Ok(Reserved::Before);
        };
        let upload = upload::Upload {
            what: key,
            length,
            content: &mut content,
        };
        let sent = async {
            self.upload(&slot, upload, failed).await?;
            self.finalize(key, &slot, length).await.map_err(failed)
        };
        let sent = sent.await;
        if sent.is_err() {
            self.broken().insert(key.to_owned());
        }
        sent.map(|()| Reserved::Now)
    }
}

impl Backend for Gha {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_indexes(&self, cancel: &CancelToken) -> Result<Vec<IndexDocument>> {
        self.ask("read the indexes", cancel, self.all_indexes())
    }

    fn write_index(&self, index: &NewIndex<'_>, cancel: &CancelToken) -> Result<()> {
        self.ask("write an index", cancel, self.add_index(index))
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
        cancel.check()?;
        let content = Content::of(blob, store)?;
        self.ask("send a blob", cancel, self.send_blob(blob, content))
    }
}
