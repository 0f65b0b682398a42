//! What the rows about images, files and repositories elsewhere lead to: for whoever collects objects.

use rbuild_layer::LayerId;
use rbuild_oci::Digest;

use crate::{git, http, image};

/// What a remembered answer of a registry or server leads to in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remembered {
    /// An image: its manifest and config.
    Image {
        /// Blob of the manifest.
        manifest: Digest,
        /// Blob of the config.
        config: Digest,
    },
    /// A downloaded file: its blob.
    File(Digest),
    /// A tree of a repository: its layer.
    Git(LayerId),
}

/// Reads a row of the table of remotes; `None` if it leads to nothing, or is not this crate's.
pub fn remembered(key: &str, row: &[u8]) -> Option<Remembered> {
    if key.starts_with("file-") {
        return http::blob_of(row).map(Remembered::File);
    }
    if key.starts_with("git-") {
        return git::layer_of(row).map(Remembered::Git);
    }
    let (manifest, config) = image::documents_of(row)?;
    Some(Remembered::Image { manifest, config })
}
