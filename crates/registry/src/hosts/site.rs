//! A place that serves a repository.

use std::path::PathBuf;
use std::sync::Arc;

use reqwest::header::HeaderMap;

use super::tls::Tls;

/// A place that serves a repository: what all settings together make of it.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// Host and port; credentials are kept by it.
    pub(crate) host: String,
    /// Whether TLS is spoken.
    pub(crate) speech: Speech,
    /// Path of the API, the version included, without a slash at its end.
    pub(crate) api: String,
    /// What the repository is called there.
    pub(crate) repository: String,
    /// How TLS is spoken.
    pub(crate) tls: Arc<Tls>,
    /// Headers of every request to it. May hold secrets.
    pub(crate) headers: HeaderMap,
    /// The registry that it stands in for, if it wants to be told.
    pub(crate) namespace: Option<String>,
    /// Whether it is the registry itself.
    pub(crate) role: Role,
    /// The files that say so, without those with certificates.
    pub(crate) told_by: Vec<PathBuf>,
}

/// What a place is to the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Asked before it.
    Mirror,
    /// The registry itself, or what stands in its place.
    Registry,
}

/// Whether TLS is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// Yes.
    Tls,
    /// No.
    Plain,
    /// Yes if it can be had, else not: both are allowed.
    Either,
}
