//! What an unpacked tree takes from the layers below it, once those are known.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use rbuild_progress::{CancelReader, CancelToken};

use super::create::{Maker, Parents};
use super::lists::{decode_amended, read_list};
use crate::beneath::Root;
use crate::job::Site;
use crate::path::to_path;
use crate::{Entry, Error, Kind, Result};

/// Bytes that are read, and written, at once.
pub(super) const PIECE: usize = 1 << 17;

/// Makes the files and links of a list, then sets the metadata of its directories.
///
/// `bytes` holds the bytes of the regular files in order. Directories come last, since making
/// something in them changes their times.
pub(super) fn amend(
    root: &Path,
    site: Site,
    list: File,
    bytes: File,
    cancel: &CancelToken,
) -> Result<()> {
    let items = decode_amended(&read_list(list)?)?;
    let mut maker = Maker::new(Root::open(root)?, site, Parents::Finished, cancel);
    let mut bytes = BufReader::with_capacity(PIECE, CancelReader::new(bytes, cancel));
    for item in &items {
        cancel.check()?;
        match item.entry.kind {
            Kind::Dir { .. } => {}
            Kind::File { size, .. } => file(&mut maker, &item.entry, size, &mut bytes)?,
            _ => maker.make(&item.entry)?,
        }
    }
    for item in items.iter().filter(|item| item.entry.kind.is_dir()) {
        maker.finish_dir(&item.entry)?;
    }
    Ok(())
}

/// Makes a regular file with the next bytes.
pub(super) fn file(
    maker: &mut Maker<'_>,
    entry: &Entry,
    size: u64,
    bytes: &mut dyn BufRead,
) -> Result<()> {
    let wrap = |source| Error::io("copy", to_path(&entry.path), source);
    let mut file = maker.make_file(&entry.path)?;
    let mut left = size;
    while left > 0 {
        let piece = match bytes.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(wrap)?,
        };
        let wanted = usize::try_from(left).unwrap_or(usize::MAX);
        let piece = piece.get(..wanted).unwrap_or(piece);
        if piece.is_empty() {
            return Err(wrap(io::ErrorKind::UnexpectedEof.into()));
        }
        file.write_all(piece).map_err(wrap)?;
        let length = piece.len();
        bytes.consume(length);
        left -= length as u64;
    }
    maker.finish_open(&file, entry)
}
