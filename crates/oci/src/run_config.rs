//! The inner `config` object: how a container of the image runs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::Healthcheck;
use crate::json::null_default;

/// How a container of the image runs.
///
/// Encoded in this field order, empty fields left out, unknown keys last. Source: OCI image-spec,
/// config.md, "config", with Docker's `Healthcheck`, `OnBuild` and `Shell`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// `user`, `user:group`, names or ids; empty means root.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_default"
    )]
    pub user: String,
    /// Ports such as `80/tcp`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", with = "key_set")]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value` entries in order of definition.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_default"
    )]
    pub env: Vec<String>,
    /// ENTRYPOINT; an empty list is not written.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub entrypoint: Option<Vec<String>>,
    /// CMD; an empty list is not written.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub cmd: Option<Vec<String>>,
    /// Paths of volumes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", with = "key_set")]
    pub volumes: BTreeSet<String>,
    /// Working directory; empty means `/`.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_default"
    )]
    pub working_dir: String,
    /// Labels by key.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_default"
    )]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the container to stop.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_default"
    )]
    pub stop_signal: String,
    /// Whether CMD is already escaped; only Windows looks at it, and CMD always sets it.
    #[serde(skip_serializing_if = "is_false", deserialize_with = "null_default")]
    pub args_escaped: bool,
    /// HEALTHCHECK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions to run in builds on top of this image.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_default"
    )]
    pub on_build: Vec<String>,
    /// SHELL; an empty list is not written.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub shell: Option<Vec<String>>,
    /// Keys that this crate does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

fn none_or_empty(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Go's set: an object whose values are empty objects.
mod key_set {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        set: &BTreeSet<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(set.iter().map(|key| (key, BTreeMap::<&str, ()>::new())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<String>, D::Error> {
        let map = Option::<BTreeMap<String, Value>>::deserialize(deserializer)?;
        Ok(map.unwrap_or_default().into_keys().collect())
    }
}
