//! Chunks on their way into packs: gathered into frames, compressed side by side, put into the store.

use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;
use rbuild_store::Store;

use super::list::{ChunkId, PACK_TYPE};
use crate::entry::BlobRef;
use crate::{Error, Result};

/// Bytes of chunks that are compressed together: small files have much in common.
const FRAME: usize = 512 << 10;

/// Length at which a pack is full; the last frame may go beyond it.
const PACK: usize = 6 << 20;

/// Frames that are compressed at the same time.
const AT_ONCE: usize = 16;

const LEVEL: i32 = 3;

/// Where the bytes of a chunk lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Position of the pack among all that are known.
    pub pack: usize,
    /// Where its frame begins in the pack.
    pub offset: u64,
    /// Length of the frame in the pack.
    pub stored: u32,
    /// Length of the frame unpacked.
    pub raw: u32,
    /// Where the chunk begins in the frame.
    pub at: u32,
    /// Length of the chunk.
    pub length: u32,
}

/// Takes chunks and makes packs of them.
pub(super) struct Packer<'a> {
    store: &'a Store,
    /// Bytes of the frame in the making.
    frame: Vec<u8>,
    waiting: Vec<Vec<u8>>,
    pack: Vec<u8>,
    /// Frame, beginning and length of each chunk.
    chunks: HashMap<ChunkId, (usize, u32, u32)>,
    /// Pack, beginning and lengths of each frame.
    frames: Vec<(usize, u64, u32, u32)>,
    packs: Vec<BlobRef>,
}

impl<'a> Packer<'a> {
    pub fn new(store: &'a Store) -> Self {
        Self {
            store,
            frame: Vec::new(),
            waiting: Vec::new(),
            pack: Vec::new(),
            chunks: HashMap::new(),
            frames: Vec::new(),
            packs: Vec::new(),
        }
    }

    pub fn has(&self, chunk: &ChunkId) -> bool {
        self.chunks.contains_key(chunk)
    }

    /// Takes a chunk, unless it has it.
    pub fn add(&mut self, id: ChunkId, bytes: &[u8]) -> Result<()> {
        if self.has(&id) {
            return Ok(());
        }
        if self.frame.len() + bytes.len() > FRAME {
            self.close_frame()?;
        }
        let frame = self.frames.len() + self.waiting.len();
        let at = length(self.frame.len());
        self.frame.extend_from_slice(bytes);
        self.chunks.insert(id, (frame, at, length(bytes.len())));
        Ok(())
    }

    /// Ends the last pack; where the chunks lie, and the packs, whose positions begin at `first`.
    pub fn finish(mut self, first: usize) -> Result<(HashMap<ChunkId, Place>, Vec<BlobRef>)> {
        self.close_frame()?;
        self.compress()?;
        self.close_pack()?;
        let place = |(frame, at, length): (usize, u32, u32)| {
            let (pack, offset, stored, raw) = *self.frames.get(frame)?;
            Some(Place {
                pack: first + pack,
                offset,
                stored,
                raw,
                at,
                length,
            })
        };
        let places = self.chunks.iter();
        let places = places.filter_map(|(id, chunk)| Some((*id, place(*chunk)?)));
        Ok((places.collect(), self.packs))
    }

    fn close_frame(&mut self) -> Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        self.waiting.push(std::mem::take(&mut self.frame));
        match self.waiting.len() < AT_ONCE {
            true => Ok(()),
            false => self.compress(),
        }
    }

    fn compress(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let packed: std::io::Result<Vec<Vec<u8>>> = waiting
            .par_iter()
            .map(|raw| zstd::bulk::compress(raw, LEVEL))
            .collect();
        let packed = packed.map_err(Error::at("compress", Path::new("a cache mount")))?;
        for (raw, stored) in waiting.iter().zip(packed) {
            let offset = self.pack.len() as u64;
            let lengths = (length(stored.len()), length(raw.len()));
            self.frames
                .push((self.packs.len(), offset, lengths.0, lengths.1));
            self.pack.extend_from_slice(&stored);
            if self.pack.len() >= PACK {
                self.close_pack()?;
            }
        }
        Ok(())
    }

    fn close_pack(&mut self) -> Result<()> {
        if self.pack.is_empty() {
            return Ok(());
        }
        self.packs.push(BlobRef {
            media_type: PACK_TYPE.to_owned(),
            digest: self.store.put_blob(&self.pack)?,
            size: self.pack.len() as u64,
        });
        self.pack.clear();
        Ok(())
    }
}

/// A length of what is far below 4 GiB.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
