//! The command line, in the ways of `docker build`.
//!
//! Declarations and the parsing of single values; what a command does with them is in `command/`.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "the comments on options are help texts, where brackets mean that a part may be left out"
)]

mod annotation;
mod build;
mod cache;
mod call;
mod csv;
mod duration;
mod explain;
mod foreign;
mod images;
mod index;
mod lock;
mod registry;
mod remote_cache;
mod run;
mod secret;
mod size;
mod store;
mod value;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

pub use annotation::Annotations;
pub use build::{BuildArgs, NetworkArgs, ProgressArg, PullArg, ResultArgs};
pub use cache::{PruneArgs, UsageArgs};
pub use call::{Call, CallArgs, Format as CallFormat, Method as CallMethod, Status as CallStatus};
pub use duration::duration;
pub use explain::ExplainArgs;
pub use foreign::ForeignArgs;
pub use images::{
    EngineArg, ExportArgs, HistoryArgs, ImagesArgs, ImportArgs, InspectArgs, LoadArgs,
    LoadIntoArgs, PushArgs, RemoveArgs, SaveArgs, SaveFormat, TableFormat, TagArgs,
};
pub use index::{
    IndexAnnotateArgs, IndexAnnotations, IndexCommand, IndexCreateArgs, IndexFormat,
    IndexInspectArgs,
};
pub use lock::{LockArgs, LockUseArgs};
pub use registry::{DoctorArgs, LoginArgs, LogoutArgs};
pub use remote_cache::{CacheCommand, CacheText, RemoteCacheArgs};
pub use run::RunArgs;
pub use secret::{SecretArg, SecretPlace};
pub use size::size;
pub use store::{DebugCommand, GraphArgs, ParseArgs, StoreCommand};
pub use value::{AllowArg, CacheMountArg, Context, Pair, PlatformArg, SecurityArg, SshArg};

/// What was asked for.
#[derive(Debug, Parser)]
#[command(
    name = "rbuild",
    version,
    about = "Build container images from Dockerfiles, without a daemon",
    after_help = "A first argument that is an option or a place begins a build: `rbuild -t app .` is\n\
                  `rbuild build -t app .`",
    subcommand_required = true,
    disable_help_subcommand = true,
    // Of an option given twice the last one counts, as with docker.
    args_override_self = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Directory that holds images and caches
    /// [default: $RBUILD_ROOT, else /var/lib/rbuild as root, $XDG_DATA_HOME/rbuild otherwise]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build an image from a Dockerfile
    #[command(override_usage = "rbuild build [OPTIONS] PATH")]
    Build(Box<BuildArgs>),
    /// Write down what all that a Dockerfile takes from the network stands for
    #[command(override_usage = "rbuild lock [OPTIONS] PATH")]
    Lock(Box<LockArgs>),
    /// List images
    Images(ImagesArgs),
    /// Show all about images as JSON
    Inspect(InspectArgs),
    /// Show the steps an image was made by
    History(HistoryArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// Remove names, and images that have none left
    Rmi(RemoveArgs),
    /// Send images to registries
    Push(PushArgs),
    /// Write images to an archive or OCI layout
    Save(SaveArgs),
    /// Take the images of an archive or OCI layout in, with their names
    Load(LoadArgs),
    /// Bring images into a container engine
    LoadInto(LoadIntoArgs),
    /// Take an archive, an OCI layout or the tar of a root file system in under a name
    Import(ImportArgs),
    /// Write the files of an image as a tar
    Export(ExportArgs),
    /// Put images together under one name, and look at such indexes
    #[command(subcommand)]
    Index(IndexCommand),
    /// Run a process in an image
    Run(RunArgs),
    /// Log in to a registry
    Login(LoginArgs),
    /// Forget the login to a registry
    Logout(LogoutArgs),
    /// Find out what stands between this machine and a registry
    Doctor(DoctorArgs),
    /// Say why the steps of a build were not found in the cache, and how two builds differ
    Explain(ExplainArgs),
    /// Show what takes the disk space of the store
    Du(UsageArgs),
    /// Look after caches elsewhere
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Remove caches and what nothing leads to any more
    Prune(Box<PruneArgs>),
    /// Look after the store
    #[command(subcommand)]
    Store(StoreCommand),
    /// Look into a build definition
    #[command(subcommand)]
    Debug(DebugCommand),
    /// Show the version
    Version,
}

/// Returns the command line with `build` put in where a command is missing, and with `help COMMAND`
/// in the form that the parser knows.
///
/// A word that might be a command begins a build only if it `exists` as a path: what is mistyped, or is a
/// command of other tools, is for the parser to refuse.
pub fn with_command(
    mut words: Vec<OsString>,
    exists: impl FnOnce(&OsStr) -> bool,
) -> Vec<OsString> {
    if words.get(1).is_some_and(|word| word == "help") {
        words.remove(1);
        words.push("--help".into());
    }
    if let Some(place) = missing_command(&words)
        && words
            .get(place)
            .is_none_or(|word| !might_be_command(word) || exists(word))
    {
        words.insert(place, "build".into());
    }
    words
}

/// Where `build` belongs; `None` if a command is there, or help is asked for, or nothing is.
fn missing_command(words: &[OsString]) -> Option<usize> {
    let mut place = 1;
    while let Some(word) = words.get(place) {
        match word.to_str() {
            // The one option that may stand before a command and takes a value of its own.
            Some("--root") => place += 2,
            Some(text) if text.starts_with("--root=") => place += 1,
            Some("-h" | "--help" | "-V" | "--version") => return None,
            _ => return (!is_command(word)).then_some(place),
        }
    }
    None
}

fn is_command(word: &OsStr) -> bool {
    Cli::command()
        .get_subcommands()
        .any(|command| command.get_name() == word)
}

/// Whether a word has the form of a command; addresses and most paths have not.
fn might_be_command(word: &OsStr) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'-';
    let bytes = word.as_encoded_bytes();
    bytes.first().is_some_and(u8::is_ascii_lowercase) && bytes.iter().all(is_letter)
}

/// Commands of other tools, and what does that here.
const ELSEWHERE: [(&str, &str); 6] = [
    (
        "pull",
        "a build gets its bases itself; 'rbuild tag docker://NAME NAME' brings an image into the store",
    ),
    (
        "buildx",
        "leave the word out: 'rbuild build', and 'rbuild index' for imagetools",
    ),
    (
        "image",
        "leave the word out: 'rbuild images', 'rbuild rmi', 'rbuild inspect'",
    ),
    ("imagetools", "'rbuild index' does that"),
    ("manifest", "'rbuild index' does that"),
    ("bud", "'rbuild build' does that"),
];

/// Returns the parser's refusal of `words` with what to do about a command that only other tools have.
pub fn advised(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    if error.kind() == ErrorKind::UnknownArgument && lock::names_apart(words) {
        let tip = "an entry to update is named with '--update=NAME'";
        let tips = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tips);
        return error;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let first = missing_command(words).and_then(|place| words.get(place));
    if first.is_none_or(|first| first != word.as_str()) {
        return error;
    }
    let found = ELSEWHERE.iter().find(|(name, _)| name == word);
    let tip = match found {
        Some((_, tip)) => (*tip).to_owned(),
        None if error.get(ContextKind::SuggestedSubcommand).is_some() => return error,
        None => format!("if it is the directory to build, there is none: 'rbuild build {word}'"),
    };
    // Instead of a name that is merely spelt alike.
    error.remove(ContextKind::SuggestedSubcommand);
    error.insert(
        ContextKind::Suggested,
        ContextValue::StyledStrs(vec![tip.into()]),
    );
    error
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn build_is_the_command_where_none_is_named() {
        let cases = [
            ("rbuild .", "rbuild build ."),
            ("rbuild -t x .", "rbuild build -t x ."),
            ("rbuild --root /r -q .", "rbuild --root /r build -q ."),
            ("rbuild --root=/r .", "rbuild --root=/r build ."),
            ("rbuild images -q", "rbuild images -q"),
            ("rbuild --root /r images", "rbuild --root /r images"),
            ("rbuild", "rbuild"),
            ("rbuild --help", "rbuild --help"),
            ("rbuild --root", "rbuild --root"),
            ("rbuild help", "rbuild --help"),
            ("rbuild help images", "rbuild images --help"),
            ("rbuild help nonsense", "rbuild nonsense --help"),
            ("rbuild imagse -q", "rbuild imagse -q"),
            ("rbuild context", "rbuild build context"),
            ("rbuild ./imagse", "rbuild build ./imagse"),
            ("rbuild -", "rbuild build -"),
            (
                "rbuild host.example/x.git",
                "rbuild build host.example/x.git",
            ),
        ];
        for (given, expected) in cases {
            let words = given.split(' ').map(OsString::from).collect();
            let got: Vec<String> = with_command(words, |word| word == "context")
                .into_iter()
                .map(|word| word.into_string().unwrap())
                .collect();
            assert_eq!(got.join(" "), expected);
        }
    }

    #[test]
    fn names_apart_from_update_are_refused_with_advice() {
        let words = ["rbuild", "lock", "--update", "alpine:3", "."].map(OsString::from);
        let error = advised(Cli::try_parse_from(&words).unwrap_err(), &words);
        assert!(error.to_string().contains("'--update=NAME'"), "{error}");
        let words = ["rbuild", "lock", "a", "."].map(OsString::from);
        let error = advised(Cli::try_parse_from(&words).unwrap_err(), &words);
        assert!(!error.to_string().contains("--update=NAME"), "{error}");
    }

    #[test]
    fn what_is_no_command_is_refused_with_advice() {
        let cases = [
            ("imagse", "'images'"),
            ("pull", "docker://"),
            ("buildx", "'rbuild index'"),
            ("nonsense", "'rbuild build nonsense'"),
        ];
        for (word, advice) in cases {
            let words = ["rbuild", word, "x"].map(OsString::from);
            let error = advised(Cli::try_parse_from(&words).unwrap_err(), &words);
            let text = error.to_string();
            let named = format!("unrecognized subcommand '{word}'");
            assert!(text.contains(&named) && text.contains(advice), "{text}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
