//! Filling a new directory of a cache mount from a snapshot.
//!
//! Packs come several at once, in the order in which they are needed, while what is there already is
//! unpacked into files.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rbuild_layer::LayerStore;
use rbuild_progress::CancelToken;
use rbuild_store::Store;

use super::entry::MountEntry;
use super::list::{List, MAX_FRAME};
use super::read_list;
use crate::backend::Backend;
use crate::entry::BlobRef;
use crate::{Error, Result};

/// Packs that are fetched at the same time.
const AT_ONCE: usize = 4;

/// Unpacked frames that are kept: files that have not changed lie in one after the other.
const FRAMES: usize = 8;

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
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(packs.order.len()) {
            scope.spawn(|| packs.fetch_all());
        }
        let entries = list.index.entries().to_vec();
        let write = |out: &mut dyn Write| Unpacking::new(&list, &packs).write(out);
        let planted = layers.plant((dir, list.top), entries, write, cancel);
        // Those who still fetch end with what they have begun.
        packs.is_over.store(true, Ordering::Relaxed);
        planted
    })?;
    Ok(Restored {
        entries: list.index.entries().len(),
        bytes,
        fetched_bytes: packs.fetched.load(Ordering::Relaxed) + entry.list.size,
    })
}

/// The packs of a list on their way into the store.
struct Packs<'a> {
    list: &'a List,
    backend: &'a dyn Backend,
    store: &'a Store,
    cancel: &'a CancelToken,
    /// Positions of packs, in the order in which they are needed.
    order: Vec<u32>,
    next: AtomicUsize,
    is_over: AtomicBool,
    fetched: AtomicU64,
    states: Mutex<HashMap<u32, State>>,
    changed: Condvar,
}

/// How it stands with a pack.
enum State {
    Here,
    /// Why it is not; taken by who asks first.
    Failed(Option<Error>),
}

impl<'a> Packs<'a> {
    fn of(
        list: &'a List,
        (backend, store, cancel): (&'a dyn Backend, &'a Store, &'a CancelToken),
    ) -> Self {
        let mut seen = BTreeSet::new();
        let used = list.files.iter().flatten();
        let used = used.filter_map(|chunk| Some(list.place(*chunk)?.1.pack));
        let order = used.filter(|pack| seen.insert(*pack)).collect();
        Self {
            list,
            backend,
            store,
            cancel,
            order,
            next: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            fetched: AtomicU64::new(0),
            states: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Fetches one pack after the other, beside others that do the same.
    fn fetch_all(&self) {
        while let Some(pack) = self.order.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let fetched = match self.is_over.load(Ordering::Relaxed) {
                true => return,
                false => self.fetch(*pack),
            };
            let state = match fetched {
                Ok(()) => State::Here,
                Err(error) => {
                    self.is_over.store(true, Ordering::Relaxed);
                    State::Failed(Some(error))
                }
            };
            self.states().insert(*pack, state);
            self.changed.notify_all();
        }
    }

    fn fetch(&self, pack: u32) -> Result<()> {
        let blob = self.blob(pack)?;
        if self.store.has_blob(&blob.digest) {
            return Ok(());
        }
        let descriptor = blob.descriptor();
        self.backend
            .fetch(&descriptor, self.store, &|_| {}, self.cancel)?;
        self.fetched.fetch_add(blob.size, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until a pack is there, and opens it.
    fn open(&self, pack: u32) -> Result<File> {
        let mut states = self.states();
        loop {
            match states.get_mut(&pack) {
                Some(State::Here) => break,
                Some(State::Failed(error)) => return Err(error.take().unwrap_or(Error::Cancelled)),
                None => {}
            }
            // Another one failed, and this one will not come.
            let failed = states.values_mut().find_map(|state| match state {
                State::Failed(error) => error.take(),
                State::Here => None,
            });
            if let Some(error) = failed {
                return Err(error);
            }
            states = self
                .changed
                .wait(states)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(states);
        Ok(self.store.open_blob(&self.blob(pack)?.digest)?)
    }

    fn blob(&self, pack: u32) -> Result<&BlobRef> {
        self.list.packs.get(pack as usize).ok_or_else(lost)
    }

    fn states(&self) -> MutexGuard<'_, HashMap<u32, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the bytes of all files in order.
struct Unpacking<'a> {
    list: &'a List,
    packs: &'a Packs<'a>,
    /// The pack that was read last.
    open: Option<(u32, File)>,
    frames: VecDeque<(u32, Vec<u8>)>,
}

impl<'a> Unpacking<'a> {
    fn new(list: &'a List, packs: &'a Packs<'a>) -> Self {
        Self {
            list,
            packs,
            open: None,
            frames: VecDeque::new(),
        }
    }

    fn write(&mut self, out: &mut dyn Write) -> Result<()> {
        let packs = self.packs;
        for number in self.list.files.iter().flatten() {
            packs.cancel.check()?;
            let (chunk, _, pack) = self.list.place(*number).ok_or_else(lost)?;
            let frame = self.frame(chunk.frame)?;
            let at = chunk.at as usize;
            let bytes = frame.get(at..at + chunk.length as usize);
            let bytes = bytes.filter(|bytes| *blake3::hash(bytes).as_bytes() == chunk.id);
            let bytes = bytes.ok_or_else(|| Error::Corrupt {
                place: packs.backend.name().to_owned(),
                digest: pack.digest.clone(),
                reason: "a chunk in it is not the one that the list names".to_owned(),
            })?;
            out.write_all(bytes)
                .map_err(Error::at("unpack", Path::new("a cache mount")))?;
        }
        Ok(())
    }

    /// A frame, unpacked.
    fn frame(&mut self, number: u32) -> Result<&[u8]> {
        if let Some(at) = self.frames.iter().position(|(known, _)| *known == number) {
            return Ok(self.frames.get(at).map_or(&[], |(_, bytes)| bytes));
        }
        let bytes = self.unpack(number)?;
        self.frames.truncate(FRAMES - 1);
        self.frames.push_front((number, bytes));
        Ok(self.frames.front().map_or(&[], |(_, bytes)| bytes))
    }

    fn unpack(&mut self, number: u32) -> Result<Vec<u8>> {
        let frame = *self.list.frames.get(number as usize).ok_or_else(lost)?;
        let file = match self.open.take() {
            Some((pack, file)) if pack == frame.pack => file,
            _ => self.packs.open(frame.pack)?,
        };
        let (_, file) = self.open.insert((frame.pack, file));
        let mut stored = vec![0; frame.stored as usize];
        let raw = file
            .read_exact_at(&mut stored, frame.offset)
            .and_then(|()| zstd::bulk::decompress(&stored, MAX_FRAME.min(frame.raw as usize)));
        let pack = self.packs.blob(frame.pack)?;
        let damaged = |reason: String| Error::Corrupt {
            place: self.packs.backend.name().to_owned(),
            digest: pack.digest.clone(),
            reason,
        };
        let raw = raw.map_err(|e| damaged(e.to_string()))?;
        match raw.len() == frame.raw as usize {
            true => Ok(raw),
            false => Err(damaged("a frame in it has another length".to_owned())),
        }
    }
}

/// A position that was checked leads nowhere: a mistake of ours.
fn lost() -> Error {
    let source = io::Error::other("its list has changed");
    Error::at("unpack", Path::new("a cache mount"))(source)
}
