//! The bytes of files of trees, one after the other.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use rbuild_progress::{CancelReader, CancelToken};

use super::hash::open_file;
use super::lists::{decode_reads, read_list};
use crate::beneath::Root;
use crate::path::to_path;
use crate::{Error, Result};

/// Copies each file of a list to `out`; a file of another size than announced is an error.
pub(super) fn read(
    roots: &[PathBuf],
    list: File,
    mut out: File,
    cancel: &CancelToken,
) -> Result<()> {
    let roots: Vec<Root> = roots
        .iter()
        .map(|root| Root::open(root))
        .collect::<Result<_>>()?;
    for item in decode_reads(&read_list(list)?)? {
        cancel.check()?;
        let root = roots.get(item.root).ok_or_else(|| Error::TreeWork {
            reason: format!("there is no tree {}", item.root),
        })?;
        let file = open_file(root, &item.path)?;
        let wrap = |source| Error::io("read", to_path(&item.path), source);
        let changed = || Error::ContentChanged {
            path: to_path(&item.path),
        };
        let size = file.metadata().map_err(wrap)?.len();
        if size != item.size {
            return Err(changed());
        }
        let mut input = CancelReader::new(file, cancel).take(item.size);
        let copied = io::copy(&mut input, &mut out).map_err(wrap)?;
        if copied != item.size {
            return Err(changed());
        }
    }
    Ok(())
}
