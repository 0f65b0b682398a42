//! The bytes of files of layers, from whichever form is at hand.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, PipeReader, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use rbuild_progress::CancelToken;
use rbuild_store::StagedFile;

use super::{LayerStore, lock};
use crate::beneath::Root;
use crate::job::{Reach, TreeJob};
use crate::path::to_path;
use crate::tree::{ReadItem, encode_reads, open_file};
use crate::{Error, Kind, LayerBytes, LayerId, LayerInfo, Result, tar_write};

/// Most bytes of an offset table.
const MAX_OFFSETS_BYTES: u64 = 1 << 28;

/// A file of a layer whose bytes will be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) layer: LayerId,
    pub(super) path: Vec<u8>,
    pub(super) size: u64,
}

/// Where the bytes of a layer's files can be had.
enum Place {
    /// A blob that holds them at known offsets.
    Blob(File, Arc<[u64]>),
    /// A tree that this process may read.
    Tree(PathBuf),
    /// A tree that only jobs may read.
    FarTree(PathBuf),
}

/// Opens bytes for views, and stops when the build is cancelled.
pub(super) struct StoreBytes {
    pub(super) layers: LayerStore,
    pub(super) cancel: CancelToken,
}

impl LayerBytes for StoreBytes {
    fn open(&self, layer: &LayerId, path: &[u8]) -> Result<Box<dyn Read + Send>> {
        self.layers.open_file(layer, path, &self.cancel)
    }
}

impl LayerStore {
    pub(super) fn bytes(&self, cancel: &CancelToken) -> StoreBytes {
        StoreBytes {
            layers: self.clone(),
            cancel: cancel.clone(),
        }
    }

    /// Opens the bytes of a regular file of a layer's own index.
    fn open_file(
        &self,
        layer: &LayerId,
        path: &[u8],
        cancel: &CancelToken,
    ) -> Result<Box<dyn Read + Send>> {
        let index = self.index(layer, cancel)?;
        let not_a_file = || Error::NotAFile {
            path: to_path(path),
        };
        let at = index.position(path).ok_or_else(not_a_file)?;
        let Some(Kind::File { size, .. }) = index.entries().get(at).map(|entry| &entry.kind) else {
            return Err(not_a_file());
        };
        match self.place(layer, cancel)? {
            Place::Blob(mut file, offsets) => {
                let offset = offsets.get(at).copied().ok_or_else(not_a_file)?;
                file.seek(SeekFrom::Start(offset))
                    .map_err(|source| Error::io("read", to_path(path), source))?;
                Ok(Box::new(file.take(*size)))
            }
            Place::Tree(tree) => Ok(Box::new(open_file(&Root::open(&tree)?, path)?)),
            Place::FarTree(tree) => {
                let file = self.inner.far.open(&self.inner.work, &tree, path)?;
                Ok(Box::new(file))
            }
        }
    }

    /// Where a layer's bytes are; of a pulled one that has neither tree nor pack, a pack is made.
    fn place(&self, layer: &LayerId, cancel: &CancelToken) -> Result<Place> {
        let info = self.info(layer)?;
        if let Some(place) = self.present(&info)? {
            return Ok(place);
        }
        let info = self.make_pack(layer, cancel)?;
        self.present(&info)?.ok_or(Error::Gone { layer: *layer })
    }

    fn present(&self, info: &LayerInfo) -> Result<Option<Place>> {
        if let Some(blob) = info
            .blob
            .as_ref()
            .filter(|blob| self.store().has_blob(blob))
        {
            let file = self.store().open_blob(blob)?;
            return Ok(Some(Place::Blob(file, self.tar_offsets(info)?)));
        }
        if let Some(tree) = self.usable_tree(info) {
            return Ok(Some(match self.inner.work.reach() {
                Reach::Direct => Place::Tree(tree),
                Reach::Forked => Place::FarTree(tree),
            }));
        }
        if let Some(pack) = &info.pack
            && self.store().has_blob(&pack.bytes)
            && self.store().has_blob(&pack.offsets)
        {
            let file = self.store().open_blob(&pack.bytes)?;
            return Ok(Some(Place::Blob(file, self.pack_offsets(info)?)));
        }
        Ok(None)
    }

    fn tar_offsets(&self, info: &LayerInfo) -> Result<Arc<[u64]>> {
        if let Some(offsets) = lock(&self.inner.offsets).get(&info.id) {
            return Ok(Arc::clone(offsets));
        }
        let index = self.index(&info.id, &CancelToken::new())?;
        Ok(self.keep_offsets(&info.id, tar_write::offsets(&index)?))
    }

    fn pack_offsets(&self, info: &LayerInfo) -> Result<Arc<[u64]>> {
        if let Some(offsets) = lock(&self.inner.offsets).get(&info.id) {
            return Ok(Arc::clone(offsets));
        }
        let bytes = match &info.pack {
            Some(pack) => self.store().read_blob(&pack.offsets, MAX_OFFSETS_BYTES)?,
            None => Vec::new(),
        };
        let (offsets, _) = bytes.as_chunks::<8>();
        let offsets = offsets.iter().map(|offset| u64::from_le_bytes(*offset));
        Ok(self.keep_offsets(&info.id, offsets.collect()))
    }

    fn keep_offsets(&self, layer: &LayerId, offsets: Vec<u64>) -> Arc<[u64]> {
        let offsets: Arc<[u64]> = offsets.into();
        lock(&self.inner.offsets).insert(*layer, Arc::clone(&offsets));
        offsets
    }

    /// A staged file with a list for a job, at its start.
    pub(super) fn list_file(&self, bytes: &[u8]) -> Result<StagedFile> {
        let staged = self.store().stage_file()?;
        staged
            .file()
            .write_all(bytes)
            .map_err(|source| Error::io("write", staged.path(), source))?;
        rewind(&staged)?;
        Ok(staged)
    }

    /// Prepares to open many files in this order.
    ///
    /// Those in trees that only jobs may read come through one pipe from one job: a process for
    /// each file would take longer than the files.
    pub(super) fn feed(&self, wanted: &[Wanted], cancel: &CancelToken) -> Result<Feed> {
        let mut feed = Feed {
            layers: self.clone(),
            cancel: cancel.clone(),
            far: VecDeque::new(),
            stream: None,
        };
        if self.inner.work.reach() == Reach::Direct || wanted.is_empty() {
            return Ok(feed);
        }
        let mut roots: Vec<PathBuf> = Vec::new();
        let mut items = Vec::new();
        for file in wanted {
            let Place::FarTree(tree) = self.place(&file.layer, cancel)? else {
                continue;
            };
            let root = match roots.iter().position(|root| *root == tree) {
                Some(root) => root,
                None => {
                    roots.push(tree);
                    roots.len() - 1
                }
            };
            items.push(ReadItem {
                root,
                path: file.path.clone(),
                size: file.size,
            });
            feed.far.push_back(file.clone());
        }
        if !items.is_empty() {
            feed.stream = Some(self.stream_files(roots, &items, cancel)?);
        }
        Ok(feed)
    }

    fn stream_files(
        &self,
        roots: Vec<PathBuf>,
        items: &[ReadItem],
        cancel: &CancelToken,
    ) -> Result<Stream> {
        let list = self.list_file(&encode_reads(items))?;
        let (reader, writer) = io::pipe().map_err(|source| Error::io("make", "a pipe", source))?;
        let (layers, cancel) = (self.clone(), cancel.clone());
        let thread = std::thread::spawn(move || {
            let job = TreeJob::Read { roots };
            let fds = [list.file().as_fd(), writer.as_fd()];
            layers.inner.work.run(&job, &fds, &cancel).map(drop)
        });
        Ok(Stream {
            reader: Arc::new(reader),
            thread,
        })
    }
}

/// Opens files of layers in an order that was announced.
pub(super) struct Feed {
    layers: LayerStore,
    cancel: CancelToken,
    far: VecDeque<Wanted>,
    stream: Option<Stream>,
}

struct Stream {
    reader: Arc<PipeReader>,
    thread: JoinHandle<Result<()>>,
}

impl Feed {
    /// Opens the next file.
    pub(super) fn open(&mut self, layer: &LayerId, path: &[u8]) -> Result<Box<dyn Read + Send>> {
        let is_next = |far: &Wanted| far.layer == *layer && far.path == path;
        if let Some(stream) = &self.stream
            && self.far.front().is_some_and(is_next)
            && let Some(next) = self.far.pop_front()
        {
            let reader = PipePart(Arc::clone(&stream.reader));
            return Ok(Box::new(reader.take(next.size)));
        }
        self.layers.open_file(layer, path, &self.cancel)
    }

    /// Ends the job; its failure is why bytes were missing.
    pub(super) fn finish(mut self) -> Result<()> {
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        let Some(Stream { reader, thread }) = self.stream.take() else {
            return Ok(());
        };
        // First: a job that still writes must not wait for a reader that is gone.
        drop(reader);
        thread.join().unwrap_or_else(|_| {
            Err(Error::TreeWork {
                reason: "the thread that waited for it panicked".to_owned(),
            })
        })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // Nobody hears of it: whoever dropped the feed has an error of its own.
        self.join().ok();
    }
}

/// Reads the pipe that all files of a feed come through.
struct PipePart(Arc<PipeReader>);

impl Read for PipePart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

/// Goes back to the start of a staged file, to read what was written.
pub(super) fn rewind(staged: &StagedFile) -> Result<()> {
    staged
        .file()
        .seek(SeekFrom::Start(0))
        .map(drop)
        .map_err(|source| Error::io("rewind", staged.path(), source))
}
