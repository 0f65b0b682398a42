//! The merged file system of a stack of layers: a pure function of their indexes.
//!
//! Only `open` reads anything outside memory, through `LayerBytes`.

use std::io::{Cursor, Read};
use std::sync::Arc;

use crate::file_view::{ByteSource, FileView, LinkGroup, Node, NodeKind};
use crate::path::{self, to_path};
use crate::{ContentDigest, Entry, Error, Kind, LayerId, LayerIndex, Result};

/// Opens the bytes of a regular file of a layer.
pub trait LayerBytes: Send + Sync {
    /// `path` names an entry of kind `File` in the layer's own index.
    fn open(&self, layer: &LayerId, path: &[u8]) -> Result<Box<dyn Read + Send>>;
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
#[derive(Clone)]
pub struct View {
    /// Topmost first; ends at the first layer whose root is opaque.
    layers: Vec<ViewLayer>,
    bytes: Arc<dyn LayerBytes>,
}

/// Where one merged path stands: the entries that make it up, topmost first.
///
/// A directory may have one in each layer; everything else has exactly one.
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
        let mut layers: Vec<_> = stack.into_iter().rev().collect();
        if let Some(opaque) = layers.iter().position(|at| at.index.is_root_opaque()) {
            layers.truncate(opaque + 1);
        }
        Self { layers, bytes }
    }

    /// The layers that show, topmost first.
    pub fn layers(&self) -> &[ViewLayer] {
        &self.layers
    }

    /// The view of the layers below the topmost `count` ones.
    fn below(&self, count: usize) -> Self {
        Self {
            layers: self.layers.get(count..).unwrap_or_default().to_vec(),
            bytes: Arc::clone(&self.bytes),
        }
    }

    /// The entry that decides the metadata at `path`, which is not the root.
    pub fn find(&self, path: &[u8]) -> Option<Found<'_>> {
        self.deciding(&self.spot(path)?)
    }

    /// The file that has the bytes of `path`: itself, or the leader that it links to.
    ///
    /// Errors: `NotFound`, `NotAFile`.
    fn file(&self, path: &[u8]) -> Result<(LayerId, Vec<u8>, ContentDigest)> {
        let found = self.find(path).ok_or_else(|| not_found(path))?;
        let not_a_file = || Error::NotAFile {
            path: to_path(path),
        };
        match &found.entry.kind {
            Kind::File { content, .. } => {
                let layer = self.layers.get(found.layer).ok_or_else(not_a_file)?;
                Ok((layer.id, found.entry.path.clone(), *content))
            }
            Kind::Hardlink { leader } => {
                let layer = self.layers.get(found.layer).ok_or_else(not_a_file)?;
                match layer.index.get(leader).map(|entry| &entry.kind) {
                    Some(Kind::File { content, .. }) => Ok((layer.id, leader.clone(), *content)),
                    Some(_) => Err(not_a_file()),
                    None => self.below(found.layer + 1).file(leader),
                }
            }
            _ => Err(not_a_file()),
        }
    }

    fn root(&self) -> Spot {
        Spot {
            sources: (0..self.layers.len()).map(|layer| (layer, None)).collect(),
        }
    }

    fn spot(&self, path: &[u8]) -> Option<Spot> {
        let mut spot = self.root();
        let mut reached = Vec::with_capacity(path.len());
        for component in path::components(path) {
            if !reached.is_empty() {
                reached.push(b'/');
            }
            reached.extend_from_slice(component);
            spot = self.step(&spot, &reached)?;
        }
        Some(spot)
    }

    /// From a directory to the child whose whole path is `path`.
    fn step(&self, dir: &Spot, path: &[u8]) -> Option<Spot> {
        let mut sources = Vec::new();
        for (layer, parent) in &dir.sources {
            let index = &self.layers.get(*layer)?.index;
            let Some(at) = index.position_below(*parent, path) else {
                continue;
            };
            match &index.entries().get(at)?.kind {
                Kind::Whiteout => break,
                Kind::Dir { opaque, .. } => {
                    sources.push((*layer, Some(at)));
                    if *opaque {
                        break;
                    }
                }
                // Something else hides what is below it, and is hidden by a directory above it.
                _ => {
                    if sources.is_empty() {
                        sources.push((*layer, Some(at)));
                    }
                    break;
                }
            }
        }
        (!sources.is_empty()).then_some(Spot { sources })
    }

    /// The entry that gives a spot its metadata: the first that is not merely implied.
    fn deciding(&self, spot: &Spot) -> Option<Found<'_>> {
        let found = |(layer, at): &(usize, Option<usize>)| {
            let position = (*at)?;
            let entry = self.layers.get(*layer)?.index.entries().get(position)?;
            Some(Found {
                layer: *layer,
                entry,
                position,
            })
        };
        let stated =
            |found: &Found<'_>| !matches!(found.entry.kind, Kind::Dir { implied: true, .. });
        let mut all = spot.sources.iter().filter_map(found);
        let first = all.next()?;
        if stated(&first) {
            return Some(first);
        }
        Some(all.find(stated).unwrap_or(first))
    }

    fn node(&self, found: Found<'_>) -> Result<Node> {
        let entry = found.entry;
        let index = self.layers.get(found.layer).map(|layer| &layer.index);
        let mut links = index
            .filter(|index| index.has_links(found.position))
            .map(|_| LinkGroup(found.layer as u64, found.position as u64));
        let kind = match &entry.kind {
            Kind::Hardlink { leader } => {
                let at = index.and_then(|index| index.position(leader));
                match at.and_then(|at| Some((at, index?.entries().get(at)?))) {
                    Some((at, leader)) => {
                        links = Some(LinkGroup(found.layer as u64, at as u64));
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
        self.find(path).map(|found| self.node(found)).transpose()
    }

    fn read_dir(&self, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let spot = self.spot(path).ok_or_else(|| not_found(path))?;
        if !path.is_empty()
            && !self
                .deciding(&spot)
                .is_some_and(|dir| dir.entry.kind.is_dir())
        {
            return Err(Error::NotADirectory {
                path: to_path(path),
            });
        }
        // Per name the topmost entry decides whether it shows. Sources run topmost first and
        // sorting is stable, so the first of equal names is the topmost.
        let mut names: Vec<(&[u8], bool)> = Vec::new();
        for (layer, parent) in &spot.sources {
            let Some(layer) = self.layers.get(*layer) else {
                continue;
            };
            let children = layer.index.children(*parent);
            names.extend(children.filter_map(|at| {
                let entry = layer.index.entries().get(at)?;
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
        let at = self.layers.iter().find(|at| at.id == layer);
        match at.and_then(|at| at.index.inline(&path)) {
            Some(bytes) => Ok(Box::new(Cursor::new(Arc::clone(bytes)))),
            None => self.bytes.open(&layer, &path),
        }
    }

    fn bytes(&self, path: &[u8]) -> Result<ByteSource> {
        let (layer, path, _) = self.file(path)?;
        Ok(ByteSource::InLayer { layer, path })
    }
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
