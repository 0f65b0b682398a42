//! What a loopback registry has to give, and what it gave.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rbuild_oci::Digest;
use rustix::rand::{GetRandomFlags, getrandom};

use super::BlobSource;

/// The tag under which the image can be asked for, beside its digest.
pub(super) const TAG: &str = "latest";

/// A manifest or an index.
#[derive(Clone, Debug)]
pub struct ServedDocument {
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// An image that is served.
#[derive(Clone, Debug)]
pub struct ServedImage {
    /// Digest of the manifest or index that stands for the whole; among `documents`.
    pub top: Digest,
    /// Manifests and indexes.
    pub documents: BTreeMap<Digest, ServedDocument>,
    /// Sizes in bytes of configs and layers.
    pub blobs: BTreeMap<Digest, u64>,
}

/// What was served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests that knew the repository's name: none means that the engine never came here.
    pub requests: u64,
    /// Bytes of manifests and indexes.
    pub document_bytes: u64,
    /// Bytes of configs and layers.
    pub blob_bytes: u64,
}

/// What all connections share.
pub(super) struct Content {
    pub(super) repository: String,
    pub(super) image: ServedImage,
    blobs: Arc<dyn BlobSource>,
    requests: AtomicU64,
    document_bytes: AtomicU64,
    blob_bytes: AtomicU64,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the name: it is a secret.
        f.debug_struct("Content")
            .field("top", &self.image.top)
            .field("traffic", &self.traffic())
            .finish_non_exhaustive()
    }
}

impl Content {
    pub(super) fn new(image: ServedImage, blobs: Arc<dyn BlobSource>) -> io::Result<Self> {
        let mut random = [0u8; 16];
        getrandom(&mut random, GetRandomFlags::empty())?;
        Ok(Self {
            repository: random.iter().map(|byte| format!("{byte:02x}")).collect(),
            image,
            blobs,
            requests: AtomicU64::new(0),
            document_bytes: AtomicU64::new(0),
            blob_bytes: AtomicU64::new(0),
        })
    }

    /// Whether a client knows the secret name; takes as long however much of it is right.
    pub(super) fn is_repository(&self, name: &str) -> bool {
        let (ours, theirs) = (self.repository.as_bytes(), name.as_bytes());
        let differing = ours.iter().zip(theirs).fold(0, |sum, (a, b)| sum | (a ^ b));
        ours.len() == theirs.len() && differing == 0
    }

    /// The document that a tag or digest stands for.
    pub(super) fn document(&self, reference: &str) -> Option<(&Digest, &ServedDocument)> {
        let digest = match reference {
            TAG => self.image.top.clone(),
            other => Digest::parse(other).ok()?,
        };
        self.image.documents.get_key_value(&digest)
    }

    /// The size of a blob of the image, in bytes.
    pub(super) fn blob(&self, digest: &str) -> Option<(Digest, u64)> {
        let digest = Digest::parse(digest).ok()?;
        let size = *self.image.blobs.get(&digest)?;
        Some((digest, size))
    }

    pub(super) fn open(&self, digest: &Digest) -> io::Result<File> {
        self.blobs.open(digest)
    }

    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_document(&self, bytes: u64) {
        self.document_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn count_blob(&self, bytes: u64) {
        self.blob_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            requests: self.requests.load(Ordering::Relaxed),
            document_bytes: self.document_bytes.load(Ordering::Relaxed),
            blob_bytes: self.blob_bytes.load(Ordering::Relaxed),
        }
    }
}
