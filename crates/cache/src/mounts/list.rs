//! The list of what is in a cache mount, and where the bytes of its files lie.
//!
//! Files are sequences of *chunks*, chunks lie in *frames* (compressed by themselves), frames in *packs*
//! (blobs of a cache). Encoded: magic, the directory itself, a layer index, packs, frames, chunks, the
//! chunks of each file; numbers as LEB128. Equal lists give equal bytes. What is read is hostile until every
//! number of it has been checked, which happens here.

use std::io::Read;
use std::str::FromStr;

use rbuild_layer::{Entry, Kind, LayerIndex, Top, is_kept};
use rbuild_oci::Digest;

use super::chunker;
use crate::entry::BlobRef;

const MAGIC: &[u8] = b"rbuild-mount 1\n";

/// How the list is compressed.
const LEVEL: i32 = 9;

/// Most bytes that a list unpacks to.
pub(super) const MAX_UNPACKED: u64 = 512 << 20;

/// Most bytes that a frame unpacks to.
pub(super) const MAX_FRAME: usize = 1 << 20;

/// Largest pack.
pub(super) const MAX_PACK: u64 = 64 << 20;

/// Media type of packs.
pub(super) const PACK_TYPE: &str = "application/vnd.rbuild.mount.pack.v1";

/// Media type of lists.
pub(super) const LIST_TYPE: &str = "application/vnd.rbuild.mount.list.v1+zstd";

/// BLAKE3 of a chunk.
pub(super) type ChunkId = [u8; 32];

/// What was in a cache mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List {
    /// Owner and mode of the directory itself.
    pub top: Top,
    /// Everything in it; digests of files are those of nothing.
    pub index: LayerIndex,
    /// Where bytes lie, in the order in which they are first used.
    pub packs: Vec<BlobRef>,
    /// Parts of packs, likewise.
    pub frames: Vec<Frame>,
    /// Parts of frames, likewise.
    pub chunks: Vec<Chunk>,
    /// The chunks of each regular file, in the order of the index.
    pub files: Vec<Vec<u32>>,
}

/// A part of a pack that is compressed by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Frame {
    /// Position of the pack.
    pub pack: u32,
    /// Where it begins there.
    pub offset: u64,
    /// Its length there.
    pub stored: u32,
    /// Its length unpacked.
    pub raw: u32,
}

/// A part of a frame that files consist of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Digest of its bytes.
    pub id: ChunkId,
    /// Position of the frame.
    pub frame: u32,
    /// Where it begins in the unpacked frame.
    pub at: u32,
    /// Its length.
    pub length: u32,
}

impl List {
    /// The list as a blob.
    pub fn encode(&self) -> std::io::Result<Vec<u8>> {
        let mut out = MAGIC.to_vec();
        for number in [self.top.mode, self.top.uid, self.top.gid] {
            put(&mut out, number.into());
        }
        put_bytes(&mut out, &self.index.encode());
        put(&mut out, self.packs.len() as u64);
        for pack in &self.packs {
            put_bytes(&mut out, pack.digest.to_string().as_bytes());
            put(&mut out, pack.size);
        }
        put(&mut out, self.frames.len() as u64);
        for frame in &self.frames {
            put(&mut out, frame.pack.into());
            put(&mut out, frame.offset);
            put(&mut out, frame.stored.into());
            put(&mut out, frame.raw.into());
        }
        put(&mut out, self.chunks.len() as u64);
        for chunk in &self.chunks {
            put(&mut out, chunk.frame.into());
            put(&mut out, chunk.at.into());
            put(&mut out, chunk.length.into());
        }
        for chunk in &self.chunks {
            out.extend_from_slice(&chunk.id);
        }
        for file in &self.files {
            put(&mut out, file.len() as u64);
            file.iter().for_each(|chunk| put(&mut out, (*chunk).into()));
        }
        zstd::encode_all(out.as_slice(), LEVEL)
    }

    /// Reads a blob; the reason if it is none of ours, damaged, or means what it must not.
    pub fn decode(blob: &[u8]) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let unpacked = zstd::stream::read::Decoder::new(blob).map_err(|e| e.to_string())?;
        let read = unpacked.take(MAX_UNPACKED + 1).read_to_end(&mut bytes);
        if read.map_err(|e| e.to_string())? as u64 > MAX_UNPACKED {
            return Err(format!("it has more than {MAX_UNPACKED} bytes"));
        }
        let mut input = Input(
            bytes
                .strip_prefix(MAGIC)
                .ok_or("it does not begin as a list of this version")?,
        );
        let top = Top {
            mode: input.small()?,
            uid: input.small()?,
            gid: input.small()?,
        };
        let index = LayerIndex::decode(input.bytes()?).map_err(|e| e.to_string())?;
        let packs = input.many(8, Input::pack)?;
        let frames = input.many(4, Input::frame)?;
        let mut chunks = input.many(3, Input::chunk)?;
        for chunk in &mut chunks {
            chunk.id = input.array()?;
        }
        let count = regular(&index).count();
        let mut files = Vec::with_capacity(count.min(input.0.len()));
        for _ in 0..count {
            files.push(input.many(1, Input::small)?);
        }
        if !input.0.is_empty() {
            return Err("bytes follow its end".to_owned());
        }
        let list = Self {
            top,
            index,
            packs,
            frames,
            chunks,
            files,
        };
        list.check()?;
        Ok(list)
    }

    /// What the files hold, in bytes; links count once.
    pub fn total(&self) -> u64 {
        regular(&self.index)
            .map(|(_, size)| size)
            .fold(0, u64::saturating_add)
    }

    /// A chunk with its frame and pack.
    pub fn place(&self, chunk: u32) -> Option<(&Chunk, &Frame, &BlobRef)> {
        let chunk = self.chunks.get(chunk as usize)?;
        let frame = self.frames.get(chunk.frame as usize)?;
        Some((chunk, frame, self.packs.get(frame.pack as usize)?))
    }

    fn check(&self) -> Result<(), String> {
        if self.top.mode > 0o7777 || self.index.is_root_opaque() {
            return Err("the directory itself is not as directories are".to_owned());
        }
        for entry in self.index.entries() {
            check_entry(&self.index, entry)
                .map_err(|reason| format!("{}: {reason}", String::from_utf8_lossy(&entry.path)))?;
        }
        for pack in &self.packs {
            if pack.size > MAX_PACK {
                return Err(format!("the pack {} is too large", pack.digest));
            }
        }
        for frame in &self.frames {
            let size = self.packs.get(frame.pack as usize).map(|pack| pack.size);
            let end = frame.offset.checked_add(frame.stored.into());
            let raw = frame.raw as usize;
            let longest = zstd::zstd_safe::compress_bound(raw.min(MAX_FRAME));
            let is_sized = raw <= MAX_FRAME && frame.stored as usize <= longest;
            if size.is_none() || end.is_none() || end > size || !is_sized {
                return Err("a frame is not within its pack".to_owned());
            }
        }
        self.check_chunks()?;
        for ((entry, size), chunks) in regular(&self.index).zip(&self.files) {
            let lengths = chunks.iter().map(|chunk| {
                let chunk = self.chunks.get(*chunk as usize);
                chunk.map(|chunk| u64::from(chunk.length))
            });
            if lengths.sum::<Option<u64>>() != Some(size) {
                let path = String::from_utf8_lossy(&entry.path);
                return Err(format!("{path}: its chunks are not its bytes"));
            }
            // Of a chunk of few bytes that is named often there could be more than memory holds.
            if chunks.len() as u64 > size / chunker::MIN as u64 + 1 {
                let path = String::from_utf8_lossy(&entry.path);
                return Err(format!("{path}: it has more chunks than its bytes have"));
            }
        }
        Ok(())
    }
}

impl List {
    /// Chunks of a frame do not overlap: together they are no longer than it.
    fn check_chunks(&self) -> Result<(), String> {
        let mut room: Vec<u32> = self.frames.iter().map(|frame| frame.raw).collect();
        for chunk in &self.chunks {
            let raw = self.frames.get(chunk.frame as usize).map(|frame| frame.raw);
            let end = chunk.at.checked_add(chunk.length);
            let is_sized = (1..=chunker::MAX).contains(&(chunk.length as usize));
            if raw.is_none() || end.is_none() || end > raw || !is_sized {
                return Err("a chunk is not within its frame".to_owned());
            }
            let left = room.get_mut(chunk.frame as usize);
            let taken = left.and_then(|left| {
                *left = left.checked_sub(chunk.length)?;
                Some(())
            });
            taken.ok_or("a frame has more chunks than bytes")?;
        }
        Ok(())
    }
}

/// The regular files of an index with their sizes, in order.
pub(super) fn regular(index: &LayerIndex) -> impl Iterator<Item = (&Entry, u64)> {
    index.entries().iter().filter_map(|entry| match entry.kind {
        Kind::File { size, .. } => Some((entry, size)),
        _ => None,
    })
}

/// What the index itself does not refuse: it is made for layers, which may hold more.
fn check_entry(index: &LayerIndex, entry: &Entry) -> Result<(), &'static str> {
    if entry.mode > 0o7777 {
        return Err("it has a mode that does not exist");
    }
    if entry.xattrs.keys().any(|name| !is_kept(name)) {
        return Err("it has an attribute that does not travel");
    }
    match &entry.kind {
        Kind::File { .. } | Kind::Fifo => Ok(()),
        Kind::Symlink { target } if target.is_empty() || target.contains(&0) => {
            Err("it is a link that cannot be made")
        }
        Kind::Symlink { .. } => Ok(()),
        Kind::Dir {
            opaque: false,
            implied: false,
        } => Ok(()),
        Kind::Hardlink { leader } => {
            let found = index.position(leader);
            match found.is_some() && found < index.position(&entry.path) {
                true => Ok(()),
                false => Err("it is another name of something that is not there"),
            }
        }
        Kind::Dir { .. }
        | Kind::Char { .. }
        | Kind::Block { .. }
        | Kind::Socket
        | Kind::Whiteout => Err("it is of a kind that does not travel"),
    }
}

pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Bytes being read.
pub(super) struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn number(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number is too large".to_owned())
    }

    pub fn small(&mut self) -> Result<u32, String> {
        u32::try_from(self.number()?).map_err(|_| "a number is too large".to_owned())
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (start, rest) = self.0.split_first_chunk::<N>().ok_or("it ends too early")?;
        self.0 = rest;
        Ok(*start)
    }

    fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let (start, rest) = self.0.split_at_checked(length).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(start)
    }

    /// A number of things, of which each takes `least` bytes.
    pub fn many<T>(
        &mut self,
        least: usize,
        mut one: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count > self.0.len() / least {
            return Err("it ends too early".to_owned());
        }
        (0..count).map(|_| one(self)).collect()
    }

    fn pack(&mut self) -> Result<BlobRef, String> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|e| e.to_string())?;
        Ok(BlobRef {
            media_type: PACK_TYPE.to_owned(),
            digest: Digest::from_str(text).map_err(|e| e.to_string())?,
            size: self.number()?,
        })
    }

    fn frame(&mut self) -> Result<Frame, String> {
        Ok(Frame {
            pack: self.small()?,
            offset: self.number()?,
            stored: self.small()?,
            raw: self.small()?,
        })
    }

    /// Without its digest: those lie together behind all chunks.
    fn chunk(&mut self) -> Result<Chunk, String> {
        Ok(Chunk {
            id: [0; 32],
            frame: self.small()?,
            at: self.small()?,
            length: self.small()?,
        })
    }
}

#[cfg(test)]
mod tests;
