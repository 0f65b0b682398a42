//! What an index says: that a key stands for a layer, or which directory a cache mount had.
//!
//! Plain data, read from places that nobody vouches for. A *line* is an entry with who signed it.

use rbuild_oci::{Descriptor, DiffId, Digest};
use rbuild_solver::{CacheKey, KeyInputs};
use serde::{Deserialize, Serialize};

/// Media type of a list of files; its digest is the name that inputs call it by.
pub(crate) const LIST_TYPE: &str = "application/vnd.rbuild.listing.v1+zstd";

/// Largest list that travels, in bytes.
pub(crate) const MAX_LIST: u64 = 1 << 20;

/// A result of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEntry {
    /// Names under which a store keeps it: rung and cache key, one or two.
    pub keys: Vec<String>,
    /// What the result contributes to the keys of its consumers.
    pub identity: CacheKey,
    /// The layer that the step added.
    pub layer: LayerEntry,
    /// Which of several parties that share a place it was written for.
    pub scope: String,
    /// Who wrote it, as they call themselves; worth something only where it is signed.
    pub writer: String,
    /// When it was written, in seconds since 1970.
    pub created: u64,
    /// How long making it took, in milliseconds; zero where nobody knows.
    pub cost_ms: u64,
    /// What its content key was made of.
    pub inputs: KeyInputs,
    /// Lists of files that the inputs name, as far as they are in the place: with them a later miss can be explained.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<BlobRef>,
    /// Whether it lies in the config of an image, which is signed before the layers are compressed: who vouches
    /// for it vouches for the diff id, not for the blob.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inline: bool,
}

/// A layer that lies in the place of the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerEntry {
    /// Digest of its uncompressed tar.
    pub diff_id: DiffId,
    /// Its compressed tar.
    pub blob: BlobRef,
    /// Its encoded index, compressed with zstd; without one it is made of the layer's bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<BlobRef>,
    /// When it was made, in nanoseconds since 1970: the history of images says so.
    pub made_ns: u64,
}

/// Names a blob. Less than a descriptor: no other addresses, nothing to be misled by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlobRef {
    /// Media type.
    #[serde(rename = "type")]
    pub media_type: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
}

impl BlobRef {
    /// Stands for a layer of which nobody knows yet how it will be compressed.
    pub(crate) fn unknown(layer: &DiffId) -> Self {
        Self {
            media_type: String::new(),
            digest: layer.0.clone(),
            size: 0,
        }
    }

    /// The blob as documents of OCI name it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest.clone(), self.size)
    }
}

impl From<&Descriptor> for BlobRef {
    fn from(descriptor: &Descriptor) -> Self {
        Self {
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
        }
    }
}

/// What a line can hold: it can be signed, and says what it needs and for whom it is.
pub trait Entry: Serialize {
    /// First word of what is signed, so that one kind of entry cannot pass for another.
    const KIND: &'static str;

    /// Which of several parties it was written for.
    fn scope(&self) -> &str;

    /// When it was written, in seconds since 1970.
    fn created(&self) -> u64;

    /// The text that is signed. Errors: there is none, for want of memory.
    fn text(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// What it stands for; of two with an equal name the newer one counts.
    fn names(&self) -> Vec<String>;

    /// The blobs that it names.
    fn blobs(&self) -> Vec<BlobRef>;
}

impl Entry for StepEntry {
    const KIND: &'static str = "step";

    fn scope(&self) -> &str {
        &self.scope
    }

    fn created(&self) -> u64 {
        self.created
    }

    fn text(&self) -> serde_json::Result<Vec<u8>> {
        if !self.inline {
            return serde_json::to_vec(self);
        }
        let mut without_blob = self.clone();
        without_blob.layer.blob = BlobRef::unknown(&self.layer.diff_id);
        serde_json::to_vec(&without_blob)
    }

    fn names(&self) -> Vec<String> {
        self.keys.clone()
    }

    fn blobs(&self) -> Vec<BlobRef> {
        let layer = &self.layer;
        std::iter::once(&layer.blob)
            .chain(&layer.index)
            .chain(&self.lists)
            .cloned()
            .collect()
    }
}

/// An entry, who signed it, and when a build last had use for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    /// The entry.
    pub entry: T,
    /// When a build that writes here last used it, in seconds since 1970; not signed.
    pub seen: u64,
    /// Who vouches for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

/// A signature over an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Signature {
    /// The public key that it can be checked with, as [`crate::PublicKey`] is printed.
    pub key: String,
    /// The signature's bytes in base64.
    pub value: String,
}
