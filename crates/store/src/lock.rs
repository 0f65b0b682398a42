//! Locks between processes, and between threads of one: flock on a file.
//!
//! The kernel drops such a lock when its holder dies, so a waiter takes over at once. Descriptors are
//! close-on-exec; a lock does not pass to the steps of a build.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rbuild_progress::CancelToken;

use crate::{Error, Result};

/// Longest pause between two looks at a lock that is held.
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

/// The right to do one piece of work; given up on drop.
#[derive(Debug)]
#[must_use = "dropping the lock lets others begin the same work"]
pub struct WorkLock {
    path: PathBuf,
    _held: Flock,
}

impl WorkLock {
    /// Waits for the lock file at `path`.
    pub(crate) fn wait(path: &Path, cancel: &CancelToken) -> Result<Self> {
        retry(cancel, || Self::try_take(path))
    }

    /// Takes the lock file at `path` unless somebody holds it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>> {
        loop {
            let file = open(path)?;
            if !locked(path, file.try_lock())? {
                return Ok(None);
            }
            // The last holder removed the file while we were between open and lock: what we hold is
            // the lock of nobody, and the next one would make a file of its own.
            let ours = file.metadata().map_err(Error::at("stat", path))?;
            match fs::metadata(path) {
                Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                    return Ok(Some(Self {
                        path: path.to_path_buf(),
                        _held: Flock(file),
                    }));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("stat", path, error)),
            }
        }
    }
}

impl Drop for WorkLock {
    fn drop(&mut self) {
        // While still locked, so that the file removed is the one we hold.
        fs::remove_file(&self.path).ok();
    }
}

/// A file held locked.
///
/// Unlocked on drop rather than by closing: a child that another thread is just starting holds a copy
/// of every descriptor until its exec, and would keep the lock for that long.
#[derive(Debug)]
pub(crate) struct Flock(File);

impl AsFd for Flock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Flock {
    fn drop(&mut self) {
        self.0.unlock().ok();
    }
}

/// How a lock is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Any number of holders.
    Shared,
    /// One holder.
    Exclusive,
}

/// Takes a lock that is only ever held for moments; its file is never removed.
pub(crate) fn brief(path: &Path, mode: Mode) -> Result<Flock> {
    let file = open(path)?;
    let taken = match mode {
        Mode::Shared => file.lock_shared(),
        Mode::Exclusive => file.lock(),
    };
    taken.map_err(Error::at("lock", path))?;
    Ok(Flock(file))
}

/// Waits for a lock that may be held for long; its file is never removed.
pub(crate) fn wait(path: &Path, mode: Mode, cancel: &CancelToken) -> Result<Flock> {
    let file = open(path)?;
    retry(cancel, || {
        try_lock(&file, path, mode).map(|taken| taken.then_some(()))
    })?;
    Ok(Flock(file))
}

/// Takes a lock unless somebody holds it; its file is never removed.
pub(crate) fn try_take(path: &Path, mode: Mode) -> Result<Option<Flock>> {
    let file = open(path)?;
    Ok(try_lock(&file, path, mode)?.then_some(Flock(file)))
}

fn try_lock(file: &File, path: &Path, mode: Mode) -> Result<bool> {
    let taken = match mode {
        Mode::Shared => file.try_lock_shared(),
        Mode::Exclusive => file.try_lock(),
    };
    locked(path, taken)
}

fn locked(path: &Path, taken: Result<(), TryLockError>) -> Result<bool> {
    match taken {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", path, error)),
    }
}

/// Calls `attempt` until it yields something.
///
/// Looks again after a pause because a held flock offers nothing to poll, and a thread blocked in
/// flock cannot be called off. The pause is short beside any work worth a lock.
fn retry<T>(cancel: &CancelToken, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        cancel.wait(pause)?;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::at("open", path))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_holder_at_a_time_and_no_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        let holders = AtomicU32::new(0);
        let cancel = CancelToken::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _lock = WorkLock::wait(&path, &cancel).unwrap();
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        holders.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(!path.exists());
    }

    #[test]
    fn held_lock_is_reported_and_the_wait_can_be_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        let cancel = CancelToken::new();
        let held = WorkLock::wait(&path, &cancel).unwrap();
        assert!(WorkLock::try_take(&path).unwrap().is_none());
        cancel.cancel();
        assert!(matches!(
            WorkLock::wait(&path, &cancel),
            Err(Error::Cancelled(_))
        ));
        drop(held);
        assert!(WorkLock::try_take(&path).unwrap().is_some());
    }

    #[test]
    fn shared_holders_keep_an_exclusive_one_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = try_take(&path, Mode::Shared).unwrap();
        let second = brief(&path, Mode::Shared).unwrap();
        assert!(try_take(&path, Mode::Exclusive).unwrap().is_none());
        drop((first, second));
        assert!(wait(&path, Mode::Exclusive, &CancelToken::new()).is_ok());
    }
}
