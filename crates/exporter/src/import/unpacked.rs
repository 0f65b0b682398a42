//! Files of a directory on disk, never reached through a symlink that leads out of it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::files::{Files, Found};
use crate::{Error, Result};

pub(super) struct DirFiles {
    dir: OwnedFd,
    path: PathBuf,
}

impl DirFiles {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, path, flags, Mode::empty());
        let dir = dir.map_err(|errno| Error::io("open", path, errno.into()))?;
        Ok(Self {
            dir,
            path: path.to_path_buf(),
        })
    }
}

impl Files for DirFiles {
    fn open(&self, name: &str) -> Result<Option<Found<'_>>> {
        let path = self.path.join(name);
        // Without blocking, lest a pipe of that name hold us up before it is seen to be no file.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = match rustix::fs::openat2(&self.dir, name, flags, Mode::empty(), resolve) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(Error::io("open", &path, errno.into())),
        };
        let meta = file.metadata().map_err(Error::at("stat", &path))?;
        if !meta.is_file() {
            return Err(Error::import(
                &self.path,
                format!("{name} is not a regular file"),
            ));
        }
        Ok(Some(Found {
            size: meta.len(),
            bytes: Box::new(file),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_may_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        let inner = dir.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("a"), "content").unwrap();
        symlink("a", inner.join("inside")).unwrap();
        symlink("../secret", inner.join("outside")).unwrap();
        symlink("/etc/passwd", inner.join("absolute")).unwrap();
        let files = DirFiles::open(&inner).unwrap();
        let mut text = String::new();
        files
            .open("inside")
            .unwrap()
            .unwrap()
            .bytes
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "content");
        for name in ["outside", "absolute", "../secret"] {
            assert!(files.open(name).is_err(), "{name}");
        }
        assert!(files.open("missing").unwrap().is_none());
    }

    #[test]
    fn pipes_and_directories_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(
            CWD,
            dir.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            mode,
            0,
        )
        .unwrap();
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        let files = DirFiles::open(dir.path()).unwrap();
        assert!(matches!(files.open("pipe"), Err(Error::Import { .. })));
        assert!(matches!(files.open("dir"), Err(Error::Import { .. })));
    }
}
