//! A vertex, its handle in a graph, and its name everywhere else.

use std::fmt;

use rbuild_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::Op;

/// A handle to a vertex; good for one graph and the builder that made it.
///
/// A vertex has a larger handle than each of its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct VertexIx(pub(crate) u32);

impl VertexIx {
    /// The handle as a number: small and dense, but with gaps after pruning.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for VertexIx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// The definition digest of a vertex: SHA-256 over its op and the ids of its inputs.
///
/// Equal definitions have equal ids in every graph, process and machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VertexId(pub(crate) Digest);

impl VertexId {
    /// The digest itself.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for VertexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An op with the vertices whose results it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex {
    /// What is done.
    pub op: Op,
    /// Whose results it takes; the op speaks of them by their place in this list.
    pub inputs: Vec<VertexIx>,
    /// The definition digest.
    pub id: VertexId,
}
