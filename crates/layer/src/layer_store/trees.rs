//! Tree forms: which ones there are, making the missing ones, and the lowers of a stack.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_oci::{DiffId, Digest};
use rbuild_progress::CancelToken;
use rbuild_store::{StagedDir, StagedFile};

use super::active::make_dir;
use super::bytes::rewind;
use super::side_by_side::side_by_side;
use super::{Activity, LayerStore, lock};
use crate::job::{Format, TreeJob};
use crate::path::to_path;
use crate::tree::{Amended, encode_amended};
use crate::{
    Entry, Error, FileView, Kind, LayerId, LayerIndex, LayerInfo, Node, NodeKind, Result, TreeKind,
    View, ViewLayer,
};

/// Name of the directory, in a staged one, that becomes a tree; the layer itself lies in `fs` in
/// it, so that a step which changes the owner of `/` does not take the tree away from us.
pub(super) const TREE: &str = "tree";

/// Most lowers of one overlay; the kernel takes 500.
const MAX_LOWERS: usize = 400;

/// A tree that is made but not yet in its place.
struct MadeTree {
    layer: LayerId,
    staged: StagedDir,
}

impl LayerStore {
    /// The tree forms of a stack, topmost first, as overlay wants them; makes the missing ones.
    ///
    /// `stack` runs lowest first. Layers that change nothing are left out, so the result may be
    /// empty; what an opaque root hides is left out too. Over 400 lowers the oldest are merged.
    /// Errors: those of fetching and unpacking, `NotFound` for a link into a layer below that does
    /// not have the file. Made trees stay, also when another layer fails.
    pub fn lowers(&self, stack: &[LayerId], cancel: &CancelToken) -> Result<Vec<PathBuf>> {
        self.make_trees(stack, cancel)?;
        let mut trees = Vec::with_capacity(stack.len());
        for layer in stack {
            let index = self.index(layer, cancel)?;
            if index.is_root_opaque() {
                trees.clear();
            }
            if !index.is_empty() {
                let info = self.info(layer)?;
                let tree = self.usable_tree(&info);
                trees.push((*layer, tree.ok_or(Error::Gone { layer: *layer })?));
            }
        }
        let trees = self.merge_oldest(trees, cancel)?;
        Ok(trees.into_iter().rev().collect())
    }

    /// Where a layer's tree for this site is, if it has one.
    pub(super) fn usable_tree(&self, info: &LayerInfo) -> Option<PathBuf> {
        let tree = info.trees.get(&self.inner.work.site().kind())?;
        let has = self.store().has_tree(tree);
        has.then(|| self.store().tree_path(tree).join("fs"))
    }

    fn make_trees(&self, stack: &[LayerId], cancel: &CancelToken) -> Result<()> {
        let mut missing = self.without_tree(stack)?;
        if missing.is_empty() {
            return Ok(());
        }
        // In one order everywhere: two builds with the same layers must not wait for each other.
        missing.sort_unstable();
        missing.dedup();
        let lock = |layer: &LayerId| {
            let key = format!("layer-tree {layer}");
            self.store().work_lock(&key, cancel)
        };
        let _alone = missing.iter().map(lock).collect::<Result<Vec<_>, _>>()?;
        let missing = self.without_tree(stack)?;
        let made = side_by_side(&missing, |layer| self.unpack(layer, cancel))?;
        for tree in made {
            let below = stack.iter().position(|layer| *layer == tree.layer);
            let below = stack.get(..below.unwrap_or(0)).unwrap_or_default();
            self.finish_tree(tree, below, cancel)?;
        }
        Ok(())
    }

    /// The layers that need a tree and have none, lowest first.
    fn without_tree(&self, stack: &[LayerId]) -> Result<Vec<LayerId>> {
        let mut missing = Vec::new();
        for layer in stack {
            let info = self.info(layer)?;
            if self.usable_tree(&info).is_none() && !self.is_known_empty(&info)? {
                missing.push(*layer);
            }
        }
        Ok(missing)
    }

    fn is_known_empty(&self, info: &LayerInfo) -> Result<bool> {
        if let Some(index) = lock(&self.inner.indexes).get(&info.id) {
            return Ok(index.is_empty());
        }
        Ok(self.read_index(info)?.is_some_and(|index| index.is_empty()))
    }

    fn unpack(&self, layer: &LayerId, cancel: &CancelToken) -> Result<MadeTree> {
        let (mut blob, mut size) = (None, 0);
        let info = self.info(layer)?;
        if let Some(digest) = info
            .blob
            .as_ref()
            .filter(|digest| self.store().has_blob(digest))
        {
            size = self.store().blob_size(digest)?;
            blob = Some((digest.clone(), Format::Plain));
        }
        let (digest, format) = match blob {
            Some(blob) => blob,
            None => {
                let descriptor = self.fetch_original(layer, cancel)?;
                size = descriptor.size;
                (descriptor.digest, Format::Detect)
            }
        };
        let staged = self.stage_tree()?;
        let tree = staged.path().join(TREE);
        let index_out = self.store().stage_file()?;
        let input = self.store().open_blob(&digest)?;
        let known = self.known_index(&info, format)?;
        let mut fds = vec![input.as_fd(), index_out.file().as_fd()];
        fds.extend(known.iter().map(|file| file.as_fd()));
        let job = TreeJob::Unpack {
            root: tree.join("fs"),
            format,
            expected: info.diff_id.clone(),
            site: self.inner.work.site(),
        };
        let name = digest.to_string();
        self.report(Activity::Unpack, &name, 0, Some(size));
        let unpacked = self.inner.work.run(&job, &fds, cancel);
        unpacked.map_err(|error| self.blame(layer, error, cancel))?;
        self.report(Activity::Unpack, &name, size, Some(size));
        if self.read_index(&info)?.is_none() {
            self.take_index(layer, &index_out, cancel)?;
        }
        Ok(MadeTree {
            layer: *layer,
            staged,
        })
    }

    /// The index of a layer that was made here: it has times that its tar has not.
    fn known_index(&self, info: &LayerInfo, format: Format) -> Result<Option<std::fs::File>> {
        match (&info.index, format) {
            (Some(index), Format::Plain) => Ok(Some(self.store().open_blob(index)?)),
            _ => Ok(None),
        }
    }

    fn take_index(&self, layer: &LayerId, out: &StagedFile, cancel: &CancelToken) -> Result<()> {
        let bytes =
            std::fs::read(out.path()).map_err(|source| Error::io("read", out.path(), source))?;
        // Whatever made it, it enters the store only if it is an index.
        let index = LayerIndex::decode(&bytes)?;
        self.store_index(layer, &index, cancel)
    }

    /// An empty directory for a tree.
    pub(super) fn stage_tree(&self) -> Result<StagedDir> {
        let staged = self.store().stage_dir()?;
        let tree = staged.path().join(TREE);
        make_dir(&tree)?;
        make_dir(&tree.join("fs"))?;
        Ok(staged)
    }

    fn finish_tree(&self, made: MadeTree, below: &[LayerId], cancel: &CancelToken) -> Result<()> {
        let index = self.index(&made.layer, cancel)?;
        let kind = self.inner.work.site().kind();
        let layer = made.layer;
        let tree = self.settle_tree((&layer, &index), made.staged, below, cancel)?;
        self.update(&layer, cancel, |info| {
            info.trees.insert(kind, tree);
        })?;
        Ok(())
    }

    /// Amends a tree by what it takes from the layers below, and puts it in its place; returns its id.
    pub(super) fn settle_tree(
        &self,
        (layer, index): (&LayerId, &Arc<LayerIndex>),
        staged: StagedDir,
        below: &[LayerId],
        cancel: &CancelToken,
    ) -> Result<String> {
        let takes = |entry: &&Entry| match &entry.kind {
            Kind::Dir { implied, .. } => *implied,
            Kind::Hardlink { leader } => index.position(leader).is_none(),
            _ => false,
        };
        let wanted: Vec<&Entry> = index.entries().iter().filter(takes).collect();
        if !wanted.is_empty() {
            let whole = self.view(below, cancel).with(ViewLayer {
                id: *layer,
                index: Arc::clone(index),
            });
            let root = staged.path().join(TREE).join("fs");
            self.amend(&root, &whole, &wanted, cancel)?;
        }
        let tree = tree_id(layer, self.inner.work.site().kind());
        self.store().commit_tree(staged, TREE, &tree)?;
        Ok(tree)
    }

    /// Sets metadata of implied directories and copies files that are linked to.
    fn amend(
        &self,
        root: &std::path::Path,
        view: &View,
        wanted: &[&Entry],
        cancel: &CancelToken,
    ) -> Result<()> {
        let bytes = self.store().stage_file()?;
        let mut items = Vec::with_capacity(wanted.len());
        for entry in wanted {
            cancel.check()?;
            let node = view.lstat(&entry.path)?.ok_or_else(|| Error::NotFound {
                path: to_path(&entry.path),
            })?;
            if let NodeKind::File { size: 1.. } = node.kind {
                let mut input = view.open(&entry.path)?;
                std::io::copy(&mut input, &mut bytes.file())
                    .map_err(|source| Error::io("copy", to_path(&entry.path), source))?;
            }
            let entry = entry_of(&entry.path, node)?;
            items.push(Amended { entry });
        }
        bytes
            .file()
            .flush()
            .map_err(|source| Error::io("write", bytes.path(), source))?;
        rewind(&bytes)?;
        let list = self.list_file(&encode_amended(&items))?;
        let job = TreeJob::Amend {
            root: root.to_owned(),
            site: self.inner.work.site(),
        };
        let fds = [list.file().as_fd(), bytes.file().as_fd()];
        self.inner.work.run(&job, &fds, cancel)?;
        Ok(())
    }

    /// Replaces the oldest of too many lowers by one merged tree. Lowest first.
    fn merge_oldest(
        &self,
        trees: Vec<(LayerId, PathBuf)>,
        cancel: &CancelToken,
    ) -> Result<Vec<PathBuf>> {
        let paths = |trees: &[(LayerId, PathBuf)]| -> Vec<PathBuf> {
            trees.iter().map(|(_, path)| path.clone()).collect()
        };
        if trees.len() <= MAX_LOWERS {
            return Ok(paths(&trees));
        }
        // Down to half the limit, so that the next steps on top find the same merged tree.
        let block = MAX_LOWERS / 2;
        let count = trees.len().saturating_sub(block) / block * block;
        let (old, new) = trees.split_at(count.max(block));
        let merged = self.merged(old, cancel)?;
        Ok(std::iter::once(merged).chain(paths(new)).collect())
    }

    fn merged(&self, old: &[(LayerId, PathBuf)], cancel: &CancelToken) -> Result<PathBuf> {
        let site = self.inner.work.site();
        let names: Vec<String> = old.iter().map(|(layer, _)| layer.to_string()).collect();
        let hash = Digest::sha256_of(names.join(" ").as_bytes());
        let tree = format!("merged-{}{}", hash.hex(), site.kind().suffix());
        let path = self.store().tree_path(&tree).join("fs");
        let _alone = self
            .store()
            .work_lock(&format!("layer-tree {tree}"), cancel)?;
        // No row leads to it, so nothing but this keeps it while it is mounted.
        if self.store().keep_tree(&tree)? {
            return Ok(path);
        }
        let staged = self.store().stage_dir()?;
        let root = staged.path().join(TREE).join("fs");
        make_dir(&staged.path().join(TREE))?;
        make_dir(&root)?;
        let job = TreeJob::Merge {
            lowers: old.iter().map(|(_, path)| path.clone()).collect(),
            root,
            site,
        };
        self.inner.work.run(&job, &[], cancel)?;
        self.store().commit_tree(staged, TREE, &tree)?;
        Ok(path)
    }

    /// A layer's diff id without making anything; `None` if it was never taken.
    pub fn known_diff_id(&self, layer: &LayerId) -> Result<Option<DiffId>> {
        Ok(self.info(layer)?.diff_id)
    }
}

/// The entry that makes `path` what a view shows. Errors: `NotAFile` for a socket.
pub(super) fn entry_of(path: &[u8], node: Node) -> Result<Entry> {
    let kind = match node.kind {
        NodeKind::Dir => Kind::dir(),
        NodeKind::File { size } => Kind::File {
            size,
            content: crate::ContentDigest::empty(),
        },
        NodeKind::Symlink { target } => Kind::Symlink { target },
        NodeKind::Char { major, minor } => Kind::Char { major, minor },
        NodeKind::Block { major, minor } => Kind::Block { major, minor },
        NodeKind::Fifo => Kind::Fifo,
        NodeKind::Socket => {
            return Err(Error::NotAFile {
                path: to_path(path),
            });
        }
    };
    Ok(Entry {
        path: path.to_vec(),
        kind,
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        mtime: node.mtime,
        xattrs: node.xattrs,
    })
}

/// Name of a layer's tree of a kind.
pub(super) fn tree_id(layer: &LayerId, kind: TreeKind) -> String {
    format!("{layer}{}", kind.suffix())
}
