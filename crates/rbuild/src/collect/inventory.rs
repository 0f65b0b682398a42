//! All rows that lead to something in the store, as they were at one time.
//!
//! What leads is read before what is led to: a build writes a layer's row before it writes what leads
//! there, so nothing that was just made looks as if it led nowhere.

use std::collections::BTreeMap;
use std::time::SystemTime;

use rbuild_layer::{LayerId, LayerInfo};
use rbuild_oci::{Digest, Manifest};
use rbuild_solver::Record;
use rbuild_source::{Remembered, remembered};
use rbuild_store::{Object, Store, Table};

use crate::images::Row;
use crate::push::Pending;
use crate::{BuildError, Result};

/// Largest manifest that is read.
const MAX_DOCUMENT_BYTES: u64 = 8 << 20;

/// What leads to layers and objects, and the layers.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// Rows that lead to a layer, by table and key.
    pub leads: Vec<Lead>,
    /// Downloaded files, by key.
    pub files: Vec<(String, Digest)>,
    /// Images of registries.
    pub memos: Vec<Memo>,
    /// Images of the store, by id.
    pub images: BTreeMap<Digest, Row>,
    /// Ids that have a name.
    pub named: Vec<Digest>,
    /// Layers and documents of pushes that have not ended.
    pub pushes: Vec<(Vec<LayerId>, Vec<Digest>)>,
    /// Rows that find a layer by another name.
    pub names: Vec<(Table, String, LayerId)>,
    /// The layers.
    pub layers: BTreeMap<LayerId, Layer>,
}

/// A row that leads to a layer.
#[derive(Debug, Clone)]
pub(super) struct Lead {
    pub how: How,
    pub key: String,
    pub layer: LayerId,
}

/// Why a row leads to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum How {
    /// A step made it.
    Record,
    /// Files of a context are mounted from it.
    Bound,
    /// It holds a tree of a repository.
    Git,
}

/// What a registry said of an image.
#[derive(Debug, Clone)]
pub(super) struct Memo {
    pub key: String,
    pub documents: [Digest; 2],
    /// Blobs of its layers, as its manifest has them.
    pub layers: Vec<Digest>,
}

/// A layer.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub objects: Vec<Object>,
    pub created: SystemTime,
    /// Blob and place that it was pulled as and from.
    pub pulled: Option<(Digest, String)>,
    pub capped: Option<LayerId>,
}

impl Inventory {
    /// Reads all of it. Linear in the number of rows; opens the manifests of remembered images.
    ///
    /// Errors: a row of layers or images cannot be read: nobody knows what it leads to.
    pub fn read(store: &Store) -> Result<Inventory> {
        let mut all = Inventory::default();
        for (key, _) in store
            .list(Table::Tags, "")?
            .iter()
            .map(|(key, id)| (id, key))
        {
            let id = std::str::from_utf8(key).map_err(BuildError::decode)?;
            all.named
                .push(Digest::parse(id).map_err(BuildError::decode)?);
        }
        for (id, row) in store.list(Table::Images, "")? {
            let id = Digest::parse(&id).map_err(BuildError::decode)?;
            all.images.insert(id, Row::from_bytes(&row)?);
        }
        for push in Pending::all(store)? {
            let layers = push.stacks().into_iter().flatten().collect();
            all.pushes.push((layers, push.documents()));
        }
        all.read_leads(store)?;
        all.read_remotes(store)?;
        for table in [Table::Chains, Table::BlobLayers, Table::DiffIds] {
            for (key, row) in store.list(table, "")? {
                if let Some(layer) = layer_in(&row) {
                    all.names.push((table, key, layer));
                }
            }
        }
        for (key, row) in store.list(Table::Layers, "")? {
            let id = key.parse().map_err(BuildError::decode)?;
            let info = serde_json::from_slice(&row).map_err(BuildError::decode)?;
            all.layers.insert(id, Layer::of(&info));
        }
        Ok(all)
    }

    fn read_leads(&mut self, store: &Store) -> Result<()> {
        for (key, row) in store.list(Table::Records, "")? {
            let saved = Record::decode(&row).map(|record| record.saved);
            if let Some(layer) = saved.as_deref().and_then(layer_in) {
                self.lead(How::Record, key, layer);
            }
        }
        for (key, row) in store.list(Table::Contents, "bound ")? {
            if let Some(layer) = layer_in(&row) {
                self.lead(How::Bound, key, layer);
            }
        }
        Ok(())
    }

    fn read_remotes(&mut self, store: &Store) -> Result<()> {
        for (key, row) in store.list(Table::Remotes, "")? {
            match remembered(&key, &row) {
                Some(Remembered::Git(layer)) => self.lead(How::Git, key, layer),
                Some(Remembered::File(blob)) => self.files.push((key, blob)),
                Some(Remembered::Image { manifest, config }) => {
                    let layers = layers_of(store, &manifest);
                    self.memos.push(Memo {
                        key,
                        documents: [manifest, config],
                        layers,
                    });
                }
                None => {}
            }
        }
        Ok(())
    }

    fn lead(&mut self, how: How, key: String, layer: LayerId) {
        self.leads.push(Lead { how, key, layer });
    }
}

impl How {
    /// The table of such a row.
    pub fn table(self) -> Table {
        match self {
            How::Record => Table::Records,
            How::Bound => Table::Contents,
            How::Git => Table::Remotes,
        }
    }
}

impl Layer {
    fn of(info: &LayerInfo) -> Layer {
        Layer {
            objects: info.objects(),
            created: info.created,
            pulled: info
                .original
                .as_ref()
                .map(|original| (original.descriptor.digest.clone(), original.origin.clone())),
            capped: info.capped.map(|capped| capped.layer),
        }
    }
}

fn layer_in(row: &[u8]) -> Option<LayerId> {
    std::str::from_utf8(row).ok()?.parse().ok()
}

/// The blobs of the layers that a manifest names; none if it is gone, which the next build notices.
fn layers_of(store: &Store, manifest: &Digest) -> Vec<Digest> {
    let bytes = store.read_blob(manifest, MAX_DOCUMENT_BYTES).ok();
    let manifest = bytes.and_then(|bytes| Manifest::from_bytes(&bytes).ok());
    let layers = manifest.map(|manifest| manifest.layers).unwrap_or_default();
    layers.into_iter().map(|layer| layer.digest).collect()
}
