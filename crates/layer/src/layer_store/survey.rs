//! Reading a directory of the store that is no layer: a cache mount.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rbuild_progress::CancelToken;

use super::LayerStore;
use super::bytes::rewind;
use crate::beneath::Root;
use crate::job::{Reach, Top, TreeJob};
use crate::tree::{Surveyed, decode_survey, open_file};
use crate::{Error, Result};

/// What is in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Owner and mode of the directory itself.
    pub top: Top,
    /// Everything in it, in component order.
    pub found: Vec<Surveyed>,
}

/// Opens the files of one directory, wherever they can be opened.
pub struct DirFiles {
    layers: LayerStore,
    dir: PathBuf,
    /// Set where this process may open them itself.
    root: Option<Root>,
}

impl LayerStore {
    /// Lists everything in a directory; opens no file for its bytes.
    pub fn survey(&self, dir: &Path, cancel: &CancelToken) -> Result<Survey> {
        let out = self.store().stage_file()?;
        let job = TreeJob::Survey {
            root: dir.to_owned(),
            site: self.inner.work.site(),
        };
        self.inner.work.run(&job, &[out.file().as_fd()], cancel)?;
        rewind(&out)?;
        let file = out.file().try_clone();
        let file = file.map_err(|source| Error::io("open", out.path(), source))?;
        let (top, found) = decode_survey(file)?;
        Ok(Survey { top, found })
    }

    /// Prepares to open files of a directory.
    pub fn files_of(&self, dir: &Path) -> Result<DirFiles> {
        Ok(DirFiles {
            layers: self.clone(),
            dir: dir.to_owned(),
            root: match self.inner.work.reach() {
                Reach::Direct => Some(Root::open(dir)?),
                Reach::Forked => None,
            },
        })
    }
}

impl DirFiles {
    /// Opens a regular file; no link is followed on the way. Errors: `NotAFile` for anything else.
    pub fn open(&self, path: &[u8]) -> Result<File> {
        match &self.root {
            Some(root) => open_file(root, path),
            None => {
                let inner = &self.layers.inner;
                inner.far.open(&inner.work, &self.dir, path)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::sync::Arc;

    use rbuild_store::Store;

    use super::*;
    use crate::{Forked, InPlace, Kind, NoFetch, TreeWork, run_tree_job};

    fn check(work: Arc<dyn TreeWork>) {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("store")).unwrap());
        let layers = LayerStore::new(store, work, Arc::new(NoFetch));
        let cancel = CancelToken::new();
        let mount = dir.path().join("mount");
        std::fs::create_dir_all(mount.join("a")).unwrap();
        std::fs::write(mount.join("a/f"), "bytes").unwrap();
        std::fs::hard_link(mount.join("a/f"), mount.join("g")).unwrap();
        std::fs::set_permissions(&mount, std::fs::Permissions::from_mode(0o1711)).unwrap();
        let survey = layers.survey(&mount, &cancel).unwrap();
        assert_eq!(survey.top.mode, 0o1711);
        let paths: Vec<_> = survey.found.iter().map(|one| &one.entry.path[..]).collect();
        assert_eq!(paths, [&b"a"[..], b"a/f", b"g"]);
        let stat = std::fs::metadata(mount.join("g")).unwrap();
        let last = &survey.found[2];
        assert!(matches!(last.entry.kind, Kind::File { size: 5, .. }));
        assert_eq!(last.links, Some((stat.dev(), stat.ino())));
        assert_eq!(survey.found[1].stamp, last.stamp);
        assert_eq!(last.stamp.inode, stat.ino());
        assert_eq!(last.stamp.changed.secs, stat.ctime());
        let files = layers.files_of(&mount).unwrap();
        let mut text = String::new();
        files
            .open(b"a/f")
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "bytes");
        assert!(files.open(b"a").is_err() && files.open(b"../mount/g").is_err());
    }

    #[test]
    fn a_directory_is_read_here_and_elsewhere() {
        check(Arc::new(InPlace::root()));
        let site = InPlace::root().site();
        check(Arc::new(Forked::new(
            site,
            |request: &[u8], fds: &[_], _: &_| {
                let fds = fds
                    .iter()
                    .map(|fd: &std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().unwrap());
                Ok(run_tree_job(request, fds.collect()))
            },
        )));
    }
}
