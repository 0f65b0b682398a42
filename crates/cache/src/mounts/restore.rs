//! Filling a new directory of a cache mount from a snapshot.
//!
//! Three things go on side by side: packs come, in the order in which they are needed; what is there is
//! unpacked and checked, a little ahead; and files are made of it, in order.

mod flow;
mod frames;
mod packs;

use std::io::{self, Write};
use std::path::Path;
use std::thread::{self, Builder};

use rbuild_layer::LayerStore;
use rbuild_progress::CancelToken;

use super::entry::MountEntry;
use super::read_list;
use crate::backend::Backend;
use crate::{Error, Result};
use frames::Frames;
use packs::Packs;

/// What was restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// How many files, directories and links.
    pub entries: usize,
    /// What its files hold, in bytes.
    pub bytes: u64,
    /// What was fetched for it, in bytes.
    pub fetched_bytes: u64,
}

/// Fills `dir`, which is a new and empty directory of a cache mount, from a snapshot.
///
/// Errors: those of the place; a list, chunk or size that cannot be meant; those of making files. The
/// directory is then as new and empty as it was.
pub fn restore(
    entry: &MountEntry,
    (backend, layers): (&dyn Backend, &LayerStore),
    (dir, max_bytes): (&Path, u64),
    cancel: &CancelToken,
) -> Result<Restored> {
    let restored = filled(entry, (backend, layers), (dir, max_bytes), cancel);
    if restored.is_err() {
        layers.store().empty_directory(dir)?;
    }
    restored
}

fn filled(
    entry: &MountEntry,
    (backend, layers): (&dyn Backend, &LayerStore),
    (dir, max_bytes): (&Path, u64),
    cancel: &CancelToken,
) -> Result<Restored> {
    let store = layers.store();
    let list = read_list(entry, backend, store, cancel)?;
    let bytes = list.total();
    if bytes > max_bytes {
        return Err(Error::TooLarge {
            place: backend.name().to_owned(),
            what: "cache mount",
            limit: max_bytes,
        });
    }
    let packs = Packs::of(&list, (backend, store, cancel));
    let frames = Frames::of(&list, &packs);
    thread::scope(|scope| {
        let _guard = packs.flow.guard();
        let hand = |work: &'static str| Builder::new().name(work.to_owned());
        let fetchers = (0..packs.hands())
            .map(|_| hand("rbuild-fetch").spawn_scoped(scope, || packs.fetch_all()));
        let unpackers = (0..frames.hands())
            .map(|_| hand("rbuild-unpack").spawn_scoped(scope, || frames.unpack_all()));
        let hands: io::Result<Vec<_>> = fetchers.chain(unpackers).collect();
        let hands = hands.map_err(Error::at("start threads for", Path::new("a cache mount")));
        let planted = hands.and_then(|_| {
            let entries = list.index.entries().to_vec();
            let write = |out: &mut dyn Write| frames.write(out);
            layers.plant((dir, list.top), entries, write, cancel)
        });
        // Those who still fetch or unpack end with what they have begun.
        packs.flow.end();
        planted
    })?;
    Ok(Restored {
        entries: list.index.entries().len(),
        bytes,
        fetched_bytes: packs.fetched() + entry.list.size,
    })
}
