//! The file op: COPY, ADD and WORKDIR, as actions that together make one layer.
//!
//! Paths are texts with `/` between components, as Dockerfiles have them.

use serde::{Deserialize, Serialize};

/// Actions over one root file system that together make exactly one new layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOp {
    /// Input that is the root file system; `None` is an empty root.
    pub base: Option<usize>,
    /// `--link`: computed on an empty root, then stacked over `base`, whose files are never seen.
    pub link: bool,
    /// In order; not empty.
    pub actions: Vec<FileAction>,
}

/// One step of a file op.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum FileAction {
    /// Copy files of an input.
    Copy(CopyAction),
    /// Make a directory with its parents.
    Mkdir(MkdirAction),
    /// Write a file whose bytes are in the op.
    Write(WriteAction),
}

/// Copies files of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyAction {
    /// Which input.
    pub input: usize,
    /// Paths in it, cleaned and absolute, wildcards kept. With `parents`, a `/./` may be left
    /// inside: the part behind it (or the whole, without one) is kept below `dest` and is a
    /// pattern of the ignore-file language.
    pub sources: Vec<String>,
    /// Destination, absolute and cleaned, without a slash at the end.
    pub dest: String,
    /// Whether `dest` was written as a directory (`x/`, `x/.`, `.`).
    pub dest_is_dir: bool,
    /// Owner of all that is copied; `None` keeps the source's.
    pub owner: Option<Owner>,
    /// Mode of all that is copied; `None` keeps the source's.
    pub chmod: Option<Chmod>,
    /// `--exclude` patterns, in order, ignore-file language, relative to each source directory.
    pub excludes: Vec<String>,
    /// `--parents`: keep the source's path below `dest`.
    pub parents: bool,
    /// Whether an archive among the sources is unpacked.
    pub unpack: bool,
    /// Whether the input is a directory of the user's: then owners become 0:0.
    pub local: bool,
}

/// A mode as `--chmod` has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chmod {
    /// The permission bits themselves, at most 0o7777.
    Octal(u32),
    /// Changes relative to the source's mode, checked: `u+X,go-rwx`.
    Symbolic(String),
}

/// An owner as `--chown` and USER have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// User.
    pub user: OwnerId,
    /// Group; `None` is the primary group of a user given by name, or the id of a numeric one.
    pub group: Option<OwnerId>,
}

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnerId {
    /// By number.
    Id(u32),
    /// By name, looked up in the base's own `/etc/passwd` or `/etc/group`.
    Name(String),
}

/// Makes a directory with its parents (WORKDIR); an existing one is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MkdirAction {
    /// Absolute and cleaned.
    pub path: String,
    /// Mode of each new directory.
    pub mode: u32,
    /// Owner of each new directory; `None` is 0:0.
    pub owner: Option<Owner>,
    /// Modification time in seconds since 1970; `None` is the time of making.
    pub epoch: Option<i64>,
}

/// Writes a file whose bytes are part of the op (a here-document of COPY or ADD).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteAction {
    /// Name of the file: what it is called when `dest` is a directory.
    pub path: String,
    /// Destination, absolute and cleaned, without a slash at the end.
    pub dest: String,
    /// Whether `dest` was written as a directory.
    pub dest_is_dir: bool,
    /// What it holds.
    pub data: Vec<u8>,
    /// Its mode before `chmod`.
    pub mode: u32,
    /// Its owner; `None` is 0:0.
    pub owner: Option<Owner>,
    /// `--chmod`.
    pub chmod: Option<Chmod>,
}
