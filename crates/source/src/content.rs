//! What selected files count for in a cache key.
//!
//! Everything that can end up in the image counts: names below the root, types, modes, owners, link
//! texts, device numbers, extended attributes, bytes. What cannot, or what two equal checkouts
//! differ in, does not: modification times, inode numbers, and which names are hard links.

use rbuild_layer::{FileView, Node, NodeKind};
use rbuild_oci::Digest;
use rbuild_progress::CancelToken;

use crate::select::{Item, Role, Selection};
use crate::{Error, LocalContext, Result};

/// First bytes of what is digested; the number changes with the encoding.
const VERSION: &[u8] = b"rbuild-content 1\n";

/// Returns the content digest of a selection.
///
/// Errors: [`Error::Layer`] from reading, [`Error::Cancelled`].
pub fn content_of(
    view: &dyn FileView,
    selection: &Selection,
    cancel: &CancelToken,
) -> Result<Digest> {
    let mut bytes = VERSION.to_vec();
    for root in &selection.roots {
        bytes.push(b'R');
        field(&mut bytes, &root.matched);
        for item in &root.items {
            cancel.check()?;
            encode(view, item, &mut bytes)?;
        }
    }
    Ok(Digest::sha256_of(&bytes))
}

/// Returns the content digest of everything at and below `path`, links on the way followed.
///
/// For mounts, which show a path as it is. Errors: as [`content_of`], and [`Error::NotFound`].
pub fn tree_content(view: &dyn FileView, path: &str, cancel: &CancelToken) -> Result<Digest> {
    let selection = crate::select::select_path(view, path, cancel)?;
    content_of(view, &selection, cancel)
}

/// Reads the digests of a selection in a local directory ahead, in parallel where that pays.
///
/// Errors: as the directory's.
pub fn read_ahead(
    local: &LocalContext,
    selection: &Selection,
    cancel: &CancelToken,
) -> Result<(), Error> {
    let items = selection.roots.iter().flat_map(|root| &root.items);
    let files: Vec<Vec<u8>> = items
        .filter(|item| matches!(item.node.kind, NodeKind::File { .. }))
        .map(|item| item.path.clone())
        .collect();
    local.digest_all(&files, cancel)
}

fn encode(view: &dyn FileView, item: &Item, out: &mut Vec<u8>) -> Result<()> {
    out.push(match item.role {
        Role::Selected => b'S',
        Role::OnTheWay => b'W',
    });
    field(out, &item.rel);
    header(&item.node, out);
    match &item.node.kind {
        NodeKind::File { size } => {
            out.push(b'f');
            out.extend_from_slice(&size.to_le_bytes());
            out.extend_from_slice(view.content(&item.path)?.as_bytes());
        }
        NodeKind::Dir => out.push(b'd'),
        NodeKind::Symlink { target } => {
            out.push(b'l');
            field(out, target);
        }
        NodeKind::Char { major, minor } => device(out, b'c', *major, *minor),
        NodeKind::Block { major, minor } => device(out, b'b', *major, *minor),
        NodeKind::Fifo => out.push(b'p'),
        NodeKind::Socket => out.push(b's'),
    }
    Ok(())
}

fn header(node: &Node, out: &mut Vec<u8>) {
    for number in [node.mode, node.uid, node.gid, node.xattrs.len() as u32] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for (name, value) in &node.xattrs {
        field(out, name);
        field(out, value);
    }
}

fn device(out: &mut Vec<u8>, tag: u8, major: u32, minor: u32) {
    out.push(tag);
    out.extend_from_slice(&major.to_le_bytes());
    out.extend_from_slice(&minor.to_le_bytes());
}

/// Length first, so that no two lists of fields have equal bytes.
fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}
