//! Names of objects in use: what a living process has written down here is not collected.
//!
//! A lease is a file of names that its holder keeps locked. Names are added under the shared lock of
//! the collector (`gc`), which holds it alone: an object is either seen as leased, or gone before the
//! holder was told that it has it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::layout::Layout;
use crate::lock::{self, Mode};
use crate::sealed::Sealed;
use crate::session::{LiveFile, random_hex};
use crate::store::Store;
use crate::{Error, Object, Result};

/// Keeps objects from collection while held.
#[derive(Debug)]
#[must_use = "dropping the lease lets the objects be collected"]
pub struct Lease {
    layout: Layout,
    /// What lies there needs no lease: nothing is collected in it.
    lower: Option<Arc<Sealed>>,
    live: LiveFile,
    names: Mutex<BTreeSet<Object>>,
}

impl Lease {
    /// Begins a lease on nothing.
    pub(crate) fn begin(layout: &Layout, lower: Option<Arc<Sealed>>) -> Result<Self> {
        let _collector_waits = lock::brief(&gc_lock(layout), Mode::Shared)?;
        layout.refuse_sealed()?;
        let live = LiveFile::create(layout.leases().join(random_hex::<12>()?))?;
        Ok(Self {
            layout: layout.clone(),
            lower,
            live,
            names: Mutex::default(),
        })
    }

    /// Adds an object; tells whether the store has it.
    ///
    /// If it does, it stays at least until the lease is dropped.
    pub fn add(&self, object: &Object) -> Result<bool> {
        let _collector_waits = lock::brief(&gc_lock(&self.layout), Mode::Shared)?;
        if self.is_below(object) {
            return Ok(true);
        }
        self.write_down(object)?;
        Ok(path_of(&self.layout, object).exists())
    }

    /// Adds objects; what the store has of them stays at least until the lease is dropped.
    pub fn add_all(&self, objects: &[Object]) -> Result<()> {
        let _collector_waits = lock::brief(&gc_lock(&self.layout), Mode::Shared)?;
        let mut own = objects.iter().filter(|object| !self.is_below(object));
        own.try_for_each(|object| self.write_down(object))
    }

    /// Whether only the store below has the object.
    fn is_below(&self, object: &Object) -> bool {
        let lower = self.lower.as_ref();
        lower.is_some_and(|lower| !path_of(&self.layout, object).exists() && lower.has(object))
    }

    /// Writes the name down; the caller holds the collector's lock.
    pub(crate) fn write_down(&self, object: &Object) -> Result<()> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.contains(object) {
            return Ok(());
        }
        let line = format!("{object}\n");
        (&self.live.file)
            .write_all(line.as_bytes())
            .map_err(Error::at("write", &self.live.path))?;
        names.insert(object.clone());
        Ok(())
    }
}

/// Reads the names in all leases of living processes and removes the leases of dead ones.
///
/// The caller holds the collector's lock alone.
pub(crate) fn leased(layout: &Layout) -> Result<BTreeSet<Object>> {
    let dir = layout.leases();
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(&dir).map_err(Error::at("list", &dir))? {
        let path = entry.map_err(Error::at("list", &dir))?.path();
        if LiveFile::take_over(&path)?.is_none() {
            // Gone since it was listed: its holder is done with the objects.
            let text = fs::read_to_string(&path).unwrap_or_default();
            all.extend(text.lines().filter_map(Object::parse));
        }
    }
    Ok(all)
}

/// Whether a living process holds a lease, be it on nothing yet. The caller holds the collector's lock alone.
pub(crate) fn has_living(layout: &Layout) -> Result<bool> {
    let dir = layout.leases();
    for entry in fs::read_dir(&dir).map_err(Error::at("list", &dir))? {
        let path = entry.map_err(Error::at("list", &dir))?.path();
        if LiveFile::take_over(&path)?.is_none() && path.exists() {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(crate) fn gc_lock(layout: &Layout) -> PathBuf {
    layout.locks().join("gc")
}

fn path_of(layout: &Layout, object: &Object) -> PathBuf {
    match object {
        Object::Blob(digest) => layout.blob(digest),
        Object::Tree(id) => layout.tree(id),
    }
}

impl Store {
    /// Begins a lease on `objects`; tells also which of them the store lacks.
    pub fn lease(&self, objects: &[Object]) -> Result<(Lease, Vec<Object>)> {
        let lease = Lease::begin(&self.layout, self.lower.clone())?;
        let mut missing = Vec::new();
        for object in objects {
            let there = lease.add(object)? || self.rescue(object)?;
            if !there {
                missing.push(object.clone());
            }
        }
        Ok((lease, missing))
    }

    /// Ends the lease on everything that was committed through this handle.
    ///
    /// For whoever keeps a handle for long: call it when a build is done and its records are written.
    pub fn release_committed(&self) {
        *self
            .committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Keeps a tree from collection, as if this handle had committed it; tells whether it is there.
    ///
    /// Errors: [`Error::TreeId`].
    pub fn keep_tree(&self, id: &str) -> Result<bool> {
        self.checked_tree(id)?;
        Ok(self.has_tree(id) && self.lease_committed(Object::Tree(id.to_owned()))?)
    }

    /// Does `work` while nothing can be collected: what it finds there still is when it ends.
    ///
    /// All collecting waits meanwhile, so let it be brief.
    pub fn without_collector<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let _collector_waits = lock::brief(&gc_lock(&self.layout), Mode::Shared)?;
        Ok(work())
    }

    /// Leases an object that is there already; tells whether it still is.
    pub(crate) fn lease_committed(&self, object: Object) -> Result<bool> {
        let path = path_of(&self.layout, &object);
        if !path.exists() && self.lower().is_some_and(|lower| lower.has(&object)) {
            return Ok(true);
        }
        let mut there = false;
        self.commit_leased(object, || {
            there = path.exists();
            Ok(())
        })?;
        Ok(there)
    }

    /// Runs `commit` with `object` leased by this handle and the collector kept out.
    pub(crate) fn commit_leased(
        &self,
        object: Object,
        commit: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let lease = self.own_lease()?;
        let _collector_waits = lock::brief(&gc_lock(&self.layout), Mode::Shared)?;
        lease.write_down(&object)?;
        commit()
    }

    fn own_lease(&self) -> Result<Arc<Lease>> {
        let mut lease = self
            .committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &*lease {
            Some(lease) => Ok(lease.clone()),
            None => {
                let new = Lease::begin(&self.layout, self.lower.clone())?;
                Ok(lease.insert(Arc::new(new)).clone())
            }
        }
    }

    fn rescue(&self, object: &Object) -> Result<bool> {
        match object {
            Object::Blob(digest) => self.rescue_blob(digest),
            Object::Tree(_) => Ok(false),
        }
    }
}
