//! An OCI image layout written as a directory. A layout that is there already is added to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use rbuild_oci::{Descriptor, Digest, Index};
use rbuild_progress::Meter;

use crate::context::Context;
use crate::layout::{self, Content, LayoutFile};
use crate::output::{NewFile, Output, sync_dir};
use crate::{Dest, Error, Result};

/// Longest index that is read, in bytes: some ten thousand images.
const INDEX_MAX: u64 = 16 << 20;

/// Writes the files of a layout into `dir`, blobs first and the index last, so that a layout is never
/// seen to name what it lacks.
pub(crate) fn write(
    dir: &Path,
    files: &[LayoutFile],
    new: Vec<Descriptor>,
    cx: &Context<'_>,
) -> Result<()> {
    fs::create_dir_all(dir).map_err(Error::at("create", dir))?;
    let handle = File::open(dir).map_err(Error::at("open", dir))?;
    let total = files.iter().map(LayoutFile::size).sum();
    let meter = Meter::new(cx.sink, cx.vertex, "copying files", Some(total));
    for file in files {
        cx.cancel.check()?;
        let path = dir.join(&file.name);
        match &file.content {
            Content::Directory => fs::create_dir_all(&path).map_err(Error::at("create", &path))?,
            Content::Blob { digest, size } => copy_blob(digest, *size, &path, cx)?,
            Content::Bytes(_) if file.name == layout::INDEX => {}
            Content::Bytes(bytes) => NewFile::write(&path, bytes)?,
        }
        meter.add(file.size());
    }
    // What the index names must be on disk before it is.
    let mut dirs = files
        .iter()
        .filter(|file| file.content == Content::Directory);
    dirs.try_for_each(|file| sync_dir(&dir.join(&file.name)))?;
    // Two builds may add to one layout; the directory itself is what both have.
    handle.lock().map_err(Error::at("lock", dir))?;
    let path = dir.join(layout::INDEX);
    let index = read_index(&path)?
        .unwrap_or_else(|| Index::new(rbuild_oci::media_type::OCI_INDEX, Vec::new()));
    NewFile::write(&path, &layout::index_bytes(&layout::merge(index, new)))?;
    sync_dir(dir)?;
    meter.finish();
    Ok(())
}

fn copy_blob(digest: &Digest, size: u64, path: &Path, cx: &Context<'_>) -> Result<()> {
    // Named by its digest and complete, since it is renamed into place.
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == size) {
        return Ok(());
    }
    let file = cx.store.open_blob(digest)?;
    let mut output = Output::open(&Dest::File(path.to_path_buf()))?;
    output
        .copy_file(&file, size, cx.cancel)
        .map_err(Error::at("write", path))?;
    match output {
        Output::New(new) => new.publish().map(drop),
        other => other.finish(),
    }
}

/// Reads a layout's index; `None` if there is none.
pub(crate) fn read_index(path: &Path) -> Result<Option<Index>> {
    let file = match OpenOptions::new().read(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path, error)),
    };
    let mut bytes = Vec::new();
    file.take(INDEX_MAX)
        .read_to_end(&mut bytes)
        .map_err(Error::at("read", path))?;
    let index = Index::from_bytes(&bytes).map_err(|source| Error::Document {
        what: "index",
        source,
    })?;
    Ok(Some(index))
}

impl LayoutFile {
    /// Bytes of content.
    pub(crate) fn size(&self) -> u64 {
        match &self.content {
            Content::Directory => 0,
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Blob { size, .. } => *size,
        }
    }
}
