//! Layers that come from elsewhere: registered under what an image claims of them, looked into only
//! when needed, and found by chain id only once their bytes were seen to be what was claimed.

use std::io::Write;

use rbuild_oci::{ChainId, Descriptor, DiffId, Digest, chain_id};
use rbuild_progress::CancelToken;
use rbuild_store::{Ingest, Table};

use super::{Activity, LayerStore, new_id, put_with};
use crate::archive_index::{Effect, Offset};
use crate::info::Pack;
use crate::job::Format;
use crate::layer_read::{Keeper, NoKeeper, ReadLayer, read_layer};
use crate::{Entry, Error, LayerId, LayerIndex, LayerInfo, Original, Result};

/// A layer of an image that was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledLayer {
    /// Chain id of the layers below it; `None` for the lowest.
    pub parent: Option<ChainId>,
    /// What the image's config says its uncompressed bytes are.
    pub diff_id: DiffId,
    /// Its compressed blob, as the manifest says.
    pub descriptor: Descriptor,
    /// Where the blob can be fetched; handed to `Fetch` as it is.
    pub origin: String,
}

impl PulledLayer {
    /// The chain id of the stack that this layer tops.
    pub fn chain(&self) -> ChainId {
        match &self.parent {
            None => ChainId(self.diff_id.0.clone()),
            Some(ChainId(below)) => {
                let text = format!("{below} {}", self.diff_id);
                ChainId(Digest::sha256_of(text.as_bytes()))
            }
        }
    }
}

impl LayerStore {
    /// Registers a layer of an image; nothing is fetched.
    ///
    /// What the image claims is not believed: the layer is named by chain id *and* blob, so that a
    /// later build of the same image finds it, and another image that claims the chain id for other
    /// bytes does not. Layers whose bytes were verified are shared by chain id. A layer that is
    /// known learns where its bytes can be had now, if they are not here. Errors: those of the store.
    pub fn pulled(&self, layer: &PulledLayer, cancel: &CancelToken) -> Result<LayerId> {
        let chain = layer.chain();
        let original = Original {
            descriptor: layer.descriptor.clone(),
            origin: layer.origin.clone(),
            index: None,
            is_imported: false,
        };
        if let Some(id) = self.known(&chain, &original, cancel)? {
            return Ok(id);
        }
        let name = claim_name(&chain, &original);
        let _alone = self
            .store()
            .work_lock(&format!("layer-claim {name}"), cancel)?;
        if let Some(id) = self.known(&chain, &original, cancel)? {
            return Ok(id);
        }
        let mut info = LayerInfo::new(new_id()?);
        info.diff_id = Some(layer.diff_id.clone());
        info.original = Some(original);
        info.claimed = Some(chain);
        let id = info.id.to_string();
        put_with(self.store(), &info, Table::BlobLayers, &name, id.as_bytes())?;
        Ok(info.id)
    }

    /// The layer that stands for what an image claims: verified under the chain id, or claimed the
    /// same before.
    fn known(
        &self,
        chain: &ChainId,
        original: &Original,
        cancel: &CancelToken,
    ) -> Result<Option<LayerId>> {
        let verified = self.verified(chain)?;
        let found = match verified.filter(|info| self.serves(info, original)) {
            Some(info) => Some(info),
            None => self.named(Table::BlobLayers, &claim_name(chain, original))?,
        };
        let Some(info) = found else {
            return Ok(None);
        };
        let is_same_blob = |known: &Original| known.descriptor.digest == original.descriptor.digest;
        if info.original.as_ref().is_some_and(is_same_blob)
            && info.original.as_ref() != Some(original)
            && !self.store().has_blob(&original.descriptor.digest)
        {
            self.update(&info.id, cancel, |info| {
                info.original = Some(original.clone());
            })?;
        }
        Ok(Some(info.id))
    }

    /// The layer that was verified to top a chain.
    fn verified(&self, chain: &ChainId) -> Result<Option<LayerInfo>> {
        let info = self.named(Table::Chains, &chain.to_string())?;
        // Whoever verifies a layer keeps its index.
        Ok(info.filter(|info| info.claimed.is_none() && info.index.is_some()))
    }

    pub(super) fn named(&self, table: Table, name: &str) -> Result<Option<LayerInfo>> {
        let row = self.store().get(table, name)?;
        let id = row.and_then(|row| std::str::from_utf8(&row).ok()?.parse().ok());
        id.map_or(Ok(None), |id: LayerId| self.find(&id))
    }

    /// Whether a verified layer can stand for an image's blob: it is the same, or ours is here.
    ///
    /// Ours must not be fetched from where another blob lies: nobody has seen that one's bytes.
    fn serves(&self, info: &LayerInfo, original: &Original) -> bool {
        let ours = info.original.as_ref().map(|ours| &ours.descriptor.digest);
        ours == Some(&original.descriptor.digest)
            || ours.is_some_and(|blob| self.store().has_blob(blob))
            || info
                .blob
                .as_ref()
                .is_some_and(|blob| self.store().has_blob(blob))
    }

    /// Changes the row of a layer whose bytes have the diff id that was claimed; its chain id leads
    /// to it from now on, unless it leads to another such layer already.
    pub(super) fn update_verified(
        &self,
        layer: &LayerId,
        cancel: &CancelToken,
        change: impl FnOnce(&mut LayerInfo),
    ) -> Result<LayerInfo> {
        self.update_and_put(layer, cancel, |info| {
            change(info);
            match info.claimed.take() {
                Some(chain) if self.verified(&chain)?.is_none() => {
                    let (chain, id) = (chain.to_string(), layer.to_string());
                    put_with(self.store(), info, Table::Chains, &chain, id.as_bytes())
                }
                _ => self.put_row(info),
            }
        })
    }

    /// The compressed blob that a pulled layer came as, whether its bytes are here or not.
    pub fn original(&self, layer: &LayerId) -> Result<Option<Original>> {
        Ok(self.info(layer)?.original)
    }

    /// Brings a pulled layer's blob into the store; returns its descriptor. Does nothing if it is
    /// there. Errors: `Gone` for a layer that was not pulled, `Fetch`.
    pub fn fetch_original(&self, layer: &LayerId, cancel: &CancelToken) -> Result<Descriptor> {
        let original = self.original(layer)?.ok_or(Error::Gone { layer: *layer })?;
        let descriptor = original.descriptor.clone();
        if self.has_original(&original)? {
            return Ok(descriptor);
        }
        let key = format!("layer-blob {}", descriptor.digest);
        let _alone = self.store().work_lock(&key, cancel)?;
        if self.has_original(&original)? {
            return Ok(descriptor);
        }
        let name = descriptor.digest.to_string();
        let progress =
            |current| self.report(Activity::Fetch, &name, current, Some(descriptor.size));
        let fetched = self
            .inner
            .fetch
            .fetch(&descriptor, &original.origin, &progress, cancel);
        match fetched {
            Ok(()) => Ok(descriptor),
            Err(_) if cancel.is_cancelled() => Err(Error::Cancelled),
            Err(source) => Err(Error::Fetch {
                digest: descriptor.digest,
                source,
            }),
        }
    }

    /// Whether a blob is here. Errors: `Fetch` or `BadOriginal` if it is and has another size than announced.
    fn has_original(&self, original: &Original) -> Result<bool> {
        let descriptor = &original.descriptor;
        if !self.store().has_blob(&descriptor.digest) {
            return Ok(false);
        }
        let found = self.store().blob_size(&descriptor.digest)?;
        if found == descriptor.size {
            return Ok(true);
        }
        let reason = format!("it has {found} bytes, the image says {}", descriptor.size);
        Err(match original.is_imported {
            true => original.misfits(reason.into()),
            false => Error::Fetch {
                digest: descriptor.digest.clone(),
                source: reason.into(),
            },
        })
    }

    /// Reads a pulled layer for its index alone.
    pub(super) fn make_index(&self, layer: &LayerId, cancel: &CancelToken) -> Result<LayerIndex> {
        let _alone = self
            .store()
            .work_lock(&format!("layer-index {layer}"), cancel)?;
        if let Some(index) = self.read_index(&self.info(layer)?)? {
            return Ok(index);
        }
        if let Some(index) = self.fetch_index(&self.info(layer)?, cancel)? {
            self.store_index(layer, &index, cancel)?;
            return Ok(index);
        }
        let read = self.read_original(layer, &mut NoKeeper, cancel)?;
        self.store_index(layer, &read.index, cancel)?;
        Ok(read.index)
    }

    /// Takes the bytes of a pulled layer's files out of its blob, without making a tree.
    pub(super) fn make_pack(&self, layer: &LayerId, cancel: &CancelToken) -> Result<LayerInfo> {
        let _alone = self
            .store()
            .work_lock(&format!("layer-pack {layer}"), cancel)?;
        let info = self.info(layer)?;
        let has = |digest| self.store().has_blob(digest);
        if let Some(pack) = info.pack.as_ref()
            && has(&pack.bytes)
            && has(&pack.offsets)
        {
            return Ok(info);
        }
        let mut packer = Packer(self.store().ingest()?);
        let read = self.read_original(layer, &mut packer, cancel)?;
        let (digest, _) = packer.0.commit(None)?;
        let offsets: Vec<u8> = read
            .offsets
            .iter()
            .flat_map(|offset| offset.to_le_bytes())
            .collect();
        let pack = Pack {
            bytes: digest,
            offsets: self.store().put_blob(&offsets)?,
        };
        self.store_index(layer, &read.index, cancel)?;
        self.update(layer, cancel, |info| info.pack = Some(pack))
    }

    fn read_original(
        &self,
        layer: &LayerId,
        keeper: &mut dyn Keeper,
        cancel: &CancelToken,
    ) -> Result<ReadLayer> {
        let descriptor = self.fetch_original(layer, cancel)?;
        let info = self.info(layer)?;
        let blob = self.store().open_blob(&descriptor.digest)?;
        let name = descriptor.digest.to_string();
        self.report(Activity::Unpack, &name, 0, Some(descriptor.size));
        let expected = info.diff_id.as_ref();
        let read = read_layer(blob, Format::Detect, expected, keeper, cancel)
            .map_err(|error| self.blame(layer, error, cancel))?;
        self.report(
            Activity::Unpack,
            &name,
            descriptor.size,
            Some(descriptor.size),
        );
        Ok(read)
    }

    /// Keeps the index that was made of a layer's bytes while they were verified.
    pub(super) fn store_index(
        &self,
        layer: &LayerId,
        index: &LayerIndex,
        cancel: &CancelToken,
    ) -> Result<()> {
        let digest = self.store().put_blob(&index.encode())?;
        self.update_verified(layer, cancel, |info| info.index = Some(digest))?;
        Ok(())
    }

    /// The chain id of a stack, making the diff ids that are missing. Lowest layer first.
    pub fn chain_of(&self, stack: &[LayerId], cancel: &CancelToken) -> Result<Option<ChainId>> {
        let diffs = stack.iter().map(|layer| self.diff_id(layer, cancel));
        Ok(chain_id(&diffs.collect::<Result<Vec<_>>>()?))
    }
}

/// What a layer is called whose bytes nobody has seen: chain id and blob, both claimed.
fn claim_name(chain: &ChainId, original: &Original) -> String {
    format!("{chain} {}", original.descriptor.digest)
}

/// Writes the bytes of all files one after the other.
struct Packer<'a>(Ingest<'a>);

impl Keeper for Packer<'_> {
    fn follow(&mut self, _: &Effect) -> Result<()> {
        Ok(())
    }
    fn make(&mut self, _: &Entry) -> Result<()> {
        Ok(())
    }
    fn begin(&mut self, _: &Entry) -> Result<Offset> {
        Ok(self.0.size_bytes())
    }
    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.0
            .write_all(bytes)
            .map_err(|source| Error::io("write", "the bytes of a layer", source))
    }
    fn end(&mut self, _: &Entry) -> Result<()> {
        Ok(())
    }
}
