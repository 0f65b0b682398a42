//! The end of a store: all of it deleted, files of other users included.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::PoisonError;

use crate::lock::{self, Mode};
use crate::stage;
use crate::store::Store;
use crate::{Error, Result};

/// What there is beside the directories of the layout: the engine keeps the logs of steps here.
const FILES: [&str; 5] = ["boot", "logs", "sealed", "sealed.new", "sealed.probe"];
/// What holds data, and is of no use any more.
const DATA: [&str; 6] = ["trees", "cache", "blobs", "suspect", "leases", "db"];

impl Store {
    /// Deletes the store with everything in it; the handle is of no use afterwards.
    ///
    /// What else lies in its directory stays, and the directory then, too. A process that begins meanwhile
    /// fails. If it is interrupted, calling it again goes on.
    ///
    /// Errors: [`Error::InUse`] when somebody is making something in it; nothing is deleted then.
    pub fn delete_all(&self) -> Result<()> {
        // Our own session ends here, unless something staged still holds it.
        drop(
            self.session
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        // Nobody holds it for long: it is for looking and beginning.
        let no_one_begins = lock::brief(&stage::sweep_lock(&self.layout), Mode::Exclusive)?;
        if stage::has_live_sessions(&self.layout)? {
            return Err(Error::InUse {
                path: self.root().to_owned(),
            });
        }
        for name in DATA.iter().chain(&FILES) {
            self.delete_part(name)?;
        }
        // From here on it is no store; what is left can be made into one again, or deleted.
        self.delete_part("format")?;
        self.delete_part("stage")?;
        drop(no_one_begins);
        self.delete_part("locks")?;
        match fs::remove_dir(self.root()) {
            // Not ours alone: somebody else's files, or a mount point.
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty
                        | io::ErrorKind::ResourceBusy
                        | io::ErrorKind::PermissionDenied
                ) =>
            {
                Err(Error::io("delete", self.root(), error))
            }
            _ => Ok(()),
        }
    }

    fn delete_part(&self, name: &str) -> Result<()> {
        let path: PathBuf = self.root().join(name);
        let deleted = match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => self.deleter.delete(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match deleted {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("delete", &path, error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbuild_progress::CancelToken;

    #[test]
    fn a_deleted_store_leaves_nothing_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let store = Store::open(&root).unwrap();
        store.put_blob(b"bytes").unwrap();
        fs::create_dir(root.join("logs")).unwrap();
        store.put(crate::Table::Contents, "key", b"value").unwrap();
        let cache = store.cache_mount("c").unwrap();
        let cancel = CancelToken::new();
        drop(cache.mount(crate::Sharing::Shared, &cancel, |_| Ok(())));
        store.delete_all().unwrap();
        assert!(!root.exists());
        let store = Store::open(&root).unwrap();
        fs::write(root.join("mine"), "").unwrap();
        store.delete_all().unwrap();
        let left: Vec<_> = fs::read_dir(&root).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn a_store_in_use_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let other = Store::open(&root).unwrap();
        let staged = other.stage_file().unwrap();
        let store = Store::open(&root).unwrap();
        let blob = store.put_blob(b"bytes").unwrap();
        assert!(matches!(store.delete_all(), Err(Error::InUse { .. })));
        assert!(store.has_blob(&blob));
        drop((staged, other));
        Store::open(&root).unwrap().delete_all().unwrap();
        assert!(!root.exists());
    }
}
