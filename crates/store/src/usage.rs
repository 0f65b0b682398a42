//! How much of the disk the store takes, in allocated blocks.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::ops::AddAssign;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rbuild_progress::CancelToken;

use crate::store::Store;
use crate::{Error, Object, Result, blob, boot};

/// A number of things and the disk space they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// Allocated disk space, in bytes. Files with several names count once.
    pub bytes: u64,
    /// Directories that could not be read, whose content is missing in `bytes`.
    pub unreadable: u64,
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.unreadable += other.unreadable;
    }
}

/// What the parts of the store take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Content named by digest, that of earlier boots included.
    pub blobs: Amount,
    /// Directories of layers, likewise.
    pub trees: Amount,
    /// Cache mounts.
    pub cache_mounts: Amount,
    /// What running builds are making, and what sweeps could not remove.
    pub staged: Amount,
    /// The database.
    pub records: Amount,
}

impl Usage {
    /// The sum in bytes.
    pub fn total_bytes(&self) -> u64 {
        let parts = [
            self.blobs,
            self.trees,
            self.cache_mounts,
            self.staged,
            self.records,
        ];
        parts.iter().map(|amount| amount.bytes).sum()
    }
}

/// One object and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectUsage {
    /// Which object.
    pub object: Object,
    /// Allocated disk space in bytes.
    pub bytes: u64,
    /// When it was committed.
    pub committed: SystemTime,
}

impl Store {
    /// Adds up the disk space of the store. Reads every directory; opens no file.
    pub fn usage(&self, cancel: &CancelToken) -> Result<Usage> {
        let mut usage = Usage::default();
        for algorithm in blob::ALGORITHMS {
            usage.blobs += of_entries(&self.layout.blobs(algorithm), |_| true, cancel)?;
        }
        let suspects = self.layout.suspects();
        usage.blobs += of_entries(&suspects, |name| name.starts_with("blob-"), cancel)?;
        usage.trees += of_entries(&suspects, |name| name.starts_with("tree-"), cancel)?;
        usage.trees += of_entries(&self.layout.trees(), |_| true, cancel)?;
        usage.cache_mounts = of_entries(&self.layout.caches(), |_| true, cancel)?;
        usage.staged = of_entries(
            &self.layout.stage(),
            |name| !name.ends_with(".session"),
            cancel,
        )?;
        if let Some(dir) = self.layout.database().parent() {
            usage.records = of_entries(dir, |_| true, cancel)?;
        }
        Ok(usage)
    }

    /// What the database and the logs take, what is in the making, and what a restart left in doubt.
    pub fn overhead(&self, cancel: &CancelToken) -> Result<Amount> {
        let staged = |name: &str| !name.ends_with(".session");
        let mut sum = of_entries(&self.layout.stage(), staged, cancel)?;
        sum += of_entries(&self.layout.suspects(), |_| true, cancel)?;
        if self.layout.logs().exists() {
            sum += of_entries(&self.layout.logs(), |_| true, cancel)?;
        }
        if let Some(dir) = self.layout.database().parent() {
            sum += of_entries(dir, |_| true, cancel)?;
        }
        Ok(sum)
    }

    /// Lists blobs and trees with what each takes, sorted by object.
    pub fn objects(&self, cancel: &CancelToken) -> Result<Vec<ObjectUsage>> {
        let mut all = Vec::new();
        let blobs = self.blobs()?.into_iter().map(Object::Blob);
        let trees = self.trees()?.into_iter().map(Object::Tree);
        for object in blobs.chain(trees) {
            cancel.check()?;
            let path = match &object {
                Object::Blob(digest) => self.layout.blob(digest),
                Object::Tree(id) => self.layout.tree(id),
            };
            // Collected since it was listed.
            let Ok(meta) = fs::symlink_metadata(&path) else {
                continue;
            };
            let bytes = Walk::default().amount(&path, cancel)?.bytes;
            let secs = Duration::from_secs(u64::try_from(meta.ctime()).unwrap_or(0));
            all.push(ObjectUsage {
                object,
                bytes,
                committed: UNIX_EPOCH + secs,
            });
        }
        Ok(all)
    }

    /// What this handle has committed since the first call of this, in bytes of allocated blocks.
    ///
    /// From then on each new tree is walked when it is committed.
    pub fn committed_bytes(&self) -> u64 {
        let count = self.committed_bytes.get_or_init(AtomicU64::default);
        count.load(Ordering::Relaxed)
    }

    /// Adds what was just put in its place, if anybody wants to know.
    pub(crate) fn count_committed(&self, path: &Path) -> Result<()> {
        if let Some(count) = self.committed_bytes.get() {
            let whole = CancelToken::try_new().map_err(Error::at("make a token for", path))?;
            count.fetch_add(allocated(path, &whole)?, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Bytes that this user may still use on the disk of the store.
    pub fn free_bytes(&self) -> Result<u64> {
        let root = self.layout.root();
        let stat = rustix::fs::statvfs(root)
            .map_err(|errno| Error::io("look at the disk of", root, errno.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Lists trees and blobs set aside at a restart that nobody has asked for since.
    pub fn suspects(&self) -> Result<Vec<Object>> {
        boot::suspects(&self.layout)
    }
}

/// Adds up the wanted entries of a directory, counting each as one thing.
fn of_entries(dir: &Path, wanted: impl Fn(&str) -> bool, cancel: &CancelToken) -> Result<Amount> {
    let mut walk = Walk::default();
    let mut sum = Amount::default();
    for entry in fs::read_dir(dir).map_err(Error::at("list", dir))? {
        let entry = entry.map_err(Error::at("list", dir))?;
        if wanted(&entry.file_name().to_string_lossy()) {
            sum += Amount {
                count: 1,
                ..walk.amount(&entry.path(), cancel)?
            };
        }
    }
    Ok(sum)
}

/// What a file or directory with all below takes, in bytes; as much of it as can be read.
pub(crate) fn allocated(path: &Path, cancel: &CancelToken) -> Result<u64> {
    Ok(Walk::default().amount(path, cancel)?.bytes)
}

/// Knows which files with several names were counted.
#[derive(Default)]
struct Walk {
    seen: HashSet<(u64, u64)>,
}

impl Walk {
    /// Adds up `top` and all below, as far as it is there and can be read; a stack, not recursion, since
    /// steps can nest directories as deep as they like.
    fn amount(&mut self, top: &Path, cancel: &CancelToken) -> Result<Amount> {
        let mut amount = Amount::default();
        let mut stack = vec![top.to_path_buf()];
        while let Some(path) = stack.pop() {
            cancel.check()?;
            let Ok(meta) = fs::symlink_metadata(&path) else {
                continue;
            };
            if meta.nlink() > 1 && !meta.is_dir() && !self.seen.insert((meta.dev(), meta.ino())) {
                continue;
            }
            amount.bytes += meta.blocks() * 512;
            if meta.is_dir() {
                match fs::read_dir(&path) {
                    Ok(entries) => stack.extend(entries.flatten().map(|entry| entry.path())),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(_) => amount.unreadable += 1,
                }
            }
        }
        Ok(amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_counted_and_hard_links_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let cancel = CancelToken::new();
        let digest = store.put_blob(&[1; 100_000]).unwrap();
        let staged = store.stage_dir().unwrap();
        let tree = staged.path().join("t");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("a"), [2; 50_000]).unwrap();
        fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
        store.commit_tree(staged, "t", "x").unwrap();

        let usage = store.usage(&cancel).unwrap();
        assert_eq!((usage.blobs.count, usage.trees.count), (1, 1));
        assert!((100_000..200_000).contains(&usage.blobs.bytes), "{usage:?}");
        assert!((50_000..90_000).contains(&usage.trees.bytes), "{usage:?}");
        let objects = store.objects(&cancel).unwrap();
        let names: Vec<&Object> = objects.iter().map(|usage| &usage.object).collect();
        assert_eq!(names, [&Object::Blob(digest), &Object::Tree("x".into())]);
        assert!(objects.iter().map(|usage| usage.bytes).sum::<u64>() <= usage.total_bytes());
    }

    #[test]
    fn commits_are_counted_once_somebody_asks() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.put_blob(&[1; 50_000]).unwrap();
        assert_eq!(store.committed_bytes(), 0);
        store.put_blob(&[2; 60_000]).unwrap();
        store.put_blob(&[2; 60_000]).unwrap();
        let staged = store.stage_dir().unwrap();
        fs::create_dir(staged.path().join("t")).unwrap();
        fs::write(staged.path().join("t/f"), [3; 40_000]).unwrap();
        store.commit_tree(staged, "t", "x").unwrap();
        let counted = store.committed_bytes();
        assert!((100_000..140_000).contains(&counted), "{counted}");
    }

    #[test]
    fn cancelled_walk_stops() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.put_blob(b"x").unwrap();
        let cancel = CancelToken::new();
        cancel.cancel();
        assert!(matches!(store.usage(&cancel), Err(Error::Cancelled(_))));
    }
}
