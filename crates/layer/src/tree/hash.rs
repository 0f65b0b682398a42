//! Content digests of files of a tree, many at a time.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rayon::prelude::*;
use rbuild_progress::CancelToken;
use rustix::fs::OFlags;

use super::lists::{decode_paths, encode_digests, read_list, write_list};
use crate::beneath::Root;
use crate::path::to_path;
use crate::{ContentDigest, Error, Result};

/// Bytes read at once: little enough to come from the heap, not from fresh pages for each file.
const BUFFER: usize = 64 * 1024;

/// Hashes the regular files of a list.
pub(super) fn hash(root: &Path, paths: File, out: File, cancel: &CancelToken) -> Result<()> {
    let root = Root::open(root)?;
    let paths = decode_paths(&read_list(paths)?)?;
    let digests: Result<Vec<_>> = match paths.len() {
        // A pool of threads is not worth one file.
        0 | 1 => paths.iter().map(|path| one(&root, path, cancel)).collect(),
        _ => paths
            .par_iter()
            .map(|path| one(&root, path, cancel))
            .collect(),
    };
    write_list(out, &encode_digests(&digests?))
}

fn one(root: &Root, path: &[u8], cancel: &CancelToken) -> Result<ContentDigest> {
    let mut file = open_file(root, path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        cancel.check()?;
        let count = file
            .read(&mut buffer)
            .map_err(|source| Error::io("read", to_path(path), source))?;
        if count == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
}

/// Opens a regular file below a root. Errors: `NotAFile` for anything else.
pub(crate) fn open_file(root: &Root, path: &[u8]) -> Result<File> {
    // Without blocking: a named pipe in its place would wait for a writer for ever.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let wrap = |source| Error::io("open", to_path(path), source);
    let file = File::from(root.at(path, flags).map_err(wrap)?);
    if !file.metadata().map_err(wrap)?.is_file() {
        return Err(Error::NotAFile {
            path: to_path(path),
        });
    }
    Ok(file)
}
