//! What a finished upper changes: a pure comparison of its list with the view below.
//!
//! Overlay copies up more than a step changes: files that were only opened for writing,
//! directories on the way to a change. What is the same as below is left out, as BuildKit's
//! overlay differ does. Source: `spec/dockerfile.md` 12.6.

use std::collections::{BTreeMap, HashMap};

use rbuild_progress::CancelToken;

use crate::index::LayerIndex;
use crate::job::Ids;
use crate::path;
use crate::tree::{Inode, Listed};
use crate::{ContentDigest, Entry, FileView, Kind, Mtime, Node, NodeKind, Result};

/// The attribute that counts in a comparison. Others change together with something that does.
const CAPABILITY: &[u8] = b"security.capability";

/// Something that may belong to the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    entry: Entry,
    inode: Option<Inode>,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is different from what is below.
    Changed,
    /// Only if its bytes differ from these: all else is the same, and times were rounded.
    UnlessContent(ContentDigest),
    /// Only as the parent of a change.
    OnTheWay,
}

impl Change {
    /// The path of a file whose digest is wanted.
    pub(crate) fn needs_digest(&self) -> Option<&[u8]> {
        match self.entry.kind {
            Kind::File { size: 1.., .. } => Some(&self.entry.path),
            _ => None,
        }
    }
}

/// Compares a list of an upper with what is below it.
///
/// Errors: what the view returns.
pub(crate) fn changes(
    listed: &[Listed],
    below: &dyn FileView,
    ids: Ids,
    cancel: &CancelToken,
) -> Result<Vec<Change>> {
    let mut comparison = Comparison {
        below,
        ids,
        changes: Vec::with_capacity(listed.len()),
        opaque: None,
    };
    for (at, item) in listed.iter().enumerate() {
        cancel.check()?;
        comparison.visit(item, listed.get(at + 1..).unwrap_or_default())?;
    }
    let mut changes = comparison.changes;
    // Whiteouts for what an opaque directory hides were added before its own content.
    changes.sort_by(|a, b| path::compare(&a.entry.path, &b.entry.path));
    Ok(changes)
}

/// Makes the index once the digests of the files are known.
pub(crate) fn settle(
    changes: Vec<Change>,
    digests: &BTreeMap<Vec<u8>, ContentDigest>,
) -> Result<LayerIndex> {
    let mut kept: Vec<Change> = Vec::with_capacity(changes.len());
    for mut change in changes {
        let digest = digests.get(&change.entry.path);
        if let (Kind::File { content, .. }, Some(digest)) = (&mut change.entry.kind, digest) {
            *content = *digest;
        }
        match change.verdict {
            Verdict::UnlessContent(below) if digest.is_none_or(|digest| *digest == below) => {}
            _ => kept.push(change),
        }
    }
    link_names(&mut kept);
    LayerIndex::new(without_bare_parents(kept))
}

/// The first name of a file keeps the bytes, the others link to it.
fn link_names(changes: &mut [Change]) {
    let mut leaders: HashMap<Inode, Vec<u8>> = HashMap::new();
    for Change { entry, inode, .. } in changes {
        let Some(inode) = inode else {
            continue;
        };
        match leaders.get(inode) {
            Some(leader) => {
                entry.kind = Kind::Hardlink {
                    leader: leader.clone(),
                };
            }
            None => drop(leaders.insert(*inode, entry.path.clone())),
        }
    }
}

/// Drops directories that did not change and have no change below them.
fn without_bare_parents(changes: Vec<Change>) -> Vec<Entry> {
    let mut kept: Vec<Entry> = Vec::with_capacity(changes.len());
    for change in changes.into_iter().rev() {
        let has_change_below = kept
            .last()
            .is_some_and(|next| path::is_below(&next.path, &change.entry.path));
        if change.verdict != Verdict::OnTheWay || has_change_below {
            kept.push(change.entry);
        }
    }
    kept.reverse();
    kept
}

struct Comparison<'a> {
    below: &'a dyn FileView,
    ids: Ids,
    changes: Vec<Change>,
    /// The opaque directory that is being walked: nothing below shows in it.
    opaque: Option<Vec<u8>>,
}

impl Comparison<'_> {
    fn visit(&mut self, item: &Listed, rest: &[Listed]) -> Result<()> {
        let path = &item.entry.path;
        let base = self.below.lstat(path)?;
        if self
            .opaque
            .as_ref()
            .is_some_and(|dir| !path::is_below(path, dir))
        {
            self.opaque = None;
        }
        match item.entry.kind {
            // A tar cannot hold one, and it is dead without the process that bound it.
            Kind::Socket => return Ok(()),
            Kind::Whiteout => {
                // What came and went during the step was never there for anyone below; and in an
                // opaque directory all that is missing has been hidden already.
                if base.is_some() && self.opaque.is_none() {
                    self.push(item.entry.clone(), None, Verdict::Changed);
                }
                return Ok(());
            }
            Kind::Dir { opaque, .. } => {
                if opaque && self.opaque.is_none() {
                    self.opaque = Some(path.clone());
                }
                if self.opaque.is_some() && base.as_ref().is_some_and(Node::is_dir) {
                    self.hide_rest(&item.entry, rest)?;
                }
            }
            _ => {}
        }
        let mut entry = item.entry.clone();
        if let Kind::Dir { opaque, .. } = &mut entry.kind {
            // Said by the whiteouts of what it hides, as BuildKit's layers say it.
            *opaque = false;
        }
        let verdict = match &base {
            None => Some(Verdict::Changed),
            Some(base) => {
                if self.ids == Ids::Single {
                    (entry.uid, entry.gid) = (base.uid, base.gid);
                }
                self.compare(&entry, base)?
            }
        };
        if let Some(verdict) = verdict {
            self.push(entry, item.inode, verdict);
        }
        Ok(())
    }

    /// What to do with an entry that has something below it; `None` if it is the same file.
    fn compare(&self, entry: &Entry, base: &Node) -> Result<Option<Verdict>> {
        let same_kind = match (&entry.kind, &base.kind) {
            (Kind::Dir { .. }, NodeKind::Dir) | (Kind::Fifo, NodeKind::Fifo) => true,
            (Kind::Symlink { .. }, NodeKind::Symlink { .. }) => true,
            (Kind::File { size, .. }, NodeKind::File { size: below }) => size == below,
            (Kind::Char { major, minor }, NodeKind::Char { major: x, minor: y })
            | (Kind::Block { major, minor }, NodeKind::Block { major: x, minor: y }) => {
                (major, minor) == (x, y)
            }
            _ => false,
        };
        let same_rights = (entry.mode, entry.uid, entry.gid) == (base.mode, base.uid, base.gid)
            && entry.xattrs.get(CAPABILITY) == base.xattrs.get(CAPABILITY);
        if !same_kind || !same_rights {
            return Ok(Some(Verdict::Changed));
        }
        if entry.kind.is_dir() {
            return Ok(Some(Verdict::OnTheWay));
        }
        if entry.mtime != base.mtime {
            return Ok(Some(Verdict::Changed));
        }
        if entry.mtime.nanos != 0 {
            return Ok(None);
        }
        // Both times are whole seconds and prove little: perhaps they were rounded.
        Ok(match (&entry.kind, &base.kind) {
            (Kind::File { size: 1.., .. }, _) => {
                Some(Verdict::UnlessContent(self.below.content(&entry.path)?))
            }
            (Kind::Symlink { target }, NodeKind::Symlink { target: below }) => {
                (target != below).then_some(Verdict::Changed)
            }
            _ => None,
        })
    }

    /// Whiteouts for what an opaque directory no longer has.
    fn hide_rest(&mut self, dir: &Entry, rest: &[Listed]) -> Result<()> {
        let mut present = Vec::new();
        for item in rest {
            if !path::is_below(&item.entry.path, &dir.path) {
                break;
            }
            let is_there = !matches!(item.entry.kind, Kind::Socket | Kind::Whiteout);
            if is_there && path::parent(&item.entry.path) == dir.path {
                present.push(path::name(&item.entry.path));
            }
        }
        for name in self.below.read_dir(&dir.path)? {
            if present.binary_search(&name.as_slice()).is_err() {
                let mtime: Mtime = dir.mtime;
                let whiteout = Entry::whiteout(path::join(&dir.path, &name), mtime);
                self.push(whiteout, None, Verdict::Changed);
            }
        }
        Ok(())
    }

    fn push(&mut self, entry: Entry, inode: Option<Inode>, verdict: Verdict) {
        self.changes.push(Change {
            entry,
            inode,
            verdict,
        });
    }
}

#[cfg(test)]
mod tests;
