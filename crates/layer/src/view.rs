//! The merged file system of a stack of layers: a pure function of their indexes.
//!
//! Only `open` reads anything outside memory, through [`LayerBytes`], and lazy views bring indexes through
//! [`LayerIndexes`].

mod stack;

use std::io::{Cursor, Read};
use std::sync::Arc;

use stack::Stack;

use crate::file_view::{ByteSource, FileView, LinkGroup, Node, NodeKind};
use crate::path::{self, to_path};
use crate::{ContentDigest, Entry, Error, Kind, LayerId, LayerIndex, Result};

/// Opens the bytes of a regular file of a layer.
pub trait LayerBytes: Send + Sync {
    /// `path` names an entry of kind `File` in the layer's own index.
    fn open(&self, layer: &LayerId, path: &[u8]) -> Result<Box<dyn Read + Send>>;
}

/// Brings the indexes of layers when a view first needs them.
pub trait LayerIndexes: Send + Sync {
    /// The indexes of these layers, in their order.
    fn indexes(&self, layers: &[LayerId]) -> Result<Vec<Arc<LayerIndex>>>;
}

/// One layer of a view.
#[derive(Clone, Debug)]
pub struct ViewLayer {
    /// Its name.
    pub id: LayerId,
    /// Its entries.
    pub index: Arc<LayerIndex>,
}

/// The merged file system of a stack of layers.
///
/// A lazy one looks into a layer only when the layers above it leave a question open, so that a
/// file near the top of a stack costs nothing of what is below.
#[derive(Clone)]
pub struct View {
    stack: Stack,
    bytes: Arc<dyn LayerBytes>,
}

/// Where one merged directory stands: the entries that make it up, topmost first; the root has none.
#[derive(Clone, Debug)]
struct Spot {
    sources: Vec<(usize, Option<usize>)>,
}

/// An entry of a view with the layer that it is in.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Position of the layer, topmost is 0.
    pub layer: usize,
    /// The entry.
    pub entry: &'a Entry,
    position: usize,
}

impl View {
    /// Merges a stack, lowest layer first.
    pub fn new(stack: Vec<ViewLayer>, bytes: Arc<dyn LayerBytes>) -> Self {
        let stack = Stack::known(stack);
        Self { stack, bytes }
    }

    /// Merges a stack, lowest layer first, whose indexes are brought when they are needed.
    ///
    /// Whatever asks the view gets the errors of `indexes`.
    pub fn lazy(
        stack: &[LayerId],
        indexes: Arc<dyn LayerIndexes>,
        bytes: Arc<dyn LayerBytes>,
    ) -> Self {
        let stack = Stack::lazy(stack, indexes);
        Self { stack, bytes }
    }

    /// The view with one more layer on top.
    pub fn with(&self, layer: ViewLayer) -> Self {
        Self {
            stack: self.stack.with(layer),
            bytes: Arc::clone(&self.bytes),
        }
    }

    /// The view of the layers below the topmost `count` ones.
    fn below(&self, count: usize) -> Self {
        Self {
            stack: self.stack.below(count),
            bytes: Arc::clone(&self.bytes),
        }
    }

    /// The entry that decides the metadata at `path`, which is not the root: the topmost that is not
    /// merely implied.
    ///
    /// Looks into no layer below the one that decides.
    pub fn find(&self, path: &[u8]) -> Result<Option<Found<'_>>> {
        let mut directories = 0;
        let mut implied = None;
        for layer in 0..self.stack.len() {
            let index = self.stack.index(layer)?;
            let reached = descend(index, path, &mut directories);
            if let Some(position) = reached.at
                && let Some(entry) = index.entries().get(position)
            {
                let found = Found {
                    layer,
                    entry,
                    position,
                };
                if is_stated(entry) {
                    return Ok(Some(found));
                }
                implied.get_or_insert(found);
            }
            if reached.hides_below || index.is_root_opaque() {
                break;
            }
        }
        Ok(implied)
    }

    /// The file that has the bytes of `path`: itself, or the leader that it links to.
    ///
    /// Errors: `NotFound`, `NotAFile`, those of bringing an index.
    fn file(&self, path: &[u8]) -> Result<(usize, Vec<u8>, ContentDigest)> {
        let found = self.find(path)?.ok_or_else(|| not_found(path))?;
        let not_a_file = || Error::NotAFile {
            path: to_path(path),
        };
        match &found.entry.kind {
            Kind::File { content, .. } => Ok((found.layer, found.entry.path.clone(), *content)),
            Kind::Hardlink { leader } => {
                let index = self.stack.index(found.layer)?;
                match index.get(leader).map(|entry| &entry.kind) {
                    Some(Kind::File { content, .. }) => Ok((found.layer, leader.clone(), *content)),
                    Some(_) => Err(not_a_file()),
                    None => {
                        let above = found.layer + 1;
                        let (layer, path, content) = self.below(above).file(leader)?;
                        Ok((above + layer, path, content))
                    }
                }
            }
            _ => Err(not_a_file()),
        }
    }

    fn root(&self) -> Result<Spot> {
        let mut sources = Vec::new();
        for layer in 0..self.stack.len() {
            sources.push((layer, None));
            if self.stack.index(layer)?.is_root_opaque() {
                break;
            }
        }
        Ok(Spot { sources })
    }

    fn spot(&self, path: &[u8]) -> Result<Option<Spot>> {
        self.stack.need_all()?;
        let mut spot = self.root()?;
        for prefix in path::ancestors(path).chain([path]) {
            if prefix.is_empty() {
                continue;
            }
            match self.step(&spot, prefix)? {
                Some(next) => spot = next,
                None => return Ok(None),
            }
        }
        Ok(Some(spot))
    }

    /// From a directory to the child whose whole path is `path`.
    fn step(&self, dir: &Spot, path: &[u8]) -> Result<Option<Spot>> {
        let mut sources = Vec::new();
        for (layer, parent) in &dir.sources {
            let index = self.stack.index(*layer)?;
            let Some(at) = index.position_below(*parent, path) else {
                continue;
            };
            match index.entries().get(at).map(|entry| &entry.kind) {
                Some(Kind::Dir { opaque, .. }) => {
                    sources.push((*layer, Some(at)));
                    if *opaque {
                        break;
                    }
                }
                None | Some(Kind::Whiteout) => break,
                // Something else hides what is below it, and is hidden by a directory above it.
                Some(_) => {
                    if sources.is_empty() {
                        sources.push((*layer, Some(at)));
                    }
                    break;
                }
            }
        }
        Ok((!sources.is_empty()).then_some(Spot { sources }))
    }

    fn node(&self, found: Found<'_>) -> Result<Node> {
        let entry = found.entry;
        let index = self.stack.index(found.layer)?;
        let group = |position| LinkGroup(found.layer as u64, position as u64);
        let mut links = index
            .has_links(found.position)
            .then(|| group(found.position));
        let kind = match &entry.kind {
            Kind::Hardlink { leader } => {
                let at = index.position(leader);
                match at.and_then(|at| Some((at, index.entries().get(at)?))) {
                    Some((at, leader)) => {
                        links = Some(group(at));
                        plain_kind(&leader.kind)
                    }
                    // Only pulled layers link into the layers below; the result is a copy.
                    None => self
                        .below(found.layer + 1)
                        .lstat(leader)?
                        .map(|node| node.kind),
                }
                .ok_or_else(|| not_found(leader))?
            }
            kind => plain_kind(kind).ok_or_else(|| not_found(&entry.path))?,
        };
        Ok(Node {
            kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: entry.xattrs.clone(),
            links,
        })
    }
}

impl FileView for View {
    fn lstat(&self, path: &[u8]) -> Result<Option<Node>> {
        if path.is_empty() {
            return Ok(Some(Node::root()));
        }
        self.find(path)?.map(|found| self.node(found)).transpose()
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let spot = self.spot(path)?.ok_or_else(|| not_found(path))?;
        // Per name the topmost entry decides whether it shows. Sources run topmost first and
        // sorting is stable, so the first of equal names is the topmost.
        let mut names: Vec<(&[u8], bool)> = Vec::new();
        for (layer, parent) in &spot.sources {
            let index = self.stack.index(*layer)?;
            if let Some(at) = *parent
                && !index.entries().get(at).is_some_and(|at| at.kind.is_dir())
            {
                return Err(Error::NotADirectory {
                    path: to_path(path),
                });
            }
            names.extend(index.children(*parent).filter_map(|at| {
                let entry = index.entries().get(at)?;
                Some((path::name(&entry.path), entry.kind != Kind::Whiteout))
            }));
        }
        names.sort_by_key(|(name, _)| *name);
        names.dedup_by_key(|(name, _)| *name);
        let shown = names.into_iter().filter(|(_, shows)| *shows);
        Ok(shown.map(|(name, _)| name.to_vec()).collect())
    }

    fn content(&self, path: &[u8]) -> Result<ContentDigest> {
        self.file(path).map(|(_, _, content)| content)
    }

    fn open(&self, path: &[u8]) -> Result<Box<dyn Read + Send>> {
        let (layer, path, _) = self.file(path)?;
        match self.stack.index(layer)?.inline(&path) {
            Some(bytes) => Ok(Box::new(Cursor::new(Arc::clone(bytes)))),
            None => self.bytes.open(&self.stack.id(layer), &path),
        }
    }

    fn bytes(&self, path: &[u8]) -> Result<ByteSource> {
        let (layer, path, _) = self.file(path)?;
        let layer = self.stack.id(layer);
        Ok(ByteSource::InLayer { layer, path })
    }
}

/// How far a path leads in one layer.
struct Reached {
    /// The entry at the path, if it shows.
    at: Option<usize>,
    /// Whether nothing of the layers below shows there.
    hides_below: bool,
}

/// Follows `path` in one layer. `directories` is how many of its components are directories in the
/// layers above; those of this layer are added.
fn descend(index: &LayerIndex, path: &[u8], directories: &mut usize) -> Reached {
    let mut reached = Reached {
        at: None,
        hides_below: false,
    };
    let mut parent = None;
    for (depth, prefix) in path::ancestors(path).chain([path]).enumerate() {
        let Some(position) = index.position_below(parent, prefix) else {
            return reached;
        };
        match index.entries().get(position).map(|entry| &entry.kind) {
            Some(Kind::Dir { opaque, .. }) => {
                reached.hides_below |= *opaque;
                *directories = (*directories).max(depth + 1);
                parent = Some(position);
            }
            None | Some(Kind::Whiteout) => {
                reached.hides_below = true;
                return reached;
            }
            // Something else hides what is below it, and is hidden by a directory above it.
            Some(_) => {
                let shows = depth >= *directories && prefix.len() == path.len();
                reached.at = shows.then_some(position);
                reached.hides_below = true;
                return reached;
            }
        }
    }
    reached.at = parent;
    reached
}

/// Whether an entry says anything of its own: directories may be implied by what is in them.
fn is_stated(entry: &Entry) -> bool {
    !matches!(entry.kind, Kind::Dir { implied: true, .. })
}

fn plain_kind(kind: &Kind) -> Option<NodeKind> {
    Some(match kind {
        Kind::File { size, .. } => NodeKind::File { size: *size },
        Kind::Dir { .. } => NodeKind::Dir,
        Kind::Symlink { target } => NodeKind::Symlink {
            target: target.clone(),
        },
        Kind::Char { major, minor } => NodeKind::Char {
            major: *major,
            minor: *minor,
        },
        Kind::Block { major, minor } => NodeKind::Block {
            major: *major,
            minor: *minor,
        },
        Kind::Fifo => NodeKind::Fifo,
        Kind::Socket => NodeKind::Socket,
        Kind::Hardlink { .. } | Kind::Whiteout => return None,
    })
}

fn not_found(path: &[u8]) -> Error {
    Error::NotFound {
        path: to_path(path),
    }
}

#[cfg(test)]
mod tests;
