//! The one error type of this crate: what an op can fail with.
//!
//! Texts that tools and people match on are BuildKit's.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use rbuild_progress::Cancelled;
use rbuild_sandbox::StepExit;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an op can fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The build was cancelled.
    #[error("context canceled")]
    Cancelled,
    /// The process of a RUN ended with something else than success.
    #[error("process {} did not complete successfully: {}", quoted(args), ended(*exit))]
    Exit {
        /// Its argument vector.
        args: Vec<String>,
        /// How it ended.
        exit: StepExit,
        /// Its whole output.
        log: PathBuf,
    },
    /// There is no sandbox to run a process in.
    #[error("run a step")]
    Sandbox(#[source] rbuild_sandbox::Error),
    /// The process of a RUN could not be started as the instruction and its image want it.
    #[error("process {} did not complete successfully", quoted(args))]
    Start {
        /// Its argument vector.
        args: Vec<String>,
        /// Why not.
        source: rbuild_sandbox::Error,
    },
    /// Layers could not be read or made.
    #[error(transparent)]
    Layer(rbuild_layer::Error),
    /// A source could not be read.
    #[error(transparent)]
    Source(rbuild_source::Error),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] rbuild_store::Error),
    /// A file of an image could not be read.
    #[error("read {path}")]
    Read {
        /// The file, in the image.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A log, a temporary file or a cache directory could not be written.
    #[error("{attempt} {}", path.display())]
    Io {
        /// What was attempted: a verb.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A user or group name was given where there are no account files.
    #[error("invalid user index: -1 (no /etc/passwd to find {name:?} in; use a number)")]
    NoAccounts {
        /// The name.
        name: String,
    },
    /// An account file of the image is no regular file of reasonable size.
    #[error("{path} of the image is not a regular file of at most 10 MiB")]
    AccountFile {
        /// The file.
        path: String,
    },
    /// A symbolic mode is malformed.
    #[error("invalid syntax: chmod {text}")]
    Chmod {
        /// The mode as written.
        text: String,
    },
    /// A directory should be made where something else is.
    #[error("mkdir {path}: not a directory")]
    NotADirectory {
        /// The path in the image.
        path: String,
    },
    /// A file should replace a directory.
    #[error("cannot replace to directory {path} with file")]
    FileOverDirectory {
        /// The path in the image.
        path: String,
    },
    /// A directory should be copied onto something else.
    #[error("cannot copy to non-directory: {path}")]
    DirectoryOverFile {
        /// The path in the image.
        path: String,
    },
    /// An archive is damaged or hostile.
    #[error("unpack {name}: {reason}")]
    Archive {
        /// The archive, as the source names it.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A secret that a step requires was not given.
    #[error("secret {id}: not found")]
    NoSecret {
        /// Its id.
        id: String,
    },
    /// An agent that a step requires was not given.
    #[error("no SSH key {id:?} forwarded from the client")]
    NoAgent {
        /// Its id.
        id: String,
    },
    /// A path given for ssh has no agent and no key that can be used.
    #[error("ssh key {path}: {reason}", path = path.display())]
    SshKey {
        /// The path.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The graph and its inputs do not fit: a mistake of the caller.
    #[error("a vertex lacks one of its inputs")]
    Input,
    /// A foreign platform without emulation.
    #[error("cannot run {wanted} programs on this {host} machine: {reason}")]
    Platform {
        /// What the step is for.
        wanted: String,
        /// What this machine is.
        host: String,
        /// Why no emulator helps.
        reason: String,
    },
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Error::Cancelled
    }
}

impl From<rbuild_layer::Error> for Error {
    fn from(e: rbuild_layer::Error) -> Self {
        match e {
            rbuild_layer::Error::Cancelled => Error::Cancelled,
            other => Error::Layer(other),
        }
    }
}

impl From<rbuild_source::Error> for Error {
    fn from(e: rbuild_source::Error) -> Self {
        match e {
            rbuild_source::Error::Cancelled => Error::Cancelled,
            other => Error::Source(other),
        }
    }
}

fn ended(exit: StepExit) -> String {
    match exit {
        StepExit::OutOfMemory => "cannot allocate memory".to_owned(),
        other => format!("exit code: {}", other.code()),
    }
}

/// The arguments joined by blanks and quoted as Go does.
fn quoted(args: &[String]) -> String {
    let mut out = String::from('"');
    for c in args.join(" ").chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_process_reads_as_in_buildkit() {
        let error = Error::Exit {
            args: ["/bin/sh", "-c", "echo \"a\\b\" && exit 7"]
                .map(str::to_owned)
                .to_vec(),
            exit: StepExit::Code(7),
            log: PathBuf::new(),
        };
        assert_eq!(
            error.to_string(),
            r#"process "/bin/sh -c echo \"a\\b\" && exit 7" did not complete successfully: exit code: 7"#
        );
    }
}
