//! One image's manifest, and the index of several.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::{self, null_default};
use crate::{Descriptor, Error, Result};

/// One image: its config and its layers, base first.
///
/// Meant for reading what was pulled and for writing what was built. Pulled manifests are passed
/// on as the bytes that came, never re-encoded. Source: OCI image-spec, manifest.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    /// Media type as written; may be empty in OCI documents of old.
    #[serde(
        rename = "mediaType",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub media_type: String,
    /// Type of a packaged artifact.
    #[serde(
        rename = "artifactType",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub artifact_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// Layers, base first.
    #[serde(default, deserialize_with = "null_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest that this one refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations by key.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_default"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Makes a manifest without annotations.
    pub fn new(media_type: impl Into<String>, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: media_type.into(),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads a manifest. Errors: [`Error::Json`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|source| Error::Json {
            what: "manifest",
            source,
        })
    }

    /// Encodes with an indent of two spaces, as BuildKit does.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::indented(self).expect("a manifest has only text keys")
    }
}

/// Several manifests, by platform or by name.
///
/// Source: OCI image-spec, image-index.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Always 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    /// Media type as written; may be empty in OCI documents of old.
    #[serde(
        rename = "mediaType",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub media_type: String,
    /// Type of a packaged artifact.
    #[serde(
        rename = "artifactType",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub artifact_type: Option<String>,
    /// The manifests, in the order of the document.
    #[serde(default, deserialize_with = "null_default")]
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations by key.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_default"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// Makes an index without annotations.
    pub fn new(media_type: impl Into<String>, manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: media_type.into(),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads an index. Errors: [`Error::Json`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|source| Error::Json {
            what: "index",
            source,
        })
    }

    /// Encodes with an indent of two spaces, as BuildKit does.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::indented(self).expect("an index has only text keys")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;
    use crate::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST};

    #[test]
    fn manifest_is_indented_in_field_order() {
        let config = Descriptor::of(OCI_CONFIG, b"{}");
        let layer = Descriptor::of(OCI_LAYER_GZIP, b"l");
        let manifest = Manifest::new(OCI_MANIFEST, config, vec![layer]);
        let text = String::from_utf8(manifest.to_bytes()).unwrap();
        let wanted = format!(
            r#"{{
  "schemaVersion": 2,
  "mediaType": "{OCI_MANIFEST}",
  "config": {{
    "mediaType": "{OCI_CONFIG}",
    "digest": "{}",
    "size": 2
  }},
  "layers": [
    {{
      "mediaType": "{OCI_LAYER_GZIP}",
      "digest": "{}",
      "size": 1
    }}
  ]
}}"#,
            Digest::sha256_of(b"{}"),
            Digest::sha256_of(b"l")
        );
        assert_eq!(text, wanted);
        assert_eq!(Manifest::from_bytes(text.as_bytes()).unwrap(), manifest);
    }

    #[test]
    fn index_without_entries_is_an_empty_list() {
        let index = Index::new(OCI_INDEX, Vec::new());
        let text = String::from_utf8(index.to_bytes()).unwrap();
        assert!(text.contains("\"manifests\": []"), "{text}");
        assert_eq!(Index::from_bytes(text.as_bytes()).unwrap(), index);
    }

    #[test]
    fn a_null_layer_list_is_empty() {
        let config = serde_json::to_string(&Descriptor::of(OCI_CONFIG, b"{}")).unwrap();
        let text = format!(r#"{{"schemaVersion":2,"config":{config},"layers":null}}"#);
        assert!(
            Manifest::from_bytes(text.as_bytes())
                .unwrap()
                .layers
                .is_empty()
        );
        assert!(Manifest::from_bytes(b"{}").is_err());
    }
}
