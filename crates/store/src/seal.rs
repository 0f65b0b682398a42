//! Finishing a store, so that others can take from it as it is; and taking that back.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::PoisonError;

use rbuild_progress::CancelToken;

use crate::layout::{FORMAT, Layout};
use crate::lock::{self, Mode};
use crate::store::Store;
use crate::{Change, Error, Object, Result, Table, lease, probe, stage};

/// First line of the mark; a newer rbuild that means something else by it writes another number.
pub(crate) const SEALED: &str = "rbuild-sealed 1";

/// First word of the rows that sealing writes.
const LENGTH: &str = "sealed ";

/// Where the length of an object is noted.
pub(crate) fn length_key(object: &Object) -> String {
    format!("{LENGTH}{object}")
}

impl Store {
    /// Seals the store: from now on it can be opened by [`Sealed::open`](crate::Sealed::open), and by
    /// nothing else.
    ///
    /// `ids` says how ids of files are mapped here. All of it is on the disk when this returns: what a
    /// sealed store has, it has after any restart. The handle is of no use afterwards but to be dropped.
    ///
    /// Errors: [`Error::InUse`] while anybody works in it; nothing is changed then.
    pub fn seal(&self, ids: &str, cancel: &CancelToken) -> Result<()> {
        drop(
            self.session
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        self.release_committed();
        let in_use = || Error::InUse {
            path: self.root().to_owned(),
        };
        // Looked at before it is waited for: a build may take hours.
        let _no_lease_begins = lock::wait(&lease::gc_lock(&self.layout), Mode::Exclusive, cancel)?;
        let _no_session_begins = lock::brief(&stage::sweep_lock(&self.layout), Mode::Exclusive)?;
        if lease::has_living(&self.layout)? || stage::has_live_sessions(&self.layout)? {
            return Err(in_use());
        }
        self.note_lengths()?;
        if !self.fold_log()? {
            return Err(in_use());
        }
        let probe = self.layout.probe();
        probe::leave(&probe).map_err(Error::at("make", &probe))?;
        let found = probe::found(&probe);
        let root = self.root();
        let dir = File::open(root).map_err(Error::at("open", root))?;
        rustix::fs::syncfs(&dir).map_err(|errno| Error::io("sync", root, errno.into()))?;
        let mark = self.layout.sealed();
        // Whole before it has its name: who is killed here leaves a store that is not sealed.
        let unfinished = mark.with_extension("new");
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&unfinished)
            .and_then(|mut file| {
                file.write_all(format!("{SEALED}\n{ids}\n{found}\n").as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&unfinished, &mark))
            .and_then(|()| dir.sync_all());
        written.map_err(Error::at("write", &mark))
    }

    /// Notes what there is: whoever takes from the store believes nothing else.
    fn note_lengths(&self) -> Result<()> {
        let old = self.list(Table::Meta, LENGTH)?;
        let mut new = Vec::new();
        for digest in self.blobs()? {
            let length = self.blob_size(&digest)?.to_string();
            new.push((length_key(&Object::Blob(digest)), length));
        }
        for id in self.trees()? {
            new.push((length_key(&Object::Tree(id)), String::new()));
        }
        let old = old.iter().map(|(key, _)| Change::Delete(Table::Meta, key));
        let new = new
            .iter()
            .map(|(key, length)| Change::Put(Table::Meta, key, length.as_bytes()));
        self.change_in_order(&old.chain(new).collect::<Vec<_>>())
    }

    /// Makes a sealed store one to work in again, with the rules of a restart for what it holds.
    ///
    /// Errors: [`Error::NotAStore`]; [`Error::InUse`] while anybody on this machine takes from it. A store
    /// that is not sealed stays as it is.
    pub fn unseal(root: &Path) -> Result<()> {
        let layout = Layout::at(root)?;
        if layout.format()? != Some(FORMAT) {
            return Err(Error::NotAStore {
                path: layout.root().to_owned(),
            });
        }
        let mark = layout.sealed();
        let file = match File::open(&mark) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("open", &mark, error)),
        };
        match file.try_lock() {
            Ok(()) => fs::remove_file(&mark).map_err(Error::at("remove", &mark)),
            Err(TryLockError::WouldBlock) => Err(Error::InUse {
                path: layout.root().to_owned(),
            }),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &mark, error)),
        }
    }
}
