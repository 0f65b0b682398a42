//! A bucket of S3, or of anything that speaks its protocol.
//!
//! Below the prefix: `blobs/sha256/HEX`, and `manifests/NAME/TIME-RANDOM.idx`, an object for each index that
//! was written. Nobody ever writes to an index that is there, so that no condition on a write is needed:
//! some stores ignore them.

mod blobs;
mod credentials;
mod failure;
mod indexes;
mod layout;
mod place;
mod presence;
mod touch;
mod upload;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use rbuild_oci::{Descriptor, Digest};
use rbuild_progress::CancelToken;
use rbuild_registry::Client;
use rbuild_store::Store;
use tokio::sync::Semaphore;

pub use credentials::RoleFiles;
pub use place::{S3Env, S3Place};

use super::{Backend, IndexDocument, NewIndex};
use crate::{Error, Result};
use layout::Layout;
use wire::Wire;

/// One place in a bucket.
struct S3 {
    name: String,
    place: S3Place,
    layout: Layout,
    client: Client,
    bucket: AmazonS3,
    /// What is known of blobs that were asked for or sent.
    seen: Mutex<BTreeMap<Digest, Sighting>>,
    /// Permits for parts of blobs in memory.
    parts: Semaphore,
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

/// Opens a place. Asks nothing yet; connections, proxies and authorities are those of `client`.
///
/// Errors: [`Error::Spec`] for settings that cannot be.
pub fn open(place: S3Place, client: &Client) -> Result<Arc<dyn Backend>> {
    let layout = Layout::of(&place)?;
    let bucket = build(&place, client).map_err(|error| Error::Spec(error.to_string()))?;
    Ok(Arc::new(S3 {
        name: place.name(),
        parts: Semaphore::new(place.upload_parallelism),
        layout,
        client: client.clone(),
        bucket,
        seen: Mutex::default(),
        place,
    }))
}

fn build(place: &S3Place, client: &Client) -> object_store::Result<AmazonS3> {
    let policy = client.retry_policy();
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: policy.first_pause,
            max_backoff: policy.longest_pause,
            base: 2.0,
        },
        // The first attempt is none more.
        max_retries: place.attempts.unwrap_or(policy.attempts).saturating_sub(1) as usize,
        retry_timeout: wire::LONGEST,
    };
    let options = ClientOptions::new().with_allow_http(place.is_plain());
    let builder = AmazonS3Builder::new()
        .with_bucket_name(&place.bucket)
        .with_region(&place.region)
        .with_endpoint(place.endpoint())
        .with_virtual_hosted_style_request(!place.path_style)
        .with_client_options(options)
        .with_retry(retry)
        // Not every store has it, and there is never much to delete.
        .with_disable_bulk_delete(true)
        .with_http_connector(Wire::new(client));
    credentials::add(builder, place).build()
}

impl S3 {
    /// Does something at the place; `action` is a verb and an object.
    fn ask<T>(
        &self,
        action: &'static str,
        cancel: &CancelToken,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        cancel.check()?;
        match self.client.run(cancel, work) {
            Ok(outcome) => outcome,
            Err(error) if error.is_cancelled() => Err(Error::Cancelled),
            Err(error) => Err(Error::place(&self.name, action, error)),
        }
    }

    /// Says what went wrong.
    fn failed(&self, action: &'static str) -> impl Fn(object_store::Error) -> Error {
        move |error| Error::place(&self.name, action, failure::told(&error, &self.place))
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<Digest, Sighting>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for S3 {
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
