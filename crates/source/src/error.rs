//! The one error type of this crate.

use std::io;
use std::path::PathBuf;

use rbuild_progress::Cancelled;

/// What can go wrong while reading sources.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The build was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The store refused or failed.
    #[error("use the store")]
    Store(#[from] rbuild_store::Error),
    /// A layer could not be registered or read.
    #[error("read layers")]
    Layer(#[from] rbuild_layer::Error),
    /// The registry refused or failed.
    #[error("failed to resolve source metadata for {reference}")]
    Registry {
        /// What was asked for.
        reference: String,
        /// What the registry client says.
        source: Box<rbuild_registry::Error>,
    },
    /// The files with registry credentials cannot be used.
    #[error("read registry credentials")]
    Credentials(#[source] rbuild_registry::CredentialError),
    /// The context directory itself cannot be opened.
    #[error("open the build context {}", path.display())]
    Context {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the context cannot be read.
    #[error("{attempt} {} in the build context", path.display())]
    Read {
        /// What was attempted: a verb.
        attempt: &'static str,
        /// Path relative to the context.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the context is not what it was a moment ago.
    #[error("{} changed while it was being read", path.display())]
    Changed {
        /// Path relative to the context.
        path: PathBuf,
    },
    /// A source path of COPY or ADD names nothing.
    ///
    /// The text keeps BuildKit's fragment, which tools match on; `hidden` says why a file that
    /// is plainly there cannot be seen.
    #[error(
        "failed to compute cache key: failed to calculate checksum: {path:?}: not found{}",
        hint(hidden)
    )]
    NotFound {
        /// The path as the Dockerfile names it, cleaned, with a leading slash.
        path: String,
        /// The ignore rule that hides it, as a sentence, if one does.
        hidden: Option<String>,
    },
    /// A wildcard or an exclude pattern is malformed.
    #[error("pattern {pattern:?}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: rbuild_pattern::Error,
    },
    /// An image's own documents contradict each other.
    #[error("image {reference}: {reason}")]
    Image {
        /// The image.
        reference: String,
        /// What is wrong.
        reason: String,
    },
}

fn hint(hidden: &Option<String>) -> String {
    hidden
        .as_ref()
        .map(|rule| format!(" ({rule})"))
        .unwrap_or_default()
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Error::Cancelled
    }
}
