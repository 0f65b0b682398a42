//! Making entries of a layer in a directory, by descriptor.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rbuild_progress::CancelToken;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod,
    fchown, futimens, linkat, makedev, mkdirat, mknodat, openat, symlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use super::delete::delete_at;
use crate::beneath::{LastDir, Root, c_name};
use crate::job::{Ids, Site};
use crate::path::to_path;
use crate::{Entry, Error, Kind, Mtime, Result, xattr};

/// A directory in which a layer is made.
#[derive(Debug)]
pub(super) struct Maker<'a> {
    root: Root,
    site: Site,
    parents: Parents,
    /// Owner and group of what this process makes.
    own_ids: (u32, u32),
    last: LastDir,
    cancel: &'a CancelToken,
}

/// What the directories are in which something is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parents {
    /// Just made, without metadata yet: nothing inherits a group from them.
    Fresh,
    /// Perhaps with their set-group-id bit.
    Finished,
}

impl<'a> Maker<'a> {
    pub(super) fn new(root: Root, site: Site, parents: Parents, cancel: &'a CancelToken) -> Self {
        let own_ids = (geteuid().as_raw(), getegid().as_raw());
        Self {
            root,
            site,
            parents,
            own_ids,
            last: LastDir::default(),
            cancel,
        }
    }

    /// Removes what is at a path; absent is fine.
    pub(super) fn remove(&mut self, path: &[u8]) -> Result<()> {
        let cancel = self.cancel;
        // What is below it goes as well, and with it perhaps the remembered directory.
        self.last.forget();
        let dir = self.root.parent(path, &mut self.last)?;
        delete_at(dir, &c_name(path)?, cancel)
    }

    /// Makes a directory for now: its metadata comes when all that is in it is made.
    pub(super) fn make_dir(&mut self, path: &[u8]) -> Result<()> {
        self.at("make directory", path, |dir, name| {
            Ok(mkdirat(dir, name, Mode::RWXU)?)
        })
    }

    /// Makes an empty file that is still to be written.
    pub(super) fn make_file(&mut self, path: &[u8]) -> Result<File> {
        self.at("create", path, |dir, name| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(File::from(openat(
                dir,
                name,
                flags,
                Mode::RUSR | Mode::WUSR,
            )?))
        })
    }

    /// Gives a written file, or a directory, its metadata.
    pub(super) fn finish_open(&self, fd: impl AsFd, entry: &Entry) -> Result<()> {
        let set = || -> io::Result<()> {
            // Owner first: changing it clears the set-id bits and file capabilities.
            if self.site.ids == Ids::All && !self.is_born_with_owner(entry) {
                let (uid, gid) = owner(entry);
                fchown(&fd, uid, gid)?;
            }
            fchmod(&fd, Mode::from_raw_mode(entry.mode))?;
            xattr::write_open(&fd, &entry.xattrs)?;
            if matches!(entry.kind, Kind::Dir { opaque: true, .. }) {
                xattr::set_opaque(&fd, self.site.namespace)?;
            }
            Ok(futimens(&fd, &times(entry.mtime))?)
        };
        set().map_err(|source| Error::io("set metadata of", to_path(&entry.path), source))
    }

    /// Whether a file that was just made has its owner already, as most files of most layers do.
    fn is_born_with_owner(&self, entry: &Entry) -> bool {
        self.parents == Parents::Fresh
            && (entry.uid, entry.gid) == self.own_ids
            && !entry.kind.is_dir()
    }

    /// Opens a directory that was made and gives it its metadata.
    pub(super) fn finish_dir(&self, entry: &Entry) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = self
            .root
            .at(&entry.path, flags)
            .map_err(|source| Error::io("open directory", to_path(&entry.path), source))?;
        self.finish_open(fd, entry)
    }

    /// Gives the root itself its owner and mode.
    pub(super) fn finish_top(&self, top: &Entry) -> Result<()> {
        let set = || -> io::Result<()> {
            if self.site.ids == Ids::All {
                let (uid, gid) = owner(top);
                fchown(self.root.fd(), uid, gid)?;
            }
            Ok(fchmod(self.root.fd(), Mode::from_raw_mode(top.mode))?)
        };
        set().map_err(|source| Error::io("set metadata of", "the directory itself", source))
    }

    /// Makes something without bytes; the leader of a link must be there.
    pub(super) fn make(&mut self, entry: &Entry) -> Result<()> {
        let path = &entry.path;
        match &entry.kind {
            Kind::Dir { .. } => return self.make_dir(path),
            Kind::File { .. } | Kind::Socket => {
                return Err(Error::Entry {
                    path: to_path(path),
                    reason: "it cannot be made without bytes",
                });
            }
            Kind::Hardlink { leader } => return self.link(leader, path),
            Kind::Symlink { target } => {
                let target = CString::new(target.as_slice()).map_err(|_| Error::Entry {
                    path: to_path(path),
                    reason: "its link holds a NUL byte",
                })?;
                self.at("link", path, |dir, name| Ok(symlinkat(&target, dir, name)?))?;
            }
            // A whiteout has no owner, mode or time of its own.
            Kind::Whiteout => return self.node(path, FileType::CharacterDevice, 0),
            Kind::Fifo => self.node(path, FileType::Fifo, 0)?,
            Kind::Char { major, minor } => {
                let device = makedev(*major, *minor);
                if !self.device(path, FileType::CharacterDevice, device)? {
                    return Ok(());
                }
            }
            Kind::Block { major, minor } => {
                let device = makedev(*major, *minor);
                if !self.device(path, FileType::BlockDevice, device)? {
                    return Ok(());
                }
            }
        }
        self.finish_special(entry)
    }

    /// Makes a device; tells whether it is there. User namespaces may not make any: images hold
    /// some by accident, no step can use them, and containerd leaves them out too.
    fn device(&mut self, path: &[u8], kind: FileType, device: u64) -> Result<bool> {
        match self.node(path, kind, device) {
            Ok(()) => Ok(true),
            Err(Error::Io { source, .. })
                if source.raw_os_error() == Some(Errno::PERM.raw_os_error()) =>
            {
                tracing::debug!(path = ?to_path(path), "device is left out: not permitted here");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn node(&mut self, path: &[u8], kind: FileType, device: u64) -> Result<()> {
        self.at("make node", path, |dir, name| {
            Ok(mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, device)?)
        })
    }

    fn link(&mut self, leader: &[u8], path: &[u8]) -> Result<()> {
        let mut leader_dir = LastDir::default();
        let from = self.root.parent(leader, &mut leader_dir)?;
        let leader_name = c_name(leader)?;
        self.at("link", path, |dir, name| {
            // Without AT_SYMLINK_FOLLOW a link to a symbolic link is one to the link itself.
            Ok(linkat(from, &leader_name, dir, name, AtFlags::empty())?)
        })
    }

    /// Gives something that is there already other metadata; its kind must be the one it has.
    pub(super) fn relabel(&mut self, entry: &Entry) -> Result<()> {
        // Where owners cannot be changed the kernel does not take this away.
        self.at("set metadata of", &entry.path, |dir, name| {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = openat(dir, name, flags, Mode::empty())?;
            xattr::remove_capability(fd)
        })?;
        self.finish_special(entry)
    }

    /// Metadata of what cannot be opened without consequences.
    fn finish_special(&mut self, entry: &Entry) -> Result<()> {
        let all_ids = self.site.ids == Ids::All;
        self.at("set metadata of", &entry.path, |dir, name| {
            if all_ids {
                let (uid, gid) = owner(entry);
                chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            if !matches!(entry.kind, Kind::Symlink { .. }) {
                // Just made by us, in a directory that nobody else can reach: it is no link.
                rustix::fs::chmodat(dir, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
            }
            if !entry.xattrs.is_empty() {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = openat(dir, name, flags, Mode::empty())?;
                xattr::write_path(fd, &entry.xattrs)?;
            }
            let times = times(entry.mtime);
            Ok(utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
        })
    }

    fn at<T>(
        &mut self,
        attempt: &'static str,
        path: &[u8],
        call: impl FnOnce(BorrowedFd<'_>, &CString) -> io::Result<T>,
    ) -> Result<T> {
        let name = c_name(path)?;
        let dir = self.root.parent(path, &mut self.last)?;
        call(dir, &name).map_err(|source| Error::io(attempt, to_path(path), source))
    }
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )
}

/// Only the modification time: what a layer does not state stays as it is.
fn times(mtime: Mtime) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.secs,
            tv_nsec: mtime.nanos.into(),
        },
    }
}
