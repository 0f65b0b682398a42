//! Media type, digest and size: how one document points at another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::null_default;
use crate::{Digest, MediaType, Platform};

/// Points at content by media type, digest and size.
///
/// Field order is the order in which Go's image-spec writes them. All values are valid, hence
/// public fields; `data` and unknown keys are dropped, since nothing here may rely on them and
/// pulled documents are stored as the bytes that came. Source: OCI image-spec, descriptor.md.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Descriptor {
    /// Media type as written.
    #[serde(rename = "mediaType", default, deserialize_with = "null_default")]
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// Other places to fetch from.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_default"
    )]
    pub urls: Vec<String>,
    /// Annotations by key.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_default"
    )]
    pub annotations: BTreeMap<String, String>,
    /// The platform, in the entries of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Type of a packaged artifact.
    #[serde(
        rename = "artifactType",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// Makes a descriptor with only the three mandatory fields.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// Describes `bytes`, hashing them with SHA-256.
    pub fn of(media_type: impl Into<String>, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256_of(bytes), bytes.len() as u64)
    }

    /// What the media type means.
    pub fn kind(&self) -> MediaType {
        MediaType::of(&self.media_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type::OCI_LAYER_GZIP;

    #[test]
    fn mandatory_fields_only_and_in_order() {
        let text = serde_json::to_string(&Descriptor::of(OCI_LAYER_GZIP, b"x")).unwrap();
        let digest = Digest::sha256_of(b"x");
        let wanted = format!(r#"{{"mediaType":"{OCI_LAYER_GZIP}","digest":"{digest}","size":1}}"#);
        assert_eq!(text, wanted);
    }

    #[test]
    fn nulls_and_unknown_keys_are_read() {
        let digest = Digest::sha256_of(b"x");
        let text = format!(
            r#"{{"digest":"{digest}","size":1,"urls":null,"annotations":null,"data":"eA==","q":1}}"#
        );
        let descriptor: Descriptor = serde_json::from_str(&text).unwrap();
        assert_eq!(descriptor, Descriptor::new("", digest, 1));
    }
}
