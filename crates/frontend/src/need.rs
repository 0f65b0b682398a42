//! What lowering must be told before it can go on, and the answers so far.

use std::collections::BTreeMap;

use rbuild_dockerfile::Span;
use rbuild_graph::ImageOrigin;
use rbuild_oci::{Address, DiffId, Digest, ImageConfig, Platform, Reference};

/// The outcome of one call of [`crate::lower`].
#[derive(Debug, Clone, PartialEq)]
pub enum Lowering {
    /// These must be answered first; not empty, each asked once.
    Need(Vec<Question>),
    /// All is known.
    Done(Box<crate::Plan>),
}

/// One question, with the places that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The image that is asked for.
    pub image: ImageQuestion,
    /// The instructions that need it, in file order.
    pub origins: Vec<Span>,
}

/// An image whose manifest, config and layers must be known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageQuestion {
    /// Where to look.
    pub place: ImagePlace,
    /// For which platform.
    pub platform: Platform,
}

/// Where to look for an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImagePlace {
    /// By name: in a registry, or in the local store.
    Reference(Reference),
    /// In an OCI layout directory.
    Layout {
        /// The directory.
        dir: String,
        /// The manifest or index in it; `None` is the only one there.
        digest: Option<Digest>,
    },
    /// At an address: in an archive, or in a registry and nowhere else.
    Address(Address),
}

/// What an image question is answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageAnswer {
    /// Digest of the manifest for the platform.
    pub manifest: Digest,
    /// The digest that the name itself stands for (of an index, say), for people; `None` when it
    /// is the manifest's.
    pub pinned: Option<Digest>,
    /// The image's config.
    pub config: ImageConfig,
    /// Diff ids of its layers, base first.
    pub diff_ids: Vec<DiffId>,
    /// Where its blobs can be had.
    pub origin: ImageOrigin,
}

/// The answers so far; the caller fills it between calls.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// By question.
    pub images: BTreeMap<ImageQuestion, ImageAnswer>,
}

impl Known {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }
}
