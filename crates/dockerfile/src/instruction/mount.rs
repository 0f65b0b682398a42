//! RUN --mount: the option list before and after expansion.

use crate::word::Word;

/// One `--mount` flag as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    /// The option list, unexpanded.
    pub raw: Word,
    /// The value of `from`, which is never expanded; what the stage depends on.
    pub from: Option<String>,
}

/// A mount after expansion of its option values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `type`.
    pub kind: MountKind,
    /// `from`; empty when not given.
    pub from: String,
    /// `source`; empty when not given.
    pub source: String,
    /// `target`; empty when not given.
    pub target: String,
    /// Whether the mount cannot be written to, after the default of its type.
    pub read_only: bool,
    /// `size` of a tmpfs, in bytes; 0 when not given.
    pub size_bytes: i64,
    /// `id`; empty when not given.
    pub id: String,
    /// `sharing` of a cache.
    pub sharing: Option<Sharing>,
    /// `required` of a secret or ssh mount.
    pub required: bool,
    /// `env` of a secret.
    pub env: Option<String>,
    /// `mode`.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
}

/// The type of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MountKind {
    /// Files of a stage, an image or the context.
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// A directory in memory.
    Tmpfs,
    /// A file or variable that must not get into the image.
    Secret,
    /// An agent socket.
    Ssh,
}

/// Who may use a cache mount at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sharing {
    /// Everyone.
    Shared,
    /// One each; a second user gets a fresh one.
    Private,
    /// One after the other.
    Locked,
}
