//! A walk over a file system view, depth first, names sorted, without recursion.

use rbuild_layer::{FileView, Node, NodeKind, path};
use rbuild_oci::Platform;
use rbuild_progress::CancelToken;

use crate::{ImageToExport, Result};

/// What a walk meets.
pub(crate) trait Visitor {
    /// A node, before what is below it.
    fn enter(&mut self, path: &[u8], node: &Node) -> Result<()>;

    /// A directory, after all below it; `names` are those in it, sorted.
    fn leave(&mut self, path: &[u8], node: &Node, names: &[Vec<u8>]) -> Result<()>;
}

struct Level {
    path: Vec<u8>,
    node: Node,
    names: Vec<Vec<u8>>,
    next: usize,
}

/// Visits everything below the root of `view`, and leaves the root last.
pub(crate) fn walk(
    view: &dyn FileView,
    cancel: &CancelToken,
    visitor: &mut dyn Visitor,
) -> Result<()> {
    let root = view.lstat(b"")?.unwrap_or_else(Node::root);
    let mut levels = vec![Level {
        path: Vec::new(),
        node: root,
        names: view.read_dir(b"")?,
        next: 0,
    }];
    while let Some(level) = levels.last_mut() {
        cancel.check()?;
        let Some(name) = level.names.get(level.next) else {
            visitor.leave(&level.path, &level.node, &level.names)?;
            levels.pop();
            continue;
        };
        let child = path::join(&level.path, name);
        level.next += 1;
        let Some(node) = view.lstat(&child)? else {
            continue;
        };
        visitor.enter(&child, &node)?;
        if node.is_dir() {
            let names = view.read_dir(&child)?;
            levels.push(Level {
                path: child,
                node,
                names,
                next: 0,
            });
        }
    }
    Ok(())
}

/// Bytes of content of a node.
pub(crate) fn size_of(node: &Node) -> u64 {
    match node.kind {
        NodeKind::File { size } => size,
        _ => 0,
    }
}

/// The directory for each image where each platform gets its own, else an empty text.
pub(crate) fn platform_dirs(images: &[ImageToExport], split: Option<bool>) -> Vec<String> {
    let split = split.unwrap_or(images.len() > 1);
    images
        .iter()
        .map(|image| {
            if split {
                platform_dir(&image.platform)
            } else {
                String::new()
            }
        })
        .collect()
}

/// `linux_arm_v7`.
fn platform_dir(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}
