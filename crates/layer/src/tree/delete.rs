//! Removing a directory whatever the modes below it are.

use std::path::Path;

use rbuild_progress::CancelToken;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
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

/// Most directories that are open at once, one below the other.
const MAX_OPEN: usize = 64;

/// Empties a directory of any depth.
///
/// A step can make a tree deeper than descriptors or the stack allow. What lies deeper than
/// `MAX_OPEN` is moved up to the top, one directory at a time, and emptied there.
fn empty(top: &OwnedFd, cancel: &CancelToken) -> Result<()> {
    let wrap = |errno: Errno| Error::io("remove", "a directory of a tree", errno.into());
    let copy = || {
        top.try_clone()
            .map_err(|source| Error::io("duplicate", "descriptor", source))
    };
    let mut moved = 0u64;
    loop {
        let before = moved;
        let level = Level::of(copy()?, None).map_err(wrap)?;
        let mut stack = vec![level];
        while let Some(level) = stack.pop() {
            cancel.check()?;
            step(level, &mut stack, top, &mut moved).map_err(wrap)?;
        }
        // The listing of the top may have missed what was moved there meanwhile.
        if moved == before {
            return Ok(());
        }
    }
}

/// Takes the next entry of a directory away; puts the directory back unless it was empty.
fn step(
    mut level: Level,
    stack: &mut Vec<Level>,
    top: &OwnedFd,
    moved: &mut u64,
) -> rustix::io::Result<()> {
    let Some((name, kind)) = level.next()? else {
        return match (&level.name, stack.last()) {
            (Some(name), Some(above)) => unlinkat(&above.fd, name, AtFlags::REMOVEDIR),
            _ => Ok(()),
        };
    };
    if kind != FileType::Directory {
        match unlinkat(&level.fd, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {
                stack.push(level);
                return Ok(());
            }
            // Not all file systems tell the kind in the listing.
            Err(Errno::ISDIR) => {}
            Err(errno) => return Err(errno),
        }
    }
    // An empty directory needs no permission of its own to be removed.
    let is_gone = unlinkat(&level.fd, &name, AtFlags::REMOVEDIR).is_ok();
    if is_gone {
        stack.push(level);
        return Ok(());
    }
    if stack.len() < MAX_OPEN {
        let fd = open_for_removal(level.fd.as_fd(), &name)?;
        stack.push(level);
        stack.push(Level::of(fd, Some(name))?);
        return Ok(());
    }
    loop {
        *moved += 1;
        let up = format!(".moved-up-{moved}");
        match renameat_with(&level.fd, &name, top, &up, RenameFlags::NOREPLACE) {
            Ok(()) => break,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    stack.push(level);
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

/// A directory that is being emptied, and its name in the one above.
struct Level {
    fd: OwnedFd,
    dir: Dir,
    name: Option<CString>,
}

impl Level {
    fn of(fd: OwnedFd, name: Option<CString>) -> rustix::io::Result<Self> {
        let dir = Dir::read_from(&fd)?;
        // Deleting needs write and search permission on the directory itself.
        rustix::fs::fchmod(&fd, Mode::RWXU).ok();
        Ok(Self { fd, dir, name })
    }

    fn next(&mut self) -> rustix::io::Result<Option<(CString, FileType)>> {
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
    fn depth_has_no_limit() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir(&top).unwrap();
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        let mut at = openat(CWD, &top, flags, Mode::empty()).unwrap();
        // Beyond PATH_MAX: only reachable step by step.
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "dir", Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&at, "side", Mode::empty()).unwrap();
            at = openat(&at, "dir", flags, Mode::empty()).unwrap();
        }
        drop(at);
        delete(&top, &CancelToken::new()).unwrap();
        assert!(!top.exists());
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
