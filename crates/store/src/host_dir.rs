//! Directories of the host that stand for cache mounts, so that whoever keeps directories can keep them.
//!
//! The directory is the user's: nothing of ours lies in it. Its locks are in the store, named by
//! device and inode, so that every path to it means the same lock.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_progress::CancelToken;
use rustix::fs::{Mode as FileMode, OFlags, fstat, open};

use crate::cache_mount::{MountedCache, Sharing};
use crate::layout::write_replacing;
use crate::lock::{self, Mode};
use crate::store::Store;
use crate::{Error, Result};

/// A directory of the host, found and held.
#[derive(Clone, Debug)]
pub struct HostDir {
    path: PathBuf,
    inode: (u64, u64),
    /// As long as it is open no other directory gets its number.
    _held: Arc<OwnedFd>,
}

impl HostDir {
    /// Where it lies, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its device and inode number: whoever opens the path makes sure that it is still this one.
    pub fn inode(&self) -> (u64, u64) {
        self.inode
    }

    /// Whether one of the two is, or lies in, the other.
    pub fn overlaps(&self, other: &HostDir) -> bool {
        self.inode == other.inode || nested(&self.path, &other.path)
    }

    /// Whether nothing is in it; `None` if that cannot be seen.
    fn is_empty(&self) -> Result<Option<bool>> {
        match fs::read_dir(&self.path) {
            Ok(mut names) => Ok(Some(names.next().is_none())),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            Err(error) => Err(Error::io("list", &self.path, error)),
        }
    }
}

impl Store {
    /// Finds a directory that is to be a cache mount; it is made if it is missing, with its parents.
    ///
    /// Errors: [`Error::HostDir`] if it is none, cannot be read, or holds the store or lies in it.
    pub fn host_dir(&self, path: &Path) -> Result<HostDir> {
        let refuse = |reason: String| Error::HostDir {
            path: path.to_owned(),
            reason,
        };
        let told = |error: io::Error| refuse(error.to_string());
        if !path.exists() {
            make(path).map_err(|error| refuse(format!("it cannot be made: {error}")))?;
        }
        let real = fs::canonicalize(path).map_err(told)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = open(&real, flags, FileMode::empty()).map_err(|errno| told(errno.into()))?;
        let stat = fstat(&held).map_err(|errno| told(errno.into()))?;
        let own = self.layout.root();
        let own = fs::canonicalize(own).map_err(Error::at("resolve", own))?;
        if nested(&real, &own) {
            let reason = "it holds the store, or lies in it".to_owned();
            return Err(refuse(reason));
        }
        let dir = HostDir {
            path: real,
            inode: (stat.st_dev, stat.st_ino),
            _held: Arc::new(held),
        };
        // Filled by a build under another id, it may be closed to this process and is sound all the same.
        match dir.is_empty()? {
            None if !self.host_file(&dir, "filled").exists() => {
                Err(refuse("it cannot be read".to_owned()))
            }
            _ => Ok(dir),
        }
    }

    /// Waits until the directory may be used, by the rules of cache mounts; `None` if it is to be private and
    /// somebody uses it.
    ///
    /// `fill` is called while it is empty, before anybody uses it; what it made is removed if it fails.
    pub fn mount_host_dir(
        &self,
        dir: &HostDir,
        sharing: Sharing,
        cancel: &CancelToken,
        fill: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<Option<MountedCache>> {
        let file = self.host_file(dir, "lock");
        let lock = match sharing {
            Sharing::Shared => lock::wait(&file, Mode::Shared, cancel)?,
            Sharing::Locked => lock::wait(&file, Mode::Exclusive, cancel)?,
            Sharing::Private => match lock::try_take(&file, Mode::Exclusive)? {
                Some(lock) => lock,
                None => return Ok(None),
            },
        };
        {
            // Shared users hold no lock against each other.
            let _filling = lock::wait(&self.host_file(dir, "fill"), Mode::Exclusive, cancel)?;
            if dir.is_empty()? == Some(true) {
                self.fill_host_dir(dir, fill)?;
            }
        }
        Ok(Some(MountedCache::new(dir.path.clone(), lock)))
    }

    fn fill_host_dir(
        &self,
        dir: &HostDir,
        fill: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<()> {
        if let Err(error) = fill(&dir.path) {
            // It was empty: all that is in it now is ours.
            for entry in fs::read_dir(&dir.path).into_iter().flatten().flatten() {
                let path = entry.path();
                if self.deleter.delete(&path).is_err() {
                    fs::remove_file(&path).ok();
                }
            }
            return Err(Error::io("fill", &dir.path, error));
        }
        write_replacing(&self.host_file(dir, "filled"), b"")
    }

    fn host_file(&self, dir: &HostDir, kind: &str) -> PathBuf {
        let (device, inode) = dir.inode;
        let name = format!("mount-{device:x}-{inode:x}.{kind}");
        self.layout.locks().join(name)
    }
}

/// Whether one of the paths is, or lies in, the other.
fn nested(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    // The process's umask shall not show in what a step sees.
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn none(_: &Path) -> io::Result<()> {
        Ok(())
    }

    fn place() -> (tempfile::TempDir, Store, CancelToken) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        (dir, store, CancelToken::new())
    }

    #[test]
    fn every_path_to_a_directory_means_the_same_lock() {
        let (top, store, cancel) = place();
        let path = top.path().join("a/b");
        let dir = store.host_dir(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o755
        );
        symlink("a/b", top.path().join("link")).unwrap();
        let same = store.host_dir(&top.path().join("link")).unwrap();
        assert!(dir.overlaps(&same));
        let other = Store::open(&top.path().join("store")).unwrap();
        let held = store.mount_host_dir(&dir, Sharing::Locked, &cancel, none);
        let held = held.unwrap().unwrap();
        let taken = other.mount_host_dir(&same, Sharing::Private, &cancel, none);
        assert!(taken.unwrap().is_none());
        let stop = CancelToken::new();
        stop.cancel();
        let waiting = other.mount_host_dir(&same, Sharing::Shared, &stop, none);
        assert!(matches!(waiting, Err(Error::Cancelled(_))));
        drop(held);
        let taken = other.mount_host_dir(&same, Sharing::Private, &cancel, none);
        assert_eq!(taken.unwrap().unwrap().path(), dir.path());
        assert!(store.cache_mounts().unwrap().is_empty());
    }

    #[test]
    fn only_an_empty_directory_is_filled_and_a_failure_leaves_it_empty() {
        let (top, store, cancel) = place();
        let dir = store.host_dir(&top.path().join("d")).unwrap();
        let half = |path: &Path| {
            fs::create_dir(path.join("half"))?;
            fs::write(path.join("file"), "")?;
            Err(io::Error::other("stopped"))
        };
        let failed = store.mount_host_dir(&dir, Sharing::Shared, &cancel, half);
        assert!(failed.unwrap_err().to_string().starts_with("fill"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let write = |path: &Path| fs::write(path.join("f"), "1");
        let filled = store.mount_host_dir(&dir, Sharing::Shared, &cancel, write);
        drop(filled.unwrap());
        let again = |_: &Path| -> io::Result<()> { panic!("filled over content") };
        let found = store.mount_host_dir(&dir, Sharing::Shared, &cancel, again);
        assert!(found.unwrap().unwrap().path().join("f").exists());
    }

    #[test]
    fn what_cannot_be_one_is_refused() {
        let (top, store, _) = place();
        let file = top.path().join("file");
        fs::write(&file, "").unwrap();
        symlink("nowhere", top.path().join("dangling")).unwrap();
        let cases = [
            (file.clone(), "Not a directory"),
            (file.join("below"), "cannot be made"),
            (top.path().join("dangling"), "cannot be made"),
            (top.path().to_owned(), "holds the store"),
            (top.path().join("store/x"), "holds the store"),
            ("/".into(), "holds the store"),
        ];
        for (path, reason) in cases {
            let error = store.host_dir(&path).unwrap_err();
            assert!(matches!(error, Error::HostDir { .. }), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
        }
        let outer = store.host_dir(&top.path().join("o")).unwrap();
        let inner = store.host_dir(&top.path().join("o/i")).unwrap();
        assert!(outer.overlaps(&inner) && inner.overlaps(&outer));
        assert!(!outer.overlaps(&store.host_dir(&top.path().join("oo")).unwrap()));
    }
}
