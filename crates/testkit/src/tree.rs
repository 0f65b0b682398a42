//! Trees as data: a list of entries that is written below a directory.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    lsetxattr, makedev, mknodat, utimensat,
};

/// What one entry of a [`Tree`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A regular file with these bytes.
    File(Vec<u8>),
    /// A directory.
    Dir,
    /// A symbolic link to this target, stored as it stands.
    Symlink(String),
    /// One more name of the file with this path in the same tree; the path must come earlier.
    Hardlink(String),
    /// A character device with these numbers; needs privilege.
    Char(u32, u32),
    /// A block device with these numbers; needs privilege.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

#[derive(Clone, Debug)]
struct Entry {
    path: String,
    node: Node,
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
    mtime: Option<i64>,
    xattrs: Vec<(String, Vec<u8>)>,
}

/// A description of files, written in the order in which they were added.
///
/// ```
/// let dir = rbuild_testkit::TempDir::new();
/// rbuild_testkit::Tree::new()
///     .file("src/main.c", "int main(void) { return 0; }\n")
///     .file("run.sh", "#!/bin/sh\n").mode(0o755)
///     .symlink("latest", "src/main.c")
///     .write_to(&dir);
/// assert!(dir.join("latest").exists());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tree {
    entries: Vec<Entry>,
}

impl Tree {
    /// Returns a description without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry; missing parents are made as mode 0755 when the tree is written.
    #[must_use]
    pub fn entry(mut self, path: &str, node: Node) -> Self {
        self.entries.push(Entry {
            path: path.to_owned(),
            node,
            mode: None,
            owner: None,
            mtime: None,
            xattrs: Vec::new(),
        });
        self
    }

    /// Adds a regular file of mode 0644.
    #[must_use]
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, Node::File(content.as_ref().to_vec()))
    }

    /// Adds a directory of mode 0755.
    #[must_use]
    pub fn dir(self, path: &str) -> Self {
        self.entry(path, Node::Dir)
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, Node::Symlink(target.to_owned()))
    }

    /// Adds one more name of the earlier file `leader`.
    #[must_use]
    pub fn hardlink(self, path: &str, leader: &str) -> Self {
        self.entry(path, Node::Hardlink(leader.to_owned()))
    }

    /// Sets the permission bits (07777) of the entry added last.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.last().mode = Some(mode);
        self
    }

    /// Sets the owner of the entry added last; needs privilege.
    #[must_use]
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.last().owner = Some((uid, gid));
        self
    }

    /// Sets the modification time of the entry added last, in seconds since 1970.
    #[must_use]
    pub fn mtime(mut self, seconds: i64) -> Self {
        self.last().mtime = Some(seconds);
        self
    }

    /// Sets an extended attribute of the entry added last.
    #[must_use]
    pub fn xattr(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.last()
            .xattrs
            .push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Writes the entries below `root`, which must exist.
    pub fn write_to(&self, root: impl AsRef<Path>) {
        let root = root.as_ref();
        for entry in &self.entries {
            write_entry(root, entry)
                .unwrap_or_else(|error| panic!("write {} of a test tree: {error}", entry.path));
        }
        // Times last, deepest first: writing an entry changes the time of its directory.
        for entry in self.entries.iter().rev() {
            if let Some(seconds) = entry.mtime {
                set_mtime(&root.join(&entry.path), seconds)
                    .unwrap_or_else(|error| panic!("set the time of {}: {error}", entry.path));
            }
        }
    }

    fn last(&mut self) -> &mut Entry {
        self.entries
            .last_mut()
            .expect("an attribute follows the entry it belongs to")
    }
}

fn write_entry(root: &Path, entry: &Entry) -> io::Result<()> {
    let path = root.join(&entry.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match &entry.node {
        Node::File(bytes) => fs::write(&path, bytes)?,
        Node::Dir => fs::create_dir_all(&path)?,
        Node::Symlink(target) => symlink(target, &path)?,
        Node::Hardlink(leader) => fs::hard_link(root.join(leader), &path)?,
        Node::Char(major, minor) => node(&path, FileType::CharacterDevice, *major, *minor)?,
        Node::Block(major, minor) => node(&path, FileType::BlockDevice, *major, *minor)?,
        Node::Fifo => node(&path, FileType::Fifo, 0, 0)?,
    }
    if let Some((uid, gid)) = entry.owner {
        let ids = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        chownat(CWD, &path, ids.0, ids.1, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    for (name, value) in &entry.xattrs {
        let name = CString::new(name.as_str())?;
        lsetxattr(&path, &name, value, XattrFlags::empty())?;
    }
    // After the owner: chown clears the set-id bits. A link has no mode of its own.
    match (&entry.node, entry.mode) {
        (Node::Symlink(_) | Node::Hardlink(_), None) => Ok(()),
        (node, mode) => {
            let plain = if *node == Node::Dir { 0o755 } else { 0o644 };
            let mode = Mode::from_raw_mode(mode.unwrap_or(plain));
            Ok(chmodat(CWD, &path, mode, AtFlags::empty())?)
        }
    }
}

fn node(path: &Path, kind: FileType, major: u32, minor: u32) -> io::Result<()> {
    Ok(mknodat(
        CWD,
        path,
        kind,
        Mode::from_raw_mode(0o600),
        makedev(major, minor),
    )?)
}

fn set_mtime(path: &Path, seconds: i64) -> io::Result<()> {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Returns the target of a symbolic link as bytes, for listings.
pub(crate) fn link_target(path: &Path) -> io::Result<Vec<u8>> {
    Ok(fs::read_link(path)?.as_os_str().as_bytes().to_vec())
}

/// Returns a name for the inode behind `meta`, equal for all names of one file.
pub(crate) fn inode(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}
