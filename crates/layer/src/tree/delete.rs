//! Removing a directory whatever the modes below it are.

use std::path::Path;

use rbuild_progress::CancelToken;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::{Error, Result};

/// Removes `path` and everything below it without following links; absent is fine.
pub(super) fn delete(path: &Path, cancel: &CancelToken) -> Result<()> {
    let wrap = |errno: Errno| Error::io("remove", path, errno.into());
    let fd = match open(CWD, path) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return unlinkat(CWD, path, AtFlags::empty()).map_err(wrap);
        }
        Err(errno) => return Err(wrap(errno)),
    };
    empty(&fd, cancel).map_err(|error| in_path(error, path))?;
    unlinkat(CWD, path, AtFlags::REMOVEDIR).map_err(wrap)
}

/// Removes what `name` in `dir` is, with everything below it; absent is fine.
pub(super) fn delete_at(dir: BorrowedFd<'_>, name: &CStr, cancel: &CancelToken) -> Result<()> {
    let wrap = |errno: Errno| Error::io("remove", name.to_string_lossy().as_ref(), errno.into());
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(wrap(errno)),
    }
    let fd = open(dir, name).map_err(wrap)?;
    empty(&fd, cancel)?;
    unlinkat(dir, name, AtFlags::REMOVEDIR).map_err(wrap)
}

fn open<P: rustix::path::Arg>(dir: impl AsFd, name: P) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// Empties a directory. Keeps its own stack: depth is the caller's data, not the thread's.
fn empty(top: &OwnedFd, cancel: &CancelToken) -> Result<()> {
    let wrap = |errno: Errno| Error::io("remove", "a directory of a tree", errno.into());
    let mut stack = vec![(
        Level::of(
            top.try_clone()
                .map_err(|source| Error::io("duplicate", "descriptor", source))?,
        )
        .map_err(wrap)?,
        None::<std::ffi::CString>,
    )];
    while let Some((level, _)) = stack.last_mut() {
        cancel.check()?;
        match level.next().map_err(wrap)? {
            Some((name, kind)) => {
                if kind != FileType::Directory {
                    match unlinkat(&level.fd, &name, AtFlags::empty()) {
                        Ok(()) | Err(Errno::NOENT) => continue,
                        Err(Errno::ISDIR) => {}
                        Err(errno) => return Err(wrap(errno)),
                    }
                }
                // An empty directory needs no permission of its own to be removed.
                if unlinkat(&level.fd, &name, AtFlags::REMOVEDIR).is_ok() {
                    continue;
                }
                let fd = open_for_removal(level.fd.as_fd(), &name).map_err(wrap)?;
                stack.push((Level::of(fd).map_err(wrap)?, Some(name)));
            }
            None => {
                let name = stack.pop().and_then(|(_, name)| name);
                if let (Some(name), Some((above, _))) = (name, stack.last()) {
                    unlinkat(&above.fd, &name, AtFlags::REMOVEDIR).map_err(wrap)?;
                }
            }
        }
    }
    Ok(())
}

/// Opens a directory, giving its owner the permissions first if they are missing.
fn open_for_removal(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    match open(dir, name) {
        Err(Errno::ACCESS) => {
            let mode = Mode::RWXU;
            rustix::fs::chmodat(dir, name, mode, AtFlags::empty())?;
            open(dir, name)
        }
        other => other,
    }
}

struct Level {
    fd: OwnedFd,
    dir: Dir,
}

impl Level {
    fn of(fd: OwnedFd) -> rustix::io::Result<Self> {
        let dir = Dir::read_from(&fd)?;
        // Deleting needs write and search permission on the directory itself.
        rustix::fs::fchmod(&fd, Mode::RWXU).ok();
        Ok(Self { fd, dir })
    }

    fn next(&mut self) -> rustix::io::Result<Option<(std::ffi::CString, FileType)>> {
        for entry in self.dir.by_ref() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Ok(Some((entry.file_name().to_owned(), entry.file_type())));
            }
        }
        Ok(None)
    }
}

fn in_path(error: Error, path: &Path) -> Error {
    match error {
        Error::Io { source, .. } => Error::io("remove", path, source),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn removes_deep_closed_and_linked_things_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let canary = dir.path().join("canary");
        fs::create_dir(&canary).unwrap();
        fs::write(canary.join("f"), "x").unwrap();
        let top = dir.path().join("top");
        let mut deep = top.clone();
        for _ in 0..200 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        symlink(&canary, deep.join("link")).unwrap();
        symlink(&canary, top.join("link")).unwrap();
        fs::create_dir(top.join("closed")).unwrap();
        fs::write(top.join("closed/f"), "x").unwrap();
        fs::set_permissions(top.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
        let cancel = CancelToken::new();
        delete(&top, &cancel).unwrap();
        assert!(!top.exists());
        assert!(canary.join("f").exists());
        delete(&top, &cancel).unwrap();
        symlink(&canary, &top).unwrap();
        delete(&top, &cancel).unwrap();
        assert!(canary.join("f").exists() && !top.is_symlink());
    }

    #[test]
    fn stops_when_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        let cancel = CancelToken::new();
        cancel.cancel();
        assert!(matches!(delete(dir.path(), &cancel), Err(Error::Cancelled)));
    }
}
