//! COPY and ADD of paths: what a selection becomes in a draft.

use rbuild_graph::CopyAction;
use rbuild_layer::{FileView, Node, NodeKind, path};
use rbuild_progress::CancelToken;
use rbuild_source::{Item, RemoteLimits, Role, Root, Selection};

use super::archive::{self, Unpacked};
use super::draft::{Body, Draft};
use super::place::{self, Links, Style};
use crate::{Error, Result};

/// Where a copy reads, and what it may use on the way.
pub(crate) struct From<'a> {
    /// The file system that the sources are in.
    pub view: &'a dyn FileView,
    /// Store in which archives are unpacked to.
    pub store: &'a rbuild_store::Store,
    /// What an archive may unpack to at most.
    pub limits: RemoteLimits,
    /// Stops the walk.
    pub cancel: &'a CancelToken,
}

/// Puts everything that `selection` means into the draft.
pub(crate) fn copy(
    draft: &mut Draft<'_>,
    from: &From<'_>,
    action: &CopyAction,
    selection: &Selection,
    style: &Style,
) -> Result<()> {
    for root in &selection.roots {
        from.cancel.check()?;
        if action.parents {
            keep_parents(draft, from, action, root, style)?;
            continue;
        }
        let Some((first, below)) = root.items.split_first() else {
            continue;
        };
        if first.node.is_dir() {
            directory(draft, from, action, (first, below), style)?;
        } else if let Some(unpacked) = unpack(from, action, first)? {
            archive::extract(draft, action, unpacked, style)?;
        } else {
            file(draft, from, action, (&root.name, first), style)?;
        }
    }
    Ok(())
}

fn unpack(from: &From<'_>, action: &CopyAction, item: &Item) -> Result<Option<Unpacked>> {
    match item.node.kind {
        NodeKind::File { size } if action.unpack && size > 0 => archive::read(from, &item.path),
        _ => Ok(None),
    }
}

/// A directory's content lands in the destination, merged with what is there.
fn directory(
    draft: &mut Draft<'_>,
    from: &From<'_>,
    action: &CopyAction,
    (top, below): (&Item, &[Item]),
    style: &Style,
) -> Result<()> {
    let dest = place::destination(draft, &action.dest)?;
    if dest.exists() && !dest.node.is_dir() {
        return Err(Error::DirectoryOverFile {
            path: format!("/{}", String::from_utf8_lossy(&dest.path)),
        });
    }
    let target = place::make_dirs(draft, &dest, &style.parent())?;
    let mut links = Links::new();
    for item in below {
        from.cancel.check()?;
        put(
            draft,
            from,
            item,
            &path::join(&target, &item.rel),
            (style, &mut links),
        )?;
    }
    // Mode and owner of the top directory are its own; only its time follows the source.
    Ok(draft.set_mtime(&target, top.node.mtime)?)
}

/// `--parents`: the kept path lands in the destination.
fn keep_parents(
    draft: &mut Draft<'_>,
    from: &From<'_>,
    action: &CopyAction,
    root: &Root,
    style: &Style,
) -> Result<()> {
    let dest = place::destination(draft, &action.dest)?;
    let target = place::make_dirs(draft, &dest, &style.parent())?;
    let mut links = Links::new();
    for item in &root.items {
        from.cancel.check()?;
        let at = path::join(&target, &item.rel);
        if item.role == Role::OnTheWay {
            let mut node = style.dress(item.node.clone())?;
            node.mtime = style.now;
            place::put_dir(draft, &at, node)?;
        } else {
            put(draft, from, item, &at, (style, &mut links))?;
        }
    }
    Ok(())
}

/// A file lands in the destination if that is a directory, else it becomes the destination.
fn file(
    draft: &mut Draft<'_>,
    from: &From<'_>,
    action: &CopyAction,
    (name, item): (&[u8], &Item),
    style: &Style,
) -> Result<()> {
    let target = file_target(draft, &action.dest, action.dest_is_dir, (name, style))?;
    put(draft, from, item, &target, (style, &mut Links::new()))
}

/// The real path that a file called `name` gets when it is copied to `dest`; its parents are made.
pub(crate) fn file_target(
    draft: &mut Draft<'_>,
    dest: &str,
    dest_is_dir: bool,
    (name, style): (&[u8], &Style),
) -> Result<Vec<u8>> {
    let dest = place::destination(draft, dest)?;
    if dest_is_dir || (dest.exists() && dest.node.is_dir()) {
        let dir = place::make_dirs(draft, &dest, &style.parent())?;
        return Ok(path::join(&dir, name));
    }
    place::make_parents(draft, &dest, &style.parent())
}

fn put(
    draft: &mut Draft<'_>,
    from: &From<'_>,
    item: &Item,
    target: &[u8],
    (style, links): (&Style, &mut Links),
) -> Result<()> {
    let node: Node = style.dress(item.node.clone())?;
    match item.node.kind {
        NodeKind::Dir => return place::put_dir(draft, target, node),
        NodeKind::Socket => return place::put_socket(draft, target, node),
        _ => {}
    }
    if let Some(group) = item.node.links {
        if let Some(leader) = links.get(&group) {
            return place::put_file(draft, target, node, Body::LinkTo(leader.clone()));
        }
        links.insert(group, target.to_vec());
    }
    let body = match item.node.kind {
        NodeKind::File { .. } => {
            Body::File(from.view.bytes(&item.path)?, from.view.content(&item.path)?)
        }
        _ => Body::None,
    };
    place::put_file(draft, target, node, body)
}
