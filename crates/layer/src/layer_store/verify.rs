//! Looking whether a layer is what its row says.

use rbuild_oci::DiffId;
use rbuild_progress::CancelToken;

use super::LayerStore;
use crate::{Error, LayerId, Result};

/// What is wrong with a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerProblem {
    /// It has no row, or one that cannot be read.
    Row(String),
    /// Its index is missing or damaged.
    Index(String),
    /// None of its forms is here, and it cannot be fetched.
    Gone,
    /// A tree that its row names is missing.
    TreeMissing(String),
    /// Its bytes are not what they were.
    DiffId {
        /// What the row says.
        expected: DiffId,
        /// What the bytes are.
        found: DiffId,
    },
    /// Its bytes cannot be read.
    Unreadable(String),
}

impl LayerStore {
    /// Checks a layer; an empty list means that it is sound.
    ///
    /// Reads all bytes that are here, and fetches nothing. Errors: `Cancelled` and the store's.
    pub fn verify(&self, layer: &LayerId, cancel: &CancelToken) -> Result<Vec<LayerProblem>> {
        let info = match self.info(layer) {
            Ok(info) => info,
            Err(error @ (Error::UnknownLayer { .. } | Error::Row { .. })) => {
                return Ok(vec![LayerProblem::Row(error.to_string())]);
            }
            Err(error) => return Err(error),
        };
        let mut problems = Vec::new();
        let has_original = info
            .original
            .as_ref()
            .is_some_and(|original| self.store().has_blob(&original.descriptor.digest));
        match self.read_index(&info) {
            Ok(Some(_)) => {}
            Ok(None) if info.original.is_some() => {}
            Ok(None) => problems.push(LayerProblem::Index("it is missing".to_owned())),
            Err(error) => problems.push(LayerProblem::Index(error.to_string())),
        }
        for tree in info.trees.values() {
            if !self.store().has_tree(tree) {
                problems.push(LayerProblem::TreeMissing(tree.clone()));
            }
        }
        let has_blob = info
            .blob
            .as_ref()
            .is_some_and(|blob| self.store().has_blob(blob));
        let is_here = has_blob || has_original || self.usable_tree(&info).is_some();
        if !is_here && info.original.is_none() {
            problems.push(LayerProblem::Gone);
        }
        if problems.is_empty() && is_here && (info.original.is_none() || has_original) {
            problems.extend(self.verify_bytes(layer, cancel)?);
        }
        Ok(problems)
    }

    fn verify_bytes(&self, layer: &LayerId, cancel: &CancelToken) -> Result<Option<LayerProblem>> {
        // Reads the tar anew and compares it with the diff id, if there is one.
        match self.stream_anew(layer, cancel) {
            Ok(()) => Ok(None),
            Err(Error::Cancelled) => Err(Error::Cancelled),
            Err(Error::DiffId { expected, actual }) => Ok(Some(LayerProblem::DiffId {
                expected,
                found: actual,
            })),
            Err(Error::BadOriginal(misfit)) => {
                Ok(Some(LayerProblem::Unreadable(misfit.source.to_string())))
            }
            Err(error) => Ok(Some(LayerProblem::Unreadable(error.to_string()))),
        }
    }
}
