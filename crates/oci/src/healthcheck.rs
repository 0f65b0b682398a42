//! The HEALTHCHECK part of a config.

use serde::{Deserialize, Serialize};

use crate::json::null_default;

/// How to find out whether a container is well.
///
/// Durations are in nanoseconds, zero meaning "the engine's default". A `test` of `["NONE"]`
/// switches an inherited check off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["CMD", args…]`, `["CMD-SHELL", text]` or `["NONE"]`.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_default"
    )]
    pub test: Vec<String>,
    /// Time between two checks, in nanoseconds.
    #[serde(rename = "Interval", skip_serializing_if = "is_zero")]
    pub interval_ns: i64,
    /// Time after which a check has failed, in nanoseconds.
    #[serde(rename = "Timeout", skip_serializing_if = "is_zero")]
    pub timeout_ns: i64,
    /// Time in which failures do not count, in nanoseconds.
    #[serde(rename = "StartPeriod", skip_serializing_if = "is_zero")]
    pub start_period_ns: i64,
    /// Time between two checks in the start period, in nanoseconds.
    #[serde(rename = "StartInterval", skip_serializing_if = "is_zero")]
    pub start_interval_ns: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}
