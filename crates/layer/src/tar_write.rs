//! The one way from an index to a tar: same entries, same bytes, whoever made the layer.
//!
//! Entries in component order, no leading `./`, directories end in `/`, times in whole seconds, no
//! user names, hard links to the first path, two zero blocks at the end. Implied directories are
//! not written. Source: `spec/dockerfile.md` 12.6 and containerd's `ChangeWriter`.

use std::io::Write;

use crate::header::{BLOCK, Header, padding};
use crate::path::{self, to_path};
use crate::{Entry, Error, Kind, LayerIndex, Result, Xattrs, whiteout};

/// Zero bytes that end every tar, and all that an empty layer is.
pub(crate) const TRAILER: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Appends the headers of an entry: none for implied directories, two for opaque ones.
///
/// Errors: `Entry` for a socket, and for a link whose leader does not stand before it.
pub(crate) fn append_headers(entry: &Entry, out: &mut Vec<u8>) -> Result<()> {
    let name = tar_name(entry);
    let Some(header) = header(entry, &name)? else {
        return Ok(());
    };
    header.append(out);
    if matches!(entry.kind, Kind::Dir { opaque: true, .. }) {
        let name = path::join(&entry.path, whiteout::OPAQUE);
        mark(&name, entry.mtime.secs).append(out);
    }
    Ok(())
}

/// For each entry the offset of its bytes in the tar, meaningful for files of some size.
///
/// Linear in the number of entries. Errors: as `append_headers`.
pub(crate) fn offsets(index: &LayerIndex) -> Result<Vec<u64>> {
    let mut at = opaque_root(index).len() as u64;
    let mut offsets = Vec::with_capacity(index.entries().len());
    for entry in index.entries() {
        at += headers_len(entry)?;
        offsets.push(at);
        if let Kind::File { size, .. } = entry.kind {
            at = at.saturating_add(size).saturating_add(padding(size));
        }
    }
    Ok(offsets)
}

/// Length of the whole tar of an index, in bytes.
pub(crate) fn tar_len(index: &LayerIndex) -> Result<u64> {
    let end = match (offsets(index)?.last(), index.entries().last()) {
        (Some(at), Some(entry)) => match entry.kind {
            Kind::File { size, .. } => at.saturating_add(size).saturating_add(padding(size)),
            _ => *at,
        },
        _ => opaque_root(index).len() as u64,
    };
    Ok(end.saturating_add(TRAILER.len() as u64))
}

/// Writes the tar of an index; `body` writes exactly the bytes of the file it is given.
///
/// Nothing is buffered: give a buffered `out`. Errors: as `append_headers`, what `body` returns,
/// and `Io` when `out` fails.
pub(crate) fn write_tar<W: Write>(
    index: &LayerIndex,
    out: &mut W,
    body: &mut dyn FnMut(&Entry, &mut W) -> Result<()>,
) -> Result<()> {
    let write = |out: &mut W, bytes: &[u8]| {
        let wrap = |source| Error::io("write the tar of a layer", "", source);
        out.write_all(bytes).map_err(wrap)
    };
    check_links(index)?;
    write(out, &opaque_root(index))?;
    let mut headers = Vec::new();
    for entry in index.entries() {
        headers.clear();
        append_headers(entry, &mut headers)?;
        write(out, &headers)?;
        if let Kind::File { size, .. } = entry.kind {
            if size > 0 {
                body(entry, out)?;
            }
            write(out, zeros(padding(size)))?;
        }
    }
    write(out, &TRAILER)
}

/// Checks that every link follows the entry that it links to.
///
/// A reader makes links as they come: one that stands before its leader cannot be made.
pub(crate) fn check_links(index: &LayerIndex) -> Result<()> {
    for entry in index.entries() {
        if let Kind::Hardlink { leader } = &entry.kind {
            let stands_before = path::compare(leader, &entry.path).is_lt();
            if !stands_before || index.position(leader).is_none() {
                return Err(refuse(
                    entry,
                    "the entry it links to does not stand before it",
                ));
            }
        }
    }
    Ok(())
}

/// `count` zero bytes, less than a block of them.
pub(crate) fn zeros(count: u64) -> &'static [u8] {
    TRAILER.get(..count as usize).unwrap_or_default()
}

/// What the tar starts with: the mark of an opaque root, if there is one.
pub(crate) fn opaque_root(index: &LayerIndex) -> Vec<u8> {
    let mut out = Vec::new();
    if index.is_root_opaque() {
        mark(whiteout::OPAQUE, 0).append(&mut out);
    }
    out
}

fn headers_len(entry: &Entry) -> Result<u64> {
    let name = tar_name(entry);
    let Some(header) = header(entry, &name)? else {
        return Ok(0);
    };
    if matches!(entry.kind, Kind::Dir { opaque: true, .. }) {
        let mark_name = path::join(&entry.path, whiteout::OPAQUE);
        return Ok(header.len() + mark(&mark_name, entry.mtime.secs).len());
    }
    Ok(header.len())
}

fn tar_name(entry: &Entry) -> Vec<u8> {
    match &entry.kind {
        Kind::Dir { .. } => [&entry.path, &b"/"[..]].concat(),
        Kind::Whiteout => whiteout::name_of(&entry.path),
        _ => entry.path.clone(),
    }
}

/// An empty file that only its name gives a meaning; as containerd writes them, without a mode.
fn mark(name: &[u8], mtime: i64) -> Header<'_> {
    static NONE: Xattrs = Xattrs::new();
    Header {
        name,
        link: b"",
        flag: b'0',
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        mtime,
        major: 0,
        minor: 0,
        xattrs: &NONE,
    }
}

fn header<'a>(entry: &'a Entry, name: &'a [u8]) -> Result<Option<Header<'a>>> {
    let (flag, link, size) = match &entry.kind {
        Kind::Dir { implied: true, .. } => return Ok(None),
        Kind::Socket => return Err(refuse(entry, "a tar cannot hold a socket")),
        Kind::Whiteout => return Ok(Some(mark(name, entry.mtime.secs))),
        Kind::File { size, .. } => (b'0', &b""[..], *size),
        Kind::Hardlink { leader } => (b'1', leader.as_slice(), 0),
        Kind::Symlink { target } => (b'2', target.as_slice(), 0),
        Kind::Char { .. } => (b'3', &b""[..], 0),
        Kind::Block { .. } => (b'4', &b""[..], 0),
        Kind::Dir { .. } => (b'5', &b""[..], 0),
        Kind::Fifo => (b'6', &b""[..], 0),
    };
    let (major, minor) = match entry.kind {
        Kind::Char { major, minor } | Kind::Block { major, minor } => (major, minor),
        _ => (0, 0),
    };
    Ok(Some(Header {
        name,
        link,
        flag,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        size,
        mtime: entry.mtime.secs,
        major,
        minor,
        xattrs: &entry.xattrs,
    }))
}

fn refuse(entry: &Entry, reason: &'static str) -> Error {
    Error::Entry {
        path: to_path(&entry.path),
        reason,
    }
}
