//! The layers of a view, topmost first, each with its index once that is known.

use std::sync::{Arc, OnceLock};

use super::{LayerIndexes, ViewLayer};
use crate::{Error, LayerId, LayerIndex, Result};

/// Layers on top of each other. Cheap to clone; clones share the indexes they have brought.
#[derive(Clone)]
pub(super) struct Stack {
    /// Topmost first.
    layers: Vec<Arc<Slot>>,
    indexes: Arc<dyn LayerIndexes>,
}

struct Slot {
    id: LayerId,
    index: OnceLock<Arc<LayerIndex>>,
}

/// For stacks that know all of their indexes.
struct NoIndexes;

impl LayerIndexes for NoIndexes {
    fn indexes(&self, layers: &[LayerId]) -> Result<Vec<Arc<LayerIndex>>> {
        match layers {
            [] => Ok(Vec::new()),
            [layer, ..] => Err(Error::UnknownLayer { layer: *layer }),
        }
    }
}

impl From<ViewLayer> for Arc<Slot> {
    fn from(layer: ViewLayer) -> Self {
        Arc::new(Slot {
            id: layer.id,
            index: OnceLock::from(layer.index),
        })
    }
}

impl Stack {
    /// A stack of layers, lowest first.
    pub(super) fn known(layers: Vec<ViewLayer>) -> Self {
        Self {
            layers: layers.into_iter().rev().map(Arc::from).collect(),
            indexes: Arc::new(NoIndexes),
        }
    }

    /// A stack of layers, lowest first, of which nothing is known yet.
    pub(super) fn lazy(layers: &[LayerId], indexes: Arc<dyn LayerIndexes>) -> Self {
        let slot = |id: &LayerId| {
            Arc::new(Slot {
                id: *id,
                index: OnceLock::new(),
            })
        };
        Self {
            layers: layers.iter().rev().map(slot).collect(),
            indexes,
        }
    }

    /// The stack with one more layer on top.
    pub(super) fn with(&self, layer: ViewLayer) -> Self {
        let mut layers = vec![Arc::from(layer)];
        layers.extend(self.layers.iter().cloned());
        Self {
            layers,
            indexes: Arc::clone(&self.indexes),
        }
    }

    /// The stack without its topmost `count` layers.
    pub(super) fn below(&self, count: usize) -> Self {
        Self {
            layers: self.layers.get(count..).unwrap_or_default().to_vec(),
            indexes: Arc::clone(&self.indexes),
        }
    }

    /// How many layers there are.
    pub(super) fn len(&self) -> usize {
        self.layers.len()
    }

    /// The name of the layer at a position.
    pub(super) fn id(&self, at: usize) -> LayerId {
        self.slot(at).id
    }

    /// The index of the layer at a position, brought now if it must be.
    pub(super) fn index(&self, at: usize) -> Result<&Arc<LayerIndex>> {
        let slot = self.slot(at);
        if let Some(index) = slot.index.get() {
            return Ok(index);
        }
        let brought = self.indexes.indexes(&[slot.id])?;
        let index = brought
            .into_iter()
            .next()
            .ok_or(Error::UnknownLayer { layer: slot.id })?;
        Ok(slot.index.get_or_init(|| index))
    }

    /// Brings all indexes that are missing, together.
    pub(super) fn need_all(&self) -> Result<()> {
        let missing: Vec<&Arc<Slot>> = self
            .layers
            .iter()
            .filter(|slot| slot.index.get().is_none())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let ids: Vec<LayerId> = missing.iter().map(|slot| slot.id).collect();
        for (slot, index) in missing.into_iter().zip(self.indexes.indexes(&ids)?) {
            // Another thread may have been faster, with the same.
            slot.index.set(index).ok();
        }
        Ok(())
    }

    fn slot(&self, at: usize) -> &Slot {
        self.layers.get(at).expect("positions come from this stack")
    }
}
