//! Blobs out of layouts into the store, verified.

use std::error::Error as StdError;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rbuild_layer::Fetch;
use rbuild_oci::{Descriptor, Digest};
use rbuild_progress::{CancelReader, CancelToken};
use rbuild_store::Store;

use super::files::{Files, read_document};
use super::unpacked::DirFiles;
use crate::layout::blob_name;
use crate::{Error, Result};

/// What the origin of a layer in a layout begins with; the directory follows.
pub(super) const ORIGIN: &str = "oci-layout://";

/// Bytes copied before progress is told.
const PIECE: u64 = 4 << 20;

/// Brings the blobs of layers that were registered by [`Layout::register`](crate::Layout::register) from their layouts, and
/// leaves all others to somebody else.
pub struct LayoutFetch {
    store: Arc<Store>,
    others: Arc<dyn Fetch>,
}

impl LayoutFetch {
    /// Blobs go to `store`; those that lie in no layout are brought by `others`.
    pub fn new(store: Arc<Store>, others: Arc<dyn Fetch>) -> Self {
        Self { store, others }
    }
}

impl Fetch for LayoutFetch {
    fn fetch(
        &self,
        descriptor: &Descriptor,
        origin: &str,
        progress: &dyn Fn(u64),
        cancel: &CancelToken,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let Some(dir) = origin.strip_prefix(ORIGIN) else {
            return self.others.fetch(descriptor, origin, progress, cancel);
        };
        let dir = Path::new(dir);
        let files = DirFiles::open(dir)?;
        bring((&files, dir), descriptor, (&self.store, progress, cancel))?;
        Ok(())
    }
}

/// Brings a blob into the store, verified, unless it is there; `progress` hears how much came.
///
/// Errors: [`Error::MissingBlob`], [`Error::Import`] for another size, a store error for another digest.
pub(super) fn bring(
    (files, path): (&dyn Files, &Path),
    blob: &Descriptor,
    (store, progress, cancel): (&Store, &dyn Fn(u64), &CancelToken),
) -> Result<()> {
    if store.has_blob(&blob.digest) {
        return Ok(());
    }
    let name = blob_name(&blob.digest);
    let found = files.open(&name)?;
    let found = found.ok_or_else(|| missing(path, &blob.digest))?;
    if found.size != blob.size {
        return Err(wrong_size(path, blob, found.size));
    }
    let mut ingest = store.ingest()?;
    let mut input = CancelReader::new(found.bytes, cancel).take(blob.size);
    let mut current = 0;
    loop {
        let count = io::copy(&mut input.by_ref().take(PIECE), &mut ingest)
            .map_err(Error::at("copy", &path.join(&name)))?;
        current += count;
        progress(current);
        if count < PIECE {
            break;
        }
    }
    ingest.commit(Some(&blob.digest))?;
    Ok(())
}

fn wrong_size(path: &Path, blob: &Descriptor, found: u64) -> Error {
    let reason = format!(
        "blob {} has {found} bytes, expected {}",
        blob.digest, blob.size
    );
    Error::import(path, reason)
}

/// Reads a document with the digest and size that its descriptor says.
pub(super) fn document(
    (files, path): (&dyn Files, &Path),
    descriptor: &Descriptor,
) -> Result<Vec<u8>> {
    let name = blob_name(&descriptor.digest);
    let bytes = read_document(files, &name, path)?;
    let bytes = bytes.ok_or_else(|| missing(path, &descriptor.digest))?;
    if bytes.len() as u64 != descriptor.size {
        return Err(wrong_size(path, descriptor, bytes.len() as u64));
    }
    let mut verified =
        rbuild_oci::VerifyReader::new(bytes.as_slice(), descriptor.digest.clone(), None);
    io::copy(&mut verified, &mut io::sink()).map_err(|_| {
        Error::import(
            path,
            format!("blob {} has other content", descriptor.digest),
        )
    })?;
    Ok(bytes)
}

fn missing(path: &Path, digest: &Digest) -> Error {
    Error::MissingBlob {
        path: path.to_path_buf(),
        digest: digest.clone(),
    }
}
