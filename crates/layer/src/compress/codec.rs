//! Compressing one block: a piece of a deflate stream, or a zstd frame.

use std::io;

use flate2::{Compress, FlushCompress, Status};

/// Uncompressed bytes of one gzip block.
pub(super) const GZIP_BLOCK: usize = 1 << 20;
/// Uncompressed bytes of one zstd frame: well over the window of the usual levels.
pub(super) const ZSTD_BLOCK: usize = 4 << 20;

#[derive(Clone, Copy, Debug)]
pub(super) enum Codec {
    Gzip { level: u32 },
    Zstd { level: i32 },
}

/// What compressing one block takes, used again for the next: fresh memory costs a page fault for
/// every 4 KiB, which is a quarter of zstd's time.
#[derive(Default)]
pub(super) struct Kit {
    pub(super) block: Vec<u8>,
    bytes: Vec<u8>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

/// A compressed block and the checksum of what is in it.
pub(super) struct Done {
    pub(super) kit: Kit,
    pub(super) crc: crc32fast::Hasher,
    pub(super) length: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Inside,
    Last,
}

impl Done {
    /// The block as it goes into the stream.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.kit.bytes
    }
}

impl Codec {
    pub(super) fn block_size(self) -> usize {
        match self {
            Self::Gzip { .. } => GZIP_BLOCK,
            Self::Zstd { .. } => ZSTD_BLOCK,
        }
    }

    pub(super) fn compress(
        self,
        mut kit: Kit,
        dictionary: &[u8],
        place: Place,
    ) -> io::Result<Done> {
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
