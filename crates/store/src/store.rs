//! The handle to a store: opening, staging, work locks. Objects and records are in their own modules.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rbuild_oci::Digest;
use rbuild_progress::CancelToken;

use crate::layout::Layout;
use crate::lease::Lease;
use crate::lock::WorkLock;
use crate::record::Records;
use crate::sealed::Sealed;
use crate::stage::{self, Session, StagedDir, StagedFile};
use crate::tree::Deleter;
use crate::uses::Notes;
use crate::{Result, boot};

/// A store, open. Shared by threads through an `Arc`; any number of processes may have it open.
#[derive(Debug)]
pub struct Store {
    pub(crate) layout: Layout,
    pub(crate) deleter: Deleter,
    pub(crate) records: Records,
    /// Lease on what this handle committed; begun with the first commit.
    pub(crate) committed: Mutex<Option<Arc<Lease>>>,
    /// Whether some object of an earlier boot has not been looked at.
    pub(crate) has_suspects: AtomicBool,
    /// Begun with the first staged file: a build that is fully cached stages nothing.
    pub(crate) session: Mutex<Option<Arc<Session>>>,
    /// What is taken from where this store lacks something.
    pub(crate) lower: Option<Arc<Sealed>>,
    /// What was committed since somebody asked for it to be counted, in bytes.
    pub(crate) committed_bytes: OnceLock<AtomicU64>,
    /// What was used since the last flush.
    pub(crate) notes: Notes,
}

impl Store {
    /// Opens the store at `root`, making it if the directory is missing or empty.
    ///
    /// Removes what killed processes left in the stage. The database is opened with its first use.
    ///
    /// Errors: [`Error::NewerFormat`](crate::Error::NewerFormat),
    /// [`Error::NotAStore`](crate::Error::NotAStore), and those of the file system.
    pub fn open(root: &Path) -> Result<Self> {
        let layout = Layout::open(root)?;
        let deleter = Deleter::default();
        let has_suspects = boot::note(&layout)?;
        stage::sweep(&layout, &deleter)?;
        Ok(Self {
            records: Records::new(&layout),
            committed: Mutex::default(),
            has_suspects: AtomicBool::new(has_suspects),
            session: Mutex::default(),
            lower: None,
            committed_bytes: OnceLock::new(),
            notes: Notes::default(),
            layout,
            deleter,
        })
    }

    /// Takes what the store lacks from another one, in place; nothing is written there or copied.
    ///
    /// Objects, layers, records, images and names are found in it; cache mounts, and what is known of
    /// local files, are not. It is not counted, collected or checked with this one.
    pub fn over(mut self, lower: Sealed) -> Self {
        self.lower = Some(Arc::new(lower));
        self
    }

    /// The store that is taken from, if there is one.
    pub fn lower(&self) -> Option<&Sealed> {
        self.lower.as_deref()
    }

    /// The root directory, absolute.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// Begins a file in the making, on the disk of the store.
    pub fn stage_file(&self) -> Result<StagedFile> {
        StagedFile::new(self.session()?)
    }

    /// Begins a directory in the making, on the disk of the store; mode 0700.
    pub fn stage_dir(&self) -> Result<StagedDir> {
        StagedDir::new(self.session()?)
    }

    /// Removes what killed processes left in the stage; returns how many of them left something that
    /// this process may not remove.
    pub fn sweep(&self) -> Result<usize> {
        stage::sweep(&self.layout, &self.deleter)
    }

    /// Waits for the right to do the work named `key`, among all processes and threads.
    ///
    /// When the holder dies the next one takes over. Look again whether the work is done, once you
    /// hold it.
    pub fn work_lock(&self, key: &str, cancel: &CancelToken) -> Result<WorkLock> {
        WorkLock::wait(&self.work_lock_path(key), cancel)
    }

    /// Takes the right to do the work named `key` unless somebody has it.
    pub fn try_work_lock(&self, key: &str) -> Result<Option<WorkLock>> {
        WorkLock::try_take(&self.work_lock_path(key))
    }

    fn work_lock_path(&self, key: &str) -> std::path::PathBuf {
        // Hashed: a key may be long or hold a slash.
        self.layout
            .locks()
            .join(format!("w-{}", Digest::sha256_of(key.as_bytes()).hex()))
    }

    pub(crate) fn session(&self) -> Result<Arc<Session>> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        match &*session {
            Some(session) => Ok(session.clone()),
            None => {
                let new = Arc::new(Session::begin(&self.layout, self.deleter.clone())?);
                Ok(session.insert(new).clone())
            }
        }
    }
}
