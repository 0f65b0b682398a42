//! First contents and owner of a directory that is no layer: a cache mount.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use rbuild_progress::{CancelReader, CancelToken};

use super::amend::{PIECE, file};
use super::create::{Maker, Parents};
use super::lists::{decode_amended, read_list};
use crate::beneath::Root;
use crate::job::{Site, Top};
use crate::{Entry, Kind, Mtime, Result};

/// Makes everything of a list, parents first, in an empty directory; then sets metadata, bottom up.
///
/// `bytes` holds the bytes of the regular files in order.
pub(super) fn fill(
    root: &Path,
    (site, top): (Site, Top),
    list: File,
    bytes: File,
    cancel: &CancelToken,
) -> Result<()> {
    let items = decode_amended(&read_list(list)?)?;
    let mut maker = Maker::new(Root::open(root)?, site, Parents::Fresh, cancel);
    let mut bytes = BufReader::with_capacity(PIECE, CancelReader::new(bytes, cancel));
    for item in &items {
        cancel.check()?;
        match item.entry.kind {
            Kind::Dir { .. } => maker.make_dir(&item.entry.path)?,
            Kind::File { size, .. } => file(&mut maker, &item.entry, size, &mut bytes)?,
            _ => maker.make(&item.entry)?,
        }
    }
    for item in items.iter().rev().filter(|item| item.entry.kind.is_dir()) {
        maker.finish_dir(&item.entry)?;
    }
    let mut own = Entry::new("", Kind::dir(), top.mode, Mtime::default());
    (own.uid, own.gid) = (top.uid, top.gid);
    maker.finish_top(&own)
}
