//! What a file system looks like to those who only read it: stacks of layers, local directories.

use std::io::Read;
use std::sync::Arc;

use crate::{ContentDigest, LayerId, Mtime, Result, Xattrs};

/// A readable file system.
///
/// Paths are raw bytes without a leading slash, `""` is the root. They are taken literally: no
/// method follows symbolic links (see `resolve` for that) or understands `.` and `..`.
pub trait FileView: Send + Sync {
    /// What is at `path`; `None` if nothing is, also below something that is no directory.
    fn lstat(&self, path: &[u8]) -> Result<Option<Node>>;

    /// The names in a directory, sorted. Errors: `NotFound`, `NotADirectory`.
    fn read_dir(&self, path: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Digest of a regular file's bytes. Errors: `NotFound`, `NotAFile`.
    fn content(&self, path: &[u8]) -> Result<ContentDigest>;

    /// Opens a regular file's bytes. Errors: `NotFound`, `NotAFile`.
    fn open(&self, path: &[u8]) -> Result<Box<dyn Read + Send>>;

    /// A handle by which `LayerStore::commit_files` gets a regular file's bytes later.
    ///
    /// Cheap: opens nothing. Errors: `NotFound`, `NotAFile`.
    fn bytes(&self, path: &[u8]) -> Result<ByteSource>;
}

/// What is at a path of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits with set-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When it was last modified.
    pub mtime: Mtime,
    /// Extended attributes that may enter a layer.
    pub xattrs: Xattrs,
    /// Set if there may be other names of it: equal for all of them within one view.
    pub links: Option<LinkGroup>,
}

impl Node {
    /// The root of a file system that says nothing about its root: 0:0, 0755, the epoch.
    pub fn root() -> Self {
        Self {
            kind: NodeKind::Dir,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: Xattrs::new(),
            links: None,
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == NodeKind::Dir
    }
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
    },
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink {
        /// Its text.
        target: Vec<u8>,
    },
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// Names one inode within a view: device and inode number, or layer and position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkGroup(pub u64, pub u64);

/// Opens the bytes of one file; called at most once for each file that is committed.
pub type Opener = dyn Fn() -> Result<Box<dyn Read + Send>> + Send + Sync;

/// Where the bytes of a regular file come from.
#[derive(Clone)]
pub enum ByteSource {
    /// They are here.
    Inline(Arc<[u8]>),
    /// A call opens them.
    Open(Arc<Opener>),
    /// They are those of a file of a layer.
    InLayer {
        /// The layer.
        layer: LayerId,
        /// The path of the entry that has the bytes: a regular file.
        path: Vec<u8>,
    },
}

impl std::fmt::Debug for ByteSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Self::Open(_) => f.write_str("Open"),
            Self::InLayer { layer, path } => {
                write!(f, "InLayer({layer}, {})", String::from_utf8_lossy(path))
            }
        }
    }
}
