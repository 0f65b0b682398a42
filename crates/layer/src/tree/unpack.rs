//! A layer's blob into a directory, in one pass that also verifies and indexes it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use rbuild_oci::DiffId;
use rbuild_progress::CancelToken;

use super::create::{Maker, Parents};
use super::lists::{read_list, write_list};
use crate::archive_index::{Effect, Offset};
use crate::beneath::Root;
use crate::job::{Format, Site, TreeReply};
use crate::layer_read::{Keeper, read_layer};
use crate::path::to_path;
use crate::{Entry, Error, Kind, LayerIndex, Mtime, Result};

/// What is to be unpacked how.
pub(super) struct Plan<'a> {
    pub(super) root: &'a Path,
    pub(super) format: Format,
    pub(super) expected: Option<&'a DiffId>,
    pub(super) site: Site,
}

/// Unpacks `blob` and writes its index to `index_out`.
///
/// Implied directories get mode 0755 and links into layers below are left out: both wait for an
/// amendment. With `known`, times come from that index, since a tar has whole seconds only.
/// Errors: as `read_layer`; the directory then holds rubbish, which is the caller's to remove.
pub(super) fn unpack(
    plan: &Plan<'_>,
    blob: File,
    index_out: File,
    known: Option<File>,
    cancel: &CancelToken,
) -> Result<TreeReply> {
    let known = known
        .map(|file| LayerIndex::decode(&read_list(file)?))
        .transpose()?;
    let mut keeper = TreeKeeper {
        maker: Maker::new(Root::open(plan.root)?, plan.site, Parents::Fresh, cancel),
        open: None,
        known,
    };
    let read = read_layer(blob, plan.format, plan.expected, &mut keeper, cancel)?;
    for entry in read.index.entries() {
        if entry.kind.is_dir() {
            cancel.check()?;
            keeper.maker.finish_dir(&keeper.dated(entry))?;
        }
    }
    write_list(index_out, &read.index.encode())?;
    Ok(TreeReply::Unpacked {
        diff_id: read.diff_id,
        size_bytes: read.size_bytes,
    })
}

struct TreeKeeper<'a> {
    maker: Maker<'a>,
    open: Option<File>,
    known: Option<LayerIndex>,
}

impl TreeKeeper<'_> {
    /// The entry with the time that the known index has for it.
    fn dated(&self, entry: &Entry) -> Entry {
        let known = self.known.as_ref().and_then(|known| known.get(&entry.path));
        let mtime: Mtime = known.map_or(entry.mtime, |known| known.mtime);
        Entry {
            mtime,
            ..entry.clone()
        }
    }
}

impl Keeper for TreeKeeper<'_> {
    fn follow(&mut self, effect: &Effect) -> Result<()> {
        for path in &effect.removed {
            self.maker.remove(path)?;
        }
        for path in &effect.dirs {
            self.maker.make_dir(path)?;
        }
        Ok(())
    }

    fn make(&mut self, entry: &Entry) -> Result<()> {
        let entry = self.dated(entry);
        match (&entry.kind, self.maker.make(&entry)) {
            // Its leader lies in a layer below; should it lie nowhere, the amendment says so.
            (Kind::Hardlink { .. }, Err(Error::Io { source, .. }))
                if matches!(
                    source.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(())
            }
            (_, made) => made,
        }
    }

    fn relabel(&mut self, file: &Entry) -> Result<()> {
        let file = self.dated(file);
        match self.maker.relabel(&file) {
            // A device that could not be made has no other names either.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(())
            }
            done => done,
        }
    }

    fn begin(&mut self, entry: &Entry) -> Result<Offset> {
        self.open = Some(self.maker.make_file(&entry.path)?);
        Ok(0)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.open {
            Some(file) => file
                .write_all(bytes)
                .map_err(|source| Error::io("write", "a file of a layer tree", source)),
            None => Ok(()),
        }
    }

    fn end(&mut self, entry: &Entry) -> Result<()> {
        match self.open.take() {
            Some(file) => self.maker.finish_open(&file, &self.dated(entry)),
            None => Err(Error::NotAFile {
                path: to_path(&entry.path),
            }),
        }
    }
}
