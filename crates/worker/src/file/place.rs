//! Putting things into a draft: directories that lead somewhere, and copied nodes.

use std::collections::HashMap;

use rbuild_graph::Chmod;
use rbuild_layer::{FileView, Follow, LinkGroup, Mtime, Node, NodeKind, Resolved, path, resolve};

use super::chmod::{self, Was};
use super::draft::{self, Body, Draft};
use super::owner::Ids;
use crate::{Error, Result};

/// What the flags of an instruction say about everything that it puts down.
pub(crate) struct Style {
    /// `--chown`; `None` keeps the source's owner.
    pub owner: Option<Ids>,
    /// `--chmod`; `None` keeps the source's mode.
    pub chmod: Option<Chmod>,
    /// The time of what is newly made.
    pub now: Mtime,
}

impl Style {
    /// The mode of directories that are made on the way: 0755, or the octal mode of `--chmod`
    /// without its set-id and sticky bits, which are meant for what is copied.
    fn parent_mode(&self) -> u32 {
        match &self.chmod {
            Some(Chmod::Octal(mode)) => *mode & 0o777,
            _ => 0o755,
        }
    }

    /// A directory that is made on the way.
    pub(crate) fn parent(&self) -> Node {
        let ids = self.owner.unwrap_or(Ids { uid: 0, gid: 0 });
        Node {
            mode: self.parent_mode(),
            uid: ids.uid,
            gid: ids.gid,
            mtime: self.now,
            ..Node::root()
        }
    }

    /// A copied node with owner and mode as the flags want them.
    pub(crate) fn dress(&self, mut node: Node) -> Result<Node> {
        if let Some(ids) = self.owner {
            (node.uid, node.gid) = (ids.uid, ids.gid);
        }
        if let Some(wanted) = &self.chmod
            && !matches!(node.kind, NodeKind::Symlink { .. })
        {
            let was = Was {
                mode: node.mode,
                is_dir: node.is_dir(),
            };
            node.mode = chmod::apply(wanted, was).ok_or_else(|| Error::Chmod {
                text: format!("{wanted:?}"),
            })?;
        }
        node.links = None;
        Ok(node)
    }
}

/// Resolves a destination, links at its end included; what stands in the way is an error.
pub(crate) fn destination(draft: &Draft<'_>, dest: &str) -> Result<Resolved> {
    match resolve(draft, dest.as_bytes(), Follow::Last) {
        Err(rbuild_layer::Error::NotADirectory { path }) => Err(Error::NotADirectory {
            path: format!("/{}", path.display()),
        }),
        other => Ok(other?),
    }
}

/// Makes `dir` and what is missing above it; returns its real path.
pub(crate) fn make_dirs(draft: &mut Draft<'_>, dir: &Resolved, made: &Node) -> Result<Vec<u8>> {
    if dir.exists() && !dir.node.is_dir() {
        return Err(Error::NotADirectory {
            path: format!("/{}", String::from_utf8_lossy(&dir.path)),
        });
    }
    let mut at = dir.path.clone();
    for name in &dir.missing {
        at = path::join(&at, name);
        draft.put(&at, made.clone(), Body::None)?;
    }
    Ok(at)
}

/// Makes what is missing above a path that is about to be written.
pub(crate) fn make_parents(
    draft: &mut Draft<'_>,
    target: &Resolved,
    made: &Node,
) -> Result<Vec<u8>> {
    let Some((_, above)) = target.missing.split_last() else {
        return Ok(target.path.clone());
    };
    let parent = Resolved {
        path: target.path.clone(),
        node: target.node.clone(),
        missing: above.to_vec(),
    };
    make_dirs(draft, &parent, made)?;
    Ok(target.full_path())
}

/// Hard links of one source: the first name that was put down for each inode.
pub(crate) type Links = HashMap<LinkGroup, Vec<u8>>;

/// Puts a node that is no directory at `target`, in place of a file or link there.
pub(crate) fn put_file(draft: &mut Draft<'_>, target: &[u8], node: Node, body: Body) -> Result<()> {
    if draft.lstat(target)?.is_some_and(|old| old.is_dir()) {
        return Err(Error::FileOverDirectory {
            path: format!("/{}", String::from_utf8_lossy(target)),
        });
    }
    Ok(draft.put(target, node, body)?)
}

/// Puts what is left of a socket at `target`: an empty file, as BuildKit does.
///
/// A layer cannot hold a socket, and nobody could connect to it.
pub(crate) fn put_socket(draft: &mut Draft<'_>, target: &[u8], node: Node) -> Result<()> {
    let file = Node {
        kind: NodeKind::File { size: 0 },
        links: None,
        ..node
    };
    put_file(draft, target, file, draft::inline_body(Vec::new()))
}

/// Puts a directory at `target`: made, or given this metadata if it exists.
pub(crate) fn put_dir(draft: &mut Draft<'_>, target: &[u8], node: Node) -> Result<()> {
    if draft.lstat(target)?.is_some_and(|old| !old.is_dir()) {
        return Err(Error::DirectoryOverFile {
            path: format!("/{}", String::from_utf8_lossy(target)),
        });
    }
    Ok(draft.put(target, node, Body::None)?)
}
