//! A checked out directory as a layer to be made.

use std::path::Path;
use std::time::SystemTime;

use rbuild_layer::{
    ContentDigest, Entry, FileView, Kind, Mtime, NewEntry, NewLayer, Node, NodeKind, path,
};
use rbuild_pattern::IgnoreSet;
use rbuild_progress::CancelToken;
use rbuild_store::Store;

use crate::http::RemoteLimits;
use crate::{Error, Ignore, LocalContext, Result};

/// What is taken of a directory.
pub(super) struct What {
    /// What messages call it.
    pub name: String,
    /// Whether `.git` is taken.
    pub git_dirs: bool,
    /// Time of everything, in seconds since 1970; `None` is now.
    pub time: Option<i64>,
    /// What is taken at most.
    pub limits: RemoteLimits,
}

struct Walk<'a> {
    view: &'a LocalContext,
    what: &'a What,
    time: Mtime,
    cancel: &'a CancelToken,
    entries: Vec<NewEntry>,
    bytes: u64,
}

/// Reads what is in `root`: owners 0:0, modes 0755 and 0644 as git knows them.
pub(super) fn read(
    root: &Path,
    what: &What,
    (store, cancel): (&Store, &CancelToken),
) -> Result<NewLayer> {
    let nothing = Ignore {
        set: IgnoreSet::default(),
        name: String::new(),
    };
    let view = LocalContext::open(root, nothing, store)?;
    let time = match what.time {
        Some(secs) => Mtime::from_secs(secs),
        None => Mtime::from(SystemTime::now()),
    };
    let mut walk = Walk {
        view: &view,
        what,
        time,
        cancel,
        entries: Vec::new(),
        bytes: 0,
    };
    walk.dir(b"")?;
    Ok(NewLayer {
        entries: walk.entries,
    })
}

impl Walk<'_> {
    fn dir(&mut self, dir: &[u8]) -> Result<()> {
        self.cancel.check()?;
        for name in self.view.read_dir(dir)? {
            // Also in submodules, where it is a file that leads nowhere.
            if name == b".git" && !self.what.git_dirs {
                continue;
            }
            let file = path::join(dir, &name);
            let Some(node) = self.view.lstat(&file)? else {
                continue;
            };
            self.take(&file, &node)?;
            if node.is_dir() {
                self.dir(&file)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, file: &[u8], node: &Node) -> Result<()> {
        let is_program = node.is_dir() || node.mode & 0o100 != 0;
        let mode = if is_program { 0o755 } else { 0o644 };
        let entry = |kind, mode| Entry::new(file, kind, mode, self.time);
        let taken = match &node.kind {
            NodeKind::Dir => NewEntry::plain(entry(Kind::dir(), mode)),
            NodeKind::Symlink { target } => {
                let target = target.clone();
                NewEntry::plain(entry(Kind::Symlink { target }, 0o777))
            }
            NodeKind::File { size } => {
                self.bytes = self.bytes.saturating_add(*size);
                let kind = Kind::File {
                    size: *size,
                    content: ContentDigest::empty(),
                };
                NewEntry::learned(entry(kind, mode), self.view.bytes(file)?)
            }
            // Git makes nothing else.
            _ => return Ok(()),
        };
        self.entries.push(taken);
        let limits = self.what.limits;
        if self.bytes > limits.unpacked_bytes {
            return Err(Error::TooLarge {
                what: self.what.name.clone(),
                limit: limits.unpacked_bytes,
            });
        }
        if self.entries.len() as u64 > limits.entries {
            return Err(Error::TooMany {
                what: self.what.name.clone(),
                limit: limits.entries,
            });
        }
        Ok(())
    }
}
