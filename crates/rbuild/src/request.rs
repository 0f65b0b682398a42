//! What is asked of a build. Plain data: whoever calls reads the environment and the home directory.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rbuild_cache::{CacheFrom, CacheTo, Trust, Writer};
use rbuild_exporter::ExportSpec;
use rbuild_frontend::{Entitlements, NoCache};
use rbuild_graph::{NetworkMode, Ulimit};
use rbuild_oci::{Address, Digest, Platform, Reference};

use crate::LockUse;

/// One build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The files that COPY and ADD see.
    pub context: ContextInput,
    /// The Dockerfile.
    pub dockerfile: DockerfileInput,
    /// Names that the image gets in the store.
    pub tags: Vec<Reference>,
    /// Stage to build; `None` is the last one.
    pub target: Option<String>,
    /// Values of ARGs, proxy settings and `SOURCE_DATE_EPOCH` among them.
    pub build_args: BTreeMap<String, String>,
    /// Labels put on the result.
    pub labels: BTreeMap<String, String>,
    /// Platforms to build for; empty is this machine's.
    pub platforms: Vec<Platform>,
    /// Which steps are not taken from the cache.
    pub no_cache: NoCache,
    /// What becomes of a step that is not in the cache.
    pub on_miss: OnMiss,
    /// Whether bases are looked for afresh.
    pub pull: PullPolicy,
    /// Where bases are looked for by name.
    pub resolve: ResolveOrder,
    /// What the build makes of the Dockerfile's lock.
    pub lock: LockUse,
    /// Named contexts.
    pub contexts: BTreeMap<String, NamedContextInput>,
    /// Extra lines of `/etc/hosts`, as (name, address).
    pub extra_hosts: Vec<(String, String)>,
    /// Network of a RUN that does not say otherwise.
    pub network: NetworkMode,
    /// Size of `/dev/shm` in bytes; 0 is the default.
    pub shm_size: u64,
    /// Resource limits of every RUN.
    pub ulimits: Vec<Ulimit>,
    /// Secrets that `RUN --mount=type=secret` may ask for.
    pub secrets: Vec<SecretInput>,
    /// Agents that `RUN --mount=type=ssh` may ask for, by id: each one socket, or files with keys.
    pub agents: BTreeMap<String, Vec<PathBuf>>,
    /// Directories of the host that stand for cache mounts, by id; made where they are missing.
    pub cache_dirs: BTreeMap<String, PathBuf>,
    /// Rights beyond the sandbox.
    pub entitlements: Entitlements,
    /// Whether set-id programs may raise privilege inside a step.
    pub new_privileges: NewPrivileges,
    /// Most steps at the same time; `None` lets the engine choose.
    pub jobs: Option<NonZeroUsize>,
    /// Where the result goes besides the store; empty keeps it in the store alone.
    pub outputs: Vec<ExportSpec>,
    /// Caches elsewhere.
    pub cache: CacheRequest,
}

/// Caches elsewhere that a build reads and writes.
#[derive(Debug, Clone, Default)]
pub struct CacheRequest {
    /// Those that are read; of equal results the newest counts.
    pub from: Vec<CacheFrom>,
    /// Those that are written.
    pub to: Vec<CacheTo>,
    /// Whose entries are believed.
    pub trust: Trust,
    /// Who writes.
    pub writer: Writer,
    /// How long sending may take once the build is done.
    pub budget: Option<Duration>,
}

impl BuildRequest {
    /// The plain request: default Dockerfile of `context`, last stage, this machine's platform.
    pub fn new(context: ContextInput) -> BuildRequest {
        BuildRequest {
            context,
            dockerfile: DockerfileInput::Default,
            tags: Vec::new(),
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platforms: Vec::new(),
            no_cache: NoCache::Nothing,
            on_miss: OnMiss::Build,
            pull: PullPolicy::Missing,
            resolve: ResolveOrder::StoreFirst,
            lock: LockUse::default(),
            contexts: BTreeMap::new(),
            extra_hosts: Vec::new(),
            network: NetworkMode::Default,
            shm_size: 0,
            ulimits: Vec::new(),
            secrets: Vec::new(),
            agents: BTreeMap::new(),
            cache_dirs: BTreeMap::new(),
            entitlements: Entitlements::default(),
            new_privileges: NewPrivileges::Allowed,
            jobs: None,
            outputs: Vec::new(),
            cache: CacheRequest::default(),
        }
    }
}

/// What becomes of a step that is not in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMiss {
    /// It is carried out.
    Build,
    /// The build fails before it is carried out, unless the request has it made again in any case.
    Fail,
}

/// The files that COPY and ADD see.
#[derive(Debug, Clone)]
pub enum ContextInput {
    /// A directory, read in place.
    Directory(PathBuf),
    /// None at all.
    Empty,
    /// An archive that is read from a descriptor: tar, plain or compressed.
    Archive(ArchiveInput),
    /// An address: a git repository, or an archive or a single Dockerfile behind a URL.
    Remote(String),
}

/// An archive that is read from a descriptor; it can be read by one build only.
#[derive(Debug, Clone)]
pub struct ArchiveInput {
    /// What was read of it already.
    pub head: Arc<[u8]>,
    /// The rest: a pipe, a socket or a file.
    pub rest: Arc<File>,
}

/// The Dockerfile.
#[derive(Debug, Clone)]
pub enum DockerfileInput {
    /// `Dockerfile` of the context, else `dockerfile`.
    Default,
    /// A file anywhere, relative to the working directory.
    File(PathBuf),
    /// Its bytes.
    Text(Vec<u8>),
}

/// Whether bases are looked for afresh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// What the store has is good enough.
    #[default]
    Missing,
    /// Registries are asked what their tags stand for.
    Always,
}

/// Where the image that a name stands for is looked for. Named contexts go before all of them, and a name
/// in the store is what was built, tagged, loaded or imported there; what was pulled is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ResolveOrder {
    /// In the store, then in the registry.
    #[default]
    StoreFirst,
    /// In the registry only.
    Registry,
    /// In the store only.
    Store,
}

/// What a name stands for instead of a stage or an image.
#[derive(Debug, Clone)]
pub enum NamedContextInput {
    /// A directory, read in place.
    Directory(PathBuf),
    /// An address: a git repository, or a file behind a URL, which is called `context`.
    Remote(String),
    /// An image, by reference.
    Image(String),
    /// An image in an archive, or in its registry and nowhere else.
    Address(Address),
    /// An image in an OCI layout directory.
    Layout {
        /// The directory.
        dir: PathBuf,
        /// Its name in the layout's index.
        tag: Option<String>,
        /// Its manifest or index.
        digest: Option<Digest>,
    },
}

/// A secret by id.
#[derive(Debug, Clone)]
pub struct SecretInput {
    /// What `RUN --mount=type=secret,id=…` calls it.
    pub id: String,
    /// Where its bytes are.
    pub source: SecretSource,
}

/// Where a secret's bytes are.
#[derive(Clone)]
pub enum SecretSource {
    /// In a file, read when a step asks for it.
    File(PathBuf),
    /// Here.
    Value(Vec<u8>),
}

impl fmt::Debug for SecretSource {
    /// Never shows the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretSource::File(path) => f.debug_tuple("File").field(path).finish(),
            SecretSource::Value(_) => f.write_str("Value"),
        }
    }
}

impl From<SecretSource> for rbuild_worker::SecretSource {
    fn from(source: SecretSource) -> Self {
        match source {
            SecretSource::File(path) => Self::File(path),
            SecretSource::Value(bytes) => Self::Bytes(Arc::from(bytes)),
        }
    }
}

/// Whether set-id programs may raise privilege inside a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NewPrivileges {
    /// As in Docker builds: `sudo` works.
    #[default]
    Allowed,
    /// They run without it.
    Forbidden,
}
