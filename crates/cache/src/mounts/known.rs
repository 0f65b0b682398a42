//! What a place has already of a cache mount, and where all of a new snapshot lies.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;

use rbuild_layer::{LayerIndex, Top};
use rbuild_oci::Descriptor;
use rbuild_progress::CancelToken;

use super::entry::MountEntry;
use super::list::{Chunk, ChunkId, Frame, List};
use super::pack::Place;
use super::taking::Taking;
use super::{mount_name, read_list};
use crate::entry::{BlobRef, Entry};
use crate::{Error, Result};

/// Packs below this size are many after a while.
const SMALL: u64 = 1 << 20;

/// Most small packs that a snapshot keeps; with more they are made one.
const MANY: usize = 8;

/// The chunks that the place has already.
#[derive(Default)]
pub(super) struct Known {
    packs: Vec<BlobRef>,
    places: HashMap<ChunkId, Place>,
    /// The lists of snapshots that are whole.
    lists: Vec<BlobRef>,
}

impl Known {
    /// What previous snapshots have. One that cannot be read, or of which something is gone, has nothing.
    pub fn of(taking: &Taking<'_>, cancel: &CancelToken) -> Result<Self> {
        let mut known = Self::default();
        let name = mount_name(taking.rung, taking.name);
        let previous = taking.previous.iter();
        let previous: Vec<&MountEntry> = previous.filter(|entry| entry.name == name).collect();
        let blobs: BTreeSet<BlobRef> = previous.iter().flat_map(|one| one.blobs()).collect();
        let blobs: Vec<Descriptor> = blobs.iter().map(BlobRef::descriptor).collect();
        if blobs.is_empty() {
            return Ok(known);
        }
        let present = taking.backend.present(&blobs, cancel)?;
        for entry in previous {
            let mut blobs = entry.blobs().into_iter();
            if !blobs.all(|blob| present.contains(&blob.digest)) {
                continue;
            }
            match read_list(entry, taking.backend, taking.layers.store(), cancel) {
                Ok(list) => {
                    known.add(&list);
                    known.lists.push(entry.list.clone());
                }
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => tracing::debug!(%error, "a snapshot cannot be built upon"),
            }
        }
        Ok(known)
    }

    /// Whether a list is whole in the place.
    pub fn has_list(&self, list: &BlobRef) -> bool {
        self.lists.contains(list)
    }

    fn add(&mut self, list: &List) {
        for at in 0..list.chunks.len() {
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            let Some((chunk, frame, pack)) = list.place(at) else {
                continue;
            };
            if self.places.contains_key(&chunk.id) {
                continue;
            }
            let position = self.packs.iter().position(|known| known == pack);
            let position = position.unwrap_or_else(|| {
                self.packs.push(pack.clone());
                self.packs.len() - 1
            });
            let place = Place {
                pack: position,
                offset: frame.offset,
                stored: frame.stored,
                raw: frame.raw,
                at: chunk.at,
                length: chunk.length,
            };
            self.places.insert(chunk.id, place);
        }
    }

    pub fn has(&self, id: &ChunkId) -> bool {
        self.places.contains_key(id)
    }

    /// Forgets packs of which less than half is still of use, and small ones if there are many.
    pub fn drop_wasteful(&mut self, cut: &[Vec<ChunkId>]) {
        let mut used: BTreeMap<usize, u64> = BTreeMap::new();
        let distinct: HashSet<&ChunkId> = cut.iter().flatten().collect();
        for place in distinct.iter().filter_map(|id| self.places.get(*id)) {
            let share = u64::from(place.stored) * u64::from(place.length);
            *used.entry(place.pack).or_default() += share / u64::from(place.raw.max(1));
        }
        let size = |pack: &usize| self.packs.get(*pack).map_or(0, |pack| pack.size);
        let wasteful = used.iter().filter(|(pack, used)| **used * 2 < size(pack));
        let mut dropped: HashSet<usize> = wasteful.map(|(pack, _)| *pack).collect();
        let small = used.keys().filter(|pack| size(pack) < SMALL);
        let small: Vec<usize> = small.copied().collect();
        if small.len() > MANY {
            dropped.extend(small);
        }
        self.places
            .retain(|_, place| !dropped.contains(&place.pack));
    }

    /// How many packs there are: the position of the next one.
    pub fn packs(&self) -> usize {
        self.packs.len()
    }

    /// Adds what was packed.
    pub fn extend(&mut self, (places, packs): (HashMap<ChunkId, Place>, Vec<BlobRef>)) {
        self.packs.extend(packs);
        self.places.extend(places);
    }

    /// The list of files that were cut, over what is known, in the order of its first use.
    pub fn list(&self, top: Top, index: LayerIndex, cut: &[Vec<ChunkId>]) -> Result<List> {
        let mut list = List {
            top,
            index,
            packs: Vec::new(),
            frames: Vec::new(),
            chunks: Vec::new(),
            files: Vec::with_capacity(cut.len()),
        };
        let mut packs = Numbers::default();
        let mut frames = Numbers::default();
        let mut numbers: HashMap<ChunkId, u32> = HashMap::new();
        for ids in cut {
            let mut file = Vec::with_capacity(ids.len());
            for id in ids {
                if let Some(number) = numbers.get(id) {
                    file.push(*number);
                    continue;
                }
                let place = self.places.get(id).ok_or_else(lost)?;
                let pack = packs.of(place.pack);
                let frame = frames.of((place.pack, place.offset));
                if frame as usize == list.frames.len() {
                    list.frames.push(Frame {
                        pack,
                        offset: place.offset,
                        stored: place.stored,
                        raw: place.raw,
                    });
                }
                let number = u32::try_from(list.chunks.len()).map_err(|_| lost())?;
                list.chunks.push(Chunk {
                    id: *id,
                    frame,
                    at: place.at,
                    length: place.length,
                });
                numbers.insert(*id, number);
                file.push(number);
            }
            list.files.push(file);
        }
        let order = packs.order.iter();
        let order = order.filter_map(|pack| self.packs.get(*pack));
        list.packs = order.cloned().collect();
        Ok(list)
    }
}

/// A chunk that was packed and is not there: a mistake of ours.
fn lost() -> Error {
    let source = io::Error::other("a chunk of it is not in any pack");
    Error::at("list", Path::new("a cache mount"))(source)
}

/// Numbers in the order in which things come.
struct Numbers<T> {
    order: Vec<T>,
    known: HashMap<T, u32>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self {
            order: Vec::new(),
            known: HashMap::new(),
        }
    }
}

impl<T: Copy + Eq + std::hash::Hash> Numbers<T> {
    fn of(&mut self, thing: T) -> u32 {
        let next = u32::try_from(self.order.len()).unwrap_or(u32::MAX);
        *self.known.entry(thing).or_insert_with(|| {
            self.order.push(thing);
            next
        })
    }
}
