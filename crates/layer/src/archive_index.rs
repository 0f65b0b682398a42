//! From the entries of an archive, in whatever order, to the index of a layer.
//!
//! Later entries replace earlier ones, whiteouts act on the layers below only, and nothing may be
//! placed below something that is no directory: a link planted earlier is never followed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::index::{LayerIndex, OpaqueRoot, implied_dir};
use crate::path::{self, to_path};
use crate::tar_read::{TarEntry, TarKind, clean_path};
use crate::whiteout::{Meaning, meaning};
use crate::{ContentDigest, Entry, Error, Kind, Result, xattr};

/// Where the bytes of a file start; meaningless for everything else.
pub(crate) type Offset = u64;

/// What an archive's entry does to the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: the root itself, or what aufs left behind.
    Nothing,
    /// Hides everything in a directory of the layers below.
    Opaque(Vec<u8>),
    /// Puts an entry, a whiteout among them, at its path.
    Put(Entry),
}

/// What must happen to a tree so that it follows the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    /// Paths to remove with all below them, first.
    pub(crate) removed: Vec<Vec<u8>>,
    /// Directories to make, outermost first, then.
    pub(crate) dirs: Vec<Vec<u8>>,
    /// Whether the entry itself is to be made, then.
    pub(crate) make: bool,
    /// What a file is like from now on under all its names, last: it stands at the path of the new
    /// one, and is of the file's own kind.
    pub(crate) relabel: Option<Box<Entry>>,
}

/// An index in the making.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    entries: BTreeMap<Key, (Entry, Offset)>,
    /// For each leader the names that link to it.
    links: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
    inline: BTreeMap<Vec<u8>, Arc<[u8]>>,
    is_root_opaque: bool,
    /// The directory whose existence was checked last: entries come in runs.
    last_parent: Option<Vec<u8>>,
}

/// A path in component order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key(Vec<u8>);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        path::compare(&self.0, &other.0)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl IndexBuilder {
    /// What an entry of an archive does. Files get their digest later.
    ///
    /// Errors: `Escape` and `Archive` for names that may not be.
    pub(crate) fn step(&self, tar: &TarEntry) -> Result<Step> {
        let path = clean_path(&tar.path)?;
        if path.is_empty() {
            return match tar.kind {
                TarKind::Dir => Ok(Step::Nothing),
                _ => Err(Error::archive(&tar.path, "it would replace the root")),
            };
        }
        match meaning(&path) {
            Meaning::Nothing => return Ok(Step::Nothing),
            Meaning::Opaque(dir) => return Ok(Step::Opaque(dir)),
            Meaning::Hides(hidden) => return Ok(Step::Put(Entry::whiteout(hidden, tar.mtime))),
            Meaning::Invalid => return Err(Error::archive(&tar.path, "a whiteout of nothing")),
            Meaning::Plain => {}
        }
        let (kind, leader) = self.kind(tar, &path)?;
        let mut entry = Entry {
            path,
            kind,
            mode: tar.mode,
            uid: tar.uid,
            gid: tar.gid,
            mtime: tar.mtime,
            xattrs: tar.xattrs.clone(),
        };
        entry.xattrs.retain(|name, _| xattr::is_kept(name));
        if let Some(leader) = leader {
            inherit(&mut entry, leader);
        }
        Ok(Step::Put(entry))
    }

    fn kind(&self, tar: &TarEntry, path: &[u8]) -> Result<(Kind, Option<&Entry>)> {
        let kind = match &tar.kind {
            TarKind::File { size } => Kind::File {
                size: *size,
                content: ContentDigest::empty(),
            },
            TarKind::Hardlink { target } => return self.link(tar, target, path),
            TarKind::Symlink { target } if target.is_empty() || target.len() > path::MAX_PATH => {
                return Err(Error::archive(
                    &tar.path,
                    "its link text is empty or too long",
                ));
            }
            TarKind::Symlink { target } => Kind::Symlink {
                target: target.clone(),
            },
            TarKind::Dir => Kind::dir(),
            // To overlay this device means a whiteout: an archive has another way to say that.
            TarKind::Char { major: 0, minor: 0 } => {
                return Err(Error::archive(&tar.path, "a character device 0:0"));
            }
            TarKind::Char { major, minor } => Kind::Char {
                major: *major,
                minor: *minor,
            },
            TarKind::Block { major, minor } => Kind::Block {
                major: *major,
                minor: *minor,
            },
            TarKind::Fifo => Kind::Fifo,
        };
        Ok((kind, None))
    }

    fn link(&self, tar: &TarEntry, target: &[u8], path: &[u8]) -> Result<(Kind, Option<&Entry>)> {
        let mut leader = clean_path(target)?;
        let fail = |reason| Err(Error::archive(&tar.path, reason));
        if leader.is_empty() || leader == path {
            return fail("it links to itself or the root");
        }
        let mut found = self.get(&leader);
        if let Some(Kind::Hardlink { leader: first }) = found.map(|entry| &entry.kind) {
            leader.clone_from(first);
            found = self.get(&leader);
        }
        if leader == path {
            return fail("it links to itself or the root");
        }
        match found.map(|entry| &entry.kind) {
            Some(Kind::Dir { .. }) => fail("it links to a directory"),
            Some(Kind::Whiteout) => fail("it links to something that is gone"),
            _ => Ok((Kind::Hardlink { leader }, found)),
        }
    }

    /// Makes a directory hide what the layers below have in it.
    pub(crate) fn set_opaque(&mut self, dir: &[u8]) -> Result<Effect> {
        if dir.is_empty() {
            self.is_root_opaque = true;
            return Ok(Effect::default());
        }
        let mut effect = Effect::default();
        self.ensure_parents(dir, &mut effect)?;
        self.ensure_dir(dir, &mut effect)?;
        if let Some((entry, _)) = self.entries.get_mut(&Key(dir.to_vec())) {
            entry.kind = Kind::Dir {
                opaque: true,
                implied: false,
            };
        }
        Ok(effect)
    }

    /// Puts an entry in its place.
    ///
    /// Errors: `Archive` when its parent is something else than a directory.
    pub(crate) fn put(&mut self, mut entry: Entry) -> Result<Effect> {
        let mut effect = Effect::default();
        self.ensure_parents(&entry.path, &mut effect)?;
        let key = Key(entry.path.clone());
        let existing = self.entries.get(&key).map(|(entry, _)| entry.kind.clone());
        match (&mut entry.kind, &existing) {
            // Whiteouts act on the layers below, wherever in the archive they stand.
            (Kind::Whiteout, Some(Kind::Dir { .. })) => {
                self.set_opaque(&key.0)?;
                return Ok(effect);
            }
            (Kind::Whiteout, Some(_)) => return Ok(effect),
            (Kind::Dir { opaque, .. }, Some(Kind::Dir { opaque: before, .. })) => {
                *opaque = *before;
                self.entries.insert(key, (entry, 0));
                return Ok(effect);
            }
            (Kind::Dir { opaque, .. }, Some(Kind::Whiteout)) => *opaque = true,
            _ => {}
        }
        if existing.is_some() {
            self.remove(&key.0);
            effect.removed.push(key.0.clone());
        }
        if let Kind::Hardlink { leader } = &entry.kind {
            effect.relabel = self.relabel(leader, &entry);
            let names = self.links.entry(leader.clone()).or_default();
            names.push(key.0.clone());
        }
        effect.make = true;
        self.entries.insert(key, (entry, 0));
        Ok(effect)
    }

    /// Gives a file and all its names what a new link to it says; returns the file as it is then, at
    /// the path of the link. `None` if nothing changes, and for a file of the layers below.
    fn relabel(&mut self, leader: &[u8], link: &Entry) -> Option<Box<Entry>> {
        let file = self.get(leader)?;
        if is_labelled(file, link) {
            return None;
        }
        let mut changed = file.clone();
        changed.path.clone_from(&link.path);
        label(&mut changed, link);
        let names = self.links.get(leader).cloned().unwrap_or_default();
        for name in names.into_iter().chain([leader.to_vec()]) {
            let Some((entry, _)) = self.entries.get_mut(&Key(name)) else {
                continue;
            };
            // A name that was replaced since is no name of the file any more.
            match &entry.kind {
                Kind::Hardlink { leader: other } if other != leader => {}
                Kind::Hardlink { .. } => label(entry, link),
                _ if entry.path == leader => label(entry, link),
                _ => {}
            }
        }
        Some(Box::new(changed))
    }

    /// Notes digest and offset of the file that was just put.
    pub(crate) fn set_file(&mut self, path: &[u8], digest: ContentDigest, offset: Offset) {
        if let Some((entry, at)) = self.entries.get_mut(&Key(path.to_vec()))
            && let Kind::File { content, .. } = &mut entry.kind
        {
            (*content, *at) = (digest, offset);
        }
    }

    /// Keeps the bytes of the file that was just put.
    pub(crate) fn set_inline(&mut self, path: &[u8], bytes: Vec<u8>) {
        self.inline.insert(path.to_vec(), bytes.into());
    }

    /// The index, and for each entry the offset that it was put with.
    pub(crate) fn finish(self) -> Result<(LayerIndex, Vec<Offset>)> {
        let (entries, offsets) = self.entries.into_values().unzip();
        let opaque = match self.is_root_opaque {
            true => OpaqueRoot::Yes,
            false => OpaqueRoot::No,
        };
        let mut index = LayerIndex::from_sorted(entries)?.with_opaque_root(opaque);
        for (path, bytes) in self.inline {
            index = index.with_inline(&path, bytes);
        }
        Ok((index, offsets))
    }

    fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.entries
            .get(&Key(path.to_vec()))
            .map(|(entry, _)| entry)
    }

    fn ensure_parents(&mut self, path: &[u8], effect: &mut Effect) -> Result<()> {
        let parent = path::parent(path);
        if parent.is_empty() || self.last_parent.as_deref() == Some(parent) {
            return Ok(());
        }
        for dir in path::ancestors(path) {
            self.ensure_dir(dir, effect)?;
        }
        self.last_parent = Some(parent.to_vec());
        Ok(())
    }

    fn ensure_dir(&mut self, dir: &[u8], effect: &mut Effect) -> Result<()> {
        let mut entry = implied_dir(dir);
        match self.get(dir).map(|entry| &entry.kind) {
            Some(Kind::Dir { .. }) => return Ok(()),
            // Hidden, then made anew: nothing of the layers below shows in it.
            Some(Kind::Whiteout) => {
                entry.kind = Kind::Dir {
                    opaque: true,
                    implied: false,
                };
                effect.removed.push(dir.to_vec());
            }
            Some(_) => {
                return Err(Error::Archive {
                    path: to_path(dir),
                    reason: "another entry would be placed in it, but it is not a directory".into(),
                });
            }
            None => {}
        }
        effect.dirs.push(dir.to_vec());
        self.entries.insert(Key(dir.to_vec()), (entry, 0));
        Ok(())
    }

    /// Removes a path and all below it.
    fn remove(&mut self, path: &[u8]) {
        self.last_parent = None;
        let start = Key(path.to_vec());
        let gone: Vec<Key> = self
            .entries
            .range(start..)
            .map(|(key, _)| key)
            .take_while(|key| key.0 == path || path::is_below(&key.0, path))
            .cloned()
            .collect();
        let removed: Vec<_> = gone
            .iter()
            .filter_map(|key| self.entries.remove(key))
            .collect();
        for (entry, offset) in removed {
            self.inline.remove(&entry.path);
            self.promote(entry, offset);
        }
    }

    /// Other names keep the bytes of a removed leader: the first of them takes its place.
    fn promote(&mut self, removed: Entry, offset: Offset) {
        let Some(names) = self.links.remove(&removed.path) else {
            return;
        };
        let mut leader: Option<Vec<u8>> = None;
        for name in names {
            let Some((entry, at)) = self.entries.get_mut(&Key(name.clone())) else {
                continue;
            };
            match &entry.kind {
                Kind::Hardlink { leader } if *leader == removed.path => {}
                _ => continue,
            }
            match &leader {
                None => {
                    entry.kind = removed.kind.clone();
                    *at = offset;
                    leader = Some(name);
                }
                Some(first) => {
                    entry.kind = Kind::Hardlink {
                        leader: first.clone(),
                    };
                    self.links.entry(first.clone()).or_default().push(name);
                }
            }
        }
    }
}

/// What a link's header says holds for the file, as where containerd unpacks it: owner, mode and time
/// are set again, attributes added; a new owner takes file capabilities away.
fn inherit(link: &mut Entry, leader: &Entry) {
    if let Kind::Symlink { .. } = leader.kind {
        link.mode = leader.mode;
    }
    let kept = leader.xattrs.iter().filter(|(name, _)| {
        let is_capability = name.as_slice() == b"security.capability";
        !is_capability && !link.xattrs.contains_key(*name)
    });
    let kept: Vec<_> = kept
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    link.xattrs.extend(kept);
}

fn is_labelled(entry: &Entry, like: &Entry) -> bool {
    (entry.mode, entry.uid, entry.gid, entry.mtime) == (like.mode, like.uid, like.gid, like.mtime)
        && entry.xattrs == like.xattrs
}

fn label(entry: &mut Entry, like: &Entry) {
    (entry.mode, entry.uid, entry.gid) = (like.mode, like.uid, like.gid);
    entry.mtime = like.mtime;
    entry.xattrs.clone_from(&like.xattrs);
}

#[cfg(test)]
mod tests;
