//! Files by name, whether they lie in a directory or in an archive.

use std::io::Read;
use std::path::Path;

use crate::{Error, Result};

/// Longest document that is read, in bytes: configs, manifests, indexes.
pub(super) const DOCUMENT_MAX: u64 = 16 << 20;

/// A file found by its name.
pub(super) struct Found<'a> {
    pub(super) size: u64,
    pub(super) bytes: Box<dyn Read + Send + 'a>,
}

/// Something that holds files by name.
pub(super) trait Files: Send + Sync {
    /// Opens a regular file; `None` if there is none of that name.
    ///
    /// `name` is relative, of plain components; whatever the holder does with links, the file found lies
    /// within.
    fn open(&self, name: &str) -> Result<Option<Found<'_>>>;
}

/// Reads a document whole.
pub(super) fn read_document(files: &dyn Files, name: &str, path: &Path) -> Result<Option<Vec<u8>>> {
    let Some(found) = files.open(name)? else {
        return Ok(None);
    };
    if found.size > DOCUMENT_MAX {
        return Err(Error::import(
            path,
            format!("{name} is longer than {DOCUMENT_MAX} bytes"),
        ));
    }
    let mut bytes = Vec::new();
    found
        .bytes
        .take(DOCUMENT_MAX)
        .read_to_end(&mut bytes)
        .map_err(Error::at("read", &path.join(name)))?;
    Ok(Some(bytes))
}
