//! Settings of a client, as plain data.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::credential::{Anonymous, CredentialSource};
use crate::hosts::HostFiles;
use crate::proxy::ProxyConfig;

/// All that a client must be told. [`ClientConfig::default`] pulls anonymously over HTTPS.
#[derive(Clone)]
pub struct ClientConfig {
    /// Where credentials come from.
    pub credentials: Arc<dyn CredentialSource>,
    /// Settings by registry, keyed as in references: `docker.io`, `localhost:5000`.
    pub hosts: BTreeMap<String, HostConfig>,
    /// Where the machine's own settings for registries are; `hosts` wins over what they say.
    pub host_files: HostFiles,
    /// Certificates to trust beside the system's, each a PEM file's bytes.
    pub extra_roots: Vec<Vec<u8>>,
    /// Whether anything may be asked at all.
    pub reach: Reach,
    /// Proxies.
    pub proxy: ProxyConfig,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Blobs fetched at the same time, at least one.
    pub parallel: usize,
    /// Text of the `User-Agent` header.
    pub user_agent: String,
    /// Time to wait for a connection.
    pub connect_timeout: Duration,
    /// Time to wait for the next piece of an answer.
    pub read_timeout: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            credentials: Arc::new(Anonymous),
            hosts: BTreeMap::new(),
            host_files: HostFiles::default(),
            extra_roots: Vec::new(),
            reach: Reach::default(),
            proxy: ProxyConfig::default(),
            retry: RetryPolicy::default(),
            parallel: 4,
            user_agent: concat!("rbuild/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("hosts", &self.hosts)
            .field("retry", &self.retry)
            .field("parallel", &self.parallel)
            .finish_non_exhaustive()
    }
}

/// Whether other machines may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Yes.
    #[default]
    Network,
    /// No: not a packet is sent, and no credential looked up.
    Offline,
}

/// Settings of one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostConfig {
    /// How to speak to it.
    pub scheme: Scheme,
    /// Hosts to ask first, in this order; the registry itself is asked last.
    pub mirrors: Vec<String>,
}

/// How to speak to a registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP to loopback hosts, HTTPS to all others.
    #[default]
    Auto,
    /// HTTPS even to loopback hosts.
    Https,
    /// HTTPS without a proof of who answers, or else plain HTTP: the user vouches for the network.
    Insecure,
    /// Plain HTTP: the user vouches for the network.
    InsecureHttp,
}

/// When and how often to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts after answers that ask for patience (429, 5xx) and after broken bodies.
    pub attempts: u32,
    /// Attempts to connect; fewer, since a wrong host name is a common mistake.
    pub connect_attempts: u32,
    /// First pause; each further one is twice as long.
    pub first_pause: Duration,
    /// Longest pause; a registry that asks for a longer one is given up at once.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            connect_attempts: 3,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(60),
        }
    }
}
