//! The layers of a store: their rows and indexes, and everything that is done with whole layers.
//!
//! One file per noun below `layer_store/`: committing files, an active upper, pulled layers, trees,
//! compressed twins, reading bytes, layers without later times, verifying.

mod active;
mod bytes;
mod cap;
mod commit;
mod far_files;
mod fill;
mod import;
mod indexes;
mod into_tree;
mod pull;
mod recover;
mod side_by_side;
mod survey;
mod trees;
mod twins;
mod verify;

use std::collections::HashMap;
use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rbuild_oci::{ChainId, Descriptor};
use rbuild_progress::CancelToken;
use rbuild_store::{Lease, Object, Store, Table, TreeDelete, WorkLock};

use crate::{Error, LayerId, LayerIndex, LayerIndexes, LayerInfo, Result, TreeJob, TreeWork, View};

pub use active::ActiveLayer;
pub use fill::Filling;
pub use import::ImportedLayer;
pub use pull::PulledLayer;
pub use recover::Recovered;
pub use survey::{DirFiles, Survey};
pub use verify::LayerProblem;

/// Largest encoded index that is read, in bytes.
const MAX_INDEX_BYTES: u64 = 2 << 30;

/// Brings blobs of pulled layers into the store.
pub trait Fetch: Send + Sync {
    /// Fetches and verifies a blob; afterwards the store has it under its digest.
    ///
    /// `origin` is the text that the layer was registered with. `progress` hears how many bytes
    /// came so far. Errors: whatever the source says; a cancelled fetch is taken for a cancellation.
    fn fetch(
        &self,
        descriptor: &Descriptor,
        origin: &str,
        progress: &dyn Fn(u64),
        cancel: &CancelToken,
    ) -> Result<(), Box<dyn StdError + Send + Sync>>;
}

/// Fetches nothing: every blob must be in the store already.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFetch;

impl Fetch for NoFetch {
    fn fetch(
        &self,
        _: &Descriptor,
        origin: &str,
        _: &dyn Fn(u64),
        _: &CancelToken,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        Err(format!("nothing can be fetched from {origin:?} here").into())
    }
}

/// What is being done with a layer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Activity {
    /// Its blob is being fetched.
    Fetch,
    /// It is being unpacked into a tree, or read for its index.
    Unpack,
    /// Its tar is being written.
    Write,
    /// It is being compressed.
    Compress,
}

/// Hears about work on layers' bytes.
pub trait Report: Send + Sync {
    /// `name` is the blob's digest, or the layer's id where there is no blob yet. `current` bytes
    /// of `total` are done; the last call for a piece of work has `current == total`.
    fn bytes(&self, activity: Activity, name: &str, current: u64, total: Option<u64>);
}

/// The layers of a store. Cheap to clone; used from many threads and processes at once.
#[derive(Clone)]
pub struct LayerStore {
    inner: Arc<Inner>,
    report: Option<Arc<dyn Report>>,
}

struct Inner {
    store: Arc<Store>,
    work: Arc<dyn TreeWork>,
    fetch: Arc<dyn Fetch>,
    far: far_files::FarFiles,
    indexes: Mutex<HashMap<LayerId, Arc<LayerIndex>>>,
    offsets: Mutex<HashMap<LayerId, Arc<[u64]>>>,
}

impl LayerStore {
    /// The layers of `store`. Does no I/O.
    ///
    /// From now on the store deletes through `work` what this process may not delete itself.
    pub fn new(store: Arc<Store>, work: Arc<dyn TreeWork>, fetch: Arc<dyn Fetch>) -> Self {
        store.use_tree_delete(Arc::new(JobDelete(Arc::clone(&work))));
        let inner = Inner {
            store,
            work,
            fetch,
            far: far_files::FarFiles::default(),
            indexes: Mutex::default(),
            offsets: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
            report: None,
        }
    }

    /// The same layers, with somebody who hears about work that is done through this handle.
    pub fn reporting(&self, report: Arc<dyn Report>) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            report: Some(report),
        }
    }

    /// The store that the layers are in.
    pub fn store(&self) -> &Arc<Store> {
        &self.inner.store
    }

    /// What the store knows about a layer. Errors: `UnknownLayer`, `Row`.
    pub fn info(&self, layer: &LayerId) -> Result<LayerInfo> {
        self.find(layer)?
            .ok_or(Error::UnknownLayer { layer: *layer })
    }

    /// As `info`; `None` for a layer that the store does not know.
    pub fn find(&self, layer: &LayerId) -> Result<Option<LayerInfo>> {
        let row = self.store().get(Table::Layers, &layer.to_string())?;
        row.map(|row| {
            serde_json::from_slice(&row).map_err(|source| Error::Row {
                layer: *layer,
                source,
            })
        })
        .transpose()
    }

    /// Keeps what a layer consists of from collection as long as `lease` lives; tells whether the
    /// layer can be used, as [`LayerStore::is_usable`].
    ///
    /// What is made of it later is kept by the store's own lease.
    pub fn hold(&self, layer: &LayerId, lease: &Lease) -> Result<bool> {
        let Some(info) = self.find(layer)? else {
            return Ok(false);
        };
        // First the names, then the look: what is seen afterwards stays.
        lease.add_all(&info.objects())?;
        self.is_usable(layer)
    }

    /// Whether the layer can be used: its row is there, and its bytes are here or can be fetched.
    ///
    /// Linear in nothing; looks at names only. What has lost its bytes has to be made again.
    pub fn is_usable(&self, layer: &LayerId) -> Result<bool> {
        let Some(info) = self.find(layer)? else {
            return Ok(false);
        };
        let has = |digest| self.store().has_blob(digest);
        let here = info.blob.as_ref().is_some_and(has) || self.usable_tree(&info).is_some();
        let known = info.index.as_ref().is_some_and(has);
        Ok(info.original.is_some() || (here && known))
    }

    /// Whether the layer's bytes are in the store in some form, so that nothing has to be fetched to use it.
    ///
    /// Looks at names only.
    pub fn is_here(&self, layer: &LayerId) -> Result<bool> {
        let Some(info) = self.find(layer)? else {
            return Ok(false);
        };
        let original = info
            .original
            .as_ref()
            .map(|original| &original.descriptor.digest);
        let packed = info.pack.as_ref().map(|pack| &pack.bytes);
        let mut blobs = info.blob.iter().chain(original).chain(packed);
        Ok(blobs.any(|digest| self.store().has_blob(digest)) || self.usable_tree(&info).is_some())
    }

    /// The pulled layer of a chain of diff ids, if one's bytes were verified to top it.
    pub fn by_chain(&self, chain: &ChainId) -> Result<Option<LayerId>> {
        let row = self.store().get(Table::Chains, &chain.to_string())?;
        let text = row.and_then(|row| String::from_utf8(row).ok());
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// The objects that a layer consists of: for leases.
    pub fn objects(&self, layer: &LayerId) -> Result<Vec<Object>> {
        Ok(self.info(layer)?.objects())
    }

    /// The index of a layer; of a pulled one it is made from its bytes if it is not there yet.
    ///
    /// Remembered in memory. Errors: `UnknownLayer`, and those of fetching and reading.
    pub fn index(&self, layer: &LayerId, cancel: &CancelToken) -> Result<Arc<LayerIndex>> {
        match self.index_at_hand(layer)? {
            Some(index) => Ok(index),
            None => Ok(self.keep_index(layer, self.make_index(layer, cancel)?)),
        }
    }

    /// The index of a layer if it is in memory or in the store; nothing is fetched.
    fn index_at_hand(&self, layer: &LayerId) -> Result<Option<Arc<LayerIndex>>> {
        if let Some(index) = lock(&self.inner.indexes).get(layer) {
            return Ok(Some(Arc::clone(index)));
        }
        let read = self.read_index(&self.info(layer)?)?;
        Ok(read.map(|index| self.keep_index(layer, index)))
    }

    /// The merged file system of a stack, lowest layer first.
    ///
    /// A layer's index, and with it a pulled layer's bytes, is asked for when the layers above it do
    /// not answer a question: the errors of [`LayerStore::index`] come from the view.
    pub fn view(&self, stack: &[LayerId], cancel: &CancelToken) -> View {
        let bytes = Arc::new(self.bytes(cancel));
        View::lazy(stack, Arc::clone(&bytes) as Arc<dyn LayerIndexes>, bytes)
    }

    fn read_index(&self, info: &LayerInfo) -> Result<Option<LayerIndex>> {
        let Some(digest) = info
            .index
            .as_ref()
            .filter(|digest| self.store().has_blob(digest))
        else {
            return Ok(None);
        };
        let bytes = self.store().read_blob(digest, MAX_INDEX_BYTES)?;
        LayerIndex::decode(&bytes).map(Some)
    }

    fn keep_index(&self, layer: &LayerId, index: LayerIndex) -> Arc<LayerIndex> {
        let index = Arc::new(index);
        lock(&self.inner.indexes).insert(*layer, Arc::clone(&index));
        index
    }

    /// Gives a new layer its row and index.
    fn add(&self, mut info: LayerInfo, index: LayerIndex) -> Result<LayerId> {
        info.index = Some(self.store().put_blob(&index.encode())?);
        self.put_row(&info)?;
        self.keep_index(&info.id, index);
        Ok(info.id)
    }

    fn put_row(&self, info: &LayerInfo) -> Result<()> {
        let row = encode_row(info)?;
        Ok(self
            .store()
            .put(Table::Layers, &info.id.to_string(), &row)?)
    }

    /// Changes a row, alone among all processes.
    fn update(
        &self,
        layer: &LayerId,
        cancel: &CancelToken,
        change: impl FnOnce(&mut LayerInfo),
    ) -> Result<LayerInfo> {
        self.update_and_put(layer, cancel, |info| {
            change(info);
            self.put_row(info)
        })
    }

    /// Changes a row and writes it, alone among all processes.
    fn update_and_put(
        &self,
        layer: &LayerId,
        cancel: &CancelToken,
        change_and_put: impl FnOnce(&mut LayerInfo) -> Result<()>,
    ) -> Result<LayerInfo> {
        let _alone = self.row_lock(layer, cancel)?;
        let mut info = self.info(layer)?;
        change_and_put(&mut info)?;
        Ok(info)
    }

    fn row_lock(&self, layer: &LayerId, cancel: &CancelToken) -> Result<WorkLock> {
        Ok(self
            .store()
            .work_lock(&format!("layer-row {layer}"), cancel)?)
    }

    fn report(&self, activity: Activity, name: &str, current: u64, total: Option<u64>) {
        if let Some(report) = &self.report {
            report.bytes(activity, name, current, total);
        }
    }
}

/// Deletes directories of the store by jobs.
struct JobDelete(Arc<dyn TreeWork>);

impl TreeDelete for JobDelete {
    fn delete_tree(&self, path: &Path) -> io::Result<()> {
        let job = TreeJob::Delete {
            path: path.to_owned(),
        };
        // Not cancelled with the build: what a cancelled build leaves must go too.
        let cancel = CancelToken::try_new()?;
        self.0
            .run(&job, &[], &cancel)
            .map(drop)
            .map_err(io::Error::other)
    }
}

/// A row as the store keeps it, and the change that puts it there.
fn encode_row(info: &LayerInfo) -> Result<Vec<u8>> {
    serde_json::to_vec(info).map_err(|source| Error::Row {
        layer: info.id,
        source,
    })
}

/// Puts a row and other records in one transaction.
fn put_with(store: &Store, info: &LayerInfo, table: Table, key: &str, value: &[u8]) -> Result<()> {
    let (id, row) = (info.id.to_string(), encode_row(info)?);
    Ok(store.put_many(&[(Table::Layers, &id, &row), (table, key, value)])?)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is kept is whole after each statement, also where a thread panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn new_id() -> Result<LayerId> {
    LayerId::random().map_err(|source| Error::io("draw", "a layer id", source))
}
