//! What an index says of a cache mount.

use serde::{Deserialize, Serialize};

use crate::entry::{BlobRef, Entry};

/// A cache mount as some machine had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountEntry {
    /// Rung and name of the mount in the store, as [`mount_name`](super::mount_name) has it.
    pub name: String,
    /// Which of several parties that share a place it was written for.
    pub scope: String,
    /// Who wrote it, as they call themselves; worth something only where it is signed.
    pub writer: String,
    /// When it was written, in seconds since 1970; of a mount that its writer had not used just then, when it was
    /// last used.
    pub created: u64,
    /// What its files hold, in bytes.
    pub bytes: u64,
    /// The list of what is in it.
    pub list: BlobRef,
    /// The packs that its files are in.
    pub packs: Vec<BlobRef>,
}

impl Entry for MountEntry {
    const KIND: &'static str = "mount";

    fn scope(&self) -> &str {
        &self.scope
    }

    fn created(&self) -> u64 {
        self.created
    }

    fn names(&self) -> Vec<String> {
        vec![self.name.clone()]
    }

    fn blobs(&self) -> Vec<BlobRef> {
        let mut all = vec![self.list.clone()];
        all.extend(self.packs.iter().cloned());
        all
    }
}
