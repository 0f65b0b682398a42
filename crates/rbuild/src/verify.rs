//! Checking a whole store: objects against their digests, layers against their rows.

use rbuild_layer::{LayerId, LayerStore};
use rbuild_progress::CancelToken;
use rbuild_store::{Store, Table};

use crate::Result;

/// What a check of the store found.
#[derive(Debug, Clone, Default)]
pub struct VerifySummary {
    /// Blobs that were hashed.
    pub blobs: u64,
    /// Trees that were looked at.
    pub trees: u64,
    /// Bytes that were hashed.
    pub bytes: u64,
    /// One line for each thing that is not as it should be; empty when all is sound.
    pub faults: Vec<String>,
}

pub(crate) fn verify(
    store: &Store,
    layers: &LayerStore,
    cancel: &CancelToken,
) -> Result<VerifySummary> {
    let report = store.verify(cancel)?;
    let mut summary = VerifySummary {
        blobs: report.blobs,
        trees: report.trees,
        bytes: report.bytes,
        faults: report.problems.iter().map(ToString::to_string).collect(),
    };
    for (key, _) in store.list(Table::Layers, "")? {
        let Ok(layer) = key.parse::<LayerId>() else {
            summary
                .faults
                .push(format!("layer row {key}: not a layer id"));
            continue;
        };
        let problems = layers.verify(&layer, cancel)?;
        // Removed since it was listed.
        if layers.find(&layer)?.is_none() {
            continue;
        }
        for problem in problems {
            summary.faults.push(format!("layer {layer}: {problem:?}"));
        }
    }
    Ok(summary)
}
