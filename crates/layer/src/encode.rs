//! The stored form of an index: compact, deterministic, and checked in every field when read.
//!
//! Layout: magic and version, flags, number of entries, the entries, number of inline files, the
//! inline files. Numbers are LEB128, byte strings carry their length. A path is stored as the
//! length it shares with the previous path and the rest.

use std::sync::Arc;

use crate::index::{LayerIndex, MAX_ENTRIES, MAX_INLINE_BYTES, OpaqueRoot};
use crate::path::{self, MAX_PATH};
use crate::{ContentDigest, Entry, Error, Kind, Mtime, Result, Xattrs};

/// Magic and version. A change of the layout changes the last byte.
const MAGIC: &[u8; 8] = b"rbindex\x01";

/// Largest name or value of an extended attribute, as the kernel's `XATTR_SIZE_MAX`.
pub(crate) const MAX_XATTR_BYTES: usize = 65_536;
/// Most extended attributes of one entry.
pub(crate) const MAX_XATTRS: usize = 4096;

const FLAG_OPAQUE_ROOT: u64 = 1;

impl LayerIndex {
    /// Encodes the index: equal indexes give equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.entries().len() * 72);
        out.extend_from_slice(MAGIC);
        let flags = if self.is_root_opaque() {
            FLAG_OPAQUE_ROOT
        } else {
            0
        };
        put_number(&mut out, flags);
        put_number(&mut out, self.entries().len() as u64);
        let mut previous: &[u8] = b"";
        for entry in self.entries() {
            put_entry(&mut out, previous, entry);
            previous = &entry.path;
        }
        put_number(&mut out, self.inline_files().count() as u64);
        for (path, bytes) in self.inline_files() {
            put_bytes(&mut out, path);
            put_bytes(&mut out, bytes);
        }
        out
    }

    /// Decodes what `encode` wrote.
    ///
    /// Errors: `Index` or `Entry` when the bytes are damaged, hostile or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err(Error::index(
                "it does not start as an index of this version",
            ));
        };
        let mut input = Input(rest);
        let flags = input.number()?;
        if flags & !FLAG_OPAQUE_ROOT != 0 {
            return Err(Error::index("it has unknown flags"));
        }
        let entries = input.entries()?;
        let mut index = Self::from_sorted(entries)?.with_opaque_root(match flags {
            0 => OpaqueRoot::No,
            _ => OpaqueRoot::Yes,
        });
        for _ in 0..input.count(16)? {
            let path = input.bytes(MAX_PATH)?.to_vec();
            let content: Arc<[u8]> = input.bytes(MAX_INLINE_BYTES as usize)?.into();
            index = index.with_inline(&path, content);
        }
        if !input.0.is_empty() {
            return Err(Error::index("bytes follow its end"));
        }
        Ok(index)
    }
}

pub(crate) fn put_entry(out: &mut Vec<u8>, previous: &[u8], entry: &Entry) {
    let shared = entry
        .path
        .iter()
        .zip(previous)
        .take_while(|(a, b)| a == b)
        .count();
    put_number(out, shared as u64);
    put_bytes(out, entry.path.get(shared..).unwrap_or_default());
    put_number(out, entry.mode.into());
    put_number(out, entry.uid.into());
    put_number(out, entry.gid.into());
    put_number(out, zigzag(entry.mtime.secs));
    put_number(out, entry.mtime.nanos.into());
    put_number(out, entry.xattrs.len() as u64);
    for (name, value) in &entry.xattrs {
        put_bytes(out, name);
        put_bytes(out, value);
    }
    put_kind(out, &entry.kind);
}

fn put_kind(out: &mut Vec<u8>, kind: &Kind) {
    let device = |out: &mut Vec<u8>, tag, major: u32, minor: u32| {
        out.push(tag);
        put_number(out, major.into());
        put_number(out, minor.into());
    };
    match kind {
        Kind::File { size, content } => {
            out.push(0);
            put_number(out, *size);
            out.extend_from_slice(content.as_bytes());
        }
        Kind::Hardlink { leader } => {
            out.push(1);
            put_bytes(out, leader);
        }
        Kind::Dir { opaque, implied } => {
            out.push(2);
            out.push(u8::from(*opaque) | (u8::from(*implied) << 1));
        }
        Kind::Symlink { target } => {
            out.push(3);
            put_bytes(out, target);
        }
        Kind::Char { major, minor } => device(out, 4, *major, *minor),
        Kind::Block { major, minor } => device(out, 5, *major, *minor),
        Kind::Fifo => out.push(6),
        Kind::Socket => out.push(7),
        Kind::Whiteout => out.push(8),
    }
}

/// Appends a number, seven bits to a byte, lowest first.
pub(crate) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Signed to unsigned so that small amounts stay short on both sides of zero.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(crate) fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

/// What is left to decode.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    fn entries(&mut self) -> Result<Vec<Entry>> {
        let count = self.count(MAX_ENTRIES)?;
        // No entry is shorter than ten bytes: a huge count over few bytes must not reserve memory.
        let mut entries: Vec<Entry> = Vec::with_capacity(count.min(self.0.len() / 10));
        for _ in 0..count {
            let previous = entries.last().map_or(&b""[..], |entry| &entry.path);
            let entry = self.entry(previous)?;
            entries.push(entry);
        }
        Ok(entries)
    }

    pub(crate) fn entry(&mut self, previous: &[u8]) -> Result<Entry> {
        let path = self.path(previous)?;
        let mode = self.small()?;
        if mode > 0o7777 {
            return Err(Error::index("a mode has more than permission bits"));
        }
        let (uid, gid) = (self.small()?, self.small()?);
        let secs = unzigzag(self.number()?);
        let nanos = self.small()?;
        if nanos >= 1_000_000_000 {
            return Err(Error::index("a time has too many nanoseconds"));
        }
        let xattrs = self.xattrs()?;
        Ok(Entry {
            path,
            kind: self.kind()?,
            mode,
            uid,
            gid,
            mtime: Mtime { secs, nanos },
            xattrs,
        })
    }

    fn path(&mut self, previous: &[u8]) -> Result<Vec<u8>> {
        let shared = self.count(MAX_PATH)?;
        let rest = self.bytes(MAX_PATH)?;
        let Some(start) = previous.get(..shared) else {
            return Err(Error::index("a path shares more than there is"));
        };
        let mut whole = Vec::with_capacity(start.len() + rest.len());
        whole.extend_from_slice(start);
        whole.extend_from_slice(rest);
        path::check(&whole).map_err(Error::index)?;
        Ok(whole)
    }

    fn xattrs(&mut self) -> Result<Xattrs> {
        let mut xattrs = Xattrs::new();
        for _ in 0..self.count(MAX_XATTRS)? {
            let name = self.bytes(MAX_XATTR_BYTES)?.to_vec();
            let value = self.bytes(MAX_XATTR_BYTES)?.to_vec();
            xattrs.insert(name, value);
        }
        Ok(xattrs)
    }

    fn kind(&mut self) -> Result<Kind> {
        Ok(match self.byte()? {
            0 => Kind::File {
                size: self.number()?,
                content: ContentDigest::from_bytes(self.array()?),
            },
            1 => Kind::Hardlink {
                leader: self.bytes(MAX_PATH)?.to_vec(),
            },
            2 => match self.byte()? {
                flags @ 0..=3 => Kind::Dir {
                    opaque: flags & 1 != 0,
                    implied: flags & 2 != 0,
                },
                _ => return Err(Error::index("a directory has unknown flags")),
            },
            3 => Kind::Symlink {
                target: self.bytes(MAX_PATH)?.to_vec(),
            },
            4 => Kind::Char {
                major: self.small()?,
                minor: self.small()?,
            },
            5 => Kind::Block {
                major: self.small()?,
                minor: self.small()?,
            },
            6 => Kind::Fifo,
            7 => Kind::Socket,
            8 => Kind::Whiteout,
            _ => return Err(Error::index("an entry is of an unknown kind")),
        })
    }

    pub(crate) fn number(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::index("a number is too large"))
    }

    pub(crate) fn small(&mut self) -> Result<u32> {
        u32::try_from(self.number()?).map_err(|_| Error::index("a number is too large"))
    }

    pub(crate) fn count(&mut self, most: usize) -> Result<usize> {
        usize::try_from(self.number()?)
            .ok()
            .filter(|count| *count <= most)
            .ok_or_else(|| Error::index("a count or length is over its limit"))
    }

    pub(crate) fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (start, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or_else(|| Error::index("it ends too early"))?;
        self.0 = rest;
        Ok(*start)
    }

    pub(crate) fn bytes(&mut self, most: usize) -> Result<&'a [u8]> {
        let length = self.count(most)?;
        let (start, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| Error::index("it ends too early"))?;
        self.0 = rest;
        Ok(start)
    }
}

#[cfg(test)]
mod tests;
