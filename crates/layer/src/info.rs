//! A layer's row in the store: which forms its bytes have, and what is known about them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use rbuild_oci::{ChainId, Descriptor, DiffId, Digest};
use rbuild_store::Object;
use serde::{Deserialize, Serialize};

use crate::{Compression, LayerId, TreeKind};

/// What the store knows about a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// The layer's own name.
    pub id: LayerId,
    /// When it was committed here.
    pub created: SystemTime,
    /// Blob that holds the encoded index; `None` for a pulled layer nobody has looked into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// Digest of the uncompressed tar, once it was made; of a pulled layer what its image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<DiffId>,
    /// The uncompressed tar, if the store keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<Digest>,
    /// The bytes of a pulled layer's files, if they were taken out of it without making a tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<Pack>,
    /// Directories that serve as overlay lowers: at most one of each kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trees: BTreeMap<TreeKind, String>,
    /// Compressed forms of the tar that were made here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub twins: BTreeMap<Compression, Descriptor>,
    /// The form in which it was pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Original>,
    /// Chain id that an image says a pulled layer tops, as long as nobody has seen its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<ChainId>,
    /// The same layer without later times, as it was last asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capped: Option<Capped>,
}

/// A layer made of another one, in which nothing is later than a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capped {
    /// The moment, in seconds since 1970.
    pub epoch: i64,
    /// The layer.
    pub layer: LayerId,
}

/// The bytes of all files of a layer, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// Blob that holds the bytes.
    pub bytes: Digest,
    /// Blob that holds, for each entry of the index, where its bytes start: 64 bits, low byte first.
    pub offsets: Digest,
}

/// The compressed blob that a pulled layer came as; its bytes may still be where they came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// The blob.
    pub descriptor: Descriptor,
    /// Says where to fetch it from; meaningful to the `Fetch` that is asked.
    pub origin: String,
    /// Of a layer that another machine made and sent: its index, compressed, from the same origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Descriptor>,
    /// Whether another machine made and sent the layer: what it says of the bytes is all there is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_imported: bool,
}

impl LayerInfo {
    /// The objects that the layer consists of, whether they are here or not.
    pub fn objects(&self) -> Vec<Object> {
        let pack = self.pack.iter();
        let original = self.original.iter();
        let blobs = self
            .index
            .iter()
            .chain(&self.blob)
            .chain(pack.flat_map(|pack| [&pack.bytes, &pack.offsets]))
            .chain(self.twins.values().map(|twin| &twin.digest))
            .chain(original.clone().map(|original| &original.descriptor.digest))
            .chain(original.filter_map(|original| Some(&original.index.as_ref()?.digest)));
        let blobs = blobs.cloned().map(Object::Blob);
        let trees = self.trees.values().cloned().map(Object::Tree);
        blobs.chain(trees).collect()
    }

    /// A row that knows nothing but the name.
    pub(crate) fn new(id: LayerId) -> Self {
        Self {
            id,
            created: SystemTime::now(),
            index: None,
            diff_id: None,
            blob: None,
            pack: None,
            trees: BTreeMap::new(),
            twins: BTreeMap::new(),
            original: None,
            claimed: None,
            capped: None,
        }
    }
}
