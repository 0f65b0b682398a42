//! `rbuild lock`, and what builds make of locks.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use rbuild::ResolveOrder;

use super::build::{NetworkArgs, ProgressArg, PullArg};
use super::secret::{SecretArg, secret};
use super::value::{self, Context, NamedContextArg, Pair, PlatformArg, SshArg};

/// Whether words are about a lock, and name the entries to update apart from the option.
pub fn names_apart(words: &[OsString]) -> bool {
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    has("lock") && has("--update")
}

/// What a build makes of a lock.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Cache")]
pub struct LockUseArgs {
    /// Take images, files and commits as Dockerfile.lock has them, and refuse what is not in it
    #[arg(long, conflicts_with = "pull")]
    pub locked: bool,

    /// Another place of the lock [default: the Dockerfile's, with .lock behind its name]
    #[arg(long, value_name = "FILE", requires = "locked")]
    pub lock_file: Option<PathBuf>,
}

/// Options of `rbuild lock`.
#[derive(Debug, Args)]
#[command(after_help = "\
Says what was added (+), what moved (~) and what went (-). Entries that only builds with other arguments
need stay; those that nothing in the Dockerfile can name go. Then `rbuild build --locked` takes nothing else.")]
pub struct LockArgs {
    /// As for a build: a directory, an address, or `-`
    #[arg(value_name = "PATH", value_parser = value::context)]
    pub context: Context,

    /// Dockerfile, `-` for standard input [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Where the lock is [default: the Dockerfile's place, with .lock behind its name]
    #[arg(short = 'o', long, visible_alias = "output", value_name = "FILE")]
    pub lock_file: Option<PathBuf>,

    /// Look up anew what the entries stand for, all or the named one (an image, a URL, a repository);
    /// repeatable with names
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with = "check"
    )]
    pub update: Vec<String>,

    /// Remove entries that a build with these arguments does not need
    #[arg(long)]
    pub prune: bool,

    /// Write nothing and ask nobody: end with 1 if something is missing, or nothing can need what is there
    #[arg(long)]
    pub check: bool,

    /// Value for an ARG; without a value it comes from the environment; repeatable
    #[arg(
        long = "build-arg",
        value_name = "NAME[=VALUE]",
        help_heading = "Dockerfile"
    )]
    pub build_args: Vec<Pair>,

    /// Lock what this stage needs [default: what any stage needs]
    #[arg(long, value_name = "STAGE", help_heading = "Dockerfile")]
    pub target: Option<String>,

    /// Platform that is built for; repeatable, or a comma-separated list
    #[arg(
        long = "platform",
        value_name = "OS/ARCH[/VARIANT]",
        value_delimiter = ',',
        value_parser = value::platform,
        help_heading = "Dockerfile"
    )]
    pub platforms: Vec<PlatformArg>,

    /// Directory, address, image or layout that a name in FROM or --from stands for; repeatable
    #[arg(
        long = "build-context",
        value_name = "NAME=PLACE",
        value_parser = value::named_context,
        help_heading = "Dockerfile"
    )]
    pub contexts: Vec<NamedContextArg>,

    /// Ask registries for what is missing, whatever is remembered of a tag
    #[arg(
        long,
        value_name = "WHEN",
        num_args = 0..=1,
        require_equals = true,
        default_value = "missing",
        default_missing_value = "always",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Network"
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
        help_heading = "Network"
    )]
    pub resolve: ResolveOrder,

    #[command(flatten, next_help_heading = "Network")]
    #[allow(missing_docs)]
    pub network: NetworkArgs,

    /// Secret for a server, as id=NAME[,src=FILE|,env=VARIABLE]; repeatable
    #[arg(long = "secret", value_name = "SPEC", value_parser = secret, help_heading = "Network")]
    pub secrets: Vec<SecretArg>,

    /// Agent for repositories behind ssh, as default|ID[=SOCKET|KEY[,KEY]]; repeatable
    #[arg(long, value_name = "SPEC", value_parser = value::ssh, help_heading = "Network")]
    pub ssh: Vec<SshArg>,

    /// How to show progress
    #[arg(
        long,
        value_name = "HOW",
        default_value = "auto",
        hide_default_value = true,
        help_heading = "Progress"
    )]
    pub progress: ProgressArg,

    /// Show no progress
    #[arg(short, long, help_heading = "Progress")]
    pub quiet: bool,
}
