//! Where a cache lies: blobs by digest, and a few small documents that say what they are.
//!
//! One file or folder for each kind below `backend/`.

mod address;
mod ask;
pub mod azblob;
mod content;
mod duration;
pub mod gha;
mod local;
#[cfg(test)]
pub(crate) mod memory;
mod objects;
mod registry;
pub mod s3;

use std::collections::BTreeSet;

use rbuild_oci::{Descriptor, Digest};
use rbuild_progress::CancelToken;
use rbuild_store::Store;

use crate::Result;

pub use local::{Direction, LocalBackend, LocalPlace};
pub use registry::{Form, RegistryBackend, RegistryPlace};

/// Media type of an index.
pub(crate) const INDEX_TYPE: &str = "application/vnd.rbuild.cache.index.v1+zstd";

/// A place for one cache. Used from several threads at once; opens nothing before the first call.
///
/// Any number of writers use a place at the same time, and none of them knows of the others. What a
/// place says is hostile until checked: whoever reads an index checks every line of it.
pub trait Backend: Send + Sync {
    /// What people call it, without credentials: `local /mnt/cache`, `registry host/cache:main`.
    fn name(&self) -> &str;

    /// The indexes that are there now, newest first; none if nobody has written here yet.
    ///
    /// Errors: the place cannot be asked; [`crate::Error::TooLarge`] for a document above
    /// [`IndexDocument::MAX_BYTES`].
    fn read_indexes(&self, cancel: &CancelToken) -> Result<Vec<IndexDocument>>;

    /// Adds an index, and takes away those that were merged into it if the place can do that.
    ///
    /// An index of another writer that is not named in `merged` should survive, but nobody relies on it: the
    /// caller reads again and writes once more what got lost.
    ///
    /// Errors: [`crate::Error::Moved`] where there can be one index only, and the one there was not merged.
    fn write_index(&self, index: &NewIndex<'_>, cancel: &CancelToken) -> Result<()>;

    /// Which of the blobs are there, in as few requests as the place allows.
    fn present(&self, blobs: &[Descriptor], cancel: &CancelToken) -> Result<BTreeSet<Digest>>;

    /// Brings a blob into the store, verified against its digest and size.
    ///
    /// `progress` hears how many bytes came so far. Errors: [`crate::Error::Gone`] if it is not there,
    /// [`crate::Error::Corrupt`] if it is another one.
    fn fetch(
        &self,
        blob: &Descriptor,
        store: &Store,
        progress: &dyn Fn(u64),
        cancel: &CancelToken,
    ) -> Result<()>;

    /// Sends a blob of the store, unless it is there. Whole or not at all: a reader never sees a part of it.
    ///
    /// It waits for another thread that sends the same blob through this backend; not for other processes.
    fn send(&self, blob: &Descriptor, store: &Store, cancel: &CancelToken) -> Result<()>;
}

/// An index as it lies in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexDocument {
    /// What the place calls it; handed back when it was merged into another.
    pub name: String,
    /// Its bytes, as they are.
    pub bytes: Vec<u8>,
}

impl IndexDocument {
    /// Largest index that is read, in bytes.
    pub const MAX_BYTES: u64 = 64 << 20;
}

/// An index to be written.
#[derive(Debug, Clone, Copy)]
pub struct NewIndex<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Every blob that it names, without repetition, for places that keep only what something names.
    pub blobs: &'a [Descriptor],
    /// Names of the documents that were merged into it.
    pub merged: &'a [String],
}
