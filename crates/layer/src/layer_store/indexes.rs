//! Indexes for views: those that are missing are fetched and read side by side.

use std::sync::Arc;

use super::bytes::StoreBytes;
use super::side_by_side::side_by_side;
use crate::{LayerId, LayerIndex, LayerIndexes, Result};

impl LayerIndexes for StoreBytes {
    fn indexes(&self, layers: &[LayerId]) -> Result<Vec<Arc<LayerIndex>>> {
        let known = layers.iter().map(|layer| self.layers.index_at_hand(layer));
        let known = known.collect::<Result<Vec<_>>>()?;
        let pairs = || layers.iter().zip(&known);
        let missing: Vec<LayerId> = pairs()
            .filter(|(_, index)| index.is_none())
            .map(|(layer, _)| *layer)
            .collect();
        if missing.len() > 1 {
            // They are remembered, so that asking for all of them below takes them from there.
            side_by_side(&missing, |layer| self.layers.index(layer, &self.cancel))?;
        }
        pairs()
            .map(|(layer, index)| match index {
                Some(index) => Ok(Arc::clone(index)),
                None => self.layers.index(layer, &self.cancel),
            })
            .collect()
    }
}
