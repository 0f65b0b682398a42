//! Where bytes come from: the build context, named directories, images.
//!
//! A local directory is a [`LocalContext`]: a file view that reads in place, lazily, by descriptor.
//! [`select`] says which files of a view a COPY means, [`content_of`] what they count for in a cache
//! key. [`HttpSource`] fetches files behind URLs, [`GitSource`] trees of git repositories. [`RegistryImages`] finds base images in registries, [`RegistryFetch`] brings their layers.
//!
//! What does not live here: what becomes of the files (the worker), how a layer is kept.

mod content;
mod error;
mod git;
mod http;
mod image;
mod keyring;
mod listing;
mod local;
mod memory;
mod pins;
mod select;
mod stat_cache;

pub use content::{content_of, read_ahead, tree_content};
pub use error::Error;
pub use git::{GitConfig, GitSource, GitTree, names_commit};
pub use http::{HttpSource, RemoteContext, RemoteFile, RemoteLimits, WebFile};
pub use image::{FoundImage, Freshness, RegistryFetch, RegistryImages, TagMemory};
pub use keyring::{AgentSocket, Keyring};
pub use listing::{Listed, ListedKind, Listing};
pub use local::{Ignore, LocalContext};
pub use memory::{Remembered, remembered};
pub use pins::{CommitPin, FilePin, ImagePin, Others, Pins, file_name, git_name};
pub use select::{Item, Role, Root, Selection, select, select_path};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
