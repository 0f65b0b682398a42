//! Directories named by an opaque id, and how they are deleted.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::object::is_tree_id;
use crate::stage::StagedDir;
use crate::store::Store;
use crate::{Error, Object, Result};

/// Deletes directories that may hold files of other users.
///
/// An unprivileged process cannot remove what the steps of a build wrote under their own ids; whoever
/// can is passed in through [`Store::use_tree_delete`].
pub trait TreeDelete: Send + Sync {
    /// Removes `path` and everything below it, without following symlinks.
    fn delete_tree(&self, path: &Path) -> io::Result<()>;
}

/// Deletes with the rights of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct InPlaceDelete;

impl TreeDelete for InPlaceDelete {
    fn delete_tree(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }
}

/// The deletion in use: in place until another is set.
#[derive(Clone, Default)]
pub(crate) struct Deleter(Arc<OnceLock<Arc<dyn TreeDelete>>>);

impl Deleter {
    /// Sets the deletion; the first one set stays.
    pub(crate) fn set(&self, delete: Arc<dyn TreeDelete>) {
        self.0.set(delete).ok();
    }

    /// Removes a directory: in place first, which costs nothing where it suffices.
    pub(crate) fn delete(&self, path: &Path) -> io::Result<()> {
        match (InPlaceDelete.delete_tree(path), self.0.get()) {
            (Err(error), Some(other)) if error.kind() != io::ErrorKind::NotFound => {
                other.delete_tree(path)
            }
            (result, _) => result,
        }
    }
}

impl fmt::Debug for Deleter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deleter")
            .field(&self.0.get().is_some())
            .finish()
    }
}

impl Store {
    /// Makes the directory `sub` of a staged directory the tree `id`; returns where it lies now.
    ///
    /// The rest of the staged directory is removed. If there is such a tree already, ours is removed and
    /// the other one returned. The top directory must belong to this process, since its `..` changes.
    /// Leased by this store handle until [`Store::release_committed`].
    ///
    /// Errors: [`Error::TreeId`].
    pub fn commit_tree(&self, staged: StagedDir, sub: &str, id: &str) -> Result<PathBuf> {
        let target = self.checked_tree(id)?;
        let source = staged.path().join(sub);
        let mut is_new = false;
        self.commit_leased(Object::Tree(id.to_owned()), || {
            // Looked at first, since renaming onto an empty directory would replace it; and after, since
            // another process may commit the same tree between.
            match target.exists() {
                true => Ok(()),
                false => match fs::rename(&source, &target) {
                    Err(_) if target.exists() => Ok(()),
                    renamed => {
                        is_new = true;
                        renamed.map_err(Error::at("rename to", &target))
                    }
                },
            }
        })?;
        if is_new {
            self.count_committed(&target)?;
        }
        Ok(target)
    }

    /// Where the tree lies, or would.
    ///
    /// An `id` that is none ends up at a path where no tree can be.
    pub fn tree_path(&self, id: &str) -> PathBuf {
        let own = self.layout.tree(if is_tree_id(id) { id } else { "NONE" });
        match &self.lower {
            Some(lower) if !own.exists() => lower.tree(id).unwrap_or(own),
            _ => own,
        }
    }

    /// Tells whether there is such a tree.
    ///
    /// To rely on it afterwards, lease it: a collector in another process may be at work.
    pub fn has_tree(&self, id: &str) -> bool {
        is_tree_id(id)
            && (self.layout.tree(id).exists()
                || self.lower().is_some_and(|lower| lower.tree(id).is_some()))
    }

    /// Lists the ids of all trees of its own, sorted.
    pub fn trees(&self) -> Result<Vec<String>> {
        let dir = self.layout.trees();
        let mut all = Vec::new();
        for entry in fs::read_dir(&dir).map_err(Error::at("list", &dir))? {
            let name = entry.map_err(Error::at("list", &dir))?.file_name();
            all.extend(
                name.to_str()
                    .filter(|name| is_tree_id(name))
                    .map(str::to_owned),
            );
        }
        all.sort();
        Ok(all)
    }

    /// Sets who deletes directories that this process cannot; the first one set stays.
    ///
    /// Follow it with [`Store::sweep`] to remove what earlier sweeps could not.
    pub fn use_tree_delete(&self, delete: Arc<dyn TreeDelete>) {
        self.deleter.set(delete);
    }

    pub(crate) fn checked_tree(&self, id: &str) -> Result<PathBuf> {
        if is_tree_id(id) {
            Ok(self.layout.tree(id))
        } else {
            Err(Error::TreeId { id: id.to_owned() })
        }
    }
}
