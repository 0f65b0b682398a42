//! An image layout written as one tar: sorted names, root's, of the epoch. Equal images, equal bytes.

use std::io::{self, Write};

use rbuild_progress::Meter;
use tar::EntryType;

use crate::context::Context;
use crate::layout::{Content, LayoutFile};
use crate::output::Output;
use crate::tar_header::{TRAILER, TarEntry, padding};
use crate::{Error, Result};

/// Bytes that [`write`] makes of the files.
pub(crate) fn size(files: &[LayoutFile]) -> u64 {
    let of_file = |file: &LayoutFile| {
        let size = file.size();
        let head = entry(file).to_bytes().len();
        size + (head + padding(size)) as u64
    };
    files.iter().map(of_file).sum::<u64>() + TRAILER.len() as u64
}

/// Writes the files in their order. The output is not finished.
pub(crate) fn write(files: &[LayoutFile], output: &mut Output, cx: &Context<'_>) -> Result<()> {
    let total = files.iter().map(LayoutFile::size).sum();
    let meter = Meter::new(cx.sink, cx.vertex, "sending tarball", Some(total));
    let name = output.name().to_path_buf();
    for file in files {
        cx.cancel.check()?;
        write_file(file, output, cx, &meter).map_err(|failure| match failure {
            Failure::Output(error) => Error::io("write", &name, error),
            Failure::Other(error) => error,
        })?;
    }
    output
        .write_all(&TRAILER)
        .map_err(Error::at("write", &name))?;
    meter.finish();
    Ok(())
}

enum Failure {
    Output(io::Error),
    Other(Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

fn write_file(
    file: &LayoutFile,
    output: &mut Output,
    cx: &Context<'_>,
    meter: &Meter<'_>,
) -> Result<(), Failure> {
    let entry = entry(file);
    output.write_all(&entry.to_bytes())?;
    match &file.content {
        Content::Directory => {}
        Content::Bytes(bytes) => output.write_all(bytes)?,
        Content::Blob { digest, size } => {
            let content = cx
                .store
                .open_blob(digest)
                .map_err(|error| Failure::Other(error.into()))?;
            output.copy_file(&content, *size, cx.cancel)?;
        }
    }
    let (zeros, _) = TRAILER.split_at(padding(entry.size));
    output.write_all(zeros)?;
    meter.add(entry.size);
    Ok(())
}

fn entry(file: &LayoutFile) -> TarEntry<'_> {
    let kind = match file.content {
        Content::Directory => EntryType::Directory,
        _ => EntryType::Regular,
    };
    let mut entry = TarEntry::new(kind, file.name.as_bytes(), file.mode);
    entry.size = file.size();
    entry
}
