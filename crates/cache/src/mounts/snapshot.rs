//! Taking a snapshot of a cache mount: cut its files, pack what no earlier snapshot has.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rbuild_layer::{DirFiles, Entry, Kind, LayerIndex, Surveyed};
use rbuild_progress::CancelToken;
use rbuild_store::Quiet;

use super::chunker::chunks;
use super::entry::MountEntry;
use super::known::Known;
use super::list::{ChunkId, LIST_TYPE, List};
use super::mount_name;
use super::pack::Packer;
use super::recall::{self, Look, Recall};
use super::taking::Taking;
use crate::entry::BlobRef;
use crate::{Error, Result};

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Snapshot {
    /// There is nothing in it.
    Empty,
    /// Somebody uses it now.
    InUse,
    /// Its files hold more than they may.
    TooLarge {
        /// What they hold.
        bytes: u64,
    },
    /// The first of the previous ones that says just this.
    Unchanged(MountEntry),
    /// A new one.
    New {
        /// What an index is to say.
        entry: MountEntry,
        /// Blobs that the store has now and the place lacks.
        blobs: Vec<BlobRef>,
    },
}

/// Takes a snapshot; nobody uses the mount meanwhile.
///
/// The store keeps the new blobs until [`rbuild_store::Store::release_committed`].
pub fn snapshot(taking: &Taking<'_>, cancel: &CancelToken) -> Result<Snapshot> {
    let store = taking.layers.store();
    let held = match store.quiet_cache_mount(taking.name)? {
        Quiet::Absent => return Ok(Snapshot::Empty),
        Quiet::InUse => return Ok(Snapshot::InUse),
        Quiet::Held(held) => held,
    };
    let begun = SystemTime::now();
    let survey = taking.layers.survey(held.path(), cancel)?;
    let (entries, files) = contents(survey.found);
    let bytes = files.iter().map(|file| file.look.size).sum();
    if entries.is_empty() {
        return Ok(Snapshot::Empty);
    }
    if bytes > taking.max_bytes {
        return Ok(Snapshot::TooLarge { bytes });
    }
    let mut known = Known::of(taking, cancel)?;
    let mut cutting = Cutting {
        files: taking.layers.files_of(held.path())?,
        recall: recall::load(store, taking.name),
        packer: Packer::new(store),
        buffer: Vec::new(),
        cancel,
    };
    let cut = cutting.cut_all(&files, &known)?;
    known.drop_wasteful(&cut);
    cutting.pack_dropped(&files, &cut, &known)?;
    let packed = cutting.packer.finish(known.packs())?;
    drop(held);
    let fresh: Vec<BlobRef> = packed.1.clone();
    known.extend(packed);
    let settled = files.iter().zip(&cut);
    let settled = settled.filter(|(file, _)| file.look.is_settled(begun));
    let settled: Vec<_> = settled
        .map(|(file, ids)| (file.look, ids.as_slice()))
        .collect();
    recall::save(store, taking.name, &settled)?;
    let list = known.list(survey.top, LayerIndex::new(entries)?, &cut)?;
    taking.entry((&list, bytes), &known, fresh)
}

impl Taking<'_> {
    fn entry(
        &self,
        (list, bytes): (&List, u64),
        known: &Known,
        mut blobs: Vec<BlobRef>,
    ) -> Result<Snapshot> {
        let encoded = list.encode().map_err(Error::at(
            "compress",
            Path::new("the list of a cache mount"),
        ))?;
        let blob = BlobRef {
            media_type: LIST_TYPE.to_owned(),
            digest: rbuild_oci::Digest::sha256_of(&encoded),
            size: encoded.len() as u64,
        };
        let mut previous = self.previous.iter();
        let same = previous.find(|entry| entry.list == blob && known.has_list(&blob));
        if let Some(same) = same {
            return Ok(Snapshot::Unchanged(same.clone()));
        }
        self.layers.store().put_blob(&encoded)?;
        blobs.insert(0, blob.clone());
        let entry = MountEntry {
            name: mount_name(self.rung, self.name),
            scope: self.scope.to_owned(),
            writer: self.writer.to_owned(),
            created: self.now,
            bytes,
            list: blob,
            packs: list.packs.clone(),
        };
        Ok(Snapshot::New { entry, blobs })
    }
}

/// A regular file of the mount.
struct Found {
    path: Vec<u8>,
    look: Look,
}

/// What of a directory travels, and its regular files, both in order.
///
/// Devices, sockets and overlay's marks do not. Of several names of a file the first has the bytes.
fn contents(found: Vec<Surveyed>) -> (Vec<Entry>, Vec<Found>) {
    let mut leaders: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    let (mut entries, mut files) = (Vec::with_capacity(found.len()), Vec::new());
    for Surveyed {
        mut entry,
        links,
        stamp,
    } in found
    {
        match entry.kind {
            Kind::Dir { .. } => entry.kind = Kind::dir(),
            Kind::Symlink { .. } | Kind::Fifo => {}
            Kind::File { size, .. } => {
                let leader = links.and_then(|inode| leaders.get(&inode));
                if let Some(leader) = leader.cloned() {
                    entry.kind = Kind::Hardlink { leader };
                } else {
                    leaders.extend(links.map(|inode| (inode, entry.path.clone())));
                    let mtime = entry.mtime;
                    files.push(Found {
                        path: entry.path.clone(),
                        look: Look { stamp, mtime, size },
                    });
                }
            }
            Kind::Hardlink { .. }
            | Kind::Char { .. }
            | Kind::Block { .. }
            | Kind::Socket
            | Kind::Whiteout => continue,
        }
        entries.push(entry);
    }
    (entries, files)
}

/// Cuts files into chunks.
struct Cutting<'a> {
    files: DirFiles,
    recall: Recall,
    packer: Packer<'a>,
    buffer: Vec<u8>,
    cancel: &'a CancelToken,
}

impl Cutting<'_> {
    /// The chunks of all files; those that are not known go to the packer.
    fn cut_all(&mut self, files: &[Found], known: &Known) -> Result<Vec<Vec<ChunkId>>> {
        let mut all = Vec::with_capacity(files.len());
        for file in files {
            self.cancel.check()?;
            let is_there = |id: &ChunkId| known.has(id) || self.packer.has(id);
            let remembered = self.recall.get(&file.look);
            all.push(match remembered.filter(|ids| ids.iter().all(is_there)) {
                Some(ids) => ids.clone(),
                None => self.cut(file, |id| !known.has(id))?,
            });
        }
        Ok(all)
    }

    /// Packs chunks that are known no longer.
    fn pack_dropped(&mut self, files: &[Found], cut: &[Vec<ChunkId>], known: &Known) -> Result<()> {
        for (file, ids) in files.iter().zip(cut) {
            if ids.iter().all(|id| known.has(id) || self.packer.has(id)) {
                continue;
            }
            if self.cut(file, |id| !known.has(id))? != *ids {
                return Err(changed(&file.path));
            }
        }
        Ok(())
    }

    /// The chunks of a file; those of which `is_new` holds go to the packer.
    fn cut(&mut self, file: &Found, is_new: impl Fn(&ChunkId) -> bool) -> Result<Vec<ChunkId>> {
        let mut ids = Vec::new();
        if file.look.size == 0 {
            return Ok(ids);
        }
        let mut input = self.files.open(&file.path)?;
        let mut size = 0;
        let packer = &mut self.packer;
        chunks(&mut input, &mut self.buffer, |bytes| {
            self.cancel.check().map_err(Fail::cancelled)?;
            let id = *blake3::hash(bytes).as_bytes();
            if is_new(&id) {
                packer.add(id, bytes).map_err(Fail)?;
            }
            ids.push(id);
            size += bytes.len() as u64;
            Ok(())
        })
        .map_err(|Fail(error)| match error {
            Error::Io { source, .. } => Error::at("read", &shown(&file.path))(source),
            other => other,
        })?;
        match size == file.look.size {
            true => Ok(ids),
            false => Err(changed(&file.path)),
        }
    }
}

/// An error of ours where one of the system's may come too.
struct Fail(Error);

impl Fail {
    fn cancelled(_: rbuild_progress::Cancelled) -> Self {
        Self(Error::Cancelled)
    }
}

impl From<io::Error> for Fail {
    fn from(source: io::Error) -> Self {
        Self(Error::at("read", Path::new("a file"))(source))
    }
}

fn shown(path: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(path).into_owned())
}

fn changed(path: &[u8]) -> Error {
    Error::at("read", &shown(path))(io::Error::other("it changed meanwhile"))
}
