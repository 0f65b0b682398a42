//! Trees that the store set aside at a restart: each is compared with its layer's index, file by file,
//! before it is used again.
//!
//! Objects are not synced when they are committed. After a power cut names and metadata are those of the
//! file system's journal, but the content of a file may never have reached the disk.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use rbuild_progress::CancelToken;
use rbuild_store::{Object, Table};

use super::LayerStore;
use super::bytes::rewind;
use super::trees::tree_id;
use crate::job::{Ids, TreeJob};
use crate::path;
use crate::tree::{Listed, decode_digests, decode_list, encode_paths};
use crate::{ContentDigest, Entry, Error, Kind, LayerId, LayerIndex, Result};

/// What became of the trees that were set aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Found whole, and in use again.
    pub whole: usize,
    /// Deleted: their layers are made anew when something needs them.
    pub dropped: usize,
}

impl LayerStore {
    /// The trees that a restart left in doubt. Cheap; mostly there are none.
    pub fn trees_in_doubt(&self) -> Result<Vec<String>> {
        let ours = self.inner.work.site().kind().suffix();
        let trees = self.store().suspects()?.into_iter();
        Ok(trees
            .filter_map(|object| match object {
                Object::Tree(id) => Some(id),
                Object::Blob(_) => None,
            })
            .filter(|id| id.ends_with(ours))
            .collect())
    }

    /// Reads these trees whole; what is as its index says comes back, the others are deleted.
    ///
    /// What cannot be read here stays in doubt. Errors: `Cancelled` and the store's.
    pub fn recover_trees(&self, trees: &[String], cancel: &CancelToken) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        for tree in trees {
            let _alone = self
                .store()
                .work_lock(&format!("layer-recover {tree}"), cancel)?;
            let outcome = self
                .store()
                .recover_tree(tree, |path| self.is_whole(tree, path, cancel));
            match outcome {
                Ok(true) => recovered.whole += 1,
                Ok(false) => {
                    self.forget_tree(tree, cancel)?;
                    recovered.dropped += 1;
                }
                Err(error @ (Error::Cancelled | Error::Store(_))) => return Err(error),
                Err(error) => tracing::debug!(%tree, %error, "a tree stays in doubt"),
            }
        }
        Ok(recovered)
    }

    /// Takes a tree that is gone out of its layer's row, and the row out of the store with its last form.
    fn forget_tree(&self, tree: &str, cancel: &CancelToken) -> Result<()> {
        let Some(layer) = layer_of(tree) else {
            return Ok(());
        };
        let _alone = self.row_lock(&layer, cancel)?;
        let Some(mut info) = self.find(&layer)? else {
            return Ok(());
        };
        info.trees.retain(|_, known| known != tree);
        if info.trees.is_empty() && info.blob.is_none() && info.original.is_none() {
            Ok(self.store().delete(Table::Layers, &layer.to_string())?)
        } else {
            self.put_row(&info)
        }
    }

    /// Whether a tree holds what its layer's index says.
    fn is_whole(&self, tree: &str, path: &Path, cancel: &CancelToken) -> Result<bool> {
        // Merged trees have no layer of their own and are merged again.
        let Some(layer) = layer_of(tree) else {
            return Ok(false);
        };
        let site = self.inner.work.site();
        let info = self.find(&layer)?;
        let info = info.filter(|_| tree == tree_id(&layer, site.kind()));
        let index = info.map(|info| self.read_index(&info)).transpose();
        // Without an index that can be read nobody knows what it should hold.
        let Ok(Some(Some(index))) = index else {
            return Ok(false);
        };
        let root = path.join("fs");
        let listed = self.list_tree(&root, cancel)?;
        let files: Vec<&[u8]> = listed
            .iter()
            .filter(|item| matches!(item.entry.kind, Kind::File { size: 1.., .. }))
            .map(|item| item.entry.path.as_slice())
            .collect();
        let digests = self.hash_tree(&root, &files, cancel)?;
        Ok(agrees(&index, &listed, &digests, site.ids))
    }

    /// Lists a tree.
    pub(super) fn list_tree(&self, root: &Path, cancel: &CancelToken) -> Result<Vec<Listed>> {
        let out = self.store().stage_file()?;
        let job = TreeJob::List {
            root: root.to_owned(),
            site: self.inner.work.site(),
        };
        self.inner.work.run(&job, &[out.file().as_fd()], cancel)?;
        rewind(&out)?;
        let file = out.file().try_clone();
        decode_list(file.map_err(|source| Error::io("open", out.path(), source))?)
    }

    /// Hashes files of a tree.
    pub(super) fn hash_tree(
        &self,
        root: &Path,
        files: &[&[u8]],
        cancel: &CancelToken,
    ) -> Result<BTreeMap<Vec<u8>, ContentDigest>> {
        if files.is_empty() {
            return Ok(BTreeMap::new());
        }
        let list = self.list_file(&encode_paths(files.iter().copied()))?;
        let out = self.store().stage_file()?;
        let job = TreeJob::Hash {
            root: root.to_owned(),
        };
        let fds = [list.file().as_fd(), out.file().as_fd()];
        self.inner.work.run(&job, &fds, cancel)?;
        let bytes =
            std::fs::read(out.path()).map_err(|source| Error::io("read", out.path(), source))?;
        let digests = decode_digests(&bytes, files.len())?;
        Ok(files
            .iter()
            .map(|path| path.to_vec())
            .zip(digests)
            .collect())
    }
}

fn layer_of(tree: &str) -> Option<LayerId> {
    tree.split_once('-')?.0.parse().ok()
}

/// Whether a tree is what an index says.
///
/// What a step's overlay leaves beside it is fine as long as it has no bytes: directories on the way,
/// sockets, whiteouts of what was never there.
fn agrees(
    index: &LayerIndex,
    listed: &[Listed],
    digests: &BTreeMap<Vec<u8>, ContentDigest>,
    ids: Ids,
) -> bool {
    let found: BTreeMap<&[u8], &Listed> = listed
        .iter()
        .map(|item| (item.entry.path.as_slice(), item))
        .collect();
    let is_hidden = |path: &[u8]| {
        path::ancestors(path).any(|dir| {
            let above = found.get(dir).map(|item| &item.entry.kind);
            matches!(above, Some(Kind::Dir { opaque: true, .. }))
        })
    };
    let all_there = index.entries().iter().all(|entry| {
        let Some(item) = found.get(entry.path.as_slice()) else {
            // An opaque directory needs no whiteouts; devices cannot be made everywhere.
            return match entry.kind {
                Kind::Whiteout => is_hidden(&entry.path),
                Kind::Char { .. } | Kind::Block { .. } => true,
                _ => false,
            };
        };
        is_as_said(entry, item, (&found, digests, ids))
    });
    let nothing_else = listed.iter().all(|item| {
        let has_bytes = matches!(item.entry.kind, Kind::File { size: 1.., .. });
        !has_bytes || index.position(&item.entry.path).is_some()
    });
    all_there && nothing_else
}

/// What a directory was found to hold, by path.
type Names<'a> = BTreeMap<&'a [u8], &'a Listed>;

/// Digests of the files' bytes, by path.
type Contents = BTreeMap<Vec<u8>, ContentDigest>;

fn is_as_said(
    entry: &Entry,
    item: &Listed,
    (found, digests, ids): (&Names<'_>, &Contents, Ids),
) -> bool {
    let there = &item.entry;
    let has_owner = || ids == Ids::Single || (entry.uid, entry.gid) == (there.uid, there.gid);
    match (&entry.kind, &there.kind) {
        (Kind::File { size, content }, Kind::File { size: found, .. }) => {
            let digest = digests.get(&entry.path);
            let same_bytes = *size == 0 || digest == Some(content);
            size == found && same_bytes && entry.mode == there.mode && has_owner()
        }
        // One file: what is said of the first name holds for all.
        (Kind::Hardlink { leader }, _) => found
            .get(leader.as_slice())
            .is_some_and(|first| first.inode.is_some() && first.inode == item.inode),
        // Their metadata came in one piece with their name.
        (Kind::Dir { .. }, Kind::Dir { .. })
        | (Kind::Fifo, Kind::Fifo)
        | (Kind::Whiteout, Kind::Whiteout)
        | (Kind::Char { .. }, Kind::Char { .. })
        | (Kind::Block { .. }, Kind::Block { .. }) => true,
        (Kind::Symlink { target }, Kind::Symlink { target: found }) => target == found,
        _ => false,
    }
}
