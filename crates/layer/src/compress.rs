//! gzip and zstd in blocks of fixed size, compressed side by side: the bytes depend on the input
//! and the level, never on the number of threads.
//!
//! gzip blocks are one deflate stream: each has the 32 KiB before it as dictionary and ends in a
//! sync flush. zstd blocks are frames of their own. Block sizes are part of the format: changing
//! them changes digests.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use flate2::{Compress, FlushCompress, Status};
use rbuild_progress::CancelToken;

use crate::{Compression, Result};

/// Uncompressed bytes of one gzip block.
const GZIP_BLOCK: usize = 1 << 20;
/// Uncompressed bytes of one zstd frame: well over the window of the usual levels.
const ZSTD_BLOCK: usize = 4 << 20;
/// Longest wait for a block before it is seen that the build was cancelled.
const LOOK: Duration = Duration::from_millis(50);
/// How far back deflate looks.
const DICTIONARY: usize = 32 << 10;
/// As Go writes it: no name, no time, unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Compresses what is written to it.
pub(crate) struct Compressor<'a, W> {
    out: W,
    codec: Option<Codec>,
    /// The block being filled.
    block: Vec<u8>,
    /// The end of the block before it.
    dictionary: Arc<[u8]>,
    /// Blocks on their way, in order.
    pending: VecDeque<Receiver<io::Result<Done>>>,
    /// What finished blocks left behind. Fresh memory costs a page fault for every 4 KiB, which is
    /// a quarter of zstd's time.
    spare: Vec<Kit>,
    crc: crc32fast::Hasher,
    length: u64,
    cancel: &'a CancelToken,
    pool: Pool,
}

#[derive(Clone, Copy, Debug)]
enum Codec {
    Gzip { level: u32 },
    Zstd { level: i32 },
}

/// Where blocks are compressed.
enum Pool {
    /// The process's own pool, started by the first block that is not the last.
    Global,
    /// A pool of known size.
    #[cfg(test)]
    Own(Arc<rayon::ThreadPool>),
}

/// What compressing one block takes, used again for the next.
#[derive(Default)]
struct Kit {
    block: Vec<u8>,
    bytes: Vec<u8>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

/// A compressed block, in `kit.bytes`, and the checksum of what is in it.
struct Done {
    kit: Kit,
    crc: crc32fast::Hasher,
    length: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Inside,
    Last,
}

/// Starts compressing to `out`, which is written to from the calling thread only.
pub(crate) fn compressor<W: Write>(
    compression: Compression,
    out: W,
    cancel: &CancelToken,
) -> Result<Compressor<'_, W>> {
    start(compression, out, cancel, Pool::Global)
}

fn start<W: Write>(
    compression: Compression,
    mut out: W,
    cancel: &CancelToken,
    pool: Pool,
) -> Result<Compressor<'_, W>> {
    let codec = match compression {
        Compression::None => None,
        Compression::Gzip { level } => Some(Codec::Gzip {
            level: level.min(9),
        }),
        Compression::Zstd { level } => Some(Codec::Zstd {
            level: i32::try_from(level).unwrap_or(22),
        }),
    };
    if let Some(Codec::Gzip { .. }) = codec {
        out.write_all(&GZIP_HEADER)
            .map_err(|source| crate::Error::io("compress to", "", source))?;
    }
    Ok(Compressor {
        out,
        codec,
        block: Vec::new(),
        dictionary: Arc::new([]),
        pending: VecDeque::new(),
        spare: Vec::new(),
        crc: crc32fast::Hasher::new(),
        length: 0,
        cancel,
        pool,
    })
}

impl<W: Write> Compressor<'_, W> {
    /// Compresses what is left and ends the stream.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        let Some(codec) = self.codec else {
            return Ok(self.out);
        };
        let last = std::mem::take(&mut self.block);
        // An empty last frame would be valid, but nothing needs it; deflate must be ended.
        let needed = match codec {
            Codec::Gzip { .. } => true,
            Codec::Zstd { .. } => !last.is_empty() || self.length == 0 && self.pending.is_empty(),
        };
        if needed && self.pending.is_empty() {
            // The only block, or nothing else to do meanwhile: no thread is needed.
            let mut kit = self.spare.pop().unwrap_or_default();
            kit.block = last;
            let done = codec.compress(kit, &self.dictionary, Place::Last)?;
            self.write_block(done)?;
        } else {
            if needed {
                self.submit(codec, last, Place::Last);
            }
            while let Some(next) = self.pending.pop_front() {
                self.receive(&next)?;
            }
        }
        if let Codec::Gzip { .. } = codec {
            let crc = self.crc.clone().finalize();
            self.out.write_all(&crc.to_le_bytes())?;
            self.out.write_all(&(self.length as u32).to_le_bytes())?;
        }
        Ok(self.out)
    }

    fn submit(&mut self, codec: Codec, block: Vec<u8>, place: Place) {
        let (sender, receiver) = sync_channel(1);
        let dictionary = Arc::clone(&self.dictionary);
        if let Codec::Gzip { .. } = codec {
            let start = block.len().saturating_sub(DICTIONARY);
            self.dictionary = block.get(start..).unwrap_or_default().into();
        }
        let mut kit = self.spare.pop().unwrap_or_default();
        // The old block becomes the next one to be filled.
        self.block = std::mem::replace(&mut kit.block, block);
        self.block.clear();
        let work = move || {
            // The other end is gone if writing failed or the build was cancelled.
            sender.send(codec.compress(kit, &dictionary, place)).ok();
        };
        match &self.pool {
            Pool::Global => rayon::spawn(work),
            #[cfg(test)]
            Pool::Own(pool) => pool.spawn(work),
        }
        self.pending.push_back(receiver);
    }

    fn receive(&mut self, next: &Receiver<io::Result<Done>>) -> io::Result<()> {
        loop {
            match next.recv_timeout(LOOK) {
                Ok(done) => return self.write_block(done?),
                // A channel cannot be polled beside a token, and one block takes seconds at high levels.
                Err(RecvTimeoutError::Timeout) => self.cancel.check().map_err(io::Error::other)?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("the compressing thread is gone"));
                }
            }
        }
    }

    fn write_block(&mut self, done: Done) -> io::Result<()> {
        self.cancel.check().map_err(io::Error::other)?;
        self.crc.combine(&done.crc);
        self.length += done.length;
        self.out.write_all(&done.kit.bytes)?;
        self.spare.push(done.kit);
        Ok(())
    }

    /// Blocks in flight at most: enough to keep the pool busy while one is written.
    fn most_pending(&self) -> usize {
        match &self.pool {
            Pool::Global => rayon::current_num_threads() + 2,
            #[cfg(test)]
            Pool::Own(pool) => pool.current_num_threads() + 2,
        }
    }
}

impl<W: Write> Write for Compressor<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(codec) = self.codec else {
            return self.out.write(bytes);
        };
        let size = codec.block_size();
        if self.block.len() == size {
            let full = std::mem::take(&mut self.block);
            self.submit(codec, full, Place::Inside);
            while self.pending.len() > self.most_pending() {
                if let Some(next) = self.pending.pop_front() {
                    self.receive(&next)?;
                }
            }
        }
        let count = bytes.len().min(size - self.block.len());
        self.block
            .extend_from_slice(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Codec {
    fn block_size(self) -> usize {
        match self {
            Self::Gzip { .. } => GZIP_BLOCK,
            Self::Zstd { .. } => ZSTD_BLOCK,
        }
    }

    fn compress(self, mut kit: Kit, dictionary: &[u8], place: Place) -> io::Result<Done> {
        let mut crc = crc32fast::Hasher::new();
        kit.bytes.clear();
        match self {
            Self::Gzip { level } => {
                crc.update(&kit.block);
                deflate(&kit.block, dictionary, level, place, &mut kit.bytes)?;
            }
            Self::Zstd { level } => zstd_frame(&mut kit, level)?,
        }
        let length = kit.block.len() as u64;
        Ok(Done { kit, crc, length })
    }
}

fn deflate(
    block: &[u8],
    dictionary: &[u8],
    level: u32,
    place: Place,
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    let mut deflate = Compress::new(flate2::Compression::new(level), false);
    if !dictionary.is_empty() {
        deflate
            .set_dictionary(dictionary)
            .map_err(io::Error::other)?;
    }
    let flush = match place {
        Place::Inside => FlushCompress::Sync,
        Place::Last => FlushCompress::Finish,
    };
    bytes.reserve(block.len() / 2 + 64);
    loop {
        let done = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
        let rest = block.get(done..).unwrap_or_default();
        let status = deflate
            .compress_vec(rest, bytes, flush)
            .map_err(io::Error::other)?;
        let has_room = bytes.len() < bytes.capacity();
        match status {
            Status::StreamEnd => return Ok(()),
            // A flush is whole once it leaves room in the output.
            Status::Ok | Status::BufError if place == Place::Inside && has_room => return Ok(()),
            _ => bytes.reserve(block.len() / 4 + 64),
        }
    }
}

fn zstd_frame(kit: &mut Kit, level: i32) -> io::Result<()> {
    let frame = match &mut kit.zstd {
        Some(frame) => frame,
        none => {
            let mut frame = zstd::bulk::Compressor::new(level)?;
            frame.include_checksum(true)?;
            none.insert(frame)
        }
    };
    kit.bytes
        .reserve(zstd::zstd_safe::compress_bound(kit.block.len()));
    frame.compress_to_buffer(&kit.block, &mut kit.bytes)?;
    Ok(())
}

#[cfg(test)]
mod tests;
