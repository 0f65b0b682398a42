//! Blobs and manifests to a registry.
//!
//! The order is the caller's: blobs first, then the manifests that name them, the tag last, so that
//! whatever breaks off leaves nothing half-tagged.

mod manifest;
mod memory;
mod reading;
mod sending;
mod session;
mod upload;

use std::error::Error as StdError;

use rbuild_oci::{Descriptor, Reference};
use rbuild_progress::{CancelToken, Sink, VertexKey};
use rbuild_store::Store;

use crate::Result;
use crate::client::Client;
use crate::parallel::each;

/// Where blobs come from and who hears of it.
#[derive(Clone, Copy)]
pub struct PushContext<'a> {
    /// The store that has them, or gets them from `supply`.
    pub store: &'a Store,
    /// Brings what the store lacks.
    pub supply: &'a dyn Supply,
    /// Hears of the bytes as they go, one status for each blob that is sent.
    pub sink: &'a dyn Sink,
    /// The vertex that the blobs belong to.
    pub vertex: &'a VertexKey,
    /// Ends the push within moments.
    pub cancel: &'a CancelToken,
}

/// Brings blobs into the store that a registry turned out not to have.
pub trait Supply: Sync {
    /// Makes sure that the store has the blob.
    ///
    /// Errors: whatever the source says; after a cancellation they do not matter.
    fn provide(
        &self,
        blob: &Descriptor,
        cancel: &CancelToken,
    ) -> Result<(), Box<dyn StdError + Send + Sync>>;
}

/// Brings nothing: every blob is in the store.
#[derive(Clone, Copy, Debug, Default)]
pub struct InStore;

impl Supply for InStore {
    fn provide(
        &self,
        _: &Descriptor,
        _: &CancelToken,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        Ok(())
    }
}

/// A blob that a repository is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushBlob {
    /// Digest and size.
    pub descriptor: Descriptor,
    /// Repositories of the same registry that may have it, the likeliest first; paths, as in
    /// [`Reference::path`].
    pub mount_from: Vec<String>,
}

/// How a repository came to have a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It had it.
    Present,
    /// It took it over from another repository.
    Mounted {
        /// That repository's path.
        from: String,
    },
    /// It was sent.
    Sent,
}

impl Client {
    /// Gives a repository a blob, unless it has it. Tag and digest of `reference` do not matter.
    ///
    /// Mounted from another repository if that works, else sent; through broken connections, of which
    /// large blobs are resumed, also by a later call in another process. One of several processes or
    /// threads that push the same blob to the same registry sends it, the others wait for it. Which
    /// repository has it is noted, and those that are noted are tried for a mount beside those of `blob`.
    ///
    /// Errors: `PushDenied`, `Refused`, `Unsent`, `TookOther`, `Supply`, `Store`, those of the
    /// connection, `Cancelled`.
    pub fn push_blob(
        &self,
        reference: &Reference,
        blob: &PushBlob,
        cx: &PushContext<'_>,
    ) -> Result<Pushed> {
        self.push(reference, blob, cx)
    }

    /// Gives a repository several blobs, as many at once as the configuration allows; returns how it
    /// came to have each.
    ///
    /// The first failure ends the others. Errors: as [`Client::push_blob`].
    pub fn push_blobs(
        &self,
        reference: &Reference,
        blobs: &[PushBlob],
        cx: &PushContext<'_>,
    ) -> Result<Vec<Pushed>> {
        let limit = self.inner.config.parallel;
        each(blobs, (limit, cx.cancel), |blob, stop| {
            let cancel = stop;
            self.push(reference, blob, &PushContext { cancel, ..*cx })
        })
    }
}
