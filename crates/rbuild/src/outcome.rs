//! What a build yields.

use rbuild_exporter::Exported;
use rbuild_oci::{Descriptor, Digest, Reference};

use crate::LoadedInto;

/// What a build yields.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What names the result: the digest of the image's config, or of the index of several
    /// platforms; `None` if only files were asked for.
    pub image_id: Option<Digest>,
    /// Digest of the image's config; `None` with several platforms, or with files only.
    pub config: Option<Digest>,
    /// The manifest or index as exported; `None` if no output has one.
    pub descriptor: Option<Descriptor>,
    /// The names that the image has in the store.
    pub names: Vec<Reference>,
    /// How many steps were done, and how many of them were found in the cache.
    pub steps: StepCount,
    /// What came into container engines.
    pub loaded: Vec<LoadedInto>,
    /// What each output wrote, in the order of the request.
    pub exports: Vec<Exported>,
}

/// How many steps were done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepCount {
    /// Found in the cache.
    pub cached: usize,
    /// Carried out.
    pub made: usize,
}
