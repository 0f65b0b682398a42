//! What can be wrong with a lock, or with a build that goes by one.

use std::io;
use std::path::{Path, PathBuf};

use rbuild_oci::Platform;

use crate::report::Excerpt;
use crate::{BuildError, ErrorKind};

/// What is wrong with a lock, or with a build that goes by one. It is the source of the
/// [`BuildError`] that says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockProblem {
    /// There is none.
    #[error("there is no lock: {} does not exist", path.display())]
    NoLock {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is no place for one.
    #[error("the Dockerfile is no file of this machine, so that no lock lies beside it")]
    NoPlace,
    /// It cannot be read.
    #[error("read the lock {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("write the lock {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no lock.
    #[error("{file} is no lock: {reason}")]
    Syntax {
        /// What messages call the file.
        file: String,
        /// What is wrong with it.
        reason: String,
        /// Where, from 1; 0 where that is not known.
        line: u32,
    },
    /// A later version wrote it.
    #[error("{file} has version {found} of the format, this rbuild knows {known}")]
    Version {
        /// What messages call the file.
        file: String,
        /// The file's version.
        found: u64,
        /// The one that is known.
        known: u64,
    },
    /// An entry makes no sense.
    #[error("{file}, entry {entry}: {reason}")]
    Entry {
        /// What messages call the file.
        file: String,
        /// The name of the entry.
        entry: String,
        /// What is wrong with it.
        reason: String,
        /// Its line, from 1; 0 where that is not known.
        line: u32,
    },
    /// A build needs what is not in it.
    #[error("{what} is not in {file}")]
    NoEntry {
        /// What messages call the file.
        file: String,
        /// What is missing.
        what: String,
    },
    /// A build needs an image for a platform that it does not have.
    #[error(
        "{image} is not in {file} for {wanted}: it is there for {}",
        list(there)
    )]
    NoPlatform {
        /// What messages call the file.
        file: String,
        /// The image.
        image: String,
        /// The platform.
        wanted: Box<Platform>,
        /// Those that are there.
        there: Vec<Platform>,
    },
    /// An image of the store is not there any more.
    #[error("{image} is locked as the image {id} of the store, and the store has none of this id")]
    NoStored {
        /// The image.
        image: String,
        /// Its id.
        id: String,
    },
    /// What is to be made anew is no entry.
    #[error("this build needs no {name}, so that there is nothing to update")]
    NotNeeded {
        /// As it was given.
        name: String,
    },
}

fn list(platforms: &[Platform]) -> String {
    let names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    names.join(", ")
}

impl LockProblem {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoLock { .. } | Self::NoPlace | Self::NotNeeded { .. } => ErrorKind::Usage,
            _ => ErrorKind::Build,
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoLock { .. } => {
                "`rbuild lock`, with the options of this build, makes one; --lock-file names another place"
                    .to_owned()
            }
            Self::NoPlace => "name a place with --lock-file".to_owned(),
            Self::Syntax { .. } | Self::Entry { .. } => {
                "mend it (a merge may have left marks), or remove it and make it again with `rbuild lock`".to_owned()
            }
            Self::Version { .. } => "build with a later rbuild, or remove it and make it again with `rbuild lock`".to_owned(),
            Self::NoEntry { .. } => "`rbuild lock`, with the options of this build, adds it".to_owned(),
            Self::NoPlatform { wanted, .. } => {
                format!("`rbuild lock --platform {wanted}`, with the other options of this build, adds it")
            }
            Self::NoStored { image, .. } => format!(
                "`rbuild load` brings it into the store, `rbuild lock --update={image}` locks what the name stands for now; with --resolve=registry the registry's is locked"
            ),
            Self::NotNeeded { .. } => {
                "names are those in the lock, or as they stand in the Dockerfile; give the arguments of the build that needs it".to_owned()
            }
            Self::Read { .. } | Self::Write { .. } => return None,
        })
    }

    /// The error that says so; `text` is that of the lock.
    pub(super) fn in_text(self, text: &str) -> BuildError {
        let place = match &self {
            Self::Syntax { file, line, .. } | Self::Entry { file, line, .. } if *line > 0 => {
                Some((file.clone(), *line))
            }
            _ => None,
        };
        let error = BuildError::from(self);
        match place {
            Some((file, line)) => error.at(vec![Excerpt {
                file,
                text: text.to_owned(),
                first_line: line,
                last_line: line,
                span: None,
                label: None,
            }]),
            None => error,
        }
    }

    pub(super) fn read(path: &Path, source: io::Error) -> LockProblem {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NoLock { path },
            _ => Self::Read { path, source },
        }
    }
}

impl From<LockProblem> for BuildError {
    fn from(problem: LockProblem) -> Self {
        let (kind, help) = (problem.kind(), problem.help());
        BuildError::caused(kind, problem).helps(help)
    }
}
