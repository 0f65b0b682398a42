//! The one error type of this crate.

use std::io;
use std::path::{Path, PathBuf};

use rbuild_oci::{DiffId, Digest};
use rbuild_progress::Cancelled;

use crate::LayerId;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with layers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The build was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The store refused or failed.
    #[error("use the store")]
    Store(#[source] Box<rbuild_store::Error>),
    /// A system call on a file failed.
    #[error("{attempt} {}", path.display())]
    Io {
        /// What was attempted: a verb.
        attempt: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The encoded form of an index is damaged or of another version.
    #[error("read a layer index: {reason}")]
    Index {
        /// What is wrong with it.
        reason: String,
    },
    /// Entries do not form a layer.
    #[error("layer entry {}: {reason}", path.display())]
    Entry {
        /// The entry.
        path: PathBuf,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// An archive is damaged, hostile or uses what is not supported.
    #[error("archive entry {}: {reason}", path.display())]
    Archive {
        /// The entry as the archive names it; empty where no name was read yet.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A path climbs out of the directory that it must stay in.
    #[error("{} leaves the root", path.display())]
    Escape {
        /// The path.
        path: PathBuf,
    },
    /// A path does not exist in a view.
    #[error("{}: not found", path.display())]
    NotFound {
        /// The path, without a leading slash.
        path: PathBuf,
    },
    /// A component of a path is not a directory.
    #[error("{}: not a directory", path.display())]
    NotADirectory {
        /// The component that is something else.
        path: PathBuf,
    },
    /// Bytes were asked of something that is not a regular file.
    #[error("{}: not a regular file", path.display())]
    NotAFile {
        /// What was asked for.
        path: PathBuf,
    },
    /// A path goes through more symbolic links than any sane tree has.
    #[error("{}: too many levels of symbolic links", path.display())]
    TooManyLinks {
        /// The path that was followed.
        path: PathBuf,
    },
    /// A file's bytes are not those that were announced for it.
    #[error("{}: changed while it was being read", path.display())]
    ContentChanged {
        /// The path in the layer.
        path: PathBuf,
    },
    /// A pulled layer's bytes are not those its image config names.
    #[error("layer {expected}: its bytes have the diff id {actual}")]
    DiffId {
        /// What the config claims.
        expected: DiffId,
        /// What the bytes are.
        actual: DiffId,
    },
    /// A layer has no row in the store.
    #[error("layer {layer}: not in the store")]
    UnknownLayer {
        /// The layer.
        layer: LayerId,
    },
    /// A layer's row is damaged.
    #[error("layer {layer}: read its row")]
    Row {
        /// The layer.
        layer: LayerId,
        /// Why it cannot be read.
        source: serde_json::Error,
    },
    /// A layer lacks every form that its bytes could come from.
    #[error("layer {layer}: its bytes are gone")]
    Gone {
        /// The layer.
        layer: LayerId,
    },
    /// A blob could not be brought into the store.
    #[error("fetch layer blob {digest}")]
    Fetch {
        /// The blob.
        digest: Digest,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The blob of an imported layer is not what was said of it.
    #[error("take a layer that another machine made")]
    BadOriginal(#[source] Misfit),
    /// A piece of work on a tree could not be handed over or failed in the process that does it.
    #[error("work on a layer tree: {reason}")]
    TreeWork {
        /// What that process said, with its causes.
        reason: String,
    },
    /// A file view that is not made of layers failed.
    #[error("read {}", path.display())]
    View {
        /// What was read.
        path: PathBuf,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A blob is here, and is not what was said of the layer that it should be.
#[derive(Debug, thiserror::Error)]
#[error("layer blob {digest} is not what was said of it")]
pub struct Misfit {
    /// The blob.
    pub digest: Digest,
    /// Where it is from, as it was registered.
    pub origin: String,
    /// What is wrong with it.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Error {
    /// Wraps a failed system call; a read that stopped because of cancellation becomes `Cancelled`.
    pub fn io(attempt: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        if Cancelled::caused(&source) {
            return Self::Cancelled;
        }
        Self::Io {
            attempt,
            path: path.as_ref().to_owned(),
            source,
        }
    }

    /// A damaged index.
    pub(crate) fn index(reason: impl Into<String>) -> Self {
        Self::Index {
            reason: reason.into(),
        }
    }

    /// A bad archive entry.
    pub(crate) fn archive(path: &[u8], reason: impl Into<String>) -> Self {
        Self::Archive {
            path: crate::path::to_path(path),
            reason: reason.into(),
        }
    }
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<rbuild_store::Error> for Error {
    fn from(source: rbuild_store::Error) -> Self {
        Self::Store(Box::new(source))
    }
}
