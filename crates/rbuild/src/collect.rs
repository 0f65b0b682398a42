//! The disk space of the store: what takes it, and giving it back.
//!
//! `inventory` reads every row that leads to something; `entry` and `filter` are what people see of it;
//! `policy` chooses, `plan` works out what follows, `sweep` does it.

mod cap;
mod entry;
mod filter;
mod inventory;
mod plan;
mod policy;
mod sweep;
mod tombstone;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rbuild_layer::LayerId;
use rbuild_progress::CancelToken;
use rbuild_solver::KeyInputs;
use rbuild_store::{MountUsage, Object, Store, Table, Use};

use crate::Result;

pub(crate) use cap::Cap;
pub use entry::{CacheEntry, CacheKind};
pub use filter::{CacheFilter, Compare};
pub use policy::{Limits, PruneRequest, PruneScope};
pub(crate) use tombstone::Tombstone;

use entry::EntryKey;
use inventory::{How, Inventory, Layer};
use policy::Disk;

/// What takes the disk space of a store.
#[derive(Clone, Debug, Default)]
pub struct DiskUsage {
    /// What is in the cache, the most recently used first.
    pub entries: Vec<CacheEntry>,
    /// Bytes of all else: documents of images, the database, what running builds are making.
    pub other_bytes: u64,
}

/// What a prune did.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// The entries that are gone; those that an image holds are gone from the cache only.
    pub entries: Vec<CacheEntry>,
    /// Disk space given back, in bytes of allocated blocks.
    pub freed_bytes: u64,
}

/// Lists what is in the cache. Walks what was never measured.
pub(crate) fn disk_usage(store: &Store, cancel: &CancelToken) -> Result<DiskUsage> {
    let leased = store.gc_lock(cancel)?.leased().clone();
    let all = Inventory::read(store)?;
    let sizes = store.sizes(cancel)?;
    let gathering = Gathering {
        store,
        all: &all,
        leased: &leased,
        named: plan::layers_of_names(&all),
        led: plan::layers_of_images(&all),
        uses: store.uses()?,
        sizes: &sizes,
        mounts: store.cache_mount_sizes(cancel)?,
    };
    let mut entries = gathering.entries()?;
    let mounts: u64 = gathering.mounts.values().map(|mount| mount.bytes).sum();
    let total = sizes.values().sum::<u64>() + mounts + store.overhead(cancel)?.bytes;
    let listed: u64 = entries.iter().map(|entry| entry.size_bytes).sum();
    entries.sort_by(|a, b| (b.last_used, &a.key).cmp(&(a.last_used, &b.key)));
    Ok(DiskUsage {
        entries,
        other_bytes: total.saturating_sub(listed),
    })
}

/// What the store takes in bytes, without a look at what it is. Walks what was never measured.
fn taken(store: &Store, cancel: &CancelToken) -> Result<u64> {
    let objects: u64 = store.sizes(cancel)?.values().sum();
    let mounts = store.cache_mount_sizes(cancel)?;
    let mounts: u64 = mounts.values().map(|mount| mount.bytes).sum();
    Ok(objects + mounts + store.overhead(cancel)?.bytes)
}

/// Removes what is asked for and whatever nothing leads to any more, but never what is in use or has a
/// name.
pub(crate) fn prune(store: &Store, request: &PruneRequest, cancel: &CancelToken) -> Result<Pruned> {
    prune_for(store, request, Tombstone::now(None), cancel)
}

/// Prunes, and leaves `grave` for each record that goes.
fn prune_for(
    store: &Store,
    request: &PruneRequest,
    grave: Tombstone,
    cancel: &CancelToken,
) -> Result<Pruned> {
    let usage = disk_usage(store, cancel)?;
    let disk = Disk {
        used: usage.total_bytes(),
        free: store.free_bytes()?,
    };
    let now = SystemTime::now();
    let chosen = policy::victims(&usage.entries, request, (disk, now));
    let chosen: BTreeSet<EntryKey> = chosen.into_iter().collect();
    let mut swept = sweep::sweep(store, &chosen, grave, cancel)?;
    store.sweep_locks()?;
    if request.scope == PruneScope::All {
        swept.freed_bytes += store.delete_logs()?;
    }
    let is_gone =
        |entry: &CacheEntry| chosen.contains(&entry.key) && !swept.spared.contains(&entry.key);
    Ok(Pruned {
        entries: usage.entries.into_iter().filter(is_gone).collect(),
        freed_bytes: swept.freed_bytes,
    })
}

impl DiskUsage {
    /// All that the store takes, in bytes.
    pub fn total_bytes(&self) -> u64 {
        let listed: u64 = self.entries.iter().map(|entry| entry.size_bytes).sum();
        listed + self.other_bytes
    }

    /// Leaves out the entries that do not meet all filters.
    pub fn retain(&mut self, filters: &[CacheFilter]) {
        let now = SystemTime::now();
        self.entries
            .retain(|entry| filters.iter().all(|filter| filter.holds(entry, now)));
    }
}

/// What entries are made of.
struct Gathering<'a> {
    store: &'a Store,
    all: &'a Inventory,
    leased: &'a BTreeSet<Object>,
    named: BTreeSet<LayerId>,
    /// Layers that images or other layers lead to.
    led: BTreeSet<LayerId>,
    uses: BTreeMap<String, Use>,
    sizes: &'a BTreeMap<Object, u64>,
    mounts: BTreeMap<String, MountUsage>,
}

impl Gathering<'_> {
    fn entries(&self) -> Result<Vec<CacheEntry>> {
        let mut counted = BTreeSet::new();
        let mut entries = Vec::new();
        let leads = self.leads();
        for (id, layer) in &self.all.layers {
            entries.push(self.layer((id, layer), leads.get(id), &mut counted)?);
        }
        let files: BTreeSet<_> = self.all.files.iter().map(|(_, blob)| blob).collect();
        for blob in files {
            let object = Object::Blob(blob.clone());
            let mut entry = self.bare(EntryKey::File(blob.clone()), CacheKind::Regular);
            "downloaded file".clone_into(&mut entry.description);
            entry.in_use = self.leased.contains(&object);
            entry.size_bytes = self.size(&object, &mut counted);
            entries.push(entry);
        }
        for (id, mount) in &self.mounts {
            let mut entry = self.bare(EntryKey::Mount(id.clone()), CacheKind::CacheMount);
            entry.description = format!("cache mount {id}");
            entry.in_use = mount.in_use;
            entry.size_bytes = mount.bytes;
            entry.created = mount.filled;
            entries.push(entry);
        }
        Ok(entries)
    }

    /// What leads to each layer; of several the first by kind.
    fn leads(&self) -> BTreeMap<LayerId, (How, &str)> {
        let mut leads: BTreeMap<LayerId, (How, &str)> = BTreeMap::new();
        for lead in &self.all.leads {
            let this = (lead.how, lead.key.as_str());
            let known = leads.entry(lead.layer).or_insert(this);
            *known = this.min(*known);
        }
        leads
    }

    fn layer(
        &self,
        (id, layer): (&LayerId, &Layer),
        lead: Option<&(How, &str)>,
        counted: &mut BTreeSet<Object>,
    ) -> Result<CacheEntry> {
        let kind = match lead {
            Some((How::Bound, _)) => CacheKind::SourceLocal,
            Some((How::Git, _)) => CacheKind::SourceGit,
            Some((How::Record, _)) => CacheKind::Regular,
            None if layer.pulled.is_some() || self.led.contains(id) => CacheKind::Regular,
            None => CacheKind::Internal,
        };
        let mut entry = self.bare(EntryKey::Layer(*id), kind);
        entry.description = match (lead, &layer.pulled) {
            (Some((How::Record, key)), _) => self.step(key)?,
            (Some((How::Bound, _)), _) => "files of a context for a mount".to_owned(),
            (Some((How::Git, _)), _) => "tree of a git repository".to_owned(),
            (None, Some((_, origin))) => format!("pulled from {origin}"),
            (None, None) if self.led.contains(id) => "layer of an image".to_owned(),
            (None, None) => "unused layer".to_owned(),
        };
        entry.created = Some(layer.created);
        entry.shared = self.named.contains(id);
        entry.in_use = plan::is_in_use(layer, self.leased);
        for object in &layer.objects {
            entry.size_bytes += self.size(object, counted);
        }
        Ok(entry)
    }

    /// The step that a record is of.
    fn step(&self, key: &str) -> Result<String> {
        let row = self.store.get(Table::Steps, key)?;
        let inputs = row.and_then(|row| serde_json::from_slice::<KeyInputs>(&row).ok());
        Ok(inputs.map_or_else(|| "a step".to_owned(), |inputs| inputs.name))
    }

    /// What an object takes, the first time that it is asked for.
    fn size(&self, object: &Object, counted: &mut BTreeSet<Object>) -> u64 {
        let size = self.sizes.get(object).copied().unwrap_or(0);
        if counted.insert(object.clone()) {
            size
        } else {
            0
        }
    }

    fn bare(&self, key: EntryKey, kind: CacheKind) -> CacheEntry {
        let used = self.uses.get(&key.use_name()).copied();
        let known = used.unwrap_or_default();
        CacheEntry {
            id: key.id(),
            kind,
            description: String::new(),
            size_bytes: 0,
            created: None,
            last_used: used.map(|used| UNIX_EPOCH + Duration::from_secs(used.last_used)),
            uses: known.uses,
            cost: Duration::from_millis(known.cost_ms),
            shared: false,
            in_use: false,
            key,
        }
    }
}
