//! The one error type of this crate.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use rbuild_oci::Digest;
use rbuild_progress::Cancelled;

/// The result of what may fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a cache elsewhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The build was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// `--cache-to` or `--cache-from` says something that cannot be meant.
    #[error("{0}")]
    Spec(String),
    /// The place did not do what it was asked for.
    #[error("{action} in the cache {place}")]
    Place {
        /// [`crate::Backend::name`].
        place: String,
        /// What was tried: a verb and an object.
        action: &'static str,
        /// What the place or the way there said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A blob that an index names is not in the place.
    #[error("{digest} is not in the cache {place} any more")]
    Gone {
        /// [`crate::Backend::name`].
        place: String,
        /// The blob.
        digest: Digest,
    },
    /// A blob is not what its digest says.
    #[error("{digest} in the cache {place} is damaged: {reason}")]
    Corrupt {
        /// [`crate::Backend::name`].
        place: String,
        /// The blob.
        digest: Digest,
        /// What is wrong.
        reason: String,
    },
    /// An index, or another document of a cache, cannot be read.
    #[error("the {what} in the cache {place} cannot be read: {reason}")]
    Document {
        /// [`crate::Backend::name`].
        place: String,
        /// Which document: `index`, `list of files`.
        what: &'static str,
        /// What is wrong, and where.
        reason: String,
    },
    /// The place holds something else than a cache of ours.
    #[error("the cache {place} holds {what}")]
    Foreign {
        /// [`crate::Backend::name`].
        place: String,
        /// What it holds, and what to do.
        what: String,
    },
    /// A document is larger than anything that is sensible.
    #[error("the {what} in the cache {place} has more than {limit} bytes")]
    TooLarge {
        /// [`crate::Backend::name`].
        place: String,
        /// Which document.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// Another writer has put an index there that was not merged: read again.
    #[error("the index in the cache {place} was changed by somebody else")]
    Moved {
        /// [`crate::Backend::name`].
        place: String,
    },
    /// A key file cannot be used.
    #[error("{}: {reason}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or directory cannot be used.
    #[error("{attempt} {}", path.display())]
    Io {
        /// What was attempted: a verb.
        attempt: &'static str,
        /// What was attempted on.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The store refused or failed.
    #[error("use the store")]
    Store(#[source] rbuild_store::Error),
    /// A layer could not be read or registered.
    #[error("read layers")]
    Layer(#[source] rbuild_layer::Error),
}

impl Error {
    /// Turns an I/O error into one that says what was attempted.
    pub fn at(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            attempt,
            path: path.to_owned(),
            source,
        }
    }

    /// The same error for another who has to hear of it.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Cancelled => Self::Cancelled,
            other => Self::place("of this machine", "collect results", other.to_string()),
        }
    }

    /// The error with its causes in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = StdError::source(self);
        while let Some(cause) = next {
            text = format!("{text}: {cause}");
            next = cause.source();
        }
        text
    }

    /// What a place, or the way there, said when it was asked to do something.
    pub fn place(
        place: &str,
        action: &'static str,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::Place {
            place: place.to_owned(),
            action,
            source: source.into(),
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
        match source {
            rbuild_store::Error::Cancelled(_) => Self::Cancelled,
            other => Self::Store(other),
        }
    }
}

impl From<rbuild_layer::Error> for Error {
    fn from(source: rbuild_layer::Error) -> Self {
        match source {
            rbuild_layer::Error::Cancelled => Self::Cancelled,
            other => Self::Layer(other),
        }
    }
}
