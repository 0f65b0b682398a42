//! One pass over a layer's blob: decompress, verify, index, and feed whoever keeps the bytes.

use std::fs::File;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rbuild_oci::{DiffId, Digest};
use rbuild_progress::{CancelReader, CancelToken};
use sha2::{Digest as _, Sha256};

use crate::archive_index::{Effect, IndexBuilder, Offset, Step};
use crate::index::{INLINE_PATHS, MAX_INLINE_BYTES};
use crate::job::Format;
use crate::path::to_path;
use crate::tar_read::Archive;
use crate::{Entry, Error, Kind, LayerIndex, Result, decompress};

/// Bytes handed from the decompressing thread at once.
const CHUNK: usize = 256 * 1024;
/// Chunks on their way.
const CHUNKS: usize = 8;
/// Bytes of a file handled at once.
const BUFFER: usize = 128 * 1024;

/// Is told what a layer holds, in the order of the archive.
pub(crate) trait Keeper {
    /// Follows the index: removes, makes directories. Comes before each entry.
    fn follow(&mut self, effect: &Effect) -> Result<()>;
    /// Makes something that has no bytes; whiteouts among them.
    fn make(&mut self, entry: &Entry) -> Result<()>;
    /// Gives what was made before other metadata. Without a tree there is nothing to do.
    fn relabel(&mut self, _: &Entry) -> Result<()> {
        Ok(())
    }
    /// Starts a regular file; returns the offset to remember for it.
    fn begin(&mut self, entry: &Entry) -> Result<Offset>;
    /// Takes the next bytes of the file.
    fn bytes(&mut self, bytes: &[u8]) -> Result<()>;
    /// Ends the file.
    fn end(&mut self, entry: &Entry) -> Result<()>;
}

/// Keeps nothing: for the index alone.
pub(crate) struct NoKeeper;

impl Keeper for NoKeeper {
    fn follow(&mut self, _: &Effect) -> Result<()> {
        Ok(())
    }
    fn make(&mut self, _: &Entry) -> Result<()> {
        Ok(())
    }
    fn begin(&mut self, _: &Entry) -> Result<Offset> {
        Ok(0)
    }
    fn bytes(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn end(&mut self, _: &Entry) -> Result<()> {
        Ok(())
    }
}

/// What one pass found.
#[derive(Debug)]
pub(crate) struct ReadLayer {
    pub(crate) index: LayerIndex,
    pub(crate) offsets: Vec<Offset>,
    pub(crate) diff_id: DiffId,
    /// Length of the uncompressed tar.
    pub(crate) size_bytes: u64,
}

/// Reads a whole blob; decompression runs in a thread of its own.
///
/// Errors: `DiffId` when the bytes are not `expected`; `Archive`, `Escape` for what a layer may not
/// hold; what the keeper returns. The keeper's work is then void.
pub(crate) fn read_layer(
    blob: File,
    format: Format,
    expected: Option<&DiffId>,
    keeper: &mut dyn Keeper,
    cancel: &CancelToken,
) -> Result<ReadLayer> {
    let wrap = |source| Error::io("read", "a layer blob", source);
    let input = CancelReader::new(blob, cancel);
    let mut stream = match format {
        Format::Plain => decompress::plain(input),
        Format::Detect => decompress::detect(input).map_err(wrap)?,
    };
    let (read, hashed) = std::thread::scope(|scope| -> Result<_> {
        let (sender, receiver) = sync_channel(CHUNKS);
        scope.spawn(move || send_chunks(&mut stream, &sender));
        let mut archive = Archive::new(HashedChunks::new(receiver));
        let read = read_entries(&mut archive, keeper, cancel)?;
        let mut rest = archive.into_inner();
        // Padding after the end belongs to the diff id.
        io::copy(&mut rest, &mut io::sink()).map_err(wrap)?;
        Ok((read, rest))
    })?;
    let (diff_id, size_bytes) = hashed.finish();
    if let Some(expected) = expected.filter(|expected| **expected != diff_id) {
        return Err(Error::DiffId {
            expected: expected.clone(),
            actual: diff_id,
        });
    }
    let (index, offsets) = read.finish()?;
    Ok(ReadLayer {
        index,
        offsets,
        diff_id,
        size_bytes,
    })
}

fn read_entries<R: Read>(
    archive: &mut Archive<R>,
    keeper: &mut dyn Keeper,
    cancel: &CancelToken,
) -> Result<IndexBuilder> {
    let mut builder = IndexBuilder::default();
    let mut buffer = vec![0; BUFFER];
    while let Some(tar) = archive.next()? {
        cancel.check()?;
        let entry = match builder.step(&tar)? {
            Step::Nothing => continue,
            Step::Opaque(dir) => {
                let effect = builder.set_opaque(&dir)?;
                keeper.follow(&effect)?;
                continue;
            }
            Step::Put(entry) => entry,
        };
        if let Kind::File { .. } = entry.kind {
            read_file(archive, &mut builder, keeper, entry, &mut buffer)?;
            continue;
        }
        let effect = builder.put(entry.clone())?;
        keeper.follow(&effect)?;
        if effect.make {
            keeper.make(&entry)?;
        }
        if let Some(file) = &effect.relabel {
            keeper.relabel(file)?;
        }
    }
    Ok(builder)
}

fn read_file<R: Read>(
    archive: &mut Archive<R>,
    builder: &mut IndexBuilder,
    keeper: &mut dyn Keeper,
    entry: Entry,
    buffer: &mut [u8],
) -> Result<()> {
    let Kind::File { size, .. } = entry.kind else {
        return Ok(());
    };
    let effect = builder.put(entry.clone())?;
    keeper.follow(&effect)?;
    let offset = keeper.begin(&entry)?;
    let mut inline =
        (size <= MAX_INLINE_BYTES && INLINE_PATHS.contains(&entry.path.as_slice())).then(Vec::new);
    let mut hasher = blake3::Hasher::new();
    loop {
        let count = archive
            .read(buffer)
            .map_err(|source| Error::io("read", to_path(&entry.path), source))?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        hasher.update(bytes);
        keeper.bytes(bytes)?;
        if let Some(inline) = &mut inline {
            inline.extend_from_slice(bytes);
        }
    }
    keeper.end(&entry)?;
    builder.set_file(&entry.path, hasher.finalize().into(), offset);
    if let Some(inline) = inline {
        builder.set_inline(&entry.path, inline);
    }
    Ok(())
}

fn send_chunks(stream: &mut dyn Read, sender: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut chunk = vec![0; CHUNK];
        let filled = fill(stream, &mut chunk);
        let end = matches!(filled, Ok(0) | Err(_));
        let message = filled.map(|count| {
            chunk.truncate(count);
            chunk
        });
        // Nobody listens once the reader has failed.
        if sender.send(message).is_err() || end {
            return;
        }
    }
}

/// Reads until the buffer is full or the input ends.
fn fill(stream: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while let Some(room) = buffer.get_mut(count..).filter(|room| !room.is_empty()) {
        match stream.read(room) {
            Ok(0) => break,
            Ok(got) => count += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// Reads what the decompressing thread sends and hashes it.
struct HashedChunks {
    receiver: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    at: usize,
    hasher: Sha256,
    size_bytes: u64,
    ended: bool,
}

impl HashedChunks {
    fn new(receiver: Receiver<io::Result<Vec<u8>>>) -> Self {
        Self {
            receiver,
            chunk: Vec::new(),
            at: 0,
            hasher: Sha256::new(),
            size_bytes: 0,
            ended: false,
        }
    }

    fn finish(self) -> (DiffId, u64) {
        let digest = Digest::from_sha256(self.hasher.finalize().into());
        (DiffId(digest), self.size_bytes)
    }
}

impl Read for HashedChunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() && !self.ended {
            let next = self.receiver.recv();
            self.chunk =
                next.map_err(|_| io::Error::other("the decompressing thread is gone"))??;
            self.at = 0;
            self.ended = self.chunk.is_empty();
            self.hasher.update(&self.chunk);
            self.size_bytes += self.chunk.len() as u64;
        }
        let mut rest = self.chunk.get(self.at..).unwrap_or_default();
        let count = rest.read(buffer)?;
        self.at += count;
        Ok(count)
    }
}
