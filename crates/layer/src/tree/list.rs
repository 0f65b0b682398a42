//! Everything in a tree with its metadata, in component order; no file is read.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rbuild_progress::CancelToken;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, major, minor, openat, readlinkat, statat,
};

use super::lists::{read_list, write_list};
use super::survey::put_stamp;
use crate::beneath::Root;
use crate::encode::{Input, put_entry, put_number};
use crate::index::MAX_ENTRIES;
use crate::path::{self, MAX_PATH, to_path};
use crate::xattr::OverlayMarks;
use crate::{ContentDigest, Entry, Error, Kind, Mtime, OverlayNamespace, Result, Xattrs, xattr};

/// One thing found in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its metadata. The digest of a file is not taken; links are files of their own.
    pub(crate) entry: Entry,
    /// Set if the file has several names.
    pub(crate) inode: Option<Inode>,
}

/// Device and inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Inode(pub(crate) u64, pub(crate) u64);

/// Lists a tree to a descriptor.
///
/// Errors: `Entry` for a redirect or metadata-only copy of overlay, which mounts must not allow.
pub(super) fn list(
    root: &Path,
    namespace: OverlayNamespace,
    out: File,
    cancel: &CancelToken,
) -> Result<()> {
    let mut list = Vec::new();
    walked(
        &Root::open(root)?,
        (namespace, Detail::Links),
        &mut list,
        cancel,
    )?;
    write_list(out, &list)
}

/// What is told of a file besides its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Its inode, if it has several names.
    Links,
    /// That, and a stamp.
    Stamps,
}

/// Adds the number of things below a root to `list`, and all of them.
pub(super) fn walked(
    root: &Root,
    (namespace, detail): (OverlayNamespace, Detail),
    list: &mut Vec<u8>,
    cancel: &CancelToken,
) -> Result<()> {
    let mut walk = Walk {
        namespace,
        detail,
        cancel,
        out: Vec::new(),
        count: 0,
        previous: Vec::new(),
    };
    let top = openat(root.fd(), c".", DIR_FLAGS, Mode::empty())
        .map_err(|errno| Error::io("open", "a tree", errno.into()))?;
    walk.run(top)?;
    put_number(list, walk.count);
    list.append(&mut walk.out);
    Ok(())
}

/// Reads a list back.
pub(crate) fn decode_list(file: File) -> Result<Vec<Listed>> {
    let bytes = read_list(file)?;
    let mut input = Input(&bytes);
    let count = input.count(MAX_ENTRIES)?;
    let mut all: Vec<Listed> = Vec::with_capacity(count.min(bytes.len() / 10));
    for _ in 0..count {
        let previous = all.last().map_or(&b""[..], |last| &last.entry.path);
        all.push(listed(&mut input, previous)?);
    }
    Ok(all)
}

/// Reads one thing of a list.
pub(super) fn listed(input: &mut Input<'_>, previous: &[u8]) -> Result<Listed> {
    let entry = input.entry(previous)?;
    let inode = match input.byte()? {
        0 => None,
        _ => Some(Inode(input.number()?, input.number()?)),
    };
    Ok(Listed { entry, inode })
}

const DIR_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

struct Walk<'a> {
    namespace: OverlayNamespace,
    detail: Detail,
    cancel: &'a CancelToken,
    out: Vec<u8>,
    count: u64,
    previous: Vec<u8>,
}

/// A directory being listed: what is left of its names.
struct Level {
    fd: OwnedFd,
    path: Vec<u8>,
    names: VecDeque<CString>,
}

impl Walk<'_> {
    /// Depth first with a stack of our own: how deep trees are is not ours to decide.
    fn run(&mut self, top: OwnedFd) -> Result<()> {
        let mut stack = vec![Level::of(top, Vec::new())?];
        while let Some(level) = stack.last_mut() {
            let Some(name) = level.names.pop_front() else {
                stack.pop();
                continue;
            };
            self.cancel.check()?;
            let path = path::join(&level.path, name.as_bytes());
            if path.len() > MAX_PATH {
                return Err(refuse(&path, "the path is longer than 4096 bytes"));
            }
            let below = self
                .visit(level.fd.as_fd(), &name, &path)
                .map_err(|source| at(&path, source))??;
            if let Some(fd) = below {
                stack.push(Level::of(fd, path)?);
            }
        }
        Ok(())
    }

    /// Adds one entry; returns the descriptor of a directory. The outer error is the system's.
    fn visit(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CString,
        path: &[u8],
    ) -> io::Result<Result<Option<OwnedFd>>> {
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let (fd, xattrs, marks) = self.attributes(dir, name, kind)?;
        if marks.elsewhere {
            return Ok(Err(refuse(
                path,
                "overlay left its content in another place",
            )));
        }
        let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
        let kind = match kind {
            FileType::Directory => Kind::Dir {
                opaque: marks.opaque,
                implied: false,
            },
            FileType::Symlink => Kind::Symlink {
                target: readlinkat(dir, name, Vec::new())?.into_bytes(),
            },
            FileType::CharacterDevice if (major, minor) == (0, 0) => Kind::Whiteout,
            FileType::CharacterDevice => Kind::Char { major, minor },
            FileType::BlockDevice => Kind::Block { major, minor },
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            _ => Kind::File {
                size: u64::try_from(stat.st_size).unwrap_or(0),
                content: ContentDigest::empty(),
            },
        };
        self.add(&entry(path, kind, &stat, xattrs), &stat);
        Ok(Ok(fd))
    }

    /// Opens what needs opening and reads its attributes.
    fn attributes(
        &self,
        dir: BorrowedFd<'_>,
        name: &CString,
        kind: FileType,
    ) -> io::Result<(Option<OwnedFd>, Xattrs, OverlayMarks)> {
        match kind {
            FileType::Directory => {
                let fd = openat(dir, name, DIR_FLAGS, Mode::empty())?;
                let (xattrs, marks) = xattr::read_open(&fd, self.namespace)?;
                Ok((Some(fd), xattrs, marks))
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let fd = openat(dir, name, flags, Mode::empty())?;
                let (xattrs, marks) = xattr::read_open(&fd, self.namespace)?;
                Ok((None, xattrs, marks))
            }
            _ => Ok((None, Xattrs::new(), OverlayMarks::default())),
        }
    }

    fn add(&mut self, entry: &Entry, stat: &Stat) {
        put_entry(&mut self.out, &self.previous, entry);
        match entry.kind {
            Kind::Dir { .. } | Kind::Whiteout => self.out.push(0),
            _ if stat.st_nlink < 2 => self.out.push(0),
            _ => {
                self.out.push(1);
                put_number(&mut self.out, stat.st_dev);
                put_number(&mut self.out, stat.st_ino);
            }
        }
        if self.detail == Detail::Stamps {
            put_stamp(&mut self.out, stat);
        }
        self.count += 1;
        self.previous.clone_from(&entry.path);
    }
}

impl Level {
    fn of(fd: OwnedFd, path: Vec<u8>) -> Result<Self> {
        let names = names(&fd).map_err(|source| at(&path, source))?;
        Ok(Self { fd, path, names })
    }
}

/// The names in a directory, sorted.
pub(super) fn names(fd: impl AsFd) -> io::Result<VecDeque<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort_unstable();
    Ok(names.into())
}

fn entry(path: &[u8], kind: Kind, stat: &Stat, xattrs: Xattrs) -> Entry {
    Entry {
        path: path.to_vec(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Mtime {
            secs: stat.st_mtime,
            nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        },
        xattrs,
    }
}

fn at(path: &[u8], source: io::Error) -> Error {
    Error::io("read", to_path(path), source)
}

fn refuse(path: &[u8], reason: &'static str) -> Error {
    Error::Entry {
        path: to_path(path),
        reason,
    }
}
