//! What lies under a tag, looked into: caches, and images that hold records of one.

use std::fmt;

use rbuild_oci::{Descriptor, Digest, ImageConfig, Manifest, MediaType};
use rbuild_progress::CancelToken;
use rbuild_registry::{Client, Error as RegistryError};

use super::RegistryPlace;
use super::buildkit::{self, BuildKitCache};
use super::root::{Failure, Root};
use crate::entry::{Signed, StepEntry};
use crate::inline;

/// Most images of one index that are looked into.
const MAX_IMAGES: usize = 64;

/// Annotation of manifests that describe others, by which BuildKit marks attestations.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// What lies under a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// A cache of ours.
    Cache {
        /// The index.
        index: Box<Descriptor>,
        /// How many blobs it needs.
        blobs: usize,
    },
    /// One or several images with records of ours.
    Inline {
        /// Changes with what is there.
        name: Digest,
        /// What they say.
        entries: Vec<Signed<StepEntry>>,
    },
    /// A cache of BuildKit, or images with its records.
    BuildKit(BuildKitCache),
    /// One or several images without records.
    Image,
    /// Anything else, by its type.
    Other(String),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cache { blobs, .. } => write!(f, "a cache with {blobs} blobs"),
            Self::Inline { entries, .. } => {
                write!(f, "an image with records of {} results", entries.len())
            }
            Self::BuildKit(cache) => cache.fmt(f),
            Self::Image => f.write_str(
                "an image without records of a cache; builds with --cache-to type=inline write them",
            ),
            Self::Other(media_type) => write!(f, "something of type {media_type}"),
        }
    }
}

/// Looks into what a tag stands for.
pub(super) fn look(
    (client, place): (&Client, &RegistryPlace),
    (name, root): (Digest, Root),
    cancel: &CancelToken,
) -> Result<Found, Failure> {
    let reference = &place.reference;
    let (manifests, several) = match root {
        Root::Cache { index, blobs } => {
            let blobs = blobs.len();
            return Ok(Found::Cache { index, blobs });
        }
        Root::Other(media_type) => return Ok(Found::Other(media_type)),
        Root::BuildKit(config) => {
            let limit = ("the cache's config", buildkit::MAX_BYTES);
            let bytes = client.document_bytes((reference, &config), limit, cancel)?;
            let cache = BuildKitCache::parse(&bytes).map_err(Failure::Document)?;
            return Ok(Found::BuildKit(cache));
        }
        Root::Image(manifest) => (vec![*manifest], Vec::new()),
        Root::Images(several) => (Vec::new(), several),
    };
    let mut images = Images::default();
    for manifest in &manifests {
        images.add(manifest, &config_of((client, place), manifest, cancel)?)?;
    }
    for one in several.iter().filter(|one| is_image(one)).take(MAX_IMAGES) {
        let pinned = reference.with_digest(one.digest.clone());
        let bytes = client.resolve(&pinned, cancel)?.bytes;
        let manifest = Manifest::from_bytes(&bytes);
        let manifest = manifest.map_err(|error| Failure::Document(error.to_string()))?;
        // An artifact among the images, perhaps.
        if manifest.config.kind() == MediaType::Config {
            images.add(&manifest, &config_of((client, place), &manifest, cancel)?)?;
        }
    }
    Ok(images.found(name))
}

/// Whether an entry of an index is an image, and not what somebody says about one.
fn is_image(entry: &Descriptor) -> bool {
    entry.kind() == MediaType::Manifest && !entry.annotations.contains_key(REFERENCE_TYPE)
}

fn config_of(
    (client, place): (&Client, &RegistryPlace),
    manifest: &Manifest,
    cancel: &CancelToken,
) -> Result<ImageConfig, Failure> {
    let bytes = client.config_bytes(&place.reference, &manifest.config, cancel)?;
    ImageConfig::from_bytes(&bytes).map_err(|error| Failure::Document(error.to_string()))
}

/// What is found in several images.
#[derive(Default)]
struct Images {
    entries: Option<Vec<Signed<StepEntry>>>,
    buildkit: Option<BuildKitCache>,
}

impl Images {
    fn add(&mut self, manifest: &Manifest, config: &ImageConfig) -> Result<(), Failure> {
        let broken = |reason| Failure::Document(format!("its records make no sense: {reason}"));
        if let Some(entries) = inline::entries(config, &manifest.layers).map_err(broken)? {
            self.entries.get_or_insert_default().extend(entries);
        } else if let Some(value) = config.other.get(inline::BUILDKIT_KEY) {
            let cache = BuildKitCache::parse_inline(value, manifest.layers.len());
            let cache = cache.map_err(broken)?;
            self.buildkit = Some(match self.buildkit.take() {
                None => cache,
                Some(other) => other.and(cache),
            });
        }
        Ok(())
    }

    fn found(self, name: Digest) -> Found {
        match (self.entries, self.buildkit) {
            (Some(entries), _) => Found::Inline { name, entries },
            (None, Some(cache)) => Found::BuildKit(cache),
            (None, None) => Found::Image,
        }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}
