//! The whole image config document: platform, run settings, layers, history.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::json::{self, null_default};
use crate::{DiffId, Error, Platform, Result, RunConfig};

/// The config document of an image; its digest is the image id.
///
/// Reading keeps unknown keys (in `other` and in [`RunConfig::other`]); whoever builds on top of
/// an image decides which of them to carry on. Writing is canonical: see [`ImageConfig::to_bytes`].
/// Source: OCI image-spec, config.md.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// RFC 3339 time, kept verbatim; written as `null` when absent.
    pub created: Option<String>,
    /// Author; left out when empty.
    #[serde(deserialize_with = "null_default")]
    pub author: String,
    /// Processor architecture in Go's words.
    #[serde(deserialize_with = "null_default")]
    pub architecture: String,
    /// Operating system in Go's words.
    #[serde(deserialize_with = "null_default")]
    pub os: String,
    /// Variant of the architecture.
    pub variant: Option<String>,
    /// Version of the operating system (Windows).
    #[serde(rename = "os.version")]
    pub os_version: Option<String>,
    /// Mandatory features of the operating system (Windows).
    #[serde(rename = "os.features", deserialize_with = "null_default")]
    pub os_features: Vec<String>,
    /// How a container runs.
    #[serde(deserialize_with = "null_default")]
    pub config: RunConfig,
    /// The layers.
    #[serde(deserialize_with = "null_default")]
    pub rootfs: RootFs,
    /// How each layer and setting came about, oldest first.
    #[serde(deserialize_with = "null_default")]
    pub history: Vec<History>,
    /// Top-level keys that this crate does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// The layers of an image, by the digests of their uncompressed tars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Base first; `None` is written as `null`, which is what an image without layers has.
    pub diff_ids: Option<Vec<DiffId>>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self {
            kind: "layers".to_owned(),
            diff_ids: None,
        }
    }
}

/// One line of an image's history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// RFC 3339 time, kept verbatim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_default"
    )]
    pub created_by: String,
    /// Author.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_default"
    )]
    pub author: String,
    /// Which tool made it.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_default"
    )]
    pub comment: String,
    /// Whether it made no layer.
    #[serde(skip_serializing_if = "is_false", deserialize_with = "null_default")]
    pub empty_layer: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl ImageConfig {
    /// Makes the config of an empty image for `platform`.
    pub fn new(platform: &Platform) -> Self {
        let mut config = Self::default();
        config.set_platform(platform);
        config
    }

    /// Reads a config. Errors: [`Error::Json`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|source| Error::Json {
            what: "image config",
            source,
        })
    }

    /// Encodes canonically.
    ///
    /// Shape: compact, top-level keys sorted, inner keys in the order of the structs, empty ones
    /// left out, Go's escapes, no newline at the end. Equal configs give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::compact(self).expect("a config has only text keys")
    }

    /// The platform, as written in the document.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone().filter(|variant| !variant.is_empty()),
            os_version: self
                .os_version
                .clone()
                .filter(|version| !version.is_empty()),
            os_features: self.os_features.clone(),
        }
    }

    /// Replaces all five platform fields.
    pub fn set_platform(&mut self, platform: &Platform) {
        self.os = platform.os.clone();
        self.architecture = platform.architecture.clone();
        self.variant = platform.variant.clone();
        self.os_version = platform.os_version.clone();
        self.os_features = platform.os_features.clone();
    }

    /// The layers, base first; empty when there are none.
    pub fn diff_ids(&self) -> &[DiffId] {
        self.rootfs.diff_ids.as_deref().unwrap_or_default()
    }

    fn fields(&self) -> serde_json::Result<BTreeMap<&str, Value>> {
        let mut out: BTreeMap<&str, Value> = self
            .other
            .iter()
            .map(|(key, value)| (key.as_str(), value.clone()))
            .collect();
        out.insert("architecture", self.architecture.as_str().into());
        out.insert("config", serde_json::to_value(&self.config)?);
        out.insert("created", self.created.clone().into());
        out.insert("history", serde_json::to_value(&self.history)?);
        out.insert("os", self.os.as_str().into());
        out.insert("rootfs", serde_json::to_value(&self.rootfs)?);
        let optional = [
            ("author", Some(self.author.as_str())),
            ("os.version", self.os_version.as_deref()),
            ("variant", self.variant.as_deref()),
        ];
        for (key, value) in optional {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                out.insert(key, value.into());
            }
        }
        if !self.os_features.is_empty() {
            out.insert("os.features", self.os_features.clone().into());
        }
        Ok(out)
    }
}

impl Serialize for ImageConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Known and unknown keys are sorted together, which a derived impl cannot do.
        let fields = self.fields().map_err(serde::ser::Error::custom)?;
        serializer.collect_map(fields)
    }
}

#[cfg(test)]
mod tests;
