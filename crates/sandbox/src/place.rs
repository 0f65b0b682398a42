//! Paths inside a root that must not be trusted: found by descriptor, never by name.
//!
//! An image may hold any symlink anywhere, and a sibling step may exchange directories in a shared cache
//! while we look. So each component is opened by itself without following links, links are read and walked
//! in the root's own scope, and `..` goes back along the descriptors that were opened on the way.

use std::collections::VecDeque;
use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, chownat, fstat, mkdirat, openat,
    openat2, readlinkat,
};
use rustix::io::Errno;

/// As many links as the engine follows elsewhere; the kernel stops at 40.
const MAX_LINKS: usize = 255;

/// What a place is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A directory.
    Directory,
    /// Anything else: a file, a socket.
    File,
}

impl Kind {
    /// Returns what the file behind a descriptor is.
    pub(crate) fn of(fd: impl AsFd) -> rustix::io::Result<Self> {
        Ok(match file_type(&fstat(fd)?) {
            FileType::Directory => Self::Directory,
            _ => Self::File,
        })
    }
}

/// Returns the type of file from its status.
pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Owner of what is made on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// User id.
    pub(crate) uid: u32,
    /// Group id.
    pub(crate) gid: u32,
}

/// How far a path leads.
#[derive(Debug)]
pub(crate) struct Walked {
    /// Names and descriptors of what exists, outermost first, links resolved; empty is the root itself.
    pub(crate) trail: Vec<(OsString, OwnedFd)>,
    /// Names below it that do not exist.
    pub(crate) missing: Vec<OsString>,
}

impl Walked {
    /// Returns the last thing that exists.
    pub(crate) fn end<'a>(&'a self, root: BorrowedFd<'a>) -> BorrowedFd<'a> {
        self.trail.last().map_or(root, |(_, fd)| fd.as_fd())
    }
}

/// Opens an existing path as `O_PATH`, links resolved in the scope of `root`.
pub(crate) fn open_in(root: impl AsFd, path: impl AsRef<OsStr>) -> rustix::io::Result<OwnedFd> {
    let path = path.as_ref();
    let relative = match path.as_bytes().iter().position(|byte| *byte != b'/') {
        Some(start) => OsStr::from_bytes(path.as_bytes().get(start..).unwrap_or_default()),
        None => OsStr::new("."),
    };
    let opened = openat2(
        &root,
        relative,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    );
    match opened {
        // Filtered by a container host, or raced too often; the walk below needs neither.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {
            let walked = walk(&root, path.as_ref())?;
            match walked.missing.is_empty() {
                true => Ok(rustix::io::fcntl_dupfd_cloexec(
                    walked.end(root.as_fd()),
                    3,
                )?),
                false => Err(Errno::NOENT),
            }
        }
        result => result,
    }
}

/// Follows a path as far as it exists.
///
/// Errors: `ELOOP` after too many links, `ENOTDIR` where a component lies below a file.
pub(crate) fn walk(root: impl AsFd, path: &Path) -> rustix::io::Result<Walked> {
    let root = root.as_fd();
    let mut walked = Walked {
        trail: Vec::new(),
        missing: Vec::new(),
    };
    let mut ahead = components(path);
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            // What does not exist is no link, so going back is plain subtraction.
            if walked.missing.pop().is_none() {
                walked.trail.pop();
            }
            continue;
        }
        if !walked.missing.is_empty() {
            walked.missing.push(name);
            continue;
        }
        match open_name(walked.end(root), &name) {
            Err(Errno::NOENT) => walked.missing.push(name),
            Err(error) => return Err(error),
            Ok(fd) if file_type(&fstat(&fd)?) == FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = OsString::from_vec(readlinkat(&fd, c"", Vec::new())?.into_bytes());
                if target.as_bytes().starts_with(b"/") {
                    walked.trail.clear();
                }
                let mut target = components(target.as_ref());
                target.append(&mut ahead);
                ahead = target;
            }
            Ok(fd) => walked.trail.push((name, fd)),
        }
    }
    Ok(walked)
}

/// Splits a path into names and `..`.
fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// Opens one name in a directory without following it.
pub(crate) fn open_name(directory: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    openat(
        directory,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Opens a path, making what is missing: directories with mode 0755, and an empty file (0644) as the last
/// name if a file is wanted. What is made belongs to `owner`.
pub(crate) fn ensure(
    root: impl AsFd,
    path: &Path,
    kind: Kind,
    owner: Owner,
) -> rustix::io::Result<OwnedFd> {
    let root = root.as_fd();
    let walked = walk(root, path)?;
    let mut end = rustix::io::fcntl_dupfd_cloexec(walked.end(root), 3)?;
    let last = walked.missing.len();
    for (index, name) in walked.missing.iter().enumerate() {
        match (kind, index + 1 == last) {
            (Kind::File, true) => make_file(end.as_fd(), name, Mode::from_raw_mode(0o644))?,
            _ => match mkdirat(&end, name, Mode::from_raw_mode(0o755)) {
                // Somebody else was faster; what it is shows below.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            },
        }
        let made = open_name(end.as_fd(), name)?;
        chown(&made, owner)?;
        end = made;
    }
    match (kind, Kind::of(&end)?) {
        (Kind::Directory, Kind::File) => Err(Errno::NOTDIR),
        (Kind::File, Kind::Directory) => Err(Errno::ISDIR),
        _ => Ok(end),
    }
}

/// Makes an empty file.
pub(crate) fn make_file(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    mode: Mode,
) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, name, flags, mode).map(drop)
}

/// Gives a file to an owner, by a descriptor that may be `O_PATH`.
pub(crate) fn chown(fd: impl AsFd, owner: Owner) -> rustix::io::Result<()> {
    chownat(
        fd,
        c"",
        Some(Uid::from_raw(owner.uid)),
        Some(Gid::from_raw(owner.gid)),
        AtFlags::EMPTY_PATH,
    )
}

/// Reads a regular file of at most `limit` bytes, through a path in the scope of `root`.
///
/// `None` if there is no such file. A fifo, a device or a longer file is an error, found out before
/// anything is opened for reading: opening can block or have effects.
pub(crate) fn read_small(root: impl AsFd, path: &CStr, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let fd = match open_in(&root, OsStr::from_bytes(path.to_bytes())) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let refuse = |what: &str| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} {what}", path.to_string_lossy()),
        )
    };
    if file_type(&fstat(&fd)?) != FileType::RegularFile {
        return Err(refuse("is not a regular file"));
    }
    let file = reopen(&fd)?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, limit + 1), &mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= limit => Ok(Some(bytes)),
        _ => Err(refuse("is too long")),
    }
}

/// Opens for reading what an `O_PATH` descriptor names; needs the host's `/proc`.
pub(crate) fn reopen(fd: &OwnedFd) -> io::Result<std::fs::File> {
    use std::os::fd::AsRawFd;
    std::fs::File::open(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

#[cfg(test)]
mod tests;
