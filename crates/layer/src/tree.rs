//! What jobs do: everything here runs where the files of trees may be touched, and knows only
//! directories and descriptors, neither the store nor other layers.

mod amend;
mod create;
mod delete;
mod fill;
mod hash;
mod list;
mod lists;
mod merge;
mod read;
mod serve;
mod survey;
mod unpack;

use std::fs::File;
use std::os::fd::BorrowedFd;

use rbuild_progress::CancelToken;

pub(crate) use hash::open_file;
pub(crate) use list::{Inode, Listed, decode_list};
pub(crate) use lists::{
    Amended, ReadItem, decode_digests, encode_amended, encode_paths, encode_reads,
};
pub(crate) use serve::{ask, socket as serving_socket};
pub(crate) use survey::decode_survey;
pub use survey::{Stamp, Surveyed};

use crate::job::{TreeJob, TreeReply};
use crate::{Error, Result};

/// Carries out a job in this process.
pub(crate) fn run(
    job: &TreeJob,
    fds: &[BorrowedFd<'_>],
    cancel: &CancelToken,
) -> Result<TreeReply> {
    cancel.check()?;
    match job {
        TreeJob::Unpack {
            root,
            format,
            expected,
            site,
        } => {
            let known = fds.get(2).map(|_| file(fds, 2)).transpose()?;
            let plan = unpack::Plan {
                root,
                format: *format,
                expected: expected.as_ref(),
                site: *site,
            };
            return unpack::unpack(&plan, file(fds, 0)?, file(fds, 1)?, known, cancel);
        }
        TreeJob::Amend { root, site } => {
            amend::amend(root, *site, file(fds, 0)?, file(fds, 1)?, cancel)?;
        }
        TreeJob::Fill { root, site, top } => {
            fill::fill(root, (*site, *top), file(fds, 0)?, file(fds, 1)?, cancel)?;
        }
        TreeJob::List { root, site } => list::list(root, site.namespace, file(fds, 0)?, cancel)?,
        TreeJob::Survey { root, site } => {
            survey::survey(root, site.namespace, file(fds, 0)?, cancel)?;
        }
        TreeJob::Hash { root } => hash::hash(root, file(fds, 0)?, file(fds, 1)?, cancel)?,
        TreeJob::Read { roots } => read::read(roots, file(fds, 0)?, file(fds, 1)?, cancel)?,
        TreeJob::Serve => serve::serve(file(fds, 0)?)?,
        TreeJob::Merge { lowers, root, site } => merge::merge(lowers, root, *site, cancel)?,
        TreeJob::Delete { path } => delete::delete(path, cancel)?,
    }
    Ok(TreeReply::Done)
}

/// A descriptor of the job as a file of our own.
fn file(fds: &[BorrowedFd<'_>], at: usize) -> Result<File> {
    let fd = fds.get(at).ok_or_else(|| Error::TreeWork {
        reason: format!("descriptor {at} is missing"),
    })?;
    let owned = fd
        .try_clone_to_owned()
        .map_err(|source| Error::io("duplicate", "descriptor", source))?;
    Ok(File::from(owned))
}
