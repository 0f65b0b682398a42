//! What things take on the disk, remembered: objects do not change, so each is measured once.
//!
//! A cache mount changes while it is used; it is measured again when it was used since.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rbuild_progress::CancelToken;

use crate::store::Store;
use crate::usage::allocated;
use crate::{Change, MountUsage, Object, Result, Table};

/// How far a noted use may lie before the real one, in seconds; see [`Store::flush_uses`].
const USE_SLACK_SECS: u64 = 60;

/// Bytes, and when that was, in seconds since 1970.
#[derive(Clone, Copy)]
struct Measured {
    bytes: u64,
    at: u64,
}

impl Measured {
    fn decode(row: &[u8]) -> Option<Self> {
        let (bytes, at) = std::str::from_utf8(row).ok()?.split_once(' ')?;
        Some(Self {
            bytes: bytes.parse().ok()?,
            at: at.parse().ok()?,
        })
    }

    fn now(bytes: u64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        format!("{bytes} {}", now.map_or(0, |since| since.as_secs()))
    }
}

impl Store {
    /// What each blob and tree takes, in bytes of allocated blocks. Walks only what was never measured.
    pub fn sizes(&self, cancel: &CancelToken) -> Result<BTreeMap<Object, u64>> {
        let mut known = self.measured("")?;
        let blobs = self.blobs()?.into_iter().map(Object::Blob);
        let trees = self.trees()?.into_iter().map(Object::Tree);
        let mut sizes = BTreeMap::new();
        let mut new = Vec::new();
        for object in blobs.chain(trees) {
            let name = object.to_string();
            let bytes = match known.remove(&name) {
                Some(measured) => measured.bytes,
                None => {
                    let bytes = allocated(&self.place_of(&object), cancel)?;
                    new.push((name, Measured::now(bytes)));
                    bytes
                }
            };
            sizes.insert(object, bytes);
        }
        known.retain(|name, _| !name.starts_with("mount "));
        self.remember(&new, known.keys())?;
        Ok(sizes)
    }

    /// What each cache mount takes, by id. Walks those that were used since they were measured.
    pub fn cache_mount_sizes(&self, cancel: &CancelToken) -> Result<BTreeMap<String, MountUsage>> {
        let known = self.measured("mount ")?;
        let uses = self.uses()?;
        let mut sizes = BTreeMap::new();
        let mut new = Vec::new();
        for id in self.cache_mounts()? {
            let name = format!("mount {id}");
            let last_used = uses.get(&name).map_or(u64::MAX, |row| row.last_used);
            let is_good = |it: &&Measured| it.at > last_used.saturating_add(USE_SLACK_SECS);
            if let Some(measured) = known.get(&name).filter(is_good) {
                let usage = MountUsage {
                    bytes: measured.bytes,
                    in_use: self.is_cache_mount_in_use(&id)?,
                    filled: self.cache_mount_filled(&id)?,
                };
                if measured.bytes > 0 && !usage.in_use {
                    sizes.insert(id, usage);
                    continue;
                }
            }
            if let Some(usage) = self.cache_mount_usage(&id, cancel)? {
                new.push((name, Measured::now(usage.bytes)));
                sizes.insert(id, usage);
            }
        }
        self.remember(&new, std::iter::empty())?;
        Ok(sizes)
    }

    /// Forgets what a cache mount took and when it was used: it is gone.
    pub fn forget_cache_mount(&self, id: &str) -> Result<()> {
        let name = format!("mount {id}");
        self.transact(&[
            Change::Delete(Table::Sizes, &name),
            Change::Delete(Table::Uses, &name),
        ])
    }

    fn place_of(&self, object: &Object) -> PathBuf {
        match object {
            Object::Blob(digest) => self.layout.blob(digest),
            Object::Tree(id) => self.layout.tree(id),
        }
    }

    fn measured(&self, prefix: &str) -> Result<BTreeMap<String, Measured>> {
        let rows = self.list(Table::Sizes, prefix)?.into_iter();
        Ok(rows
            .filter_map(|(name, row)| Some((name, Measured::decode(&row)?)))
            .collect())
    }

    /// A disk that is full is no reason not to know how full it is.
    fn remember<'a>(
        &self,
        new: &[(String, String)],
        gone: impl Iterator<Item = &'a String>,
    ) -> Result<()> {
        let new = new
            .iter()
            .map(|(name, row)| Change::Put(Table::Sizes, name, row.as_bytes()));
        let gone = gone.map(|name| Change::Delete(Table::Sizes, name));
        let changes: Vec<Change<'_>> = new.chain(gone).collect();
        match self.transact(&changes) {
            Err(error) if error.is_disk_full() => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Sharing;

    #[test]
    fn objects_are_measured_once_and_rows_of_gone_ones_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let cancel = CancelToken::new();
        let blob = Object::Blob(store.put_blob(&[1; 30_000]).unwrap());
        let first = store.sizes(&cancel).unwrap();
        assert!(first[&blob] >= 30_000);
        let row = store.get(Table::Sizes, &blob.to_string()).unwrap();
        store.put(Table::Sizes, &blob.to_string(), b"7 0").unwrap();
        assert_eq!(store.sizes(&cancel).unwrap()[&blob], 7);
        assert!(row.is_some());
        store.release_committed();
        let lock = store.gc_lock(&cancel).unwrap();
        let gone = store.discard(&lock, std::slice::from_ref(&blob)).unwrap();
        gone.delete().unwrap();
        assert!(store.sizes(&cancel).unwrap().is_empty());
        assert!(store.list(Table::Sizes, "").unwrap().is_empty());
    }

    #[test]
    fn mounts_are_measured_again_after_use() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let cancel = CancelToken::new();
        let mount = store.cache_mount("m").unwrap();
        let used = mount.mount(Sharing::Shared, &cancel, |_| Ok(())).unwrap();
        let file = used.path().join("f");
        fs::write(&file, [1; 10_000]).unwrap();
        assert!(store.cache_mount_sizes(&cancel).unwrap()["m"].in_use);
        drop(used);
        let old = format!("{} {}", 5, u64::MAX);
        store.put(Table::Sizes, "mount m", old.as_bytes()).unwrap();
        // Nobody ever noted a use, so nobody knows whether it changed.
        assert!(store.cache_mount_sizes(&cancel).unwrap()["m"].bytes >= 10_000);
        store.put(Table::Uses, "mount m", b"1000 1 0").unwrap();
        store.put(Table::Sizes, "mount m", b"5 1060").unwrap();
        assert!(store.cache_mount_sizes(&cancel).unwrap()["m"].bytes >= 10_000);
        store.put(Table::Sizes, "mount m", b"5 1061").unwrap();
        assert_eq!(store.cache_mount_sizes(&cancel).unwrap()["m"].bytes, 5);
    }
}
