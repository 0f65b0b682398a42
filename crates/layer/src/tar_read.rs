//! Reading tars that nobody vouches for: ustar, PAX, GNU names, old GNU sparse files.
//!
//! Every header's checksum is verified, every length is bounded before memory is reserved, and no
//! byte beyond what a header announces is read as content. Names come out as written; what they
//! may do is decided by `clean_path` and by who places the entries.

use std::io::{self, Read};

use crate::header::{BLOCK, padding};
use crate::path::{self, to_path};
use crate::pax::{Pax, parse_records};
use crate::raw_header::{Raw, read_extents, until_nul};
use crate::{Error, Mtime, Result, Xattrs};

/// Longest extension (long name or PAX records) that is accepted, as in Go.
const MAX_EXTENSION: u64 = 1 << 20;
/// Most extents of a sparse file.
const MAX_EXTENTS: usize = 65_536;

/// One entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarEntry {
    /// Its name as written.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: TarKind,
    /// Permission bits with set-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Mtime,
    /// All extended attributes that it carries.
    pub xattrs: Xattrs,
}

/// What an entry of an archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TarKind {
    /// A regular file; `Archive` reads its bytes.
    File {
        /// Length in bytes, holes included.
        size: u64,
    },
    /// Another name for an entry.
    Hardlink {
        /// Name of the entry, as written.
        target: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// Its text.
        target: Vec<u8>,
    },
    /// A directory.
    Dir,
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// Reads an archive entry by entry; between two calls of `next`, reads the entry's bytes.
#[derive(Debug)]
pub struct Archive<R> {
    input: R,
    /// Bytes taken from the input.
    offset: u64,
    /// Stored bytes of the entry that were not read.
    stored: u64,
    /// Zero bytes after them.
    padding: u64,
    body: Body,
}

/// What is left of the bytes of an entry.
#[derive(Debug, Default)]
struct Body {
    /// Position in the file, holes counted.
    at: u64,
    /// Its length.
    size: u64,
    /// Offset and length of each stored piece, for sparse files; empty for plain ones.
    extents: Vec<(u64, u64)>,
    /// The piece that is being read.
    extent: usize,
    is_sparse: bool,
}

/// What comes before a header and changes it.
#[derive(Default)]
struct Extensions {
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> Archive<R> {
    /// Reads from the start of an uncompressed archive.
    pub fn new(input: R) -> Self {
        Self {
            input,
            offset: 0,
            stored: 0,
            padding: 0,
            body: Body::default(),
        }
    }

    /// Where the next unread byte lies in the archive.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the current entry's bytes lie in the archive as they are: not so for sparse files.
    pub fn is_contiguous(&self) -> bool {
        !self.body.is_sparse
    }

    /// The next entry; skips what was not read of the one before. `None` at the end.
    ///
    /// Errors: `Archive`; `Io` when the input fails.
    #[allow(
        clippy::should_implement_trait,
        reason = "an entry borrows nothing, but may fail"
    )]
    pub fn next(&mut self) -> Result<Option<TarEntry>> {
        let rest = self.stored.saturating_add(self.padding);
        self.skip(rest)?;
        (self.stored, self.padding) = (0, 0);
        self.body = Body::default();
        let mut extensions = Extensions::default();
        loop {
            let Some(block) = self.header()? else {
                return Ok(None);
            };
            let raw = Raw(&block);
            match raw.flag() {
                b'x' => {
                    let data = self.extension(&raw)?;
                    extensions.pax = parse_records(&data)?;
                }
                // Records for the whole archive: git writes a comment so. Nothing in them is for us.
                b'g' => drop(self.extension(&raw)?),
                b'L' => extensions.long_name = Some(until_nul(&self.extension(&raw)?)),
                b'K' => extensions.long_link = Some(until_nul(&self.extension(&raw)?)),
                b'V' => self.skip_body(&raw)?,
                _ => return self.entry(&raw, extensions).map(Some),
            }
        }
    }

    fn entry(&mut self, raw: &Raw<'_>, extensions: Extensions) -> Result<TarEntry> {
        let pax = extensions.pax;
        let path = pax
            .path
            .or(extensions.long_name)
            .unwrap_or_else(|| raw.name());
        let fail = |reason: &str| Error::archive(&path, reason);
        if pax.is_sparse {
            return Err(fail("sparse files in PAX form are not supported"));
        }
        if path.contains(&0) {
            return Err(fail("its name holds a NUL byte"));
        }
        let target = pax
            .link
            .or(extensions.long_link)
            .unwrap_or_else(|| raw.link());
        if target.contains(&0) {
            return Err(fail("its link holds a NUL byte"));
        }
        let number = |value: Option<i64>, what: &str| value.ok_or_else(|| fail(what));
        let size = match pax.size {
            Some(size) => size,
            None => u64::try_from(number(raw.number(124, 12), "its size is no number")?)
                .map_err(|_| fail("its size is negative"))?,
        };
        let id = |pax: Option<u64>, at, what: &str| {
            let value = match pax {
                Some(id) => Some(id),
                None => raw.number(at, 8).and_then(|id| u64::try_from(id).ok()),
            };
            value
                .and_then(|id| u32::try_from(id).ok())
                .ok_or_else(|| fail(what))
        };
        let (uid, gid) = (
            id(pax.uid, 108, "its owner is no id")?,
            id(pax.gid, 116, "its group is no id")?,
        );
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => Mtime::from_secs(number(raw.number(136, 12), "its time is no number")?),
        };
        let mode = number(raw.number(100, 8), "its mode is no number")?;
        let kind = self.kind(raw, &path, target, size)?;
        Ok(TarEntry {
            kind,
            mode: (mode & 0o7777) as u32,
            uid,
            gid,
            mtime,
            xattrs: pax.xattrs,
            path,
        })
    }

    /// The kind of an entry; sets up its bytes.
    fn kind(&mut self, raw: &Raw<'_>, path: &[u8], target: Vec<u8>, size: u64) -> Result<TarKind> {
        let fail = |reason: &str| Error::archive(path, reason);
        let device = || {
            let part = |at| raw.number(at, 8).and_then(|part| u32::try_from(part).ok());
            let both = part(329).zip(part(337));
            both.ok_or_else(|| fail("its device number is no number"))
        };
        Ok(match raw.flag() {
            // Before 1988 a directory was a file whose name ends in a slash.
            b'\0' | b'0' if path.ends_with(b"/") => TarKind::Dir,
            b'\0' | b'0' | b'7' => {
                self.plain_body(size, path)?;
                TarKind::File { size }
            }
            b'S' => TarKind::File {
                size: self.sparse_body(raw, size, path)?,
            },
            b'1' => TarKind::Hardlink { target },
            b'2' => TarKind::Symlink { target },
            b'3' => device().map(|(major, minor)| TarKind::Char { major, minor })?,
            b'4' => device().map(|(major, minor)| TarKind::Block { major, minor })?,
            b'5' => TarKind::Dir,
            b'6' => TarKind::Fifo,
            flag => {
                let shown = char::from(flag);
                return Err(fail(&format!(
                    "entries of type {shown:?} are not supported"
                )));
            }
        })
    }

    fn plain_body(&mut self, size: u64, path: &[u8]) -> Result<()> {
        if size > i64::MAX as u64 - BLOCK as u64 {
            return Err(Error::archive(path, "its size is too large"));
        }
        self.stored = size;
        self.padding = padding(size);
        self.body.size = size;
        Ok(())
    }

    /// Reads the map of a sparse file; returns the length of the file with its holes.
    fn sparse_body(&mut self, raw: &Raw<'_>, stored: u64, path: &[u8]) -> Result<u64> {
        let fail = |reason: &str| Error::archive(path, reason);
        let real = raw
            .number(483, 12)
            .and_then(|size| u64::try_from(size).ok());
        let real = real.ok_or_else(|| fail("its real size is no number"))?;
        let mut extents = Vec::new();
        read_extents(raw.0, 386, 4, &mut extents).ok_or_else(|| fail("its map is damaged"))?;
        let mut more = raw.0.get(482) == Some(&1);
        while more {
            let mut block = [0; BLOCK];
            self.fill(&mut block)?;
            read_extents(&block, 0, 21, &mut extents).ok_or_else(|| fail("its map is damaged"))?;
            more = block.get(504) == Some(&1);
            if extents.len() > MAX_EXTENTS {
                return Err(fail("its map has too many pieces"));
            }
        }
        let mut end = 0;
        let mut sum = 0u64;
        for (at, length) in &extents {
            let next = at.checked_add(*length).filter(|next| *next <= real);
            sum = sum.saturating_add(*length);
            match next {
                Some(next) if *at >= end => end = next,
                _ => return Err(fail("its map is not in order or exceeds its size")),
            }
        }
        if sum != stored {
            return Err(fail("its map does not fit its size"));
        }
        self.plain_body(stored, path)?;
        self.body = Body {
            size: real,
            extents,
            is_sparse: true,
            ..Body::default()
        };
        Ok(real)
    }

    /// The bytes of an extension.
    fn extension(&mut self, raw: &Raw<'_>) -> Result<Vec<u8>> {
        let size = self.size_of(raw)?;
        if size > MAX_EXTENSION {
            return Err(Error::archive(b"", "an extended header is too long"));
        }
        let mut data = vec![0; size as usize];
        self.fill(&mut data)?;
        self.skip(padding(size))?;
        Ok(data)
    }

    fn skip_body(&mut self, raw: &Raw<'_>) -> Result<()> {
        let size = self.size_of(raw)?;
        self.skip(size)?;
        self.skip(padding(size))
    }

    fn size_of(&self, raw: &Raw<'_>) -> Result<u64> {
        raw.number(124, 12)
            .and_then(|size| u64::try_from(size).ok())
            .ok_or_else(|| Error::archive(b"", "a size is no number"))
    }

    /// The next header block; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        // An archive may also just stop between two entries, as old tools leave it.
        match self.fill_or_end(&mut block)? {
            End::Reached => return Ok(None),
            End::NotReached => {}
        }
        if block == [0; BLOCK] {
            return match self.fill_or_end(&mut block)? {
                End::NotReached if block != [0; BLOCK] => {
                    Err(Error::archive(b"", "one zero block stands between entries"))
                }
                _ => Ok(None),
            };
        }
        if !Raw(&block).checksum_fits() {
            let at = self.offset - BLOCK as u64;
            return Err(Error::archive(
                b"",
                format!("damaged header at offset {at}"),
            ));
        }
        Ok(Some(block))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        match self.input.read_exact(buffer) {
            Ok(()) => {
                self.offset += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Error::archive(b"", "it ends in the middle"))
            }
            Err(source) => Err(Error::io("read", "an archive", source)),
        }
    }

    fn fill_or_end(&mut self, block: &mut [u8; BLOCK]) -> Result<End> {
        let mut first = [0; 1];
        loop {
            return match self.input.read(&mut first) {
                Ok(0) => Ok(End::Reached),
                Ok(_) => {
                    let [start, rest @ ..] = block;
                    *start = first[0];
                    self.offset += 1;
                    self.fill(rest)?;
                    Ok(End::NotReached)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => Err(Error::io("read", "an archive", source)),
            };
        }
    }

    fn skip(&mut self, mut count: u64) -> Result<()> {
        let mut sink = [0; 8192];
        while count > 0 {
            let part = usize::try_from(count).unwrap_or(sink.len()).min(sink.len());
            self.fill(sink.get_mut(..part).unwrap_or_default())?;
            count -= part as u64;
        }
        Ok(())
    }

    /// Gives the input back, to read what follows the archive.
    pub fn into_inner(self) -> R {
        self.input
    }

    fn read_stored(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.stored)
            .unwrap_or(buffer.len())
            .min(buffer.len());
        let room = buffer.get_mut(..most).unwrap_or_default();
        if room.is_empty() {
            return Ok(0);
        }
        let count = self.input.read(room)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.stored -= count as u64;
        self.offset += count as u64;
        Ok(count)
    }
}

impl<R: Read> Read for Archive<R> {
    /// Reads the bytes of the current entry; the end of input inside it is an error.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.body.is_sparse {
            return self.read_stored(buffer);
        }
        let body = &mut self.body;
        while body
            .extents
            .get(body.extent)
            .is_some_and(|(at, length)| body.at >= at + length)
        {
            body.extent += 1;
        }
        let (hole_end, data_end) = match body.extents.get(body.extent) {
            Some((at, length)) => (*at, at + length),
            None => (body.size, body.size),
        };
        let limit = if body.at < hole_end {
            hole_end
        } else {
            data_end
        } - body.at;
        let most = usize::try_from(limit)
            .unwrap_or(buffer.len())
            .min(buffer.len());
        let room = buffer.get_mut(..most).unwrap_or_default();
        let count = if body.at < hole_end {
            room.fill(0);
            room.len()
        } else {
            self.read_stored(room)?
        };
        self.body.at += count as u64;
        Ok(count)
    }
}

enum End {
    Reached,
    NotReached,
}

/// The path of an entry inside a layer; empty for the root itself.
///
/// Leading slashes, `.` and doubled slashes vanish, `..` steps back. Errors: `Escape` for a path
/// that steps out, `Archive` for one that no file system takes.
pub fn clean_path(written: &[u8]) -> Result<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path::components(written) {
        match part {
            b"." => {}
            b".." => {
                if parts.pop().is_none() {
                    return Err(Error::Escape {
                        path: to_path(written),
                    });
                }
            }
            _ => parts.push(part),
        }
    }
    let clean = parts.join(&b'/');
    if !clean.is_empty() {
        path::check(&clean).map_err(|reason| Error::archive(written, reason))?;
    }
    Ok(clean)
}

#[cfg(test)]
mod tests;
