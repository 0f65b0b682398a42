//! Layers without later times: what a reproducible image is made of.
//!
//! A transformation of the index; the tar is written anew from it and the same bytes.

use rbuild_progress::CancelToken;
use rbuild_store::Lease;

use super::LayerStore;
use super::commit::Sources;
use super::twins::NewTwin;
use crate::info::Capped;
use crate::new_layer::Content;
use crate::{ByteSource, Compression, Kind, LayerId, LayerIndex, Result};

impl LayerStore {
    /// The layer with every time later than `epoch` (seconds since 1970) set to it.
    ///
    /// The layer itself if it has none. The last one made is remembered beside the layer, and kept
    /// from collection by `lease`. A new one is compressed in the pass that writes it.
    /// Errors: as [`LayerStore::commit_files`].
    pub fn capped(
        &self,
        layer: &LayerId,
        epoch: i64,
        compression: Compression,
        (lease, cancel): (&Lease, &CancelToken),
    ) -> Result<LayerId> {
        let _alone = self
            .store()
            .work_lock(&format!("layer-cap {layer}"), cancel)?;
        if let Some(known) = self.info(layer)?.capped
            && known.epoch == epoch
            && self.hold(&known.layer, lease)?
        {
            return Ok(known.layer);
        }
        let Some(index) = self.index(layer, cancel)?.capped(epoch) else {
            return Ok(*layer);
        };
        let sources = bytes_of(layer, &index);
        let twin = match compression {
            Compression::None => None,
            _ => Some(NewTwin::start(self, compression, cancel)?),
        };
        let made = self.commit_blob((index, sources), twin, cancel)?;
        self.hold(&made, lease)?;
        self.update(layer, cancel, |info| {
            info.capped = Some(Capped { epoch, layer: made });
        })?;
        Ok(made)
    }
}

/// The bytes of every file are those of the same path of `layer`.
fn bytes_of(layer: &LayerId, index: &LayerIndex) -> Sources {
    let files = index
        .entries()
        .iter()
        .filter(|entry| matches!(entry.kind, Kind::File { size: 1.., .. }));
    files
        .map(|entry| {
            let bytes = ByteSource::InLayer {
                layer: *layer,
                path: entry.path.clone(),
            };
            (entry.path.clone(), (bytes, Content::Known))
        })
        .collect()
}
