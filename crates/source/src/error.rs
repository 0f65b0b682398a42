//! The one error type of this crate.

use std::io;
use std::path::PathBuf;

use rbuild_progress::Cancelled;

/// What can go wrong while reading sources.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A list of files could not be compressed.
    #[error("compress a list of files")]
    Listing {
        /// What the compressor said.
        source: std::io::Error,
    },
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
    /// Something is not in the store, and the network may not be used.
    #[error("{what} is not in the store, and nothing may be asked for it: offline")]
    Offline {
        /// What it is, without credentials.
        what: String,
    },
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
    /// A server cannot be reached, or its address makes no sense.
    #[error("failed to load cache key: fetch {url}")]
    Web {
        /// The address, without credentials.
        url: String,
        /// What the client says.
        source: Box<rbuild_registry::Error>,
    },
    /// A server has no such file, or does not give it.
    #[error("failed to load cache key: invalid response status {status} (GET {url})")]
    WebStatus {
        /// The address, without credentials.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// A download kept breaking off.
    #[error("failed to load cache key: fetch {url}")]
    Broken {
        /// The address, without credentials.
        url: String,
        /// How it broke.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Only what is pinned may be used, and this is not.
    #[error("{what} is not locked")]
    Unpinned {
        /// What it is, without credentials.
        what: String,
    },
    /// A file is not what its pin says.
    #[error("{url} is not what was locked: its bytes have the digest {found}, locked is {locked}")]
    OtherBytes {
        /// The address, without credentials.
        url: String,
        /// The digest of what came.
        found: rbuild_oci::Digest,
        /// The pin.
        locked: rbuild_oci::Digest,
    },
    /// What a name was pinned to has another image for a platform than the pin says.
    #[error("{reference} has {found} for {platform}, locked is {locked}")]
    OtherManifest {
        /// The image, with the digest of its index.
        reference: String,
        /// The platform.
        platform: String,
        /// The manifest that it has.
        found: rbuild_oci::Digest,
        /// The pin.
        locked: rbuild_oci::Digest,
    },
    /// A download cannot be written.
    #[error("keep what comes from {url}")]
    Keep {
        /// The address, without credentials.
        url: String,
        /// Why not: a full disk, mostly.
        source: io::Error,
    },
    /// A download is not what its checksum says.
    #[error("digest mismatch {found}: {expected}")]
    Checksum {
        /// The digest of what came.
        found: rbuild_oci::Digest,
        /// The checksum.
        expected: rbuild_oci::Digest,
    },
    /// Something from elsewhere is larger than allowed.
    #[error("{what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What it is.
        what: String,
        /// Limit in bytes.
        limit: u64,
    },
    /// An archive or repository has more files and directories than allowed.
    #[error("{what} holds more than {limit} files and directories")]
    TooMany {
        /// What it is.
        what: String,
        /// Limit.
        limit: u64,
    },
    /// Git cannot be started, or not watched.
    #[error("run git, which sources in git repositories need")]
    GitStart {
        /// Why not.
        source: io::Error,
    },
    /// The agent of a build cannot be made to answer git.
    #[error("make a socket for the ssh agent {id:?}")]
    Agent {
        /// Its id.
        id: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Git failed.
    #[error("{attempt} {remote}: {said}")]
    Git {
        /// What was attempted.
        attempt: &'static str,
        /// The repository, without credentials.
        remote: String,
        /// What git said.
        said: String,
    },
    /// A text cannot be a reference.
    #[error("invalid ref {reference:?}")]
    GitRef {
        /// The text.
        reference: String,
    },
    /// A repository has no such branch, tag or commit.
    #[error("repository does not contain ref {reference} ({remote})")]
    GitNoRef {
        /// The reference.
        reference: String,
        /// The repository, without credentials.
        remote: String,
    },
    /// A commit is not the one that the checksum names.
    #[error("expected checksum to match {wanted}, got {found}")]
    GitChecksum {
        /// The checksum.
        wanted: String,
        /// What the reference stands for.
        found: String,
    },
    /// A repository has no such directory.
    #[error("subdir {subdir:?} of {remote}: no such directory")]
    GitSubdir {
        /// The directory.
        subdir: String,
        /// The repository, without credentials.
        remote: String,
    },
    /// A file that was handed to the build is not in the store any more.
    #[error("{name} on standard input can be read only once, and the store has lost it")]
    HandedOver {
        /// What it is called.
        name: String,
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
