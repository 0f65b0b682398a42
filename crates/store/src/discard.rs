//! Taking objects out of the store: at once for everybody else, their bytes later.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rbuild_progress::CancelToken;

use crate::gc::GcLock;
use crate::lock::WorkLock;
use crate::stage::StagedDir;
use crate::store::Store;
use crate::usage::allocated;
use crate::{Error, Object, Result, boot};

/// Objects that are out of the store; their bytes go with [`Discarded::delete`], or when it is dropped.
#[derive(Debug, Default)]
#[must_use = "dropping it deletes the bytes, which may take long"]
pub struct Discarded {
    staged: Option<StagedDir>,
    freed_bytes: u64,
}

impl Discarded {
    /// Deletes the bytes; returns how much disk space that gave back, in bytes of allocated blocks.
    ///
    /// Best done without the collector's lock. What cannot be read is not counted.
    pub fn delete(self) -> Result<u64> {
        let Some(staged) = &self.staged else {
            return Ok(self.freed_bytes);
        };
        let whole = CancelToken::try_new().map_err(Error::at("make a token for", staged.path()))?;
        let measured = allocated(staged.path(), &whole);
        Ok(self.freed_bytes + measured?)
    }
}

impl Store {
    /// Moves objects out of the store, except those that are leased or not there.
    pub fn discard(&self, lock: &GcLock, objects: &[Object]) -> Result<Discarded> {
        if objects.is_empty() {
            return Ok(Discarded::default());
        }
        let staged = match self.stage_dir() {
            Err(error) if error.is_disk_full() => return self.discard_at_once(lock, objects),
            staged => staged?,
        };
        let mut freed_bytes = 0;
        for (number, path) in self.places(lock, objects).enumerate() {
            let to = staged.path().join(number.to_string());
            match fs::rename(&path, &to) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // A full disk, or a directory whose top belongs to another user.
                Err(_) => freed_bytes += self.delete_at_once(&path)?,
            }
        }
        Ok(Discarded {
            staged: Some(staged),
            freed_bytes,
        })
    }

    /// Deletes objects where they are, which takes no space but time, except those that are leased.
    pub fn discard_at_once(&self, lock: &GcLock, objects: &[Object]) -> Result<Discarded> {
        let mut freed_bytes = 0;
        for path in self.places(lock, objects) {
            freed_bytes += self.delete_at_once(&path)?;
        }
        Ok(Discarded {
            staged: None,
            freed_bytes,
        })
    }

    /// Deletes the logs of failed steps; returns how much disk space that gave back, in bytes.
    pub fn delete_logs(&self) -> Result<u64> {
        let dir = self.layout.logs();
        let mut freed_bytes = 0;
        for path in entries(&dir)? {
            freed_bytes += self.delete_at_once(&path)?;
        }
        Ok(freed_bytes)
    }

    /// Removes the files of work locks that killed processes left.
    pub fn sweep_locks(&self) -> Result<()> {
        for path in entries(&self.layout.locks())? {
            let name = path.file_name().unwrap_or_default();
            if name.as_bytes().starts_with(b"w-") {
                // Whoever takes one removes its file.
                drop(WorkLock::try_take(&path)?);
            }
        }
        Ok(())
    }

    /// Where the objects may lie.
    fn places<'a>(
        &'a self,
        lock: &'a GcLock,
        objects: &'a [Object],
    ) -> impl Iterator<Item = PathBuf> + 'a {
        let free = objects.iter().filter(|object| !lock.is_leased(object));
        free.flat_map(|object| match object {
            Object::Blob(digest) => [
                self.layout.blob(digest),
                boot::suspect_blob(&self.layout, digest),
            ],
            Object::Tree(id) => [self.layout.tree(id), boot::suspect_tree(&self.layout, id)],
        })
    }

    fn delete_at_once(&self, path: &Path) -> Result<u64> {
        let Ok(meta) = fs::symlink_metadata(path) else {
            return Ok(0);
        };
        let whole = CancelToken::try_new().map_err(Error::at("make a token for", path))?;
        let bytes = allocated(path, &whole)?;
        let deleted = match meta.is_dir() {
            true => self.deleter.delete(path),
            false => fs::remove_file(path),
        };
        deleted.map_err(Error::at("delete", path))?;
        Ok(bytes)
    }
}

/// What is in a directory; nothing if it is not there.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(Error::at("list", dir))?,
    };
    let paths = listed.map(|entry| entry.map(|entry| entry.path()));
    let paths: io::Result<Vec<PathBuf>> = paths.collect();
    paths.map_err(Error::at("list", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discarded_objects_are_gone_at_once_and_leased_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let blob = |bytes: &[u8]| Object::Blob(store.put_blob(bytes).unwrap());
        let objects = [blob(&[1; 50_000]), blob(b"kept"), blob(&[2; 9000])];
        let absent = Object::Tree("absent".into());
        store.release_committed();
        let (_lease, missing) = store.lease(&objects[1..2]).unwrap();
        assert!(missing.is_empty());
        let lock = store.gc_lock(&CancelToken::new()).unwrap();
        let all = [&objects[..], &[absent]].concat();
        let discarded = store.discard(&lock, &all).unwrap();
        assert_eq!(store.blobs().unwrap().len(), 1);
        let freed = discarded.delete().unwrap();
        assert!((59_000..90_000).contains(&freed), "{freed}");
        assert_eq!(
            fs::read_dir(dir.path().join("stage")).unwrap().count(),
            2,
            "the session and its folder"
        );
    }

    #[test]
    fn what_killed_processes_leave_beside_objects_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let cancel = CancelToken::new();
        assert_eq!(store.delete_logs().unwrap(), 0);
        let before = store.overhead(&cancel).unwrap().bytes;
        fs::create_dir(dir.path().join("logs")).unwrap();
        let log = store.stage_file().unwrap();
        fs::write(log.path(), [7; 20_000]).unwrap();
        log.keep_at(&dir.path().join("logs/x.log")).unwrap();
        assert!(store.overhead(&cancel).unwrap().bytes >= before + 20_000);
        assert!(store.delete_logs().unwrap() >= 20_000);
        let held = store.work_lock("held", &cancel).unwrap();
        let locks = || {
            let names = entries(&dir.path().join("locks")).unwrap();
            names
                .iter()
                .filter(|path| path.to_string_lossy().contains("/w-"))
                .count()
        };
        fs::write(dir.path().join("locks/w-left"), "").unwrap();
        assert_eq!(locks(), 2);
        store.sweep_locks().unwrap();
        assert_eq!(locks(), 1);
        assert!(store.try_work_lock("held").unwrap().is_none());
        drop(held);
        assert_eq!(locks(), 0);
    }

    #[test]
    fn deleting_in_place_gives_back_as_much() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let staged = store.stage_dir().unwrap();
        fs::create_dir(staged.path().join("t")).unwrap();
        fs::write(staged.path().join("t/f"), [3; 40_000]).unwrap();
        store.commit_tree(staged, "t", "x").unwrap();
        store.release_committed();
        let lock = store.gc_lock(&CancelToken::new()).unwrap();
        let objects = [Object::Tree("x".into())];
        let freed = store.discard_at_once(&lock, &objects).unwrap().delete();
        assert!(freed.unwrap() >= 40_000);
        assert!(store.trees().unwrap().is_empty());
    }
}
