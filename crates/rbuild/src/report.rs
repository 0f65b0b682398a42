//! Errors as people need them: the cause, the place in the Dockerfile, what to do next.
//!
//! Lower crates know what went wrong; this module adds where in the Dockerfile. How it looks is up
//! to the program that prints it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rbuild_oci::{Platform, Reference};
use rbuild_progress::VertexKey;

use crate::nursery::chain;

/// The result of an operation of the engine.
pub type Result<T, E = BuildError> = std::result::Result<T, E>;

/// Why an operation of the engine failed.
#[derive(Debug)]
pub struct BuildError {
    report: Box<Report>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Everything there is to show of a failure.
#[derive(Debug, Clone)]
pub struct Report {
    /// What kind of failure: decides the exit code.
    pub kind: ErrorKind,
    /// The cause in one line, its chain joined by colons, as BuildKit words it.
    pub message: String,
    /// Places in the Dockerfile, in file order.
    pub excerpts: Vec<Excerpt>,
    /// What to do next, one sentence each.
    pub help: Vec<String>,
    /// The step that failed, as in events.
    pub vertex: Option<VertexKey>,
    /// File that holds the step's whole output.
    pub log: Option<PathBuf>,
}

/// A place in a Dockerfile.
#[derive(Debug, Clone)]
pub struct Excerpt {
    /// What messages call the file.
    pub file: String,
    /// The whole text.
    pub text: String,
    /// First line concerned, from 1.
    pub first_line: u32,
    /// Last line concerned.
    pub last_line: u32,
    /// The bytes to point at, if they are known more exactly.
    pub span: Option<Range<usize>>,
    /// What is wrong there; `None` if the message says it.
    pub label: Option<String>,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The build failed: the Dockerfile, a step, a registry, the disk.
    Build,
    /// The request makes no sense.
    Usage,
    /// The host lacks something.
    Host,
    /// It was interrupted.
    Cancelled,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report.message)
    }
}

impl StdError for BuildError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|e| e as &(dyn StdError + 'static))
    }
}

impl BuildError {
    /// Everything there is to show.
    pub fn report(&self) -> Report {
        self.report.as_ref().clone()
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.report.kind
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> BuildError {
        BuildError {
            report: Box::new(Report {
                kind,
                message: message.into(),
                excerpts: Vec::new(),
                help: Vec::new(),
                vertex: None,
                log: None,
            }),
            source: None,
        }
    }

    pub(crate) fn build(message: impl Into<String>) -> BuildError {
        BuildError::new(ErrorKind::Build, message)
    }

    /// An error whose message is that of its cause.
    pub(crate) fn caused(kind: ErrorKind, cause: impl StdError + Send + Sync + 'static) -> Self {
        let mut error = BuildError::new(kind, chain(&cause));
        if is_unreadable_context(&cause) {
            error = error.help(
                "whoever builds must be able to read the context; what the build does not need can be \
                 left out in .dockerignore",
            );
        }
        let remedy = crate::remedy::of_disk(&error.report.message);
        error.source = Some(Box::new(cause));
        error.helps(remedy)
    }

    pub(crate) fn cancelled() -> BuildError {
        BuildError::new(ErrorKind::Cancelled, "context canceled")
    }

    /// Adds what to do next.
    pub(crate) fn help(mut self, help: impl Into<String>) -> BuildError {
        self.report.help.push(help.into());
        self
    }

    /// Adds what to do next, if there is something.
    pub(crate) fn helps(mut self, help: Option<impl Into<String>>) -> BuildError {
        self.report.help.extend(help.map(Into::into));
        self
    }

    /// Adds places in the Dockerfile, unless some are there already.
    pub(crate) fn at(mut self, excerpts: Vec<Excerpt>) -> BuildError {
        if self.report.excerpts.is_empty() {
            self.report.excerpts = excerpts;
        }
        self
    }

    /// Names the step that failed, and where its output lies.
    pub(crate) fn of_step(mut self, vertex: VertexKey, log: Option<PathBuf>) -> BuildError {
        self.report.vertex = Some(vertex);
        self.report.log = log;
        self
    }

    /// A step that must be found and was not.
    pub(crate) fn missed(name: &str, reason: &str) -> BuildError {
        BuildError::build(format!("{name} is not in the cache: {reason}"))
            .help("--fail-on-miss lets no step run; without it the step is made")
            .help("`rbuild explain` lists all that differs")
    }

    pub(crate) fn no_dockerfile(path: &Path) -> BuildError {
        let name = path
            .file_name()
            .map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
        BuildError::build(format!(
            "failed to read dockerfile: open {name}: no such file or directory"
        ))
        .help(format!(
            "{} does not exist; name another file with -f",
            path.display()
        ))
    }

    pub(crate) fn no_context(dir: &Path) -> BuildError {
        BuildError::new(
            ErrorKind::Usage,
            format!("unable to prepare context: {}", no_directory(dir)),
        )
        .help("name the directory that COPY and ADD read from; `rbuild --help` lists the commands")
    }

    pub(crate) fn no_named_context(name: &str, dir: &Path) -> BuildError {
        BuildError::new(
            ErrorKind::Usage,
            format!("unable to prepare context {name}: {}", no_directory(dir)),
        )
    }

    pub(crate) fn read(attempt: &str, path: &Path, source: io::Error) -> BuildError {
        let mut error = BuildError::build(format!("{attempt} {}: {source}", path.display()));
        error.source = Some(Box::new(source));
        error
    }

    pub(crate) fn ignore(path: &Path, text: &str, source: rbuild_pattern::Error) -> BuildError {
        let name = path
            .file_name()
            .map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
        let excerpts = source
            .line()
            .map(|line| Excerpt {
                file: name.into_owned(),
                text: text.to_owned(),
                first_line: line,
                last_line: line,
                span: None,
                label: None,
            })
            .into_iter()
            .collect();
        BuildError::caused(ErrorKind::Build, source).at(excerpts)
    }

    /// What stopped a push, in BuildKit's words.
    pub(crate) fn push(name: &Reference, e: rbuild_registry::Error) -> BuildError {
        let is_denied = matches!(e, rbuild_registry::Error::PushDenied { .. });
        let mut error = BuildError::from(e);
        if error.kind() == ErrorKind::Cancelled {
            return error;
        }
        error.report.message = format!("failed to push {name}: {}", error.report.message);
        let official = name.path().strip_prefix("library/");
        match official.filter(|_| is_denied && name.domain() == "docker.io") {
            Some(rest) => error.help(format!(
                "docker.io/library is for Docker's own images: name it REGISTRY/{rest}, or USER/{rest}"
            )),
            None => error,
        }
    }

    pub(crate) fn no_image(what: &str) -> BuildError {
        BuildError::build(format!("{what}: no such image in the store"))
            .help("`rbuild images` lists what is there")
    }

    pub(crate) fn pruned_meanwhile(what: &str) -> BuildError {
        BuildError::build(format!("{what} was pruned by another process meanwhile"))
            .help("do it again")
            .help("what was built with --store-from needs that store: name it in RBUILD_STORE_FROM")
    }

    pub(crate) fn no_platform(what: &str, wanted: &Platform, there: &[Platform]) -> BuildError {
        let there: Vec<String> = there.iter().map(ToString::to_string).collect();
        BuildError::build(format!(
            "{what} has no image for {wanted}; there is {}",
            there.join(", ")
        ))
        .help("choose one of them with --platform")
    }

    pub(crate) fn of_lower(what: &str, root: &Path) -> BuildError {
        BuildError::build(format!(
            "{what} lies in the sealed store at {}",
            root.display()
        ))
        .help("nothing changes there; without --store-from and RBUILD_STORE_FROM it is not seen")
    }

    pub(crate) fn part_of_index(what: &str) -> BuildError {
        BuildError::build(format!("{what} is part of an image of several platforms"))
            .help("remove that by its name or id; `rbuild images` lists it")
    }

    pub(crate) fn ambiguous(what: &str, count: usize) -> BuildError {
        BuildError::build(format!("{what} is the beginning of {count} image ids"))
            .help("give more digits")
    }

    pub(crate) fn still_named(what: &str, names: &[Reference]) -> BuildError {
        let names: Vec<String> = names.iter().map(Reference::familiar).collect();
        BuildError::build(format!("{what} has several names: {}", names.join(", ")))
            .help("remove the names one by one, or all of them with --force")
    }

    pub(crate) fn encode(source: serde_json::Error) -> BuildError {
        BuildError::caused(ErrorKind::Build, source)
    }

    /// A record of the store that cannot be read.
    pub(crate) fn decode(source: impl StdError + Send + Sync + 'static) -> BuildError {
        BuildError::caused(ErrorKind::Build, source)
            .help("the store may be damaged: `rbuild store verify` checks it")
    }
}

fn no_directory(dir: &Path) -> String {
    let what = if dir.exists() {
        "is not a directory"
    } else {
        "not found"
    };
    format!("path {:?} {what}", dir.display().to_string())
}

/// Whether a file of a build context may not be read.
fn is_unreadable_context(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(rbuild_source::Error::Read { source, .. }) = source_error(cause) {
            return source.kind() == io::ErrorKind::PermissionDenied;
        }
        next = cause.source();
    }
    false
}

/// The source's error, also where the worker passes it on as its own.
fn source_error<'e>(cause: &'e (dyn StdError + 'static)) -> Option<&'e rbuild_source::Error> {
    match cause.downcast_ref() {
        Some(rbuild_worker::Error::Source(inner)) => Some(inner),
        _ => cause.downcast_ref(),
    }
}

impl From<rbuild_progress::Cancelled> for BuildError {
    fn from(_: rbuild_progress::Cancelled) -> Self {
        BuildError::cancelled()
    }
}

impl From<rbuild_store::Error> for BuildError {
    fn from(e: rbuild_store::Error) -> Self {
        match e {
            rbuild_store::Error::Cancelled(_) => BuildError::cancelled(),
            other @ (rbuild_store::Error::Lower { .. } | rbuild_store::Error::Sealed { .. }) => {
                BuildError::caused(ErrorKind::Usage, other)
            }
            other => BuildError::caused(ErrorKind::Build, other),
        }
    }
}

impl From<rbuild_layer::Error> for BuildError {
    fn from(e: rbuild_layer::Error) -> Self {
        match e {
            rbuild_layer::Error::Cancelled => BuildError::cancelled(),
            lost @ rbuild_layer::Error::UnknownLayer { .. } => BuildError::caused(
                ErrorKind::Build,
                lost,
            )
            .help(
                "what was built with --store-from needs that store: name it in RBUILD_STORE_FROM",
            ),
            other => BuildError::caused(ErrorKind::Build, other),
        }
    }
}

impl From<rbuild_source::Error> for BuildError {
    fn from(e: rbuild_source::Error) -> Self {
        match e {
            rbuild_source::Error::Cancelled => BuildError::cancelled(),
            rbuild_source::Error::GitStart { .. } => {
                BuildError::caused(ErrorKind::Host, e).help("install git (Debian: git)")
            }
            rbuild_source::Error::Git { ref said, .. } => {
                let remedy = crate::remedy::of_git(said);
                BuildError::caused(ErrorKind::Build, e).helps(remedy)
            }
            rbuild_source::Error::Registry { ref source, .. } => {
                let remedy = crate::remedy::of_registry(source);
                BuildError::caused(ErrorKind::Build, e).helps(remedy)
            }
            rbuild_source::Error::Offline { .. } => {
                BuildError::caused(ErrorKind::Build, e).help(crate::remedy::OFFLINE)
            }
            rbuild_source::Error::GitNoRef {
                ref reference,
                ref remote,
            } if reference.len() >= 40 => {
                let help = format!(
                    "the repository has lost this commit, or never had it; if a lock names it, `rbuild lock --update={remote}` locks what is there now"
                );
                BuildError::caused(ErrorKind::Build, e).help(help)
            }
            rbuild_source::Error::Unpinned { .. } => BuildError::caused(ErrorKind::Build, e)
                .help("`rbuild lock`, with the options of this build, adds it"),
            rbuild_source::Error::OtherBytes { ref url, .. } => {
                let help = format!(
                    "somebody changed the file behind the address: `rbuild lock --update={url}` locks what is there now"
                );
                BuildError::caused(ErrorKind::Build, e).help(help)
            }
            rbuild_source::Error::OtherManifest { .. } => BuildError::caused(ErrorKind::Build, e)
                .help("the lock contradicts itself: somebody edited it, or it is damaged"),
            rbuild_source::Error::Credentials(ref source) => {
                let remedy = crate::remedy::of_credentials(source);
                BuildError::caused(ErrorKind::Build, e).helps(remedy)
            }
            other => BuildError::caused(ErrorKind::Build, other),
        }
    }
}

impl From<rbuild_exporter::Error> for BuildError {
    fn from(e: rbuild_exporter::Error) -> Self {
        match e {
            rbuild_exporter::Error::Cancelled(_) => BuildError::cancelled(),
            rbuild_exporter::Error::Output { .. } => BuildError::caused(ErrorKind::Usage, e),
            other => BuildError::caused(ErrorKind::Build, other),
        }
    }
}

impl From<rbuild_registry::Error> for BuildError {
    fn from(e: rbuild_registry::Error) -> Self {
        match e.is_cancelled() {
            true => BuildError::cancelled(),
            false => {
                let remedy = crate::remedy::of_registry(&e);
                BuildError::caused(ErrorKind::Build, e).helps(remedy)
            }
        }
    }
}

impl From<rbuild_sandbox::Error> for BuildError {
    fn from(e: rbuild_sandbox::Error) -> Self {
        use rbuild_sandbox::Error as E;
        match e {
            E::Cancelled(_) => BuildError::cancelled(),
            E::Unsupported { .. } | E::IdMap { .. } | E::Start { .. } => {
                BuildError::caused(ErrorKind::Host, e)
            }
            other => BuildError::caused(ErrorKind::Build, other),
        }
    }
}

impl From<rbuild_worker::Error> for BuildError {
    fn from(e: rbuild_worker::Error) -> Self {
        match e {
            rbuild_worker::Error::Cancelled => BuildError::cancelled(),
            rbuild_worker::Error::Sandbox(inner) => BuildError::from(inner),
            rbuild_worker::Error::Source(inner) => BuildError::from(inner),
            rbuild_worker::Error::Platform { .. } => BuildError::caused(ErrorKind::Host, e).help(
                "register an emulator with the kernel (Debian: qemu-user-static and binfmt-support; it has to have the flag F), run the step on $BUILDPLATFORM, or build on such a machine",
            ),
            rbuild_worker::Error::SshKey { .. } => BuildError::caused(ErrorKind::Usage, e),
            rbuild_worker::Error::NoSecret { ref id } => {
                let help = format!("give it with --secret id={id},src=FILE or --secret id={id},env=VARIABLE");
                BuildError::caused(ErrorKind::Build, e).help(help)
            }
            rbuild_worker::Error::NoAgent { ref id } => {
                let help = format!("give one with --ssh {id}=SOCKET or --ssh {id}=KEYFILE; `--ssh default` alone is the agent of SSH_AUTH_SOCK");
                BuildError::caused(ErrorKind::Build, e).help(help)
            }
            other => BuildError::caused(ErrorKind::Build, other),
        }
    }
}
