//! What can go wrong between a request and the end of a step.

use std::io;
use std::path::PathBuf;

use rbuild_progress::Cancelled;

/// Everything this crate can fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The helper binary could not be started, or did not answer as a nursery does.
    #[error("start the nursery from {helper}: {detail}")]
    Start {
        /// Binary that was to be re-executed.
        helper: PathBuf,
        /// What it was doing and why that failed.
        detail: String,
    },
    /// Neither root's rights nor a user namespace can be had here.
    #[error("no way to isolate a step here: {detail}")]
    Unsupported {
        /// What was tried, with the kernel's answer and a remedy.
        detail: String,
    },
    /// The user has no usable range of subordinate ids, or the range could not be mapped.
    #[error("map subordinate ids: {detail}")]
    IdMap {
        /// What was tried and its outcome.
        detail: String,
    },
    /// The nursery is gone; every step in it has been killed.
    #[error("the nursery died")]
    Gone,
    /// A message could not be sent, received or understood.
    #[error("talk to the nursery: {action}")]
    Wire {
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A request cannot be expressed as a message (a path that is not UTF-8).
    #[error("encode a request for the nursery")]
    Encode(#[source] serde_json::Error),
    /// One step of setting up the isolated process failed; the program never ran.
    #[error("step setup: {stage}: {detail}")]
    Setup {
        /// Which part of the set-up.
        stage: String,
        /// What it acted on and the reason.
        detail: String,
    },
    /// `USER` cannot be resolved in the image; the text is the one of Docker's runtime.
    #[error("{0}")]
    User(String),
    /// What a mount is to show does not exist in its source.
    #[error("open {path}: no such file or directory (the source of the mount at {target})")]
    MissingSource {
        /// Where it was to be mounted.
        target: String,
        /// Path that is missing.
        path: String,
    },
    /// A job's child ended without an answer.
    #[error("job in the nursery: {detail}")]
    Job {
        /// How it ended.
        detail: String,
    },
    /// The caller's cancel token was set; what ran has been killed and reaped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
