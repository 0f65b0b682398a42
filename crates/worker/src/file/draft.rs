//! A layer being drawn up over a view: what a file op has changed so far.
//!
//! A draft is itself a file view, so that the second source of a COPY sees what the first one did.
//! Nothing is read or written: bytes are named by where they come from. At the end only real
//! differences are left, as in the layers that BuildKit makes: a file that is put back as it was is
//! no change, and neither is a directory of which only the time differs.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Arc;

use rbuild_layer::{
    ByteSource, ContentDigest, Entry, Error, FileView, Kind, Mtime, NewEntry, NewLayer, Node,
    NodeKind, Result, path,
};

/// A file system with changes that are not yet a layer.
pub(crate) struct Draft<'a> {
    base: &'a dyn FileView,
    changes: BTreeMap<Key, Change>,
}

/// Orders paths as layers do.
#[derive(PartialEq, Eq)]
struct Key(Vec<u8>);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        path::compare(&self.0, &other.0)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

struct Change {
    node: Node,
    body: Body,
    /// A directory that stands where the base had none, or had one that was replaced.
    fresh: bool,
}

/// What a drafted node holds besides its metadata.
#[derive(Clone)]
pub(crate) enum Body {
    /// Nothing: all but regular files.
    None,
    /// A regular file whose digest is known.
    File(ByteSource, ContentDigest),
    /// Another name of a file that was drafted before.
    LinkTo(Vec<u8>),
}

impl<'a> Draft<'a> {
    /// Starts without changes.
    pub(crate) fn new(base: &'a dyn FileView) -> Self {
        Draft {
            base,
            changes: BTreeMap::new(),
        }
    }

    /// Puts a node at `file`, in place of whatever is there; its parent must exist.
    pub(crate) fn put(&mut self, file: &[u8], node: Node, body: Body) -> Result<()> {
        let before = self.lstat(file)?;
        let was_dir = before.as_ref().is_some_and(Node::is_dir);
        let kept_fresh = self
            .changes
            .get(&Key(file.to_vec()))
            .is_some_and(|c| c.fresh);
        if was_dir && !node.is_dir() {
            self.changes.retain(|key, _| !path::is_below(&key.0, file));
        }
        let fresh = node.is_dir() && (!was_dir || kept_fresh);
        let change = Change { node, body, fresh };
        self.changes.insert(Key(file.to_vec()), change);
        Ok(())
    }

    /// Makes `target` another name of the drafted file `leader`; `false` if there is no such file.
    ///
    /// In a layer the name that has the bytes comes first in order, so the two may change places.
    pub(crate) fn link(&mut self, target: &[u8], leader: &[u8]) -> Result<bool> {
        let Some(first) = self.changes.get(&Key(leader.to_vec())) else {
            return self.copy_of_base(target, leader);
        };
        let (node, body) = (first.node.clone(), first.body.clone());
        if let Body::LinkTo(first) = &body {
            let first = first.clone();
            return self.link(target, &first);
        }
        if node.is_dir() || target == leader {
            return Ok(!node.is_dir());
        }
        if path::compare(leader, target).is_lt() {
            self.put(target, node, Body::LinkTo(leader.to_vec()))?;
            return Ok(true);
        }
        self.put(target, node, body)?;
        for (key, change) in &mut self.changes {
            let linked = matches!(&change.body, Body::LinkTo(to) if to == leader);
            if linked || key.0 == leader {
                change.body = Body::LinkTo(target.to_vec());
            }
        }
        Ok(true)
    }

    /// Gives a drafted file, under all its names, the owner, mode, time and attributes of `like`.
    ///
    /// A symbolic link keeps its mode.
    pub(crate) fn dress_names(&mut self, file: &[u8], like: &Node) {
        let Some(change) = self.changes.get(&Key(file.to_vec())) else {
            return;
        };
        let mut dressed = change.node.clone();
        (dressed.uid, dressed.gid, dressed.mtime) = (like.uid, like.gid, like.mtime);
        if !matches!(dressed.kind, NodeKind::Symlink { .. }) {
            dressed.mode = like.mode;
        }
        dressed.xattrs.extend(like.xattrs.clone());
        // Usually a link repeats what its file has; going through all changes for each would be slow.
        if dressed == change.node {
            return;
        }
        let leader = match &change.body {
            Body::LinkTo(leader) => leader.clone(),
            _ => file.to_vec(),
        };
        for (key, change) in &mut self.changes {
            let linked = matches!(&change.body, Body::LinkTo(to) if *to == leader);
            if linked || key.0 == leader {
                change.node = dressed.clone();
            }
        }
    }

    /// A link to a file of the layers below becomes a copy: names cannot be shared across layers.
    fn copy_of_base(&mut self, target: &[u8], leader: &[u8]) -> Result<bool> {
        match self.base_node(leader)? {
            Some(node) if matches!(node.kind, NodeKind::File { .. }) => {
                let body = Body::File(self.base.bytes(leader)?, self.base.content(leader)?);
                self.put(
                    target,
                    Node {
                        links: None,
                        ..node
                    },
                    body,
                )?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Changes the time of a directory that exists.
    pub(crate) fn set_mtime(&mut self, dir: &[u8], mtime: Mtime) -> Result<()> {
        if let Some(mut node) = self.lstat(dir)?.filter(|_| !dir.is_empty()) {
            node.mtime = mtime;
            self.put(dir, node, Body::None)?;
        }
        Ok(())
    }

    /// Whether what the base has at `file` shows through.
    fn base_shows(&self, file: &[u8]) -> bool {
        !path::ancestors(file).any(|dir| {
            self.changes
                .get(&Key(dir.to_vec()))
                .is_some_and(|change| change.fresh || !change.node.is_dir())
        })
    }

    fn base_node(&self, file: &[u8]) -> Result<Option<Node>> {
        if self.base_shows(file) {
            self.base.lstat(file)
        } else {
            Ok(None)
        }
    }

    /// Whether a change leaves something else than the base has.
    fn differs(&self, file: &[u8], change: &Change) -> Result<bool> {
        let Some(old) = self.base_node(file)? else {
            return Ok(true);
        };
        let new = &change.node;
        if change.fresh || old.kind != new.kind {
            return Ok(true);
        }
        let same_meta = (old.mode, old.uid, old.gid) == (new.mode, new.uid, new.gid)
            && old.xattrs == new.xattrs;
        if !same_meta {
            return Ok(true);
        }
        Ok(match &change.body {
            // A directory's time alone is no change.
            Body::None if new.is_dir() => false,
            Body::None => old.mtime != new.mtime,
            Body::File(_, content) => {
                old.mtime != new.mtime || *content != self.base.content(file)?
            }
            Body::LinkTo(leader) => {
                old.mtime != new.mtime
                    || !self.base_links(file, leader)?
                    || self.leader_differs(leader)?
            }
        })
    }

    /// Whether the base has the two as names of one file.
    fn base_links(&self, file: &[u8], leader: &[u8]) -> Result<bool> {
        let group = |node: Option<Node>| node.and_then(|node| node.links);
        let (one, other) = (self.base_node(file)?, self.base_node(leader)?);
        let (one, other) = (group(one), group(other));
        Ok(one.is_some() && one == other)
    }

    /// Whether a drafted leader differs from what the base has.
    fn leader_differs(&self, leader: &[u8]) -> Result<bool> {
        match self.changes.get(&Key(leader.to_vec())) {
            Some(change) => self.differs(leader, change),
            None => Ok(true),
        }
    }

    /// The layer: every real difference, and the directories that lead to one.
    pub(crate) fn finish(self) -> Result<NewLayer> {
        let mut kept: BTreeMap<Key, NewEntry> = BTreeMap::new();
        let mut hard: Vec<(&[u8], &Change)> = Vec::new();
        for (key, change) in &self.changes {
            if !self.differs(&key.0, change)? {
                continue;
            }
            self.keep_parents(&key.0, &mut kept)?;
            if matches!(change.body, Body::LinkTo(_)) {
                hard.push((&key.0, change));
            }
            kept.insert(Key(key.0.clone()), entry(&key.0, change));
        }
        // A link needs its leader in the same layer, changed or not.
        for (_, change) in hard {
            if let Body::LinkTo(leader) = &change.body
                && !kept.contains_key(&Key(leader.clone()))
                && let Some(change) = self.changes.get(&Key(leader.clone()))
            {
                self.keep_parents(leader, &mut kept)?;
                kept.insert(Key(leader.clone()), entry(leader, change));
            }
        }
        Ok(NewLayer {
            entries: kept.into_values().collect(),
        })
    }

    fn keep_parents(&self, file: &[u8], kept: &mut BTreeMap<Key, NewEntry>) -> Result<()> {
        for dir in path::ancestors(file) {
            let key = Key(dir.to_vec());
            if kept.contains_key(&key) {
                continue;
            }
            let made = match self.changes.get(&key) {
                Some(change) => entry(dir, change),
                None => {
                    let node = self.lstat(dir)?.unwrap_or_else(Node::root);
                    entry(
                        dir,
                        &Change {
                            node,
                            body: Body::None,
                            fresh: false,
                        },
                    )
                }
            };
            kept.insert(key, made);
        }
        Ok(())
    }
}

fn entry(file: &[u8], change: &Change) -> NewEntry {
    let node = &change.node;
    let with = |kind: Kind| {
        let mut entry = Entry::new(file, kind, node.mode, node.mtime);
        (entry.uid, entry.gid) = (node.uid, node.gid);
        entry.xattrs = node.xattrs.clone();
        entry
    };
    let size = match node.kind {
        NodeKind::File { size } => size,
        _ => 0,
    };
    match &change.body {
        Body::File(bytes, content) => NewEntry::file(
            with(Kind::File {
                size,
                content: *content,
            }),
            bytes.clone(),
        ),
        Body::LinkTo(leader) => NewEntry::plain(with(Kind::Hardlink {
            leader: leader.clone(),
        })),
        Body::None => NewEntry::plain(with(plain_kind(&node.kind))),
    }
}

fn plain_kind(kind: &NodeKind) -> Kind {
    match kind.clone() {
        NodeKind::File { size } => Kind::File {
            size,
            content: ContentDigest::empty(),
        },
        NodeKind::Dir => Kind::dir(),
        NodeKind::Symlink { target } => Kind::Symlink { target },
        NodeKind::Char { major, minor } => Kind::Char { major, minor },
        NodeKind::Block { major, minor } => Kind::Block { major, minor },
        NodeKind::Fifo => Kind::Fifo,
        NodeKind::Socket => Kind::Socket,
    }
}

impl FileView for Draft<'_> {
    fn lstat(&self, file: &[u8]) -> Result<Option<Node>> {
        match self.changes.get(&Key(file.to_vec())) {
            Some(change) => Ok(Some(change.node.clone())),
            None => self.base_node(file),
        }
    }

    fn read_dir(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>> {
        let change = self.changes.get(&Key(dir.to_vec()));
        let fresh = change.is_some_and(|change| change.fresh);
        let mut names = if fresh || !self.base_shows(dir) {
            Vec::new()
        } else {
            self.base.read_dir(dir)?
        };
        let drafted = self
            .changes
            .keys()
            .filter(|key| !key.0.is_empty() && path::parent(&key.0) == dir && key.0 != dir);
        names.extend(drafted.map(|key| path::name(&key.0).to_vec()));
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn content(&self, file: &[u8]) -> Result<ContentDigest> {
        match self.changes.get(&Key(file.to_vec())).map(|c| &c.body) {
            None if self.base_shows(file) => self.base.content(file),
            Some(Body::File(_, content)) => Ok(*content),
            Some(Body::LinkTo(leader)) => self.content(leader),
            _ => Err(not_a_file(file)),
        }
    }

    fn open(&self, file: &[u8]) -> Result<Box<dyn Read + Send>> {
        match self.bytes(file)? {
            ByteSource::Inline(bytes) => Ok(Box::new(Cursor::new(bytes))),
            ByteSource::Open(open) => open(),
            ByteSource::InLayer { .. } if !self.changes.contains_key(&Key(file.to_vec())) => {
                self.base.open(file)
            }
            ByteSource::InLayer { .. } => Err(not_a_file(file)),
        }
    }

    fn bytes(&self, file: &[u8]) -> Result<ByteSource> {
        match self.changes.get(&Key(file.to_vec())).map(|c| &c.body) {
            None if self.base_shows(file) => self.base.bytes(file),
            Some(Body::File(bytes, _)) => Ok(bytes.clone()),
            Some(Body::LinkTo(leader)) => self.bytes(leader),
            _ => Err(not_a_file(file)),
        }
    }
}

fn not_a_file(file: &[u8]) -> Error {
    Error::NotAFile {
        path: path::to_path(file),
    }
}

/// An empty file system: what a linked copy and a scratch stage stand on.
pub(crate) struct EmptyView;

impl FileView for EmptyView {
    fn lstat(&self, file: &[u8]) -> Result<Option<Node>> {
        Ok(file.is_empty().then(Node::root))
    }

    fn read_dir(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>> {
        if dir.is_empty() {
            return Ok(Vec::new());
        }
        Err(Error::NotFound {
            path: path::to_path(dir),
        })
    }

    fn content(&self, file: &[u8]) -> Result<ContentDigest> {
        Err(not_a_file(file))
    }

    fn open(&self, file: &[u8]) -> Result<Box<dyn Read + Send>> {
        Err(not_a_file(file))
    }

    fn bytes(&self, file: &[u8]) -> Result<ByteSource> {
        Err(not_a_file(file))
    }
}

/// A regular file whose bytes are at hand.
pub(crate) fn inline_body(bytes: Vec<u8>) -> Body {
    let content = ContentDigest::of(&bytes);
    Body::File(ByteSource::Inline(Arc::from(bytes)), content)
}
