//! Work on tree forms, as messages: carried out here, or in a process that may touch their files.
//!
//! Messages are small; bytes and lists of paths pass through descriptors. Whoever forks hands the
//! request to `run_tree_job` in the child and its answer back to `Forked`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rbuild_oci::DiffId;
use rbuild_progress::CancelToken;
use serde::{Deserialize, Serialize};

use crate::{Error, OverlayNamespace, Result, tree};

/// One piece of work on a tree form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TreeJob {
    /// Makes a tree from a layer's tar in an empty directory, which holds rubbish if that fails.
    ///
    /// Descriptors: the blob to read; where the encoded index goes; if there is a third one, an
    /// encoded index whose times count instead of the tar's.
    Unpack {
        /// The directory.
        root: PathBuf,
        /// How the blob is compressed.
        format: Format,
        /// What the uncompressed bytes must be.
        expected: Option<DiffId>,
        /// How the tree is to be made.
        site: Site,
    },
    /// Sets what an unpacked tree takes from the layers below: metadata of implied directories,
    /// and files that it links to. Descriptors: encoded entries, their files' bytes one by one.
    Amend {
        /// The tree.
        root: PathBuf,
        /// How it was made.
        site: Site,
    },
    /// Fills an empty directory that is no layer, and sets its owner and mode. Descriptors: encoded
    /// entries, parents first; their files' bytes one by one.
    Fill {
        /// The directory.
        root: PathBuf,
        /// Which owners files can have.
        site: Site,
        /// What the directory itself gets.
        top: Top,
    },
    /// Lists everything in a tree. Descriptors: where the list goes.
    List {
        /// The tree.
        root: PathBuf,
        /// Which marks it has.
        site: Site,
    },
    /// Lists everything in a directory that is no layer, with what tells later whether a file has changed.
    /// Descriptors: where that goes.
    Survey {
        /// The directory.
        root: PathBuf,
        /// Which marks its files may have.
        site: Site,
    },
    /// Hashes files. Descriptors: the encoded paths; where the digests go.
    Hash {
        /// The tree.
        root: PathBuf,
    },
    /// Writes the bytes of files one after the other. Descriptors: the encoded list; where the
    /// bytes go.
    Read {
        /// The trees that the list refers to by position.
        roots: Vec<PathBuf>,
    },
    /// Opens regular files as they are asked for, until the asker closes its end. Descriptors: a
    /// socket.
    Serve,
    /// Merges trees into an empty directory; files become links. No descriptors.
    Merge {
        /// The trees, lowest first.
        lowers: Vec<PathBuf>,
        /// The directory.
        root: PathBuf,
        /// How the trees were made.
        site: Site,
    },
    /// Removes a directory and all that is in it. No descriptors.
    Delete {
        /// The directory; absent is fine.
        path: PathBuf,
    },
}

/// How a blob is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// Its first bytes tell.
    Detect,
    /// It is a tar.
    Plain,
}

/// Owner and mode of a filled directory itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Top {
    /// Permission bits with set-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// How trees are made where a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Which attributes mark opaque directories.
    pub namespace: OverlayNamespace,
    /// Which owners files can have.
    pub ids: Ids,
}

impl Site {
    /// The kind of trees that are made and used here.
    pub fn kind(self) -> TreeKind {
        match (self.namespace, self.ids) {
            (OverlayNamespace::Trusted, _) => TreeKind::Trusted,
            (OverlayNamespace::User, Ids::All) => TreeKind::User,
            (OverlayNamespace::User, Ids::Single) => TreeKind::Single,
        }
    }
}

/// How a tree's files are marked and owned; one is of use only where trees of its kind are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TreeKind {
    /// Marked with `trusted.overlay.*`, every owner.
    Trusted,
    /// Marked with `user.overlay.*`, every owner.
    User,
    /// Marked with `user.overlay.*`, all of it owned by one user.
    Single,
}

impl TreeKind {
    /// How names of such trees end.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Trusted => "-t",
            Self::User => "-u",
            Self::Single => "-s",
        }
    }
}

/// Which owners files can have where a tree is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ids {
    /// Any: root, or ranges of subordinate ids.
    All,
    /// Only one: every file belongs to it, and owners are compared and kept by the index alone.
    Single,
}

/// Whether the engine itself may open the files of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Yes: jobs run in this process.
    Direct,
    /// No: they go to another one.
    Forked,
}

/// What a job answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TreeReply {
    /// It is done.
    Done,
    /// A tree was made.
    Unpacked {
        /// Digest of the uncompressed bytes.
        diff_id: DiffId,
        /// Their number.
        size_bytes: u64,
    },
}

/// Carries out work on trees.
pub trait TreeWork: Send + Sync {
    /// Runs a job to its end; `fds` as the job says. May be called from many threads at once.
    ///
    /// Errors: what the job returns, `TreeWork` if it could not be handed over.
    fn run(&self, job: &TreeJob, fds: &[BorrowedFd<'_>], cancel: &CancelToken)
    -> Result<TreeReply>;

    /// How trees are made where jobs run.
    fn site(&self) -> Site;

    /// Whether this process may read trees itself.
    fn reach(&self) -> Reach;
}

/// Does all work in this process: for root.
#[derive(Clone, Copy, Debug)]
pub struct InPlace {
    site: Site,
}

impl InPlace {
    /// For root in the initial user namespace.
    pub fn root() -> Self {
        Self::at(Site {
            namespace: OverlayNamespace::Trusted,
            ids: Ids::All,
        })
    }

    /// For whoever says what it may do.
    pub fn at(site: Site) -> Self {
        Self { site }
    }
}

impl TreeWork for InPlace {
    fn run(
        &self,
        job: &TreeJob,
        fds: &[BorrowedFd<'_>],
        cancel: &CancelToken,
    ) -> Result<TreeReply> {
        tree::run(job, fds, cancel)
    }

    fn site(&self) -> Site {
        self.site
    }

    fn reach(&self) -> Reach {
        Reach::Direct
    }
}

/// Hands work to another process through a function from request to answer.
pub struct Forked<F> {
    call: F,
    site: Site,
}

impl<F> Forked<F>
where
    F: Fn(&[u8], &[BorrowedFd<'_>], &CancelToken) -> Result<Vec<u8>> + Send + Sync,
{
    /// `call` brings the bytes to `run_tree_job` in a process where `site` holds.
    pub fn new(site: Site, call: F) -> Self {
        Self { call, site }
    }
}

impl<F> TreeWork for Forked<F>
where
    F: Fn(&[u8], &[BorrowedFd<'_>], &CancelToken) -> Result<Vec<u8>> + Send + Sync,
{
    fn run(
        &self,
        job: &TreeJob,
        fds: &[BorrowedFd<'_>],
        cancel: &CancelToken,
    ) -> Result<TreeReply> {
        let broken = |source: serde_json::Error| Error::TreeWork {
            reason: source.to_string(),
        };
        let request = serde_json::to_vec(job).map_err(broken)?;
        let answer = (self.call)(&request, fds, cancel)?;
        match serde_json::from_slice(&answer).map_err(broken)? {
            Answer::Reply(reply) => Ok(reply),
            Answer::Cancelled => Err(Error::Cancelled),
            Answer::Failed(reason) => Err(Error::TreeWork { reason }),
        }
    }

    fn site(&self) -> Site {
        self.site
    }

    fn reach(&self) -> Reach {
        Reach::Forked
    }
}

#[derive(Serialize, Deserialize)]
enum Answer {
    Reply(TreeReply),
    Cancelled,
    Failed(String),
}

/// Carries out a request of `Forked` in this process and returns the answer for it.
///
/// Never fails: what goes wrong is in the answer. Cancellation is the caller's: it ends the process.
pub fn run_tree_job(request: &[u8], fds: Vec<OwnedFd>) -> Vec<u8> {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let outcome = serde_json::from_slice::<TreeJob>(request)
        .map_err(|source| Error::TreeWork {
            reason: source.to_string(),
        })
        .and_then(|job| {
            let cancel =
                CancelToken::try_new().map_err(|source| Error::io("make", "eventfd", source))?;
            tree::run(&job, &fds, &cancel)
        });
    let answer = match outcome {
        Ok(reply) => Answer::Reply(reply),
        Err(Error::Cancelled) => Answer::Cancelled,
        Err(error) => Answer::Failed(whole_text(&error)),
    };
    // The answer is made of text and numbers, which JSON can hold.
    serde_json::to_vec(&answer).unwrap_or_default()
}

/// An error and its causes in one line: the type does not survive the way between processes.
pub(crate) fn whole_text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forked() -> impl TreeWork {
        Forked::new(InPlace::root().site, |request, fds, _| {
            let fds = fds.iter().map(|fd| fd.try_clone_to_owned().unwrap());
            Ok(run_tree_job(request, fds.collect()))
        })
    }

    #[test]
    fn jobs_and_failures_pass_through_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let cancel = CancelToken::new();
        let path = dir.path().join("x");
        std::fs::create_dir_all(path.join("y")).unwrap();
        let job = TreeJob::Delete { path: path.clone() };
        assert_eq!(forked().run(&job, &[], &cancel).unwrap(), TreeReply::Done);
        assert!(!path.exists());
        let job = TreeJob::Hash { root: path };
        let error = forked().run(&job, &[], &cancel).unwrap_err();
        assert!(matches!(error, Error::TreeWork { .. }), "{error}");
    }

    #[test]
    fn garbage_is_answered() {
        let answer = run_tree_job(b"garbage", Vec::new());
        assert!(String::from_utf8_lossy(&answer).contains("Failed"));
    }
}
