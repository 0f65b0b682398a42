//! What can go wrong when a result leaves, or an image comes in.

use std::io;
use std::path::{Path, PathBuf};

use rbuild_oci::{DiffId, Digest};
use rbuild_progress::Cancelled;

/// The result of an operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an export or import failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text of an output or the place it names cannot be used.
    #[error("{message}")]
    Output {
        /// What is wrong, in the words BuildKit's clients use where they have any.
        message: String,
    },
    /// A file operation failed.
    #[error("{action} {path:?}")]
    Io {
        /// What was attempted, such as `create`.
        action: &'static str,
        /// What it was attempted on.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The image to export does not hang together.
    #[error("image config names {in_config} layers, the image has {layers}")]
    LayerCount {
        /// Number of diff ids in the config.
        in_config: usize,
        /// Number of layers.
        layers: usize,
    },
    /// A layer of the image to export is not the one its config names.
    #[error("layer {position} has diff id {found}, the image config says {expected}")]
    LayerContent {
        /// Place in the stack, base is 0.
        position: usize,
        /// What the config says.
        expected: DiffId,
        /// What the layer has.
        found: DiffId,
    },
    /// A document in an image does not parse.
    #[error("read the {what} of the image")]
    Document {
        /// Which one, such as `config`.
        what: &'static str,
        /// Why it failed.
        source: rbuild_oci::Error,
    },
    /// What is imported is not an image, or not a sound one.
    #[error("import {path:?}: {reason}")]
    Import {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What is imported lacks a blob that it refers to.
    #[error("import {path:?}: blob {digest} is missing")]
    MissingBlob {
        /// The file or directory.
        path: PathBuf,
        /// The blob.
        digest: Digest,
    },
    /// The store failed.
    #[error(transparent)]
    Store(rbuild_store::Error),
    /// A layer could not be read or made.
    #[error(transparent)]
    Layer(rbuild_layer::Error),
    /// The work was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Error {
    pub(crate) fn output(message: impl Into<String>) -> Self {
        Self::Output {
            message: message.into(),
        }
    }

    pub(crate) fn import(path: &Path, reason: impl Into<String>) -> Self {
        Self::Import {
            path: path.to_path_buf(),
            reason: reason.into(),
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        if Cancelled::caused(&source) {
            return Self::Cancelled(Cancelled);
        }
        Self::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }

    /// Returns a closure for `map_err`.
    pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::io(action, path, source)
    }
}

impl From<rbuild_store::Error> for Error {
    fn from(error: rbuild_store::Error) -> Self {
        match error {
            rbuild_store::Error::Cancelled(cancelled) => Self::Cancelled(cancelled),
            other => Self::Store(other),
        }
    }
}

impl From<rbuild_layer::Error> for Error {
    fn from(error: rbuild_layer::Error) -> Self {
        match error {
            rbuild_layer::Error::Cancelled => Self::Cancelled(Cancelled),
            other => Self::Layer(other),
        }
    }
}
