//! Following symbolic links inside a view, as a process rooted there would.

use std::collections::VecDeque;

use crate::file_view::{FileView, Node, NodeKind};
use crate::path::{self, to_path};
use crate::{Error, Result};

/// Most symbolic links that one path may go through.
pub const MAX_LINKS: usize = 255;

/// Whether a symbolic link at the very end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// As `stat` does.
    Last,
    /// As `lstat` does.
    NotLast,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The part that exists, free of symbolic links except perhaps at its end (`Follow::NotLast`).
    pub path: Vec<u8>,
    /// What is at `path`.
    pub node: Node,
    /// Components that do not exist below `path`, which is a directory if there are any.
    pub missing: Vec<Vec<u8>>,
}

impl Resolved {
    /// Whether the whole path exists.
    pub fn exists(&self) -> bool {
        self.missing.is_empty()
    }

    /// The whole path: the existing part and the missing components.
    pub fn full_path(&self) -> Vec<u8> {
        let start = self.path.clone();
        self.missing
            .iter()
            .fold(start, |dir, name| path::join(&dir, name))
    }
}

/// Resolves a path in a view; nothing leads out of its root.
///
/// `path` may start with a slash and hold `.` and `..`; `..` at the root stays there. Links are
/// followed also where they dangle: the missing tail is reported, so that what is created there
/// lands where a process would create it. Errors: `NotADirectory` when something else stands in
/// the way, `TooManyLinks` after `MAX_LINKS`, and what the view reports.
pub fn resolve(view: &dyn FileView, path: &[u8], last: Follow) -> Result<Resolved> {
    let mut todo: VecDeque<Vec<u8>> = path::components(path).map(<[u8]>::to_vec).collect();
    let mut at = Vec::new();
    let mut node = view.lstat(b"")?.unwrap_or_else(Node::root);
    let mut missing: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(component) = todo.pop_front() {
        match component.as_slice() {
            b"." => continue,
            b".." => {
                if missing.pop().is_none() {
                    at.truncate(path::parent(&at).len());
                    node = view.lstat(&at)?.unwrap_or_else(Node::root);
                }
                continue;
            }
            _ if !missing.is_empty() => {
                missing.push(component);
                continue;
            }
            _ => {}
        }
        if !node.is_dir() {
            return Err(Error::NotADirectory { path: to_path(&at) });
        }
        let next = path::join(&at, &component);
        let Some(found) = view.lstat(&next)? else {
            missing.push(component);
            continue;
        };
        let follow = last == Follow::Last || !todo.is_empty();
        match &found.kind {
            NodeKind::Symlink { target } if follow => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Error::TooManyLinks {
                        path: to_path(path),
                    });
                }
                if target.starts_with(b"/") {
                    at.clear();
                    node = view.lstat(b"")?.unwrap_or_else(Node::root);
                }
                for part in path::components(target).rev() {
                    todo.push_front(part.to_vec());
                }
            }
            _ => (at, node) = (next, found),
        }
    }
    Ok(Resolved {
        path: at,
        node,
        missing,
    })
}

#[cfg(test)]
mod tests;
