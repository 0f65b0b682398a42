//! `rbuild build`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use rbuild::oci::Reference;
use rbuild::{ExportSpec, NetworkMode, ResolveOrder, Ulimit};

use super::annotation::{Annotations, annotations};
use super::call::CallArgs;
use super::duration::duration;
use super::foreign::ForeignArgs;
use super::lock::LockUseArgs;
use super::remote_cache::RemoteCacheArgs;
use super::secret::{SecretArg, secret};
use super::size::size;
use super::value::{
    self, AllowArg, CacheMountArg, Context, Host, NamedContextArg, Pair, PlatformArg, SecurityArg,
    SshArg, switch,
};

/// Options of `rbuild build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Directory with the files of the build, address of a git repository or an archive, or `-` for an
    /// archive or a Dockerfile on standard input
    #[arg(value_name = "PATH", value_parser = value::context)]
    pub context: Context,

    /// Dockerfile, `-` for standard input [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Name of the image, as NAME[:TAG]; repeatable
    #[arg(short, long = "tag", value_name = "NAME", value_parser = value::reference)]
    pub tags: Vec<Reference>,

    /// Value for an ARG; without a value it comes from the environment; repeatable
    #[arg(
        long = "build-arg",
        value_name = "NAME[=VALUE]",
        help_heading = "Dockerfile"
    )]
    pub build_args: Vec<Pair>,

    /// Stage to build [default: the last]
    #[arg(long, value_name = "STAGE", help_heading = "Dockerfile")]
    pub target: Option<String>,

    /// Platform to build for; repeatable, or a comma-separated list
    #[arg(
        long = "platform",
        value_name = "OS/ARCH[/VARIANT]",
        value_delimiter = ',',
        value_parser = value::platform,
        help_heading = "Dockerfile"
    )]
    pub platforms: Vec<PlatformArg>,

    /// Label for the image; repeatable
    #[arg(long = "label", value_name = "NAME=VALUE", help_heading = "Dockerfile")]
    pub labels: Vec<Pair>,

    /// Directory, address, image or layout that a name in FROM or --from stands for; repeatable
    #[arg(
        long = "build-context",
        value_name = "NAME=PLACE",
        value_parser = value::named_context,
        help_heading = "Dockerfile"
    )]
    pub contexts: Vec<NamedContextArg>,

    /// What the store may take, such as 20g; a build brings it down before it begins and when it ends
    /// [default: $RBUILD_CACHE_MAX, else cache-max in a configuration file, else no limit]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Cache")]
    pub cache_max: Option<u64>,

    /// Directory of this machine in which a cache mount of RUN steps lies, as ID=DIR; made if it is missing;
    /// repeatable
    #[arg(
        long = "cache-mount",
        value_name = "ID=DIR",
        value_parser = value::cache_mount,
        help_heading = "Cache"
    )]
    pub cache_mounts: Vec<CacheMountArg>,
    /// Sealed store to take from what the own one lacks; see `rbuild store seal`
    /// [default: $RBUILD_STORE_FROM, which counts for all commands]
    #[arg(long, value_name = "DIR", help_heading = "Cache")]
    pub store_from: Option<PathBuf>,

    /// Make every step again
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        value_name = "BOOL",
        value_parser = switch,
        action = ArgAction::Set,
        default_value = "false",
        default_missing_value = "true",
        hide_default_value = true,
        help_heading = "Cache"
    )]
    pub no_cache: bool,

    /// Make the steps of these stages again; repeatable, or a comma-separated list
    #[arg(
        long,
        value_name = "STAGE",
        value_delimiter = ',',
        conflicts_with = "no_cache",
        help_heading = "Cache"
    )]
    pub no_cache_filter: Vec<String>,

    /// Fail before the first step that is not in the cache, and say why it is not
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        value_name = "BOOL",
        value_parser = switch,
        action = ArgAction::Set,
        default_value = "false",
        default_missing_value = "true",
        hide_default_value = true,
        help_heading = "Cache"
    )]
    pub fail_on_miss: bool,

    /// Ask registries for base images even if they are here
    #[arg(
        long,
        value_name = "WHEN",
        num_args = 0..=1,
        require_equals = true,
        default_value = "missing",
        default_missing_value = "always",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Cache"
    )]
    pub pull: PullArg,

    /// Where to look for the images that names stand for: auto (in the store, then in the registry),
    /// registry, store
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "auto",
        hide_default_value = true,
        value_parser = value::resolve,
        help_heading = "Cache"
    )]
    pub resolve: ResolveOrder,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub remote_cache: RemoteCacheArgs,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub network: NetworkArgs,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub lock: LockUseArgs,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub results: ResultArgs,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub steps: StepArgs,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub call: CallArgs,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub foreign: ForeignArgs,
}

/// What of the network is used.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Cache")]
pub struct NetworkArgs {
    /// Ask no registry, server or repository: what is in the store answers, however old
    #[arg(long, conflicts_with = "pull")]
    pub offline: bool,

    /// How long to believe what a registry said of a tag, such as 30m, 1h, 7d [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub tag_age: Option<Duration>,
}

/// What becomes of the result, and how the build is shown.
#[derive(Debug, Args)]
#[command(next_help_heading = "Results and progress")]
pub struct ResultArgs {
    /// Where the result goes: a directory for its files, or type=image|registry|oci|docker|local|tar|cacheonly
    /// with ,dest= and other settings; repeatable [default: the local store]
    #[arg(short, long = "output", value_name = "SPEC", value_parser = value::output)]
    pub outputs: Vec<ExportSpec>,

    /// Annotation in the manifest of each output that has one, as [PLACE:]KEY=VALUE; repeatable
    #[arg(long = "annotation", value_name = "ANNOTATION", value_parser = annotations)]
    pub annotations: Vec<Annotations>,

    /// Send the image to the registry of each of its names
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        value_name = "BOOL",
        value_parser = switch,
        action = ArgAction::Set,
        default_value = "false",
        default_missing_value = "true",
        hide_default_value = true
    )]
    pub push: bool,

    /// Load the image into Docker's engine as well, as -o type=docker does
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        value_name = "BOOL",
        value_parser = switch,
        action = ArgAction::Set,
        default_value = "false",
        default_missing_value = "true",
        hide_default_value = true
    )]
    pub load: bool,

    /// How to show the build
    #[arg(
        long,
        value_name = "MODE",
        env = "BUILDKIT_PROGRESS",
        hide_env = true,
        default_value = "auto"
    )]
    pub progress: ProgressArg,

    /// Show nothing but the image's id
    #[arg(
        short,
        long,
        num_args = 0..=1,
        require_equals = true,
        value_name = "BOOL",
        value_parser = switch,
        action = ArgAction::Set,
        default_value = "false",
        default_missing_value = "true",
        hide_default_value = true
    )]
    pub quiet: bool,

    /// Write the image's id to this file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,

    /// Write what was built to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
}

/// What RUN steps see.
#[derive(Debug, Args)]
#[command(next_help_heading = "Steps")]
pub struct StepArgs {
    /// Secret for RUN --mount=type=secret, as id=NAME[,src=FILE|,env=VARIABLE]; repeatable
    #[arg(long = "secret", value_name = "SPEC", value_parser = secret)]
    pub secrets: Vec<SecretArg>,

    /// Agent for RUN --mount=type=ssh, as default|ID[=SOCKET|KEY[,KEY]]; repeatable
    #[arg(long, value_name = "SPEC", value_parser = value::ssh)]
    pub ssh: Vec<SshArg>,

    /// Network of the steps
    #[arg(long, value_name = "MODE", default_value = "default", value_parser = value::network)]
    pub network: NetworkMode,

    /// Line for /etc/hosts, as NAME:ADDRESS; repeatable
    #[arg(long = "add-host", value_name = "NAME:IP", value_parser = value::host)]
    pub add_hosts: Vec<Host>,

    /// Size of /dev/shm, such as 64m
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub shm_size: Option<u64>,

    /// Resource limit, as NAME=SOFT[:HARD]; repeatable
    #[arg(long = "ulimit", value_name = "LIMIT", value_parser = value::ulimit)]
    pub ulimits: Vec<Ulimit>,

    /// Security setting: no-new-privileges
    #[arg(long, value_name = "OPTION", value_parser = value::security)]
    pub security_opt: Vec<SecurityArg>,

    /// Right that steps may use: network.host, security.insecure; repeatable
    #[arg(long, value_name = "RIGHT", value_delimiter = ',', value_parser = value::allow)]
    pub allow: Vec<AllowArg>,

    /// Most steps to work on at a time
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
}

/// How a build is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressArg {
    /// As a live picture on a terminal, as lines elsewhere
    #[value(alias = "")]
    Auto,
    /// As a live picture
    Tty,
    /// As lines
    Plain,
    /// As JSON, one object a line
    Rawjson,
    /// Only the image's id
    Quiet,
    /// Not at all
    None,
}

/// When registries are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PullArg {
    /// In every build.
    #[value(alias = "true")]
    Always,
    /// For images that are not here.
    #[value(alias = "false")]
    Missing,
}
