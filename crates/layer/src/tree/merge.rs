//! Several trees into one that stands for all of them: a kernel takes only so many lowers.

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rbuild_progress::CancelToken;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, fchmod, fchown, fstat, futimens,
    linkat, major, minor, mkdirat, openat, statat,
};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;

use super::delete::delete_at;
use super::list::names;
use crate::job::{Ids, Site};
use crate::{Error, Result, xattr};

const DIR_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Merges trees, lowest first, into an empty directory.
///
/// Files become hard links: overlay never writes to a lower, and copies up before it changes
/// anything. Whiteouts and opaque marks act on the trees before; a whiteout also stays, since
/// more layers may lie below the merged ones.
pub(super) fn merge(
    lowers: &[PathBuf],
    root: &Path,
    site: Site,
    cancel: &CancelToken,
) -> Result<()> {
    let target = open_path(root)?;
    for lower in lowers {
        let source = open_path(lower)?;
        let merger = Merger { site, cancel };
        merger
            .tree(source, &target)?
            .map_err(|source| Error::io("merge tree", lower, source))?;
    }
    Ok(())
}

struct Merger<'a> {
    site: Site,
    cancel: &'a CancelToken,
}

struct Level {
    from: OwnedFd,
    to: OwnedFd,
    names: VecDeque<CString>,
}

impl Level {
    fn of(from: OwnedFd, to: OwnedFd) -> io::Result<Self> {
        let names = names(&from)?;
        Ok(Self { from, to, names })
    }
}

impl Merger<'_> {
    fn tree(&self, from: OwnedFd, to: &OwnedFd) -> Result<io::Result<()>> {
        let first = to.try_clone().and_then(|to| Level::of(from, to));
        let mut stack = match first {
            Ok(level) => vec![level],
            Err(error) => return Ok(Err(error)),
        };
        while let Some(level) = stack.last_mut() {
            self.cancel.check()?;
            let Some(name) = level.names.pop_front() else {
                // All that is in the directory is made: now its times stay.
                if let Err(error) = self.finish(level) {
                    return Ok(Err(error));
                }
                stack.pop();
                continue;
            };
            match self.entry(level.from.as_fd(), level.to.as_fd(), &name)? {
                Ok(Some(below)) => stack.push(below),
                Ok(None) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }

    fn entry(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CString,
    ) -> Result<io::Result<Option<Level>>> {
        let stat = match statat(from, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(errno) => return Ok(Err(errno.into())),
        };
        let below = statat(to, name, AtFlags::SYMLINK_NOFOLLOW).ok();
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return self.dir(from, to, name, below.as_ref());
        }
        if below.is_some() {
            delete_at(to, name, self.cancel)?;
        }
        let linked = linkat(from, name, to, name, AtFlags::empty());
        Ok(linked.map(|()| None).map_err(Into::into))
    }

    fn dir(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CString,
        below: Option<&Stat>,
    ) -> Result<io::Result<Option<Level>>> {
        let opened = openat(from, name, DIR_FLAGS, Mode::empty());
        let attributes = opened
            .map_err(io::Error::from)
            .and_then(|fd| Ok((xattr::read_open(&fd, self.site.namespace)?.1, fd)));
        let (marks, source) = match attributes {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let merges = below.is_some_and(|below| {
            FileType::from_raw_mode(below.st_mode) == FileType::Directory && !marks.opaque
        });
        if below.is_some() && !merges {
            delete_at(to, name, self.cancel)?;
        }
        let hides = marks.opaque || below.is_some_and(is_whiteout);
        let make = || -> io::Result<Level> {
            match mkdirat(to, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            let target = openat(to, name, DIR_FLAGS, Mode::empty())?;
            if hides {
                xattr::set_opaque(&target, self.site.namespace)?;
            }
            Level::of(source, target)
        };
        Ok(make().map(Some))
    }

    /// The topmost tree that has a directory decides its metadata.
    fn finish(&self, level: &Level) -> io::Result<()> {
        let stat = fstat(&level.from)?;
        if self.site.ids == Ids::All {
            let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            fchown(&level.to, Some(uid), Some(gid))?;
        }
        fchmod(&level.to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        let (xattrs, _) = xattr::read_open(&level.from, self.site.namespace)?;
        xattr::write_open(&level.to, &xattrs)?;
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: stat.st_atime,
                tv_nsec: i64::try_from(stat.st_atime_nsec).unwrap_or(0),
            },
            last_modification: Timespec {
                tv_sec: stat.st_mtime,
                tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
            },
        };
        Ok(futimens(&level.to, &times)?)
    }
}

/// A character device 0:0.
fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (0, 0)
}

fn open_path(path: &Path) -> Result<OwnedFd> {
    openat(rustix::fs::CWD, path, DIR_FLAGS, Mode::empty())
        .map_err(|errno| Error::io("open", path, errno.into()))
}
