//! Directories that RUN steps keep between builds, and who may use one at a time.
//!
//! A cache mount has *slots*: directories with a lock each. `shared` and `locked` users meet in the
//! first; a `private` user takes the first one that is idle, or a new one.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rbuild_oci::Digest;
use rbuild_progress::CancelToken;

use crate::layout::write_replacing;
use crate::lock::{self, Flock, Mode};
use crate::record::Table;
use crate::store::Store;
use crate::usage::allocated;
use crate::{Error, Result};

/// Who else may use a cache mount meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Anybody.
    Shared,
    /// Nobody: others wait.
    Locked,
    /// Nobody: others get a directory of their own.
    Private,
}

/// A cache mount as one finds it who does not want to disturb.
#[derive(Debug)]
pub enum Quiet {
    /// Nobody has used it yet.
    Absent,
    /// Somebody uses it.
    InUse,
    /// Nobody does, and all others wait until this is dropped.
    Held(MountedCache),
}

/// What a cache mount takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountUsage {
    /// Allocated disk space of all its directories, in bytes.
    pub bytes: u64,
    /// Whether somebody uses one of them.
    pub in_use: bool,
    /// When the first of them was filled.
    pub filled: Option<SystemTime>,
}

/// What clearing a cache mount did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClearedMount {
    /// Disk space given back, in bytes.
    pub freed_bytes: u64,
    /// Whether one of its directories stays, being in use.
    pub in_use: bool,
}

/// A cache mount by name, not yet in use.
#[derive(Debug)]
pub struct CacheMount {
    dir: PathBuf,
    deleter: crate::tree::Deleter,
}

/// A cache mount in use; others may have it when this is dropped, as its sharing says.
#[derive(Debug)]
#[must_use = "dropping it lets others use the directory"]
pub struct MountedCache {
    path: PathBuf,
    lock: Flock,
}

impl MountedCache {
    /// The lock: whoever holds a copy keeps others out, should this process be killed.
    pub fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    pub(crate) fn new(path: PathBuf, lock: Flock) -> Self {
        Self { path, lock }
    }

    /// The directory to mount.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl CacheMount {
    /// Waits until the directory may be used.
    ///
    /// `fill` gets a new directory, empty, mode 0755, to set owner, mode and first content; it is called
    /// once per directory, before anybody uses it, and again if it failed or was killed.
    pub fn mount(
        &self,
        sharing: Sharing,
        cancel: &CancelToken,
        fill: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<MountedCache> {
        let (slot, lock) = match sharing {
            Sharing::Shared => (
                0,
                lock::wait(&self.slot_file(0, "lock"), Mode::Shared, cancel)?,
            ),
            Sharing::Locked => (
                0,
                lock::wait(&self.slot_file(0, "lock"), Mode::Exclusive, cancel)?,
            ),
            Sharing::Private => self.idle_slot(cancel)?,
        };
        if !self.slot_file(slot, "ready").exists() {
            // Shared users hold no lock against each other.
            let _filling = lock::wait(&self.slot_file(slot, "fill"), Mode::Exclusive, cancel)?;
            self.fill_new(slot, fill)?;
        }
        Ok(MountedCache::new(self.slot_file(slot, "data"), lock))
    }

    /// Whether the first directory has its first content.
    pub fn is_filled(&self) -> bool {
        self.slot_file(0, "ready").exists()
    }

    /// Fills the first directory for whoever mounts it next, if it is new and nobody is at it.
    ///
    /// Waits for nobody, so that several may be filled side by side, in any order.
    pub fn fill_ahead(&self, fill: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
        if self.is_filled() {
            return Ok(());
        }
        let Some(_lock) = lock::try_take(&self.slot_file(0, "lock"), Mode::Shared)? else {
            return Ok(());
        };
        match lock::try_take(&self.slot_file(0, "fill"), Mode::Exclusive)? {
            Some(_filling) => self.fill_new(0, fill),
            None => Ok(()),
        }
    }

    /// Fills a directory whose lock for filling is held, unless somebody has just done so.
    fn fill_new(&self, slot: u32, fill: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
        let ready = self.slot_file(slot, "ready");
        if ready.exists() {
            return Ok(());
        }
        let path = self.slot_file(slot, "data");
        make_empty(&self.deleter, &path)?;
        fill(&path).map_err(Error::at("fill", &path))?;
        // Filled in place and marked, rather than renamed: a directory whose owner `fill` has changed
        // cannot be moved by an unprivileged process.
        write_replacing(&ready, b"")
    }

    fn idle_slot(&self, cancel: &CancelToken) -> Result<(u32, Flock)> {
        for slot in 0.. {
            cancel.check()?;
            if let Some(lock) = lock::try_take(&self.slot_file(slot, "lock"), Mode::Exclusive)? {
                return Ok((slot, lock));
            }
        }
        unreachable!("there are fewer users than numbers")
    }

    fn filled(&self) -> Option<SystemTime> {
        let ready = fs::metadata(self.slot_file(0, "ready"));
        ready.and_then(|ready| ready.modified()).ok()
    }

    fn slot_file(&self, slot: u32, kind: &str) -> PathBuf {
        self.dir.join(format!("{slot}.{kind}"))
    }
}

/// Makes an empty directory of mode 0755 of what is at `path`, if anything is.
fn make_empty(deleter: &crate::tree::Deleter, path: &Path) -> Result<()> {
    match deleter.delete(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("delete", path, error));
        }
        _ => {}
    }
    DirBuilder::new()
        .mode(0o755)
        .create(path)
        .map_err(Error::at("create", path))?;
    // The process's umask shall not show in what a step sees.
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, mode).map_err(Error::at("change mode of", path))
}

impl Store {
    /// Empties a directory that is being filled, so that something else can fill it: mode 0755 and
    /// ours again.
    pub fn empty_directory(&self, path: &Path) -> Result<()> {
        make_empty(&self.deleter, path)
    }

    /// The first directory of the cache mount named `id`, the one that is not for a single private user, without
    /// waiting. Makes nothing.
    pub fn quiet_cache_mount(&self, id: &str) -> Result<Quiet> {
        let mount = CacheMount {
            dir: self.cache_mount_dir(id),
            deleter: self.deleter.clone(),
        };
        if !mount.is_filled() {
            return Ok(Quiet::Absent);
        }
        let lock = lock::try_take(&mount.slot_file(0, "lock"), Mode::Exclusive)?;
        Ok(match lock {
            None => Quiet::InUse,
            // Cleared since we looked.
            Some(_) if !mount.is_filled() => Quiet::Absent,
            Some(lock) => Quiet::Held(MountedCache::new(mount.slot_file(0, "data"), lock)),
        })
    }

    fn cache_mount_dir(&self, id: &str) -> PathBuf {
        // Hashed: an id is any text, often a path.
        self.layout
            .caches()
            .join(Digest::sha256_of(id.as_bytes()).hex())
    }

    /// Returns the cache mount named `id`, making it if there is none.
    pub fn cache_mount(&self, id: &str) -> Result<CacheMount> {
        let dir = self.cache_mount_dir(id);
        match DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io("create", &dir, error));
            }
            _ => {}
        }
        let name = dir.join("id");
        if !name.exists() {
            write_replacing(&name, id.as_bytes())?;
        }
        Ok(CacheMount {
            dir,
            deleter: self.deleter.clone(),
        })
    }

    /// What the directories of the cache mount named `id` take; `None` if it has none.
    pub fn cache_mount_usage(&self, id: &str, cancel: &CancelToken) -> Result<Option<MountUsage>> {
        let mount = self.cache_mount(id)?;
        let mut usage = None;
        for slot in 0.. {
            let lock = mount.slot_file(slot, "lock");
            if !lock.exists() {
                break;
            }
            let data = mount.slot_file(slot, "data");
            if data.exists() {
                let all: &mut MountUsage = usage.get_or_insert_default();
                all.bytes += allocated(&data, cancel)?;
                all.in_use |= lock::try_take(&lock, Mode::Exclusive)?.is_none();
            }
        }
        if let Some(usage) = &mut usage {
            usage.filled = mount.filled();
        }
        Ok(usage)
    }

    /// When the first directory of the cache mount named `id` was filled.
    pub(crate) fn cache_mount_filled(&self, id: &str) -> Result<Option<SystemTime>> {
        Ok(self.cache_mount(id)?.filled())
    }

    pub(crate) fn is_cache_mount_in_use(&self, id: &str) -> Result<bool> {
        let mount = self.cache_mount(id)?;
        for slot in 0.. {
            let lock = mount.slot_file(slot, "lock");
            if !lock.exists() {
                break;
            }
            if lock::try_take(&lock, Mode::Exclusive)?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the idle directories of the cache mount named `id`, and says what that gave back.
    pub fn clear_cache_mount(&self, id: &str) -> Result<ClearedMount> {
        // As the deletion itself, the look at what it gives back is not called off.
        let measuring =
            CancelToken::try_new().map_err(Error::at("make a token for", self.layout.root()))?;
        let before = self.cache_mount_usage(id, &measuring)?.unwrap_or_default();
        let all_idle = self.remove_cache_mount(id)?;
        let after = self.cache_mount_usage(id, &measuring)?.unwrap_or_default();
        Ok(ClearedMount {
            freed_bytes: before.bytes.saturating_sub(after.bytes),
            in_use: !all_idle,
        })
    }

    /// Removes the idle directories of the cache mount named `id`; tells whether all were idle.
    pub fn remove_cache_mount(&self, id: &str) -> Result<bool> {
        let mount = self.cache_mount(id)?;
        let mut all_idle = true;
        for slot in 0.. {
            let data = mount.slot_file(slot, "data");
            if !mount.slot_file(slot, "lock").exists() {
                break;
            }
            match lock::try_take(&mount.slot_file(slot, "lock"), Mode::Exclusive)? {
                None => all_idle = false,
                Some(_idle) => {
                    self.delete(Table::Snapshots, id)?;
                    // The mark first: without it the rest counts as not filled.
                    fs::remove_file(mount.slot_file(slot, "ready")).ok();
                    match self.deleter.delete(&data) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(Error::io("delete", &data, error));
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(all_idle)
    }

    /// Lists the ids of all cache mounts, sorted.
    pub fn cache_mounts(&self) -> Result<Vec<String>> {
        let dir = self.layout.caches();
        let mut ids = Vec::new();
        for entry in fs::read_dir(&dir).map_err(Error::at("list", &dir))? {
            let path = entry.map_err(Error::at("list", &dir))?.path();
            // Without a name: being made by another process.
            ids.extend(fs::read_to_string(path.join("id")));
        }
        ids.sort();
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &Path) -> io::Result<()> {
        Ok(())
    }

    #[test]
    fn what_is_filled_ahead_is_not_filled_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let cancel = CancelToken::new();
        let mount = store.cache_mount("m").unwrap();
        let failed = mount.fill_ahead(|path| {
            fs::write(path.join("half"), "1")?;
            Err(io::Error::other("broken"))
        });
        assert!(failed.unwrap_err().to_string().starts_with("fill"));
        mount
            .fill_ahead(|path| fs::write(path.join("f"), "1"))
            .unwrap();
        let again = |_: &Path| -> io::Result<()> { panic!("filled twice") };
        mount.fill_ahead(again).unwrap();
        let mounted = mount.mount(Sharing::Locked, &cancel, again).unwrap();
        let names = fs::read_dir(mounted.path()).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["f"]);
    }

    #[test]
    fn filling_ahead_waits_for_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let cancel = CancelToken::new();
        let mount = store.cache_mount("m").unwrap();
        let again = |_: &Path| -> io::Result<()> { panic!("filled by two") };
        let fill = |path: &Path| {
            mount.fill_ahead(again).map_err(io::Error::other)?;
            fs::write(path.join("f"), "1")
        };
        for sharing in [Sharing::Shared, Sharing::Locked] {
            let mounted = mount.mount(sharing, &cancel, fill).unwrap();
            assert!(mounted.path().join("f").exists());
            drop(mounted);
            assert!(store.remove_cache_mount("m").unwrap());
        }
    }

    #[test]
    fn shared_users_meet_and_fill_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let cancel = CancelToken::new();
        let first = store.cache_mount("/root/.cache").unwrap();
        let a = first
            .mount(Sharing::Shared, &cancel, |path| {
                fs::write(path.join("f"), "1")
            })
            .unwrap();
        let fill = |_: &Path| -> io::Result<()> { panic!("filled twice") };
        let b = store
            .cache_mount("/root/.cache")
            .unwrap()
            .mount(Sharing::Shared, &cancel, fill)
            .unwrap();
        assert_eq!(a.path(), b.path());
        assert_eq!(fs::read(b.path().join("f")).unwrap(), b"1");
        assert_eq!(store.cache_mounts().unwrap(), ["/root/.cache"]);
        assert!(!store.remove_cache_mount("/root/.cache").unwrap());
        drop((a, b));
        assert!(store.remove_cache_mount("/root/.cache").unwrap());
        let c = first.mount(Sharing::Shared, &cancel, none).unwrap();
        assert!(!c.path().join("f").exists());
    }

    #[test]
    fn locked_users_wait_and_private_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let cancel = CancelToken::new();
        let mount = store.cache_mount("x").unwrap();
        let locked = mount.mount(Sharing::Locked, &cancel, none).unwrap();
        let private = mount.mount(Sharing::Private, &cancel, none).unwrap();
        assert_ne!(locked.path(), private.path());
        cancel.cancel();
        assert!(matches!(
            mount.mount(Sharing::Locked, &cancel, none),
            Err(Error::Cancelled(_))
        ));
        let cancel = CancelToken::new();
        let first = locked.path().to_path_buf();
        drop(locked);
        assert_eq!(
            mount.mount(Sharing::Private, &cancel, none).unwrap().path(),
            first
        );
    }

    #[test]
    fn a_quiet_look_waits_for_nobody_and_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let cancel = CancelToken::new();
        assert!(matches!(
            store.quiet_cache_mount("x").unwrap(),
            Quiet::Absent
        ));
        assert!(store.cache_mounts().unwrap().is_empty());
        let mount = store.cache_mount("x").unwrap();
        assert!(matches!(
            store.quiet_cache_mount("x").unwrap(),
            Quiet::Absent
        ));
        let used = mount.mount(Sharing::Shared, &cancel, none).unwrap();
        assert!(matches!(
            store.quiet_cache_mount("x").unwrap(),
            Quiet::InUse
        ));
        drop(used);
        let Quiet::Held(held) = store.quiet_cache_mount("x").unwrap() else {
            panic!("nobody uses it");
        };
        cancel.cancel();
        let waiting = mount.mount(Sharing::Shared, &cancel, none);
        assert!(matches!(waiting, Err(Error::Cancelled(_))));
        fs::write(held.path().join("f"), "").unwrap();
        store.empty_directory(held.path()).unwrap();
        assert_eq!(fs::read_dir(held.path()).unwrap().count(), 0);
    }

    #[test]
    fn failed_fill_is_done_again_from_scratch() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let cancel = CancelToken::new();
        let mount = store.cache_mount("x").unwrap();
        let half = |path: &Path| {
            fs::write(path.join("half"), "")?;
            Err(io::Error::other("stopped"))
        };
        assert!(mount.mount(Sharing::Shared, &cancel, half).is_err());
        let mounted = mount.mount(Sharing::Shared, &cancel, none).unwrap();
        assert_eq!(fs::read_dir(mounted.path()).unwrap().count(), 0);
    }
}
