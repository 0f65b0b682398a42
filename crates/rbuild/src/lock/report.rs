//! What making or checking a lock came to.

use std::path::PathBuf;

use rbuild_oci::Platform;

/// What making or checking a lock came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockReport {
    /// The lock.
    pub path: PathBuf,
    /// How many entries it has now.
    pub entries: usize,
    /// What was found, by kind and name; entries that simply stay are left out.
    pub changes: Vec<LockChange>,
    /// Images that are locked by their id in the store: no machine without them can build by the lock.
    pub of_store: Vec<String>,
    /// Images that were not in the store for a check, so that nothing is known of what they trigger.
    pub unseen: Vec<String>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockChange {
    /// What kind of entry.
    pub what: What,
    /// Its name.
    pub name: String,
    /// The platform of an image that it is about; `None` for all of the entry.
    pub platform: Option<Platform>,
    /// What became of it.
    pub entry: LockEntry,
}

/// A kind of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// An image.
    Image,
    /// A file.
    File,
    /// A reference of a repository.
    Git,
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockEntry {
    /// It is new.
    Added {
        /// What it stands for: a digest or a commit.
        to: String,
    },
    /// It stands for something else.
    Moved {
        /// What it stood for.
        from: String,
        /// What it stands for now.
        to: String,
    },
    /// The build needs it, and it is not there.
    Missing {
        /// Lines of the Dockerfile that need it.
        lines: Vec<u32>,
    },
    /// It went: nothing in the Dockerfile can name it, or only this build's entries were wanted.
    Removed,
    /// Nothing in the Dockerfile can name it.
    Stale,
    /// This build does not need it, but one with other arguments could.
    Unneeded,
}

impl LockReport {
    /// Whether the lock has all that the build needs, and nothing that no build could.
    pub fn is_good(&self) -> bool {
        let bad = |change: &LockChange| {
            matches!(change.entry, LockEntry::Missing { .. } | LockEntry::Stale)
        };
        !self.changes.iter().any(bad)
    }
}
