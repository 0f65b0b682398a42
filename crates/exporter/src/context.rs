//! What every part of an export is handed.

use rbuild_layer::LayerStore;
use rbuild_progress::{CancelToken, Sink, VertexKey};
use rbuild_store::Store;

/// What an export works with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The layers.
    pub layers: &'a LayerStore,
    /// The store they and the documents are in.
    pub store: &'a Store,
    /// Who hears of progress.
    pub sink: &'a dyn Sink,
    /// The vertex of this export, announced and ended by the caller.
    pub vertex: &'a VertexKey,
    /// Stops it.
    pub cancel: &'a CancelToken,
}
