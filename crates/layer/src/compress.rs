//! gzip and zstd in blocks of fixed size, compressed side by side: the bytes depend on the input
//! and the level, never on the number of threads.
//!
//! gzip blocks are one deflate stream: each has the 32 KiB before it as dictionary and ends in a
//! sync flush. zstd blocks are frames of their own. Block sizes are part of the format: changing
//! them changes digests.

mod codec;
mod outlet;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use rbuild_progress::CancelToken;

use self::codec::{Codec, Kit, Place};
use self::outlet::{Outlet, Stream};
use crate::{Compression, Result};

/// How far back deflate looks.
const DICTIONARY: usize = 32 << 10;
/// As Go writes it: no name, no time, unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Compresses what is written to it.
pub(crate) struct Compressor<W> {
    to: To<W>,
    codec: Option<Codec>,
    /// The block being filled.
    block: Vec<u8>,
    /// The end of the block before it.
    dictionary: Arc<[u8]>,
    cancel: CancelToken,
    pool: Pool,
}

/// Who writes what comes out.
enum To<W> {
    /// Whoever calls: no block is full yet.
    Here(Stream<W>),
    /// A thread, since there is more than one block.
    Thread(Outlet<W>),
    /// Nobody any more: it failed, and that was reported.
    Failed,
}

/// Where blocks are compressed.
enum Pool {
    /// The process's own pool, started by the first block that is not the last.
    Global,
    /// A pool of known size.
    #[cfg(test)]
    Own(Arc<rayon::ThreadPool>),
}

/// Starts compressing to `out`, which a thread of its own writes to once there is much to write.
///
/// Must not be used from the rayon pool, which compresses.
pub(crate) fn compressor<W: Write + Send + 'static>(
    compression: Compression,
    out: W,
    cancel: &CancelToken,
) -> Result<Compressor<W>> {
    start(compression, out, cancel, Pool::Global)
}

fn start<W: Write + Send + 'static>(
    compression: Compression,
    mut out: W,
    cancel: &CancelToken,
    pool: Pool,
) -> Result<Compressor<W>> {
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
        to: To::Here(Stream {
            out,
            crc: crc32fast::Hasher::new(),
            length: 0,
        }),
        codec,
        block: Vec::new(),
        dictionary: Arc::new([]),
        cancel: cancel.clone(),
        pool,
    })
}

impl<W: Write + Send + 'static> Compressor<W> {
    /// Compresses what is left and ends the stream.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        let mut stream = self.finish_blocks()?;
        if let Some(Codec::Gzip { .. }) = self.codec {
            let crc = stream.crc.clone().finalize();
            stream.out.write_all(&crc.to_le_bytes())?;
            stream
                .out
                .write_all(&(stream.length as u32).to_le_bytes())?;
        }
        Ok(stream.out)
    }

    fn finish_blocks(&mut self) -> io::Result<Stream<W>> {
        let last = std::mem::take(&mut self.block);
        if let (Some(codec), To::Thread(_)) = (self.codec, &self.to) {
            // An empty last frame would be valid, but nothing needs it; deflate must be ended.
            if matches!(codec, Codec::Gzip { .. }) || !last.is_empty() {
                self.submit(codec, last, Place::Last)?;
            }
            return self.end();
        }
        match (std::mem::replace(&mut self.to, To::Failed), self.codec) {
            (To::Here(mut stream), Some(codec)) => {
                // The only block: nothing else is to be done meanwhile.
                self.cancel.check().map_err(io::Error::other)?;
                let mut kit = Kit::default();
                kit.block = last;
                stream.write(codec.compress(kit, &self.dictionary, Place::Last)?)?;
                Ok(stream)
            }
            (To::Here(stream), None) => Ok(stream),
            _ => Err(failed()),
        }
    }

    /// Waits for the thread that writes.
    fn end(&mut self) -> io::Result<Stream<W>> {
        match std::mem::replace(&mut self.to, To::Failed) {
            To::Thread(outlet) => outlet.finish(),
            To::Here(stream) => Ok(stream),
            To::Failed => Err(failed()),
        }
    }

    /// The thread gave up: why.
    fn why(&mut self) -> io::Error {
        self.end().err().unwrap_or_else(failed)
    }

    fn submit(&mut self, codec: Codec, block: Vec<u8>, place: Place) -> io::Result<()> {
        let Some(mut kit) = self.kit()? else {
            return Err(self.why());
        };
        let (sender, receiver) = sync_channel(1);
        let dictionary = Arc::clone(&self.dictionary);
        if let Codec::Gzip { .. } = codec {
            let start = block.len().saturating_sub(DICTIONARY);
            self.dictionary = block.get(start..).unwrap_or_default().into();
        }
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
        match &self.to {
            To::Thread(outlet) if outlet.push(receiver) => Ok(()),
            _ => Err(self.why()),
        }
    }

    /// What a block is compressed with; the first one starts the thread that writes.
    fn kit(&mut self) -> io::Result<Option<Kit>> {
        if let To::Here(_) = &self.to {
            let stream = self.end()?;
            let outlet = Outlet::start(stream, self.most_pending(), &self.cancel)?;
            self.to = To::Thread(outlet);
        }
        match &mut self.to {
            To::Thread(outlet) => outlet.kit(&self.cancel),
            To::Here(_) | To::Failed => Err(failed()),
        }
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

impl<W: Write + Send + 'static> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(codec) = self.codec else {
            return match &mut self.to {
                To::Here(stream) => stream.out.write(bytes),
                To::Thread(_) | To::Failed => Err(failed()),
            };
        };
        let size = codec.block_size();
        if self.block.len() == size {
            let full = std::mem::take(&mut self.block);
            self.submit(codec, full, Place::Inside)?;
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

fn failed() -> io::Error {
    io::Error::other("compressing failed before")
}

#[cfg(test)]
mod tests;
