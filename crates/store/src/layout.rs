//! Where everything lies below the root, and which format it has.
//!
//! ```text
//! format              "rbuild-store 1"
//! sealed              how ids are mapped; it is there if others take from the store as it is
//! sealed.probe/       tells whether trees were copied with all that they need
//! boot                id of the boot that used the store last, and since when
//! blobs/sha256/<hex>  content named by digest, read-only
//! trees/<id>/         directories named by layer ids and the like
//! cache/<hash>/       cache mounts: id, slots, locks
//! stage/<session>/    what living processes are making; stage/<session>.session is locked meanwhile
//! suspect/            blobs and trees of the last boot that nobody has looked at yet
//! leases/<random>     names of objects in use; locked while they are
//! locks/              work locks, by hash of the key, and the lock of the collector
//! db/store.sqlite     the records
//! ```

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rbuild_oci::{Algorithm, Digest};

use crate::session::random_hex;
use crate::{Error, Result};

/// The format written and the latest one read.
pub(crate) const FORMAT: u32 = 1;

/// Longest format file worth reading, in bytes.
const FORMAT_MAX: usize = 64;

const DIRS: [&str; 11] = [
    "blobs",
    "blobs/sha256",
    "blobs/sha384",
    "blobs/sha512",
    "trees",
    "cache",
    "stage",
    "suspect",
    "leases",
    "locks",
    "db",
];

/// The paths of one store.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Makes the directories if they are missing and checks the format.
    ///
    /// Errors: [`Error::NewerFormat`], [`Error::NotAStore`] when the directory holds other things.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let layout = Self::at(root)?;
        match layout.format()? {
            Some(FORMAT) => {
                layout.refuse_sealed()?;
                Ok(layout)
            }
            Some(found) => Err(Error::NewerFormat {
                path: layout.root,
                found,
                known: FORMAT,
            }),
            None => layout.create(),
        }
    }

    /// The paths below `root`, whatever is there.
    pub(crate) fn at(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(Error::at("resolve", root))?;
        Ok(Self { root })
    }

    /// Fails if the store is sealed: nothing may change in it.
    pub(crate) fn refuse_sealed(&self) -> Result<()> {
        match self.sealed().exists() {
            true => Err(Error::Sealed {
                path: self.root.clone(),
            }),
            false => Ok(()),
        }
    }

    fn create(self) -> Result<Self> {
        // Only the user may look in: a store holds what private base images and contexts hold.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .map_err(Error::at("create", &self.root))?;
        self.refuse_other_content()?;
        for dir in DIRS {
            let path = self.root.join(dir);
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("create", &path, error));
                }
                _ => {}
            }
        }
        // Last, so that a store with a format file is a whole one.
        write_replacing(
            &self.format_path(),
            format!("rbuild-store {FORMAT}\n").as_bytes(),
        )?;
        Ok(self)
    }

    /// Reads the format; `None` when there is no format file yet.
    pub(crate) fn format(&self) -> Result<Option<u32>> {
        let path = self.format_path();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        text.get(..text.len().min(FORMAT_MAX))
            .and_then(|text| std::str::from_utf8(text).ok())
            .and_then(|text| text.strip_prefix("rbuild-store "))
            .and_then(|text| text.trim_end().parse().ok())
            .filter(|found| *found >= 1)
            .map(Some)
            .ok_or_else(|| Error::NotAStore {
                path: self.root.clone(),
            })
    }

    /// Fails when the root holds anything that a store being made would not.
    fn refuse_other_content(&self) -> Result<()> {
        let entries = fs::read_dir(&self.root).map_err(Error::at("list", &self.root))?;
        for entry in entries {
            let name = entry.map_err(Error::at("list", &self.root))?.file_name();
            let name = name.to_string_lossy();
            let ours = DIRS.contains(&&*name) || name.starts_with("format") || name == "lost+found";
            // With a format file by now, another process has just made the store and uses it.
            if !ours && self.format()?.is_none() {
                return Err(Error::NotAStore {
                    path: self.root.clone(),
                });
            }
        }
        Ok(())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn format_path(&self) -> PathBuf {
        self.root.join("format")
    }

    pub(crate) fn sealed(&self) -> PathBuf {
        self.root.join("sealed")
    }

    /// What tells whether trees are as they were when the store was sealed.
    pub(crate) fn probe(&self) -> PathBuf {
        self.root.join("sealed.probe")
    }

    pub(crate) fn boot(&self) -> PathBuf {
        self.root.join("boot")
    }

    pub(crate) fn blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("blobs").join(algorithm.as_str())
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs(digest.algorithm()).join(digest.hex())
    }

    pub(crate) fn trees(&self) -> PathBuf {
        self.root.join("trees")
    }

    pub(crate) fn tree(&self, id: &str) -> PathBuf {
        self.root.join("trees").join(id)
    }

    pub(crate) fn caches(&self) -> PathBuf {
        self.root.join("cache")
    }

    pub(crate) fn stage(&self) -> PathBuf {
        self.root.join("stage")
    }

    pub(crate) fn suspects(&self) -> PathBuf {
        self.root.join("suspect")
    }

    pub(crate) fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// Logs of failed steps, which the engine keeps here.
    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("db").join("store.sqlite")
    }
}

/// Writes a small file whole: other processes see the old content or the new, never a part.
pub(crate) fn write_replacing(path: &Path, content: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", random_hex::<8>()?));
    let temporary = PathBuf::from(name);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        fs::remove_file(&temporary).ok();
        Error::io("write", path, error)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn root_is_made_private_and_opens_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        Layout::open(&root).unwrap();
        assert_eq!(
            fs::metadata(&root).unwrap().permissions().mode() & 0o777,
            0o700
        );
        Layout::open(&root).unwrap();
    }

    #[test]
    fn newer_format_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("format"), "rbuild-store 99\n").unwrap();
        let error = Layout::open(dir.path()).unwrap_err();
        assert!(matches!(
            error,
            Error::NewerFormat {
                found: 99,
                known: FORMAT,
                ..
            }
        ));
        assert!(error.to_string().contains("format 99"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn other_directories_are_refused() {
        for (name, content) in [
            ("notes.txt", "x"),
            ("format", "something else"),
            ("format", "rbuild-store 0"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(name), content).unwrap();
            let error = Layout::open(dir.path()).unwrap_err();
            assert!(matches!(error, Error::NotAStore { .. }), "{name}: {error}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn half_made_store_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("blobs")).unwrap();
        fs::write(dir.path().join("format.0011223344556677"), "").unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        assert_eq!(layout.format().unwrap(), Some(FORMAT));
    }
}
