//! A layer that a step is writing: upper and work directory of an overlay, then a commit.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rbuild_progress::CancelToken;
use rbuild_store::StagedDir;

use super::bytes::rewind;
use super::trees::{TREE, tree_id};
use super::{LayerStore, new_id};
use crate::diff::{Change, changes, settle};
use crate::job::TreeJob;
use crate::tree::{Listed, decode_digests, decode_list, encode_paths};
use crate::{ContentDigest, Error, LayerId, LayerInfo, Result};

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
        let listed = self.list(cancel)?;
        let view = layers.view(parents, cancel)?;
        let site = layers.inner.work.site();
        let changes = changes(&listed, &view, site.ids, cancel)?;
        let digests = self.hash(&changes, cancel)?;
        let index = settle(changes, &digests)?;
        let mut info = LayerInfo::new(new_id()?);
        let tree = tree_id(&info.id, site.namespace);
        layers.store().commit_tree(self.staged, TREE, &tree)?;
        info.trees.insert(site.namespace, tree);
        layers.add(info, index)
    }

    fn list(&self, cancel: &CancelToken) -> Result<Vec<Listed>> {
        let out = self.layers.store().stage_file()?;
        let job = TreeJob::List {
            root: self.upper.clone(),
            site: self.layers.inner.work.site(),
        };
        self.layers
            .inner
            .work
            .run(&job, &[out.file().as_fd()], cancel)?;
        rewind(&out)?;
        let file = out.file().try_clone();
        decode_list(file.map_err(|source| Error::io("open", out.path(), source))?)
    }

    fn hash(
        &self,
        changes: &[Change],
        cancel: &CancelToken,
    ) -> Result<BTreeMap<Vec<u8>, ContentDigest>> {
        let paths: Vec<&[u8]> = changes.iter().filter_map(Change::needs_digest).collect();
        if paths.is_empty() {
            return Ok(BTreeMap::new());
        }
        let list = self
            .layers
            .list_file(&encode_paths(paths.iter().copied()))?;
        let out = self.layers.store().stage_file()?;
        let job = TreeJob::Hash {
            root: self.upper.clone(),
        };
        let fds = [list.file().as_fd(), out.file().as_fd()];
        self.layers.inner.work.run(&job, &fds, cancel)?;
        let bytes =
            std::fs::read(out.path()).map_err(|source| Error::io("read", out.path(), source))?;
        let digests = decode_digests(&bytes, paths.len())?;
        Ok(paths
            .iter()
            .map(|path| path.to_vec())
            .zip(digests)
            .collect())
    }
}

/// Makes a directory of mode 0755 whatever the umask is.
pub(super) fn make_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    std::fs::create_dir(path)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)))
        .map_err(|source| Error::io("make directory", path, source))
}
