//! The index of a layer: every entry in component-wise order, and fast ways to find one.
//!
//! Pure data. The encoded form lives in `encode`, the merge of several indexes in `view`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::path::{self, to_path};
use crate::{ContentDigest, Entry, Error, Kind, Mtime, Result};

/// Most entries that an index may have.
pub const MAX_ENTRIES: usize = 16_000_000;

/// Files whose bytes travel inside the index, so that names of users and groups can be looked up
/// without the layer's bytes.
pub const INLINE_PATHS: [&[u8]; 2] = [b"etc/group", b"etc/passwd"];

/// Largest file that is kept inside an index; a larger one is read from the layer.
pub const MAX_INLINE_BYTES: u64 = 1 << 20;

/// The entries of one layer.
///
/// Sorted by component, each path once, each directory on the way to an entry present (as
/// `implied` where the layer itself does not hold it), nothing below anything but directories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerIndex {
    entries: Vec<Entry>,
    /// For each entry the position after its last descendant.
    ends: Vec<u32>,
    /// Positions of entries that have other names in this layer, ascending.
    leaders: Vec<u32>,
    opaque_root: bool,
    inline: BTreeMap<Vec<u8>, Arc<[u8]>>,
}

impl LayerIndex {
    /// Makes an index from entries in any order.
    ///
    /// Missing parents are added as implied directories. Errors: `Entry` for a bad path, a path
    /// that occurs twice, an entry below something that is not a directory, a link whose leader
    /// is a directory, a whiteout or itself a link.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self> {
        if !entries.is_sorted_by(|a, b| path::compare(&a.path, &b.path).is_lt()) {
            entries.sort_by(|a, b| path::compare(&a.path, &b.path));
        }
        for entry in &entries {
            path::check(&entry.path).map_err(|reason| refuse(entry, reason))?;
        }
        Self::from_sorted(with_parents(entries))
    }

    /// Makes an index from entries that are already in order and complete.
    ///
    /// Errors: as `new`, and for a missing parent or wrong order.
    pub(crate) fn from_sorted(entries: Vec<Entry>) -> Result<Self> {
        if entries.len() > MAX_ENTRIES {
            return Err(Error::index("more entries than a layer may have"));
        }
        let ends = subtree_ends(&entries)?;
        let mut index = Self {
            entries,
            ends,
            ..Self::default()
        };
        index.leaders = index.find_leaders()?;
        Ok(index)
    }

    /// Marks the layer as hiding everything below it.
    pub fn with_opaque_root(mut self, opaque: OpaqueRoot) -> Self {
        self.opaque_root = opaque == OpaqueRoot::Yes;
        self
    }

    /// Keeps a file's bytes in the index. Ignored for other paths than `INLINE_PATHS`, for bytes
    /// over the limit, and for what is no regular file of that size here.
    pub fn with_inline(mut self, path: &[u8], bytes: Arc<[u8]>) -> Self {
        let fits = bytes.len() as u64 <= MAX_INLINE_BYTES && INLINE_PATHS.contains(&path);
        let is_file = matches!(self.get(path).map(|entry| &entry.kind),
            Some(Kind::File { size, .. }) if *size == bytes.len() as u64);
        if fits && is_file {
            self.inline.insert(path.to_vec(), bytes);
        }
        self
    }

    /// Replaces the digests of files; other paths are ignored.
    pub(crate) fn set_contents(&mut self, contents: &BTreeMap<Vec<u8>, ContentDigest>) {
        for entry in &mut self.entries {
            if let Kind::File { content, .. } = &mut entry.kind
                && let Some(found) = contents.get(&entry.path)
            {
                *content = *found;
            }
        }
    }

    /// The same with no time later than `epoch` (seconds since 1970); `None` if none is.
    ///
    /// Implied directories are left alone: their times are those of the layers below.
    pub(crate) fn capped(&self, epoch: i64) -> Option<Self> {
        let latest = Mtime::from_secs(epoch);
        let is_late = |entry: &Entry| {
            let implied = matches!(entry.kind, Kind::Dir { implied: true, .. });
            entry.mtime > latest && !implied
        };
        if !self.entries.iter().any(is_late) {
            return None;
        }
        let mut capped = self.clone();
        for entry in capped.entries.iter_mut().filter(|entry| is_late(entry)) {
            entry.mtime = latest;
        }
        Some(capped)
    }

    /// The entries in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether the layer changes nothing: no entry and no opaque root.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && !self.opaque_root
    }

    /// Whether nothing of the layers below shows through.
    pub fn is_root_opaque(&self) -> bool {
        self.opaque_root
    }

    /// The bytes of a file, if the index keeps them.
    pub fn inline(&self, path: &[u8]) -> Option<&Arc<[u8]>> {
        self.inline.get(path)
    }

    /// All files whose bytes are kept here.
    pub fn inline_files(&self) -> impl Iterator<Item = (&[u8], &Arc<[u8]>)> {
        self.inline.iter().map(|(path, bytes)| (&**path, bytes))
    }

    /// The entry at `path`. O(log n).
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.entries.get(self.position(path)?)
    }

    /// The position of the entry at `path`. O(log n).
    pub fn position(&self, path: &[u8]) -> Option<usize> {
        self.entries
            .binary_search_by(|entry| path::compare(&entry.path, path))
            .ok()
    }

    /// The position of `path`, searched only below the entry at `parent` (the root if `None`).
    pub(crate) fn position_below(&self, parent: Option<usize>, path: &[u8]) -> Option<usize> {
        let range = self.below(parent);
        let start = range.start;
        self.entries
            .get(range)?
            .binary_search_by(|entry| path::compare(&entry.path, path))
            .ok()
            .map(|at| start + at)
    }

    /// Positions of everything below the entry at `parent` (the root if `None`).
    pub(crate) fn below(&self, parent: Option<usize>) -> Range<usize> {
        match parent {
            None => 0..self.entries.len(),
            Some(at) => at + 1..self.ends.get(at).map_or(at + 1, |end| *end as usize),
        }
    }

    /// Positions of the direct children of the entry at `parent` (the root if `None`), in order.
    pub(crate) fn children(&self, parent: Option<usize>) -> impl Iterator<Item = usize> + '_ {
        let range = self.below(parent);
        let mut next = range.start;
        std::iter::from_fn(move || {
            let at = next;
            next = *self.ends.get(at)? as usize;
            (at < range.end).then_some(at)
        })
    }

    /// Whether the entry at this position has other names in this layer.
    pub(crate) fn has_links(&self, position: usize) -> bool {
        u32::try_from(position).is_ok_and(|at| self.leaders.binary_search(&at).is_ok())
    }

    fn find_leaders(&self) -> Result<Vec<u32>> {
        let mut leaders = Vec::new();
        for entry in &self.entries {
            let Kind::Hardlink { leader } = &entry.kind else {
                continue;
            };
            path::check(leader).map_err(|reason| refuse(entry, reason))?;
            let Some(at) = self.position(leader) else {
                continue;
            };
            match self.entries.get(at).map(|entry| &entry.kind) {
                Some(Kind::Dir { .. } | Kind::Whiteout | Kind::Hardlink { .. }) | None => {
                    return Err(refuse(entry, "it links to something that has no bytes"));
                }
                Some(_) => leaders.push(u32::try_from(at).unwrap_or(u32::MAX)),
            }
        }
        leaders.sort_unstable();
        leaders.dedup();
        Ok(leaders)
    }
}

/// Whether a layer hides everything below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpaqueRoot {
    /// Nothing shows through.
    Yes,
    /// The usual case.
    No,
}

fn refuse(entry: &Entry, reason: &'static str) -> Error {
    Error::Entry {
        path: to_path(&entry.path),
        reason,
    }
}

/// Adds an implied directory for each parent that is missing; entries must be sorted.
fn with_parents(entries: Vec<Entry>) -> Vec<Entry> {
    let mut whole: Vec<Entry> = Vec::with_capacity(entries.len());
    for entry in entries {
        let previous = whole.last().map_or(Vec::new(), |last| last.path.clone());
        for dir in path::ancestors(&entry.path) {
            // In component order all entries below a directory follow it without a gap: the
            // directory is there exactly if it is the previous path or holds it.
            if previous != dir && !path::is_below(&previous, dir) {
                whole.push(implied_dir(dir));
            }
        }
        whole.push(entry);
    }
    whole
}

/// A directory that the layer itself does not hold.
pub(crate) fn implied_dir(path: &[u8]) -> Entry {
    let kind = Kind::Dir {
        opaque: false,
        implied: true,
    };
    Entry::new(path, kind, 0o755, Mtime::default())
}

/// For each entry the position after its last descendant; checks order and parents on the way.
fn subtree_ends(entries: &[Entry]) -> Result<Vec<u32>> {
    let mut ends = vec![0u32; entries.len()];
    let mut open: Vec<usize> = Vec::new();
    let mut previous: &[u8] = b"";
    for (at, entry) in entries.iter().enumerate() {
        if path::compare(previous, &entry.path).is_ge() {
            return Err(refuse(entry, "the path occurs twice or out of order"));
        }
        previous = &entry.path;
        while let Some(dir) = open.last().and_then(|dir| entries.get(*dir)) {
            if path::is_below(&entry.path, &dir.path) {
                break;
            }
            close(&mut ends, &mut open, at);
        }
        let parent = open.last().and_then(|dir| entries.get(*dir));
        if path::parent(&entry.path) != parent.map_or(&b""[..], |dir| &dir.path) {
            return Err(refuse(entry, "its parent is missing"));
        }
        if parent.is_some_and(|dir| !dir.kind.is_dir()) {
            return Err(refuse(entry, "its parent is not a directory"));
        }
        open.push(at);
    }
    while !open.is_empty() {
        close(&mut ends, &mut open, entries.len());
    }
    Ok(ends)
}

fn close(ends: &mut [u32], open: &mut Vec<usize>, at: usize) {
    if let Some(end) = open.pop().and_then(|dir| ends.get_mut(dir)) {
        *end = u32::try_from(at).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Entry {
        let kind = Kind::File {
            size: 0,
            content: ContentDigest::empty(),
        };
        Entry::new(path, kind, 0o644, Mtime::default())
    }

    fn dir(path: &str) -> Entry {
        Entry::new(path, Kind::dir(), 0o755, Mtime::default())
    }

    fn paths(index: &LayerIndex) -> Vec<String> {
        let name = |entry: &Entry| String::from_utf8_lossy(&entry.path).into_owned();
        index.entries().iter().map(name).collect()
    }

    #[test]
    fn sorts_and_adds_parents_once() {
        let index = LayerIndex::new(vec![file("b/c/d"), file("b/c/a"), file("a"), file("b-x")]);
        let index = index.unwrap();
        assert_eq!(paths(&index), ["a", "b", "b/c", "b/c/a", "b/c/d", "b-x"]);
        assert_eq!(index.get(b"b"), Some(&implied_dir(b"b")));
    }

    #[test]
    fn children_skip_grandchildren() {
        let index = LayerIndex::new(vec![file("a/b/c"), file("a/d"), file("e")]).unwrap();
        let names = |parent| -> Vec<_> {
            let at = |at: usize| String::from_utf8_lossy(&index.entries()[at].path).into_owned();
            index.children(parent).map(at).collect()
        };
        assert_eq!(names(None), ["a", "e"]);
        assert_eq!(names(index.position(b"a")), ["a/b", "a/d"]);
        assert_eq!(names(index.position(b"e")), [""; 0]);
    }

    #[test]
    fn refuses_what_is_no_layer() {
        let link = |leader: &str| {
            let kind = Kind::Hardlink {
                leader: leader.into(),
            };
            Entry::new("l", kind, 0o644, Mtime::default())
        };
        for (entries, why) in [
            (vec![file("a"), file("a")], "twice"),
            (vec![file("a"), file("a/b")], "below a file"),
            (vec![file("a/../b")], "climbs"),
            (vec![dir("a"), link("a")], "link to a directory"),
            (vec![link("../x")], "link that climbs"),
        ] {
            assert!(LayerIndex::new(entries).is_err(), "{why}");
        }
    }

    #[test]
    fn inline_bytes_are_kept_only_for_known_files_of_that_size() {
        let mut passwd = file("etc/passwd");
        passwd.kind = Kind::File {
            size: 2,
            content: ContentDigest::of(b"ab"),
        };
        let index = LayerIndex::new(vec![passwd, file("other")]).unwrap();
        let index = index
            .with_inline(b"etc/passwd", b"ab".as_slice().into())
            .with_inline(b"other", b"".as_slice().into())
            .with_inline(b"etc/group", b"x".as_slice().into());
        assert_eq!(index.inline_files().count(), 1);
        assert_eq!(index.inline(b"etc/passwd").map(|b| b.len()), Some(2));
    }
}
