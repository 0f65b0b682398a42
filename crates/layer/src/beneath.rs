//! Walking below a directory by descriptor: no path leaves it and no symbolic link is followed.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use crate::path::{self, to_path};
use crate::{Error, Result};

/// A directory that everything stays in.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
}

/// The directory of the entry that was looked at last: entries come in runs of one directory.
#[derive(Debug, Default)]
pub(crate) struct LastDir {
    open: Option<(Vec<u8>, OwnedFd)>,
}

impl Root {
    /// Opens a directory; its own path is trusted.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty())
            .map_err(|source| Error::io("open", path, source.into()))?;
        Ok(Self { fd })
    }

    /// Opens `path` below the root (`""`: the root) without following any symbolic link.
    ///
    /// Errors: `ELOOP` for a link on the way, `ENOTDIR`, and the usual ones.
    pub(crate) fn at(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let path = if path.is_empty() { b"." } else { path };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let name = CString::new(path)?;
        match openat2(&self.fd, &name, flags, Mode::empty(), resolve) {
            Ok(fd) => Ok(fd),
            // Filters that predate the call answer one of these two.
            Err(Errno::NOSYS | Errno::PERM) => self.walk(path, flags),
            Err(errno) => Err(errno.into()),
        }
    }

    /// As `at` with plain `openat`, one component at a time.
    fn walk(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let mut parts = path::components(path).peekable();
        let mut dir: Option<OwnedFd> = None;
        while let Some(part) = parts.next() {
            if part == b".." {
                return Err(Errno::XDEV.into());
            }
            let at = dir.as_ref().map_or(self.fd.as_fd(), OwnedFd::as_fd);
            let name = CString::new(part)?;
            if parts.peek().is_none() {
                return Ok(openat(at, &name, flags, Mode::empty())?);
            }
            let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            dir = Some(openat(at, &name, way, Mode::empty())?);
        }
        self.fd.try_clone()
    }

    /// The descriptor of the directory that holds `path`; remembered for the next call.
    pub(crate) fn parent<'a>(&self, path: &[u8], last: &'a mut LastDir) -> Result<BorrowedFd<'a>> {
        let dir = path::parent(path);
        if last.open.as_ref().is_none_or(|(open, _)| open != dir) {
            let fd = self
                .at(dir, OFlags::DIRECTORY | OFlags::RDONLY)
                .map_err(|source| Error::io("open directory", to_path(dir), source))?;
            last.open = Some((dir.to_vec(), fd));
        }
        match &last.open {
            Some((_, fd)) => Ok(fd.as_fd()),
            None => Err(Error::Escape {
                path: to_path(path),
            }),
        }
    }

    /// The root's own descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl LastDir {
    /// Forgets the directory, which is about to be removed or replaced.
    pub(crate) fn forget(&mut self) {
        self.open = None;
    }
}

/// A file name for a system call. Errors: `Entry` for a NUL byte, which no checked path has.
pub(crate) fn c_name(path: &[u8]) -> Result<CString> {
    CString::new(path::name(path)).map_err(|_| Error::Entry {
        path: to_path(path),
        reason: "the path holds a NUL byte",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn sample() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("root");
        std::fs::create_dir_all(inside.join("a/b")).unwrap();
        std::fs::write(inside.join("a/b/f"), "x").unwrap();
        std::fs::write(dir.path().join("canary"), "x").unwrap();
        symlink("a", inside.join("inner")).unwrap();
        symlink("/", inside.join("out")).unwrap();
        symlink("/proc/self/cwd", inside.join("magic")).unwrap();
        let root = Root::open(&inside).unwrap();
        (dir, root)
    }

    #[test]
    fn both_ways_reach_what_is_inside() {
        let (_dir, root) = sample();
        for path in [&b""[..], b"a", b"a/b", b"a/b/f"] {
            assert!(root.at(path, OFlags::RDONLY).is_ok());
            assert!(root.walk(path, OFlags::RDONLY | OFlags::NOFOLLOW).is_ok());
        }
    }

    #[test]
    fn neither_way_leaves_or_follows() {
        let (_dir, root) = sample();
        for path in [
            &b"../canary"[..],
            b"a/../../canary",
            b"inner/b",
            b"inner",
            b"out/etc",
            b"magic/x",
            b"a/b/f/x",
        ] {
            let text = String::from_utf8_lossy(path).into_owned();
            assert!(root.at(path, OFlags::RDONLY).is_err(), "{text}");
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
            assert!(root.walk(path, flags).is_err(), "{text}");
        }
    }
}
