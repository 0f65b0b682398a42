//! What is in a directory that is no layer, and by what one sees later that a file has not changed.

use std::fs::File;
use std::path::Path;

use rbuild_progress::CancelToken;
use rustix::fs::{Stat, fstat};

use super::list::{Detail, Inode, listed, walked};
use super::lists::{read_list, write_list};
use crate::beneath::Root;
use crate::encode::{Input, put_number, unzigzag, zigzag};
use crate::index::MAX_ENTRIES;
use crate::job::Top;
use crate::{Entry, Error, Mtime, OverlayNamespace, Result};

/// One thing found in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Its metadata. The digest of a file is not taken.
    pub entry: Entry,
    /// Device and inode, if it has several names.
    pub links: Option<(u64, u64)>,
    /// What changes with it.
    pub stamp: Stamp,
}

/// Changes whenever a file's bytes or metadata do; with size and modification time in the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// When bytes or metadata changed last.
    pub changed: Mtime,
}

/// Lists a directory to a descriptor, itself first.
pub(super) fn survey(
    root: &Path,
    namespace: OverlayNamespace,
    out: File,
    cancel: &CancelToken,
) -> Result<()> {
    let opened = Root::open(root)?;
    let stat = fstat(opened.fd()).map_err(|errno| Error::io("stat", root, errno.into()))?;
    let mut list = Vec::new();
    put_number(&mut list, (stat.st_mode & 0o7777).into());
    put_number(&mut list, stat.st_uid.into());
    put_number(&mut list, stat.st_gid.into());
    walked(&opened, (namespace, Detail::Stamps), &mut list, cancel)?;
    write_list(out, &list)
}

pub(super) fn put_stamp(out: &mut Vec<u8>, stat: &Stat) {
    put_number(out, stat.st_dev);
    put_number(out, stat.st_ino);
    put_number(out, zigzag(stat.st_ctime));
    put_number(out, u32::try_from(stat.st_ctime_nsec).unwrap_or(0).into());
}

/// Reads what `survey` wrote.
pub(crate) fn decode_survey(file: File) -> Result<(Top, Vec<Surveyed>)> {
    let bytes = read_list(file)?;
    let mut input = Input(&bytes);
    let top = Top {
        mode: input.small()?,
        uid: input.small()?,
        gid: input.small()?,
    };
    let count = input.count(MAX_ENTRIES)?;
    let mut all: Vec<Surveyed> = Vec::with_capacity(count.min(bytes.len() / 14));
    for _ in 0..count {
        let previous = all.last().map_or(&b""[..], |last| &last.entry.path);
        let found = listed(&mut input, previous)?;
        let stamp = Stamp {
            device: input.number()?,
            inode: input.number()?,
            changed: Mtime {
                secs: unzigzag(input.number()?),
                nanos: input.small()?,
            },
        };
        all.push(Surveyed {
            entry: found.entry,
            links: found.inode.map(|Inode(device, inode)| (device, inode)),
            stamp,
        });
    }
    Ok((top, all))
}
