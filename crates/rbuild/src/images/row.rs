//! What the store keeps of an image, and of an image of several platforms.

use rbuild_layer::LayerId;
use rbuild_oci::{Descriptor, Digest, Index, Platform, media_type};
use serde::{Deserialize, Serialize};

use crate::{BuildError, Result};

/// A row of the table of images: under the id of a config, or of a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Row {
    /// One image.
    Image(ImageRow),
    /// Several, by platform.
    Index(IndexRow),
}

impl Row {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Row> {
        serde_json::from_slice(bytes).map_err(BuildError::decode)
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(BuildError::encode)
    }

    /// All documents that it leads to besides its id: manifests, the index, what else that names.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &Digest> {
        let others = match self {
            Row::Image(_) => &[][..],
            Row::Index(row) => &row.others,
        };
        let parts = match self {
            Row::Image(_) => &[][..],
            Row::Index(row) => &row.images,
        };
        let parts = parts.iter().filter_map(|part| part.manifest.as_ref());
        let others = others.iter().map(|other| &other.digest);
        self.document().into_iter().chain(parts).chain(others)
    }

    /// The manifest or index that it came with.
    pub(super) fn document(&self) -> Option<&Digest> {
        match self {
            Row::Image(row) => row.manifest.as_ref(),
            Row::Index(row) => row.document.as_ref(),
        }
    }
}

/// What the store keeps of an image; the config itself is a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRow {
    /// The layers, lowest first.
    pub layers: Vec<LayerId>,
    /// Uncompressed content of each layer in bytes; of a layer nobody looked into, its blob's.
    pub sizes: Vec<u64>,
    /// The manifest it came with; `None` for what was built here and not exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
}

/// What the store keeps of an image of several platforms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexRow {
    /// Its images, in order; each has a row of its own.
    pub images: Vec<IndexEntry>,
    /// The index it came with or was exported as, a blob of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Digest>,
    /// What else that index names, such as attestations: every blob of it, in the store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Descriptor>,
}

/// One image of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexEntry {
    /// Digest of its config.
    pub id: Digest,
    /// What it is for, as the index says.
    pub platform: Platform,
    /// The manifest it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
}

impl IndexRow {
    /// The id: that of the index it came with, else the digest of a list of its images, so that equal
    /// images have an equal id before anything is compressed.
    pub fn id(&self) -> Digest {
        if let Some(document) = &self.document {
            return document.clone();
        }
        let entries = self.images.iter().map(|entry| {
            let mut listed = Descriptor::new(media_type::OCI_CONFIG, entry.id.clone(), 0);
            listed.platform = Some(entry.platform.clone());
            listed
        });
        let list = Index::new(media_type::OCI_INDEX, entries.collect());
        Digest::sha256_of(&list.to_bytes())
    }
}
