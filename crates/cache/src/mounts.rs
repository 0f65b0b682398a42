//! Cache mounts that travel: a snapshot of one's directory, and filling a new one from it.
//!
//! A *snapshot* is a list (paths with their metadata, and of which chunks files consist) and *packs* of chunks:
//! blobs like all others of a cache. Files are cut where their content says so, so that a snapshot adds packs
//! for what has changed only; of what is no longer used much is packed anew. Nothing here decides whose
//! snapshot is believed: every chunk that is restored has the digest that the list names, the list the one
//! that the entry names.

mod chunker;
mod entry;
mod known;
mod list;
mod pack;
mod recall;
mod restore;
mod snapshot;
mod taking;

pub use entry::MountEntry;
pub use restore::{Restored, restore};
pub use snapshot::{Snapshot, snapshot};
pub use taking::Taking;

use rbuild_progress::CancelToken;
use rbuild_store::Store;

use crate::backend::Backend;
use crate::{Error, Result};

/// Largest list that is read, in bytes.
const MAX_LIST: u64 = 128 << 20;

/// What the files of a mount may hold where nobody says otherwise, in bytes.
pub const DEFAULT_MAX_BYTES: u64 = 2 << 30;

/// What indexes call a mount that the store calls `name`: with other rights files have other owners, so
/// that it is another mount.
pub fn mount_name(rung: &str, name: &str) -> String {
    format!("{rung}{name}")
}

/// Brings the list of an entry into the store, and reads it.
fn read_list(
    entry: &MountEntry,
    backend: &dyn Backend,
    store: &Store,
    cancel: &CancelToken,
) -> Result<list::List> {
    let place = || backend.name().to_owned();
    if entry.list.size > MAX_LIST {
        return Err(Error::TooLarge {
            place: place(),
            what: "list of files",
            limit: MAX_LIST,
        });
    }
    let digest = &entry.list.digest;
    if !store.has_blob(digest) {
        backend.fetch(&entry.list.descriptor(), store, &|_| {}, cancel)?;
    }
    let blob = store.read_blob(digest, MAX_LIST)?;
    let list = list::List::decode(&blob).map_err(|reason| Error::Document {
        place: place(),
        what: "list of files",
        reason,
    })?;
    // What an index names is what a place keeps, and what was signed.
    match list.packs.iter().all(|pack| entry.packs.contains(pack)) {
        true => Ok(list),
        false => Err(Error::Document {
            place: place(),
            what: "list of files",
            reason: "it names a pack that its entry does not".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
