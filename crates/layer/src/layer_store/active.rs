//! A layer that a step is writing: upper and work directory of an overlay, then a commit.

use std::path::{Path, PathBuf};

use rbuild_progress::CancelToken;
use rbuild_store::StagedDir;

use super::trees::{TREE, tree_id};
use super::{LayerStore, new_id};
use crate::diff::{Change, changes, settle};
use crate::{Error, LayerId, LayerInfo, Result};

/// Directories for a step to write to. Removed on drop unless committed.
#[must_use = "dropping it removes what the step wrote"]
pub struct ActiveLayer {
    layers: LayerStore,
    staged: StagedDir,
    upper: PathBuf,
    work: PathBuf,
}

impl LayerStore {
    /// Makes an empty upper (mode 0755) and a work directory beside it.
    pub fn prepare(&self) -> Result<ActiveLayer> {
        let staged = self.store().stage_dir()?;
        let upper = staged.path().join(TREE).join("fs");
        let work = staged.path().join("work");
        make_dir(&staged.path().join(TREE))?;
        make_dir(&upper)?;
        make_dir(&work)?;
        Ok(ActiveLayer {
            layers: self.clone(),
            staged,
            upper,
            work,
        })
    }
}

impl ActiveLayer {
    /// The upper directory.
    pub fn upper(&self) -> &Path {
        &self.upper
    }

    /// The work directory, on the same file system.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Makes what was written a layer on top of `parents`, lowest first; the upper is its tree form.
    ///
    /// The overlay must be unmounted. What did not really change is left out, and an upper without
    /// changes makes an empty layer. Errors: `Entry` when overlay left something that stands for
    /// content elsewhere, and those of the jobs; the upper is then removed.
    pub fn commit(self, parents: &[LayerId], cancel: &CancelToken) -> Result<LayerId> {
        let layers = self.layers.clone();
        let listed = layers.list_tree(&self.upper, cancel)?;
        let view = layers.view(parents, cancel);
        let site = layers.inner.work.site();
        let changes = changes(&listed, &view, site.ids, cancel)?;
        let files: Vec<&[u8]> = changes.iter().filter_map(Change::needs_digest).collect();
        let digests = layers.hash_tree(&self.upper, &files, cancel)?;
        let index = settle(changes, &digests)?;
        let mut info = LayerInfo::new(new_id()?);
        let tree = tree_id(&info.id, site.kind());
        layers.store().commit_tree(self.staged, TREE, &tree)?;
        info.trees.insert(site.kind(), tree);
        layers.add(info, index)
    }
}

/// Makes a directory of mode 0755 whatever the umask is.
pub(super) fn make_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    std::fs::create_dir(path)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)))
        .map_err(|source| Error::io("make directory", path, source))
}
