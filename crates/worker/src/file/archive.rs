//! ADD of a local archive: recognised by content, read once, put down as files.
//!
//! The bodies of its files go to a staged file of the store, one after the other; the layer is then
//! written from there. Entries are placed inside the destination as if that were the root: neither
//! `..` nor a link, planted by the archive or already there, leads out of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use rbuild_graph::CopyAction;
use rbuild_layer::{
    Archive, ByteSource, ContentDigest, FileView, Follow, Mtime, Node, NodeKind, TarEntry, TarKind,
    clean_path, path, resolve, uncompressed,
};
use rbuild_progress::CancelReader;
use rbuild_store::StagedFile;

use super::copy::From;
use super::draft::{Body, Draft};
use super::place::{self, Style};
use crate::{Error, Result};

/// An archive whose files lie in a staged file.
pub(super) struct Unpacked {
    name: String,
    bodies: Arc<StagedFile>,
    entries: Vec<(TarEntry, Option<Extent>)>,
}

/// Where the bytes of a file are.
#[derive(Clone, Copy)]
struct Extent {
    start: u64,
    size: u64,
    content: ContentDigest,
}

/// Reads `file` if it is an archive: if it decompresses and its first header is one of a tar.
pub(super) fn read(from: &From<'_>, file: &[u8]) -> Result<Option<Unpacked>> {
    let name = format!("/{}", String::from_utf8_lossy(file));
    let input = CancelReader::new(from.view.open(file)?, from.cancel);
    let Ok(stream) = uncompressed(input) else {
        return Ok(None);
    };
    let mut archive = Archive::new(stream);
    let first = match archive.next() {
        Ok(Some(first)) => first,
        Err(rbuild_layer::Error::Cancelled) => return Err(Error::Cancelled),
        Ok(None) | Err(_) => return Ok(None),
    };
    let damaged = |reason: String| Error::Archive {
        name: name.clone(),
        reason,
    };
    let staged = from.store.stage_file()?;
    let mut entries = Vec::new();
    let mut end = 0;
    let mut next = Some(first);
    while let Some(entry) = next {
        from.cancel.check()?;
        let extent = match entry.kind {
            TarKind::File { .. } => {
                let extent = keep_body(&mut archive, &staged, (end, from.limits.unpacked_bytes))
                    .map_err(|e| damaged(e.to_string()))?;
                end += extent.size;
                Some(extent)
            }
            _ => None,
        };
        entries.push((entry, extent));
        if entries.len() as u64 > from.limits.entries {
            let limit = from.limits.entries;
            return Err(damaged(format!("it has more than {limit} entries")));
        }
        next = match archive.next() {
            Err(rbuild_layer::Error::Cancelled) => return Err(Error::Cancelled),
            other => other.map_err(|e| damaged(e.to_string()))?,
        };
    }
    Ok(Some(Unpacked {
        name,
        bodies: Arc::new(staged),
        entries,
    }))
}

fn keep_body(
    archive: &mut Archive<Box<dyn Read + Send>>,
    staged: &StagedFile,
    (start, limit): (u64, u64),
) -> io::Result<Extent> {
    let mut out = staged.file();
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 128 * 1024];
    let mut size = 0;
    loop {
        let n = archive.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..n).filter(|b| !b.is_empty()) else {
            break;
        };
        hasher.update(bytes);
        out.write_all(bytes)?;
        size += bytes.len() as u64;
        if start.saturating_add(size) > limit {
            let text = format!("it unpacks to more than {limit} bytes");
            return Err(io::Error::other(text));
        }
    }
    Ok(Extent {
        start,
        size,
        content: hasher.finalize().into(),
    })
}

/// Puts everything in an archive below the destination.
pub(super) fn extract(
    draft: &mut Draft<'_>,
    action: &CopyAction,
    unpacked: Unpacked,
    style: &Style,
) -> Result<()> {
    // `--chmod` is for copied files: it touches neither the content of an archive nor its place.
    let plain = Style {
        owner: style.owner,
        chmod: None,
        now: style.now,
    };
    let dest = place::destination(draft, &action.dest)?;
    let root = place::make_dirs(draft, &dest, &plain.parent())?;
    for (entry, extent) in &unpacked.entries {
        let damaged = |reason: &str| Error::Archive {
            name: unpacked.name.clone(),
            reason: format!("{}: {reason}", String::from_utf8_lossy(&entry.path)),
        };
        let inside = clean_path(&entry.path).map_err(|_| damaged("the path leaves the archive"))?;
        if inside.is_empty() {
            continue;
        }
        // To overlay this device says that a file of a lower layer is gone.
        if let TarKind::Char { major: 0, minor: 0 } = entry.kind {
            return Err(damaged("a character device 0:0"));
        }
        let target = real_target(draft, (&root, &inside), style.now)?;
        let node = plain.dress(node_of(entry, extent.as_ref()))?;
        match (&entry.kind, extent) {
            (TarKind::Hardlink { target: leader }, _) => {
                let leader =
                    clean_path(leader).map_err(|_| damaged("its link leaves the archive"))?;
                let leader = path::join(&root, &leader);
                if !draft.link(&target, &leader)? {
                    return Err(damaged("it links to a file that is not there"));
                }
                // Unpacking sets owner, mode and time for each entry, and all names share them.
                draft.dress_names(&target, &node);
            }
            (_, Some(extent)) => {
                let bytes = bytes_at(&unpacked.bodies, *extent);
                draft.put(&target, node, Body::File(bytes, extent.content))?;
            }
            _ => draft.put(&target, node, Body::None)?,
        }
    }
    Ok(())
}

/// The path at which an entry lands: links on the way are followed inside the destination, missing
/// directories are made, and files that stand in the way are replaced by directories.
///
/// What the archive does not name belongs to root: `--chown` is for its entries.
fn real_target(
    draft: &mut Draft<'_>,
    (root, inside): (&[u8], &[u8]),
    now: Mtime,
) -> Result<Vec<u8>> {
    let parent = path::parent(inside);
    let made = Node {
        mtime: now,
        ..Node::root()
    };
    let found = {
        let below = Below { draft, root };
        resolve(&below, parent, Follow::Last)
    };
    let dir = match found {
        Ok(found) => {
            let mut at = below(root, &found.path);
            for name in &found.missing {
                at = path::join(&at, name);
                draft.put(&at, made.clone(), Body::None)?;
            }
            if found.exists() && !found.node.is_dir() {
                draft.put(&at, made.clone(), Body::None)?;
            }
            at
        }
        Err(rbuild_layer::Error::NotADirectory { .. }) => {
            let mut at = root.to_vec();
            for name in path::components(parent) {
                at = path::join(&at, name);
                if !draft.lstat(&at)?.is_some_and(|node| node.is_dir()) {
                    draft.put(&at, made.clone(), Body::None)?;
                }
            }
            at
        }
        Err(e) => return Err(e.into()),
    };
    Ok(path::join(&dir, path::name(inside)))
}

/// `file` as seen from `root`; the root itself for `""`.
fn below(root: &[u8], file: &[u8]) -> Vec<u8> {
    if file.is_empty() {
        return root.to_vec();
    }
    path::join(root, file)
}

fn node_of(entry: &TarEntry, extent: Option<&Extent>) -> Node {
    let kind = match &entry.kind {
        TarKind::File { .. } | TarKind::Hardlink { .. } => NodeKind::File {
            size: extent.map_or(0, |extent| extent.size),
        },
        TarKind::Symlink { target } => NodeKind::Symlink {
            target: target.clone(),
        },
        TarKind::Dir => NodeKind::Dir,
        TarKind::Char { major, minor } => NodeKind::Char {
            major: *major,
            minor: *minor,
        },
        TarKind::Block { major, minor } => NodeKind::Block {
            major: *major,
            minor: *minor,
        },
        TarKind::Fifo => NodeKind::Fifo,
    };
    Node {
        kind,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        xattrs: entry.xattrs.clone(),
        links: None,
    }
}

fn bytes_at(bodies: &Arc<StagedFile>, extent: Extent) -> ByteSource {
    let bodies = Arc::clone(bodies);
    ByteSource::Open(Arc::new(move || {
        let wrap = |e| rbuild_layer::Error::io("read", bodies.path(), e);
        let mut file = File::open(bodies.path()).map_err(wrap)?;
        file.seek(SeekFrom::Start(extent.start)).map_err(wrap)?;
        let reader: Box<dyn Read + Send> = Box::new(file.take(extent.size));
        Ok(reader)
    }))
}

/// The draft as seen from a directory in it that stands for the root.
struct Below<'a, 'd> {
    draft: &'a Draft<'d>,
    root: &'a [u8],
}

impl Below<'_, '_> {
    fn at(&self, file: &[u8]) -> Vec<u8> {
        below(self.root, file)
    }
}

impl FileView for Below<'_, '_> {
    fn lstat(&self, file: &[u8]) -> rbuild_layer::Result<Option<Node>> {
        self.draft.lstat(&self.at(file))
    }

    fn read_dir(&self, dir: &[u8]) -> rbuild_layer::Result<Vec<Vec<u8>>> {
        self.draft.read_dir(&self.at(dir))
    }

    fn content(&self, file: &[u8]) -> rbuild_layer::Result<ContentDigest> {
        self.draft.content(&self.at(file))
    }

    fn open(&self, file: &[u8]) -> rbuild_layer::Result<Box<dyn Read + Send>> {
        self.draft.open(&self.at(file))
    }

    fn bytes(&self, file: &[u8]) -> rbuild_layer::Result<ByteSource> {
        self.draft.bytes(&self.at(file))
    }
}
