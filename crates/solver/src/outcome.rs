//! What a solve yields.

use std::collections::BTreeMap;

use rbuild_graph::VertexIx;

/// The results of all vertices that the targets need.
#[derive(Debug, Clone)]
pub struct Solved<O> {
    pub(crate) results: BTreeMap<VertexIx, (O, Origin)>,
}

/// How a result came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// It is a source: there was nothing to make.
    Source,
    /// It was found in the cache.
    Cached,
    /// It was made in this solve.
    Made,
}

impl<O> Solved<O> {
    /// Returns the result of a vertex; `None` if no target needs that vertex.
    pub fn output(&self, vertex: VertexIx) -> Option<&O> {
        self.results.get(&vertex).map(|(output, _)| output)
    }

    /// Tells how the result of a vertex came about; `None` as for [`Solved::output`].
    pub fn origin(&self, vertex: VertexIx) -> Option<Origin> {
        self.results.get(&vertex).map(|(_, origin)| *origin)
    }

    /// Counts the vertices whose results came about in the given way.
    pub fn count(&self, origin: Origin) -> usize {
        self.results.values().filter(|(_, o)| *o == origin).count()
    }

    /// Iterates over all results in topological order.
    pub fn iter(&self) -> impl Iterator<Item = (VertexIx, &O, Origin)> {
        self.results
            .iter()
            .map(|(ix, (o, origin))| (*ix, o, *origin))
    }
}
