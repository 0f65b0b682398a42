//! What is asked of lowering: target, arguments, platforms, and the settings of every step.
//!
//! All of it comes from the command line or from an API; nothing is read from the environment here.

use std::collections::BTreeMap;

use rbuild_graph::{GitOp, HttpOp, NetworkMode, Ulimit};
use rbuild_oci::{Address, Digest, Platform};
use rbuild_pattern::IgnoreSet;

/// A request to lower one Dockerfile.
#[derive(Debug, Clone, PartialEq)]
pub struct LowerRequest {
    /// Stage to build, by name; `None` is the last one.
    pub target: Option<String>,
    /// Which stages are lowered.
    pub extent: Extent,
    /// `--build-arg` values, the proxy settings and `BUILDKIT_*` switches among them.
    pub build_args: BTreeMap<String, String>,
    /// `--label` values, put on the target after all instructions.
    pub labels: BTreeMap<String, String>,
    /// Platforms to build for, one result each; empty means `build_platform`, and then an image
    /// keeps the platform of its base.
    pub platforms: Vec<Platform>,
    /// The platform that steps run on.
    pub build_platform: Platform,
    /// Which steps must not be taken from the cache.
    pub no_cache: NoCache,
    /// Time in seconds since 1970 for all that is new; a build argument `SOURCE_DATE_EPOCH` or a
    /// global ARG of that name goes before it.
    pub source_epoch: Option<i64>,
    /// The files that COPY and ADD see without `--from`; `None` is a directory of the user's.
    pub context: Option<RemoteTree>,
    /// Time of `context` in seconds since 1970, for whom `SOURCE_DATE_EPOCH` is `context`.
    pub context_epoch: Option<i64>,
    /// Time of what [`epoch_source`](crate::epoch_source) finds, in seconds since 1970, if it has one.
    pub named_epoch: Option<i64>,
    /// Named contexts: `NAME`, or `NAME::os/arch` for one platform only.
    pub contexts: BTreeMap<String, NamedContext>,
    /// Extra lines of `/etc/hosts` for every RUN, as (name, address).
    pub extra_hosts: Vec<(String, String)>,
    /// Network of a RUN that does not say otherwise.
    pub network: NetworkMode,
    /// Host name of every RUN; empty leaves it to the worker.
    pub hostname: String,
    /// Size of `/dev/shm` of every RUN in bytes; 0 leaves it to the worker.
    pub shm_size: u64,
    /// Resource limits of every RUN.
    pub ulimits: Vec<Ulimit>,
    /// What steps may ask for beyond the sandbox.
    pub entitlements: Entitlements,
    /// Rules of what the build context leaves out, for a warning about it; `None` where there is
    /// no context or no such file.
    pub ignored: Option<IgnoreSet>,
}

impl LowerRequest {
    /// The plain request: last stage, no arguments, for the platform that steps run on.
    pub fn new(build_platform: Platform) -> Self {
        Self {
            target: None,
            extent: Extent::Target,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platforms: Vec::new(),
            build_platform,
            no_cache: NoCache::Nothing,
            source_epoch: None,
            context: None,
            context_epoch: None,
            named_epoch: None,
            contexts: BTreeMap::new(),
            extra_hosts: Vec::new(),
            network: NetworkMode::Default,
            hostname: String::new(),
            shm_size: 0,
            ulimits: Vec::new(),
            entitlements: Entitlements::default(),
            ignored: None,
        }
    }
}

/// Which stages are lowered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Extent {
    /// Those that the target needs.
    #[default]
    Target,
    /// All of them, as a check of the whole file wants it.
    All,
}

/// Which steps must not be taken from the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NoCache {
    /// None: use what is there.
    #[default]
    Nothing,
    /// All COPY, ADD and RUN.
    All,
    /// Those of the named stages, in any case; a stage without a name is `stage-<index>`.
    Stages(Vec<String>),
}

/// What a name stands for instead of a stage or an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// An image, by reference.
    Image(String),
    /// An image in an OCI layout directory.
    Layout {
        /// The directory.
        dir: String,
        /// The manifest or index in it; `None` is the only one there.
        digest: Option<Digest>,
    },
    /// An image at an address: in an archive, or in a registry and nowhere else.
    Address(Address),
    /// A directory of the user's; the source knows it by the context's name.
    Local,
    /// Files from elsewhere.
    Remote(RemoteTree),
}

/// A context whose files are no directory of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteTree {
    /// A tree of a git repository.
    Git(GitOp),
    /// What is in an archive.
    Archive(HttpOp),
    /// One file.
    File(HttpOp),
}

/// Rights that a build may be given on the command line, and only there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `network.host`: RUN may use the host's network.
    pub network_host: bool,
    /// `security.insecure`: RUN may leave the sandbox.
    pub security_insecure: bool,
}
