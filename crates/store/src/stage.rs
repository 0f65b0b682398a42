//! Files and directories in the making: private to this process, on the disk of the store, removed
//! on drop, and swept by the next process when this one is killed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::layout::Layout;
use crate::lock::{self, Mode};
use crate::session::{LiveFile, session_name};
use crate::tree::Deleter;
use crate::{Error, Result};

/// What marks a session file beside its directory.
const SESSION: &str = "session";

/// This process's part of the stage.
#[derive(Debug)]
pub(crate) struct Session {
    dir: PathBuf,
    next: AtomicU64,
    deleter: Deleter,
    /// After `dir` in [`Drop`]: a directory without its session file would look dead.
    _live: LiveFile,
}

impl Session {
    /// Begins a session.
    pub(crate) fn begin(layout: &Layout, deleter: Deleter) -> Result<Self> {
        let stage = layout.stage();
        let name = session_name()?;
        let dir = stage.join(&name);
        let _sweepers_wait = lock::brief(&sweep_lock(layout), Mode::Exclusive)?;
        layout.refuse_sealed()?;
        let live = LiveFile::create(stage.join(format!("{name}.{SESSION}")))?;
        make_dir(&dir)?;
        Ok(Self {
            dir,
            next: AtomicU64::new(0),
            deleter,
            _live: live,
        })
    }

    fn next_path(&self, kind: char) -> PathBuf {
        self.dir.join(format!(
            "{kind}{}",
            self.next.fetch_add(1, Ordering::Relaxed)
        ))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Empty by now: everything staged holds the session.
        fs::remove_dir(&self.dir).ok();
    }
}

/// A file in the making, open for reading and writing.
///
/// Its bytes go straight to disk, unbuffered. Removed on drop.
#[derive(Debug)]
#[must_use = "dropping it removes the file"]
pub struct StagedFile {
    file: File,
    path: PathBuf,
    _session: Arc<Session>,
}

impl StagedFile {
    pub(crate) fn new(session: Arc<Session>) -> Result<Self> {
        let path = session.next_path('f');
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::at("create", &path))?;
        Ok(Self {
            file,
            path,
            _session: session,
        })
    }

    /// The open file; its descriptor may be handed to another process to write.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the file out of the stage; it stays at `target`, on the same disk.
    pub fn keep_at(self, target: &Path) -> Result<()> {
        fs::rename(&self.path, target).map_err(Error::at("rename to", target))
    }

    /// Puts the file at its place, whole or not at all; read-only from now on.
    pub(crate) fn rename_to(self, target: &Path) -> Result<()> {
        let mode = fs::Permissions::from_mode(0o444);
        self.file
            .set_permissions(mode)
            .map_err(Error::at("change mode of", &self.path))?;
        fs::rename(&self.path, target).map_err(Error::at("rename to", target))
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        // After a rename there is nothing at the path, and no other file ever gets this name.
        fs::remove_file(&self.path).ok();
    }
}

/// A directory in the making. Removed on drop with all that is in it.
#[derive(Debug)]
#[must_use = "dropping it removes the directory"]
pub struct StagedDir {
    path: PathBuf,
    session: Arc<Session>,
}

impl StagedDir {
    pub(crate) fn new(session: Arc<Session>) -> Result<Self> {
        let path = session.next_path('d');
        make_dir(&path)?;
        Ok(Self { path, session })
    }

    /// Moves a directory of the store here, for deletion on drop.
    pub(crate) fn take(session: Arc<Session>, from: &Path) -> io::Result<Self> {
        let path = session.next_path('d');
        fs::rename(from, &path)?;
        Ok(Self { path, session })
    }

    /// Where the directory lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for StagedDir {
    fn drop(&mut self) {
        if let Err(error) = self.session.deleter.delete(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            // It stays for the sweep, which may have more rights.
            tracing::debug!(path = ?self.path, %error, "staged directory is left for the sweep");
        }
    }
}

/// Removes what dead processes left in the stage; returns how many sessions could not be removed.
///
/// Those are kept for a sweep with more rights.
pub(crate) fn sweep(layout: &Layout, deleter: &Deleter) -> Result<usize> {
    if is_empty(&layout.stage())? {
        return Ok(0);
    }
    let dead = {
        let _no_one_begins = lock::brief(&sweep_lock(layout), Mode::Exclusive)?;
        dead_sessions(&layout.stage())?
    };
    let mut left = 0;
    for (dir, live) in dead {
        match deleter.delete(&dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::debug!(path = ?dir, %error, "dead session stays");
                left += 1;
                // The next sweep shall find the pair as it is.
                live.into_iter().for_each(LiveFile::abandon);
            }
        }
    }
    Ok(left)
}

/// Lists the directories of dead sessions, each with its session file, locked so that no other
/// sweeper works on it.
fn dead_sessions(stage: &Path) -> Result<Vec<(PathBuf, Option<LiveFile>)>> {
    let mut dead = Vec::new();
    for entry in fs::read_dir(stage).map_err(Error::at("list", stage))? {
        let path = entry.map_err(Error::at("list", stage))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == SESSION)
        {
            if let Some(live) = LiveFile::take_over(&path)? {
                dead.push((path.with_extension(""), Some(live)));
            }
        } else if !path.with_extension(SESSION).exists() {
            dead.push((path, None));
        }
    }
    Ok(dead)
}

/// Tells whether a process is making something, this one included. The caller holds the sweep lock.
pub(crate) fn has_live_sessions(layout: &Layout) -> Result<bool> {
    let stage = layout.stage();
    for entry in fs::read_dir(&stage).map_err(Error::at("list", &stage))? {
        let path = entry.map_err(Error::at("list", &stage))?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != SESSION)
        {
            continue;
        }
        match LiveFile::take_over(&path)? {
            None => return Ok(true),
            Some(dead) => dead.abandon(),
        }
    }
    Ok(false)
}

/// Whoever holds it knows that no session begins meanwhile.
pub(crate) fn sweep_lock(layout: &Layout) -> PathBuf {
    layout.locks().join("stage")
}

pub(crate) fn is_empty(dir: &Path) -> Result<bool> {
    Ok(fs::read_dir(dir)
        .map_err(Error::at("list", dir))?
        .next()
        .is_none())
}

fn make_dir(path: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(Error::at("create", path))
}
