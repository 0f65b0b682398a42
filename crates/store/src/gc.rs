//! Removal of objects. What to remove is decided above; that nothing in use goes is seen to here.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use rbuild_oci::Digest;
use rbuild_progress::CancelToken;

use crate::lease::{gc_lock, leased};
use crate::lock::{self, Flock, Mode};
use crate::stage::StagedDir;
use crate::store::Store;
use crate::{Error, Object, Result};

/// The right to remove objects. While it is held nobody commits or leases, so hold it for moments.
#[derive(Debug)]
#[must_use = "dropping it ends the right to remove"]
pub struct GcLock {
    leased: BTreeSet<Object>,
    _file: Flock,
}

impl GcLock {
    /// What living processes use. A name may be that of an object that is yet to come.
    pub fn leased(&self) -> &BTreeSet<Object> {
        &self.leased
    }

    /// Tells whether some living process uses the object.
    pub fn is_leased(&self, object: &Object) -> bool {
        self.leased.contains(object)
    }
}

/// What became of a wish to remove an object.
#[derive(Debug)]
pub enum Removal {
    /// It is gone. A tree's files go when the value is dropped, which should be after the lock.
    Removed(Option<StagedDir>),
    /// Somebody uses it.
    Leased,
    /// There was none.
    Absent,
}

impl Store {
    /// Waits until this process alone may remove objects.
    pub fn gc_lock(&self, cancel: &CancelToken) -> Result<GcLock> {
        let file = lock::wait(&gc_lock(&self.layout), Mode::Exclusive, cancel)?;
        Ok(GcLock {
            leased: leased(&self.layout)?,
            _file: file,
        })
    }

    /// Removes a blob unless it is leased.
    pub fn remove_blob(&self, lock: &GcLock, digest: &Digest) -> Result<Removal> {
        if lock.is_leased(&Object::Blob(digest.clone())) {
            return Ok(Removal::Leased);
        }
        let suspect = crate::boot::suspect_blob(&self.layout, digest);
        let removed = [self.layout.blob(digest), suspect].map(|path| remove_file(&path));
        let [blob, suspect] = removed;
        Ok(if blob? | suspect? {
            Removal::Removed(None)
        } else {
            Removal::Absent
        })
    }

    /// Removes a tree unless it is leased.
    ///
    /// The directory is moved away at once; its files are deleted when the returned value is dropped.
    ///
    /// Errors: [`Error::TreeId`].
    pub fn remove_tree(&self, lock: &GcLock, id: &str) -> Result<Removal> {
        let path = self.checked_tree(id)?;
        if lock.is_leased(&Object::Tree(id.to_owned())) {
            return Ok(Removal::Leased);
        }
        for path in [path, crate::boot::suspect_tree(&self.layout, id)] {
            match StagedDir::take(self.session()?, &path) {
                Ok(staged) => return Ok(Removal::Removed(Some(staged))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Its top belongs to another user and cannot be moved by us.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    self.deleter
                        .delete(&path)
                        .map_err(Error::at("delete", &path))?;
                    return Ok(Removal::Removed(None));
                }
                Err(error) => return Err(Error::io("move away", &path, error)),
            }
        }
        Ok(Removal::Absent)
    }
}

fn remove_file(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", path, error)),
    }
}
