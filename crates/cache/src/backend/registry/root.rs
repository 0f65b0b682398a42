//! What a tag stands for: a cache of ours, of BuildKit, an image, or something else.

use std::collections::BTreeMap;
use std::fmt;

use rbuild_oci::{Descriptor, Digest, Index, Manifest, MediaType};
use rbuild_registry::Error as RegistryError;

use super::buildkit;
use super::manifest::{CONFIG_TYPE, PARTS};
use crate::backend::INDEX_TYPE;

/// Most manifests that one cache is spread over.
const MAX_PARTS: usize = 256;

/// What a tag stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Root {
    /// A cache of ours.
    Cache {
        /// The index.
        index: Box<Descriptor>,
        /// What it needs.
        blobs: Vec<Descriptor>,
    },
    /// A cache of BuildKit, by the document with its records.
    BuildKit(Box<Descriptor>),
    /// An image.
    Image(Box<Manifest>),
    /// Several images, or other things that have manifests.
    Images(Vec<Descriptor>),
    /// Anything else, by its type.
    Other(String),
}

/// Why it cannot be told.
#[derive(Debug)]
pub(super) enum Failure {
    /// A document could not be had.
    Registry(RegistryError),
    /// A document makes no sense.
    Document(String),
}

impl Root {
    /// The blobs that it names, with their sizes.
    pub fn listed(&self) -> BTreeMap<Digest, u64> {
        match self {
            Self::Cache { blobs, .. } => {
                let blobs = blobs.iter().map(|blob| (blob.digest.clone(), blob.size));
                blobs.collect()
            }
            _ => BTreeMap::new(),
        }
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cache { blobs, .. } => write!(f, "a cache with {} blobs", blobs.len()),
            Self::BuildKit(_) => f.write_str("a cache of BuildKit"),
            Self::Image(_) | Self::Images(_) => f.write_str("an image"),
            Self::Other(media_type) => write!(f, "something of type {media_type}"),
        }
    }
}

/// Finds out what a document is; `document` gets others of the same repository.
pub(super) fn read(
    bytes: &[u8],
    media_type: MediaType,
    document: impl Fn(&Descriptor) -> Result<Vec<u8>, RegistryError>,
) -> Result<Root, Failure> {
    if media_type.is_manifest() {
        return of_manifest(manifest(bytes)?);
    }
    let index = Index::from_bytes(bytes).map_err(|e| Failure::Document(e.to_string()))?;
    if index.annotations.contains_key(PARTS) {
        return in_parts(&index, document);
    }
    of_index(index)
}

fn manifest(bytes: &[u8]) -> Result<Manifest, Failure> {
    Manifest::from_bytes(bytes).map_err(|e| Failure::Document(e.to_string()))
}

fn of_manifest(manifest: Manifest) -> Result<Root, Failure> {
    match manifest.config.media_type.as_str() {
        CONFIG_TYPE => cache(manifest.layers),
        buildkit::CONFIG_TYPE => Ok(Root::BuildKit(Box::new(manifest.config))),
        _ if manifest.config.kind() == MediaType::Config => Ok(Root::Image(Box::new(manifest))),
        other => Ok(Root::Other(other.to_owned())),
    }
}

fn of_index(index: Index) -> Result<Root, Failure> {
    let find = |media_type: &str| {
        let mut all = index.manifests.iter();
        all.find(|one| one.media_type == media_type)
    };
    let is_image = |one: &Descriptor| matches!(one.kind(), MediaType::Manifest | MediaType::Index);
    if index.manifests.iter().all(is_image) {
        return Ok(Root::Images(index.manifests));
    }
    match find(buildkit::CONFIG_TYPE) {
        Some(config) => Ok(Root::BuildKit(Box::new(config.clone()))),
        None if find(INDEX_TYPE).is_some() => cache(index.manifests),
        None => Ok(Root::Other(index.media_type)),
    }
}

/// Several manifests that are one cache.
fn in_parts(
    index: &Index,
    document: impl Fn(&Descriptor) -> Result<Vec<u8>, RegistryError>,
) -> Result<Root, Failure> {
    if index.manifests.len() > MAX_PARTS {
        let count = index.manifests.len();
        return Err(Failure::Document(format!("it has {count} parts")));
    }
    let mut named = Vec::new();
    for part in &index.manifests {
        named.extend(manifest(&document(part)?)?.layers);
    }
    cache(named)
}

/// A cache over these blobs, one of which is its index.
fn cache(named: Vec<Descriptor>) -> Result<Root, Failure> {
    let (mut indexes, blobs): (Vec<_>, Vec<_>) = named
        .into_iter()
        .partition(|blob| blob.media_type == INDEX_TYPE);
    match (indexes.pop(), indexes.len()) {
        (Some(index), 0) => {
            let index = Box::new(index);
            Ok(Root::Cache { index, blobs })
        }
        (None, _) => Err(Failure::Document("it names no index".to_owned())),
        (Some(_), _) => Err(Failure::Document("it names several indexes".to_owned())),
    }
}
