//! How an engine is set up: directories, helpers, registries. Read by the caller, never here.

use std::path::PathBuf;
use std::time::Duration;

use rbuild_cache::PlaceEnv;
use rbuild_registry::{CredentialPlace, HostFiles, ProxyConfig, Reach};
use rbuild_source::{GitConfig, RemoteLimits, TagMemory};

use crate::ContainerEngines;

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The store's directory; made if it is missing.
    pub root: PathBuf,
    /// A sealed store that what this one lacks is taken from, in place.
    pub store_from: Option<PathBuf>,
    /// Where credentials for registries are; the first that knows one wins.
    pub credentials: Vec<CredentialPlace>,
    /// How long a credential helper may take to answer.
    pub helper_limit: Duration,
    /// Binary that is started as the nursery: one whose `main` begins with
    /// [`nursery_main`](crate::nursery_main). `None` is the running binary itself.
    pub helper: Option<PathBuf>,
    /// Registries that need not prove who they are, or need not speak TLS at all, as `host[:port]`;
    /// loopback ones always may do without TLS.
    pub insecure_registries: Vec<String>,
    /// Where the machine keeps its settings for registries.
    pub host_files: HostFiles,
    /// Whether other machines may be asked. If not, what is in the store answers, however old; steps have
    /// their own network all the same.
    pub reach: Reach,
    /// How long what a registry said of a tag is believed.
    pub tag_age: Duration,
    /// What the store may take in bytes; builds bring it down when it is more. `None` is no limit.
    pub cache_max: Option<u64>,
    /// What is taken from the network at most.
    pub limits: RemoteLimits,
    /// How `git` is started.
    pub git: GitConfig,
    /// Proxies for registries, downloads and git; steps have their own, in the build arguments.
    pub proxy: ProxyConfig,
    /// Where images can be loaded into.
    pub container_engines: ContainerEngines,
    /// What the environment says of caches elsewhere.
    pub cache_places: PlaceEnv,
}

impl EngineConfig {
    /// The plain set-up: the store in `root`, no credentials, this binary as helper.
    pub fn new(root: impl Into<PathBuf>) -> EngineConfig {
        EngineConfig {
            root: root.into(),
            store_from: None,
            credentials: Vec::new(),
            helper_limit: Duration::from_secs(30),
            helper: None,
            insecure_registries: Vec::new(),
            host_files: HostFiles::default(),
            reach: Reach::Network,
            tag_age: TagMemory::default().age,
            cache_max: None,
            limits: RemoteLimits::default(),
            git: GitConfig::default(),
            proxy: ProxyConfig::default(),
            container_engines: ContainerEngines::default(),
            cache_places: PlaceEnv::default(),
        }
    }
}
