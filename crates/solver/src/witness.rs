//! Who hears what was found and what was not, to explain it.

use std::fmt;

use rbuild_graph::VertexIx;

use crate::{CacheKey, KeyInputs};

/// Hears how the vertices of a solve came about; called from several threads at once.
pub trait Witness: fmt::Debug + Send + Sync {
    /// A result was found.
    fn found(&self, hit: &Hit<'_>);

    /// No result was found, or none was looked for; the vertex is about to be carried out.
    ///
    /// Errors: the vertex must not be carried out, with the reason in one line. The solve then ends
    /// with [`crate::SolveError::Refused`].
    fn missed(&self, miss: &Miss<'_>) -> Result<(), String>;
}

/// A result that was found.
#[derive(Debug, Clone, Copy)]
pub struct Hit<'a> {
    /// Of which vertex.
    pub vertex: VertexIx,
    /// The key that it was found under.
    pub key: &'a CacheKey,
    /// Its identity, without what a linked copy adds to it.
    pub identity: &'a CacheKey,
}

/// A vertex that is about to be carried out.
#[derive(Debug, Clone, Copy)]
pub struct Miss<'a> {
    /// Which one.
    pub vertex: VertexIx,
    /// Its content key, under which the result will be recorded.
    pub key: &'a CacheKey,
    /// What the key was made of.
    pub inputs: &'a KeyInputs,
    /// What the lookup came to.
    pub cause: Cause,
}

/// Why a vertex is carried out, as far as the solver knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// There is no record under its keys.
    NoRecord,
    /// There is a record, but what it leads to is gone.
    Gone,
    /// It was to be made again whatever is recorded.
    Forced,
}
