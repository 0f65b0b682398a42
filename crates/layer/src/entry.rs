//! One line of a layer's index: a path, what it is, and its metadata.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::ContentDigest;

/// Extended attributes by name, without those that never enter a layer (see `xattr`).
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// A modification time: whole seconds since 1970 (rounded down) and nanoseconds after that.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Mtime {
    /// Seconds since the epoch; negative before it.
    pub secs: i64,
    /// 0 to 999 999 999, always counted forwards.
    pub nanos: u32,
}

impl Mtime {
    /// Whole seconds.
    pub fn from_secs(secs: i64) -> Self {
        Self { secs, nanos: 0 }
    }
}

impl From<SystemTime> for Mtime {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self {
                secs: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                nanos: after.subsec_nanos(),
            },
            Err(before) => {
                let before = before.duration();
                let secs = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_nanos() {
                    0 => Self::from_secs(-secs),
                    nanos => Self {
                        secs: (-secs).saturating_sub(1),
                        nanos: 1_000_000_000 - nanos,
                    },
                }
            }
        }
    }
}

impl From<Mtime> for SystemTime {
    fn from(time: Mtime) -> Self {
        let whole = Duration::from_secs(time.secs.unsigned_abs());
        let base = if time.secs < 0 {
            UNIX_EPOCH.checked_sub(whole)
        } else {
            UNIX_EPOCH.checked_add(whole)
        };
        base.and_then(|base| base.checked_add(Duration::from_nanos(time.nanos.into())))
            .unwrap_or(UNIX_EPOCH)
    }
}

/// One entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path without a leading slash, never empty, no `.`, `..` or empty component.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-id and sticky: `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When it was last modified.
    pub mtime: Mtime,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Entry {
    /// An entry that belongs to 0:0, with the given mode and time and no attributes.
    pub fn new(path: impl Into<Vec<u8>>, kind: Kind, mode: u32, mtime: Mtime) -> Self {
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime,
            xattrs: Xattrs::new(),
        }
    }

    /// A mark that hides whatever the layers below have at `path`.
    pub fn whiteout(path: impl Into<Vec<u8>>, mtime: Mtime) -> Self {
        Self::new(path, Kind::Whiteout, 0, mtime)
    }
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// Digest of its bytes.
        content: ContentDigest,
    },
    /// Another name of a file. The metadata of the entry repeats the leader's.
    Hardlink {
        /// Path of the name that has the bytes: in this layer and earlier in order, or, in pulled
        /// layers only, a file of the layers below.
        leader: Vec<u8>,
    },
    /// A directory.
    Dir {
        /// Hides what the layers below have in it.
        opaque: bool,
        /// Not in the archive: it only holds other entries, and its metadata comes from below.
        implied: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Its text, as is.
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
    /// A socket: seen in views of local directories, never stored in a layer.
    Socket,
    /// Hides this path of the layers below.
    Whiteout,
}

impl Kind {
    /// A directory that is in the archive and hides nothing.
    pub fn dir() -> Self {
        Self::Dir {
            opaque: false,
            implied: false,
        }
    }

    /// Whether it is a directory of any sort.
    pub fn is_dir(&self) -> bool {
        matches!(self, Self::Dir { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_count_nanoseconds_forwards() {
        let time = UNIX_EPOCH - Duration::from_millis(1250);
        let mtime = Mtime::from(time);
        assert_eq!(
            mtime,
            Mtime {
                secs: -2,
                nanos: 750_000_000
            }
        );
        assert_eq!(SystemTime::from(mtime), time);
    }

    #[test]
    fn times_after_the_epoch_round_trip() {
        let time = UNIX_EPOCH + Duration::new(1_700_000_000, 5);
        assert_eq!(SystemTime::from(Mtime::from(time)), time);
    }
}
