//! Indexes for views: those that are missing are fetched and read side by side.

use std::sync::Arc;

use super::bytes::StoreBytes;
use super::side_by_side::side_by_side;
use crate::{LayerId, LayerIndex, LayerIndexes, Result};

impl LayerIndexes for StoreBytes {
    fn indexes(&self, layers: &[LayerId]) -> Result<Vec<Arc<LayerIndex>>> {
        let one = |layer: &LayerId| self.layers.index(layer, &self.cancel);
        if layers.len() < 2 || layers.iter().all(|layer| self.is_at_hand(layer)) {
            return layers.iter().map(one).collect();
        }
        side_by_side(layers, one)
    }
}

impl StoreBytes {
    /// Whether an index only has to be read.
    fn is_at_hand(&self, layer: &LayerId) -> bool {
        let row = self.layers.find(layer).ok().flatten();
        let index = row.and_then(|row| row.index);
        index.is_some_and(|index| self.layers.store().has_blob(&index))
    }
}
