//! Layers that another machine made and sent: known by diff id and blob, fetched when somebody needs them.

use std::time::{SystemTime, UNIX_EPOCH};

use rbuild_oci::{Descriptor, DiffId};
use rbuild_progress::CancelToken;
use rbuild_store::Table;

use super::{Activity, LayerStore, MAX_INDEX_BYTES, new_id, put_with};
use crate::job::Format;
use crate::layer_read::{NoKeeper, read_layer};
use crate::{Error, LayerId, LayerIndex, LayerInfo, Misfit, Original, Result, decompress};

/// A layer that lies in a cache elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedLayer {
    /// Digest of its uncompressed tar.
    pub diff_id: DiffId,
    /// Its compressed blob.
    pub descriptor: Descriptor,
    /// Its encoded index, compressed with zstd; without one it is made of the layer's bytes.
    pub index: Option<Descriptor>,
    /// Where both can be fetched; handed to `Fetch` as it is.
    pub origin: String,
    /// When it was made.
    pub created: SystemTime,
}

impl LayerStore {
    /// Registers a layer; nothing is fetched. One that is known learns where its bytes can be had now, if
    /// they are not here.
    ///
    /// Whoever calls vouches for diff id and index: they are only seen to be true once the layer's bytes
    /// are read.
    pub fn imported(&self, layer: &ImportedLayer, cancel: &CancelToken) -> Result<LayerId> {
        let original = Original {
            descriptor: layer.descriptor.clone(),
            origin: layer.origin.clone(),
            index: layer.index.clone(),
            is_imported: true,
        };
        // Two steps may yield the same bytes at different times.
        let made = layer.created.duration_since(UNIX_EPOCH).unwrap_or_default();
        let blob = &original.descriptor.digest;
        let name = format!("import {} {blob} {}", layer.diff_id, made.as_nanos());
        let _alone = self
            .store()
            .work_lock(&format!("layer-claim {name}"), cancel)?;
        if let Some(info) = self.named(Table::BlobLayers, &name)? {
            let is_here = self.store().has_blob(&original.descriptor.digest);
            if !is_here && info.original.as_ref() != Some(&original) {
                self.update(&info.id, cancel, |info| info.original = Some(original))?;
            }
            return Ok(info.id);
        }
        let mut info = LayerInfo::new(new_id()?);
        info.created = layer.created;
        info.diff_id = Some(layer.diff_id.clone());
        info.original = Some(original);
        let id = info.id.to_string();
        put_with(self.store(), &info, Table::BlobLayers, &name, id.as_bytes())?;
        Ok(info.id)
    }

    /// Forgets imported layers of those that `is_lost` names by blob and origin; tells how many. What was made over them
    /// is found no more, and made again. One whose blob is here is kept, unless such blobs
    /// `are_bad`; one that was unpacked is kept.
    pub fn forget_imported(
        &self,
        is_lost: impl Fn(&Original) -> bool,
        are_bad: bool,
        cancel: &CancelToken,
    ) -> Result<usize> {
        let mut count = 0;
        for (id, row) in self.store().list(Table::Layers, "")? {
            cancel.check()?;
            // A row of another version is nobody's loss.
            let Ok(info) = serde_json::from_slice::<LayerInfo>(&row) else {
                continue;
            };
            let lost = info.original.as_ref().filter(|original| is_lost(original));
            if let Some(lost) = lost
                && (are_bad || !self.store().has_blob(&lost.descriptor.digest))
                && self.usable_tree(&info).is_none()
            {
                self.store().delete(Table::Layers, &id)?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Why work on a layer's blob failed. If another machine sent it, and it cannot be read or has another diff id
    /// than was said, that is [`Error::BadOriginal`]; else `error` stays.
    pub(super) fn blame(&self, layer: &LayerId, error: Error, cancel: &CancelToken) -> Error {
        if matches!(
            error,
            Error::Cancelled | Error::Fetch { .. } | Error::BadOriginal(_)
        ) {
            return error;
        }
        let original = self.original(layer).ok().flatten();
        let Some(original) = original.filter(|original| original.is_imported) else {
            return error;
        };
        let found = match error {
            // All of it was read.
            Error::DiffId { .. } => error,
            other => match self.check_original(layer, &original, cancel) {
                Ok(()) | Err(Error::Cancelled | Error::Store(_)) => return other,
                Err(found) => found,
            },
        };
        original.misfits(found.into())
    }

    fn check_original(
        &self,
        layer: &LayerId,
        original: &Original,
        cancel: &CancelToken,
    ) -> Result<()> {
        let blob = self.store().open_blob(&original.descriptor.digest)?;
        let expected = self.info(layer)?.diff_id;
        let expected = expected.as_ref();
        read_layer(blob, Format::Detect, expected, &mut NoKeeper, cancel).map(drop)
    }

    /// The index that was sent along with a layer; `None` if there is none, or it cannot be had or read:
    /// it can be made of the layer's bytes.
    pub(super) fn fetch_index(
        &self,
        info: &LayerInfo,
        cancel: &CancelToken,
    ) -> Result<Option<LayerIndex>> {
        let Some(original) = &info.original else {
            return Ok(None);
        };
        let Some(index) = &original.index else {
            return Ok(None);
        };
        if self.store().has_blob(&original.descriptor.digest) {
            return Ok(None);
        }
        match self.fetched_index(index, &original.origin, cancel) {
            Err(Error::Cancelled) => Err(Error::Cancelled),
            Err(_) if cancel.is_cancelled() => Err(Error::Cancelled),
            Err(error) => {
                tracing::debug!(layer = %info.id, %error, "its index cannot be had");
                Ok(None)
            }
            Ok(index) => Ok(Some(index)),
        }
    }

    fn fetched_index(
        &self,
        index: &Descriptor,
        origin: &str,
        cancel: &CancelToken,
    ) -> Result<LayerIndex> {
        if !self.store().has_blob(&index.digest) {
            let name = index.digest.to_string();
            let progress = |current| self.report(Activity::Fetch, &name, current, Some(index.size));
            self.inner
                .fetch
                .fetch(index, origin, &progress, cancel)
                .map_err(|source| Error::Fetch {
                    digest: index.digest.clone(),
                    source,
                })?;
        }
        let bytes = self.store().read_blob(&index.digest, MAX_INDEX_BYTES)?;
        let bytes = decompress::all(&bytes, MAX_INDEX_BYTES)
            .map_err(|source| Error::io("unpack", "the index of a layer", source))?;
        LayerIndex::decode(&bytes)
    }

    /// The encoded index of a layer as others take it over: compressed, in the store.
    pub fn packed_index(&self, layer: &LayerId, cancel: &CancelToken) -> Result<Descriptor> {
        let info = self.info(layer)?;
        if let Some(index) = info.original.and_then(|original| original.index)
            && self.store().has_blob(&index.digest)
        {
            return Ok(index);
        }
        let index = self.index(layer, cancel)?;
        let packed = zstd::encode_all(index.encode().as_slice(), INDEX_LEVEL)
            .map_err(|source| Error::io("compress", "the index of a layer", source))?;
        let digest = self.store().put_blob(&packed)?;
        Ok(Descriptor::new(INDEX_TYPE, digest, packed.len() as u64))
    }
}

impl Original {
    /// Says that the blob is here and is not what was said of it.
    pub(super) fn misfits(&self, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        Error::BadOriginal(Misfit {
            digest: self.descriptor.digest.clone(),
            origin: self.origin.clone(),
            source,
        })
    }
}

/// Media type of a layer's index as it travels.
const INDEX_TYPE: &str = "application/vnd.rbuild.layer.index.v1+zstd";

/// How it is compressed.
const INDEX_LEVEL: i32 = 3;
