//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

use rbuild_oci::Digest;
use rbuild_progress::Cancelled;
use rustix::io::Errno;

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed for another reason than a full disk.
    #[error("{action} {path:?}")]
    Io {
        /// What was attempted, such as `open`.
        action: &'static str,
        /// What it was attempted on.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The disk, or the user's quota on it, is used up.
    #[error(
        "no space left on the disk of {path:?}; free some with `rbuild prune`, or choose a store on \
         a larger disk with --root"
    )]
    DiskFull {
        /// What was being written.
        path: PathBuf,
    },
    /// The store was made by a later version of this program.
    #[error(
        "the store at {path:?} has format {found}, this version knows formats up to {known}; use the \
         newer rbuild, or another store with --root"
    )]
    NewerFormat {
        /// Root of the store.
        path: PathBuf,
        /// Format of the store.
        found: u32,
        /// Latest format known here.
        known: u32,
    },
    /// The directory holds something else.
    #[error("{path:?} is neither empty nor a store; choose another directory with --root")]
    NotAStore {
        /// The directory given as root.
        path: PathBuf,
    },
    /// The store is finished, for others to take from.
    #[error(
        "the store at {path:?} is sealed, so that builds can take from it with --store-from; \
         `rbuild store unseal {path}` makes it one to work in again",
        path = .path.display()
    )]
    Sealed {
        /// Root of the store.
        path: PathBuf,
    },
    /// A store that was to be taken from cannot be.
    #[error("cannot take from the store at {path:?} (--store-from): {reason}")]
    Lower {
        /// The directory given.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Another process is at work in the store.
    #[error("the store at {path:?} is in use; wait for the builds in it to end")]
    InUse {
        /// Root of the store.
        path: PathBuf,
    },
    /// The database refused.
    #[error("{action} in the database {path:?}")]
    Database {
        /// What was attempted, such as `read`.
        action: &'static str,
        /// File of the database.
        path: PathBuf,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// Content is not what its name says.
    #[error("content has digest {found}, expected {expected}")]
    DigestMismatch {
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// There is no such blob.
    #[error("blob {digest} is not in the store")]
    MissingBlob {
        /// The blob asked for.
        digest: Digest,
    },
    /// A tree id is not made of 1 to 128 lower-case letters, digits, `-` and `_`.
    #[error("{id:?} is not a tree id")]
    TreeId {
        /// The text given.
        id: String,
    },
    /// A directory of the host cannot be a cache mount.
    #[error("{path:?} cannot be a cache mount: {reason}")]
    HostDir {
        /// The directory given.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The work was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Error {
    /// Tells whether the cause is a full disk.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. })
    }

    /// Returns the error for `action` on `path`, giving a full disk its own variant.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        if let Some(inner) = source.get_ref() {
            if inner.is::<Cancelled>() {
                return Self::Cancelled(Cancelled);
            }
            if let Some(Self::DiskFull { path }) = inner.downcast_ref() {
                return Self::DiskFull { path: path.clone() };
            }
        }
        if is_full(&source) {
            Self::DiskFull { path }
        } else {
            Self::Io {
                action,
                path,
                source,
            }
        }
    }

    /// Returns a closure for `map_err`.
    pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::io(action, path, source)
    }

    /// Returns the error for `action` on the database at `path`.
    pub(crate) fn database(action: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::DiskFull { path },
            _ => Self::Database {
                action,
                path,
                source,
            },
        }
    }
}

/// Gives a full disk the message of [`Error::DiskFull`] where the signature asks for an I/O error.
pub(crate) fn explain_full(path: &Path, source: io::Error) -> io::Error {
    if is_full(&source) {
        io::Error::new(
            io::ErrorKind::StorageFull,
            Error::DiskFull {
                path: path.to_path_buf(),
            },
        )
    } else {
        source
    }
}

fn is_full(source: &io::Error) -> bool {
    let codes = [Errno::NOSPC, Errno::DQUOT].map(Errno::raw_os_error);
    source
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_names_path_and_remedy() {
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            let error = Error::at("write", Path::new("/s/blob"))(errno.into());
            assert!(error.is_disk_full());
            let text = error.to_string();
            assert!(
                text.contains("/s/blob") && text.contains("rbuild prune"),
                "{text}"
            );
        }
    }

    #[test]
    fn full_disk_survives_the_way_through_a_writer() {
        let inner = explain_full(Path::new("/s/blob"), Errno::NOSPC.into());
        assert_eq!(inner.kind(), io::ErrorKind::StorageFull);
        let outer = Error::at("copy", Path::new("/elsewhere"))(inner);
        assert!(matches!(outer, Error::DiskFull { path } if path == Path::new("/s/blob")));
    }

    #[test]
    fn other_failures_keep_their_cause() {
        let error = Error::at("open", Path::new("/x"))(Errno::ACCESS.into());
        assert_eq!(error.to_string(), "open \"/x\"");
        assert!(std::error::Error::source(&error).is_some());
    }
}
