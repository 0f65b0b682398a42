//! What can be wrong with an OCI noun.

use crate::Digest;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A text or document that is not the OCI noun it claims to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not `algorithm:hex` with a supported algorithm and the right length.
    #[error("invalid digest {text:?}: {reason}")]
    Digest {
        /// The text as given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The text does not name an image.
    #[error("invalid image reference {text:?}: {reason}")]
    Reference {
        /// The text as given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The text is no address of an image.
    #[error("invalid image address {text:?}, at character {position}: {reason}")]
    Address {
        /// The text as given.
        text: String,
        /// Where it goes wrong, in characters from 1.
        position: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The text does not name a platform.
    #[error("failed to parse target platform {text}: {reason}")]
    Platform {
        /// The text as given.
        text: String,
        /// What is wrong with it, in the words of BuildKit's own parser.
        reason: String,
    },
    /// Content has another digest than the one it was asked for by.
    #[error("content has digest {found}, expected {expected}")]
    DigestMismatch {
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of the bytes that came.
        found: Digest,
    },
    /// Content has another size than the one its descriptor states.
    #[error("content of {digest} has {found} bytes, expected {expected}")]
    SizeMismatch {
        /// The digest the content was asked for by.
        digest: Digest,
        /// Size stated by the descriptor, in bytes.
        expected: u64,
        /// Bytes seen: exact when the content was too short, a lower bound when it was too long.
        found: u64,
    },
    /// A document is not JSON, or lacks the shape of the noun.
    #[error("parse {what}")]
    Json {
        /// Which document: `image config`, `manifest`, `index`.
        what: &'static str,
        /// The parser's message, with line and column.
        source: serde_json::Error,
    },
}
