//! What `du` lists and `prune` takes: layers, downloaded files and cache mounts, each with what it is worth.

use std::fmt;
use std::time::{Duration, SystemTime};

use rbuild_layer::LayerId;
use rbuild_oci::Digest;

/// What a person may call an entry of the cache by; unique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EntryKey {
    /// A layer.
    Layer(LayerId),
    /// A downloaded file.
    File(Digest),
    /// A cache mount, by its full id.
    Mount(String),
}

impl EntryKey {
    /// The short name: hexadecimal digits, for a mount those of its directory.
    pub fn id(&self) -> String {
        match self {
            EntryKey::Layer(layer) => layer.to_string(),
            EntryKey::File(digest) => digest.hex().to_owned(),
            EntryKey::Mount(id) => Digest::sha256_of(id.as_bytes()).hex().to_owned(),
        }
    }

    /// What its uses are noted under.
    pub fn use_name(&self) -> String {
        match self {
            EntryKey::Layer(layer) => layer.to_string(),
            EntryKey::File(digest) => format!("blob {digest}"),
            EntryKey::Mount(id) => format!("mount {id}"),
        }
    }
}

/// What an entry is, in BuildKit's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheKind {
    /// The result of a step, a pulled layer, a downloaded file.
    Regular,
    /// Files of a local directory that a step mounts.
    SourceLocal,
    /// Files of a git repository.
    SourceGit,
    /// A cache mount.
    CacheMount,
    /// What nothing leads to any more.
    Internal,
}

impl fmt::Display for CacheKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CacheKind::Regular => "regular",
            CacheKind::SourceLocal => "source.local",
            CacheKind::SourceGit => "source.git.checkout",
            CacheKind::CacheMount => "exec.cachemount",
            CacheKind::Internal => "internal",
        })
    }
}

/// One thing in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// Hexadecimal digits that name it.
    pub id: String,
    /// What it is.
    pub kind: CacheKind,
    /// The step that made it, or where it came from.
    pub description: String,
    /// Allocated disk space in bytes, what it shares with an entry before it left out.
    pub size_bytes: u64,
    /// When it was made or fetched, if that is known.
    pub created: Option<SystemTime>,
    /// When a build used it last, to the minute; `None` if no build noted it.
    pub last_used: Option<SystemTime>,
    /// How often builds used it, counted once a minute at most.
    pub uses: u64,
    /// How long making it took; zero where nobody knows.
    pub cost: Duration,
    /// Whether an image with a name, or a push to be resumed, holds it as well.
    pub shared: bool,
    /// Whether a running process uses it.
    pub in_use: bool,
    pub(crate) key: EntryKey,
}

impl CacheEntry {
    /// Whether removing it frees its space.
    pub fn is_reclaimable(&self) -> bool {
        !self.shared && !self.in_use
    }

    /// How long nobody used it; since it was made, if nobody ever did.
    pub fn idle(&self, now: SystemTime) -> Duration {
        let last = self.last_used.max(self.created);
        // A time to come is now; what has no time at all is as old as can be.
        last.map_or(Duration::MAX, |last| {
            now.duration_since(last).unwrap_or_default()
        })
    }
}
