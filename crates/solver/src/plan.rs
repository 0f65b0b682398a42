//! What is to be solved: the part of the graph that the targets need, with names.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_graph::{Graph, Op, Vertex, VertexIx};

use crate::SolveRequest;

/// The vertices to solve, in topological order, and who waits for whom.
pub(crate) struct Plan<'a> {
    graph: &'a Graph,
    names: &'a BTreeMap<VertexIx, String>,
    no_cache: &'a BTreeSet<VertexIx>,
    targets: &'a [VertexIx],
    order: Vec<VertexIx>,
    consumers: BTreeMap<VertexIx, Vec<VertexIx>>,
}

impl<'a> Plan<'a> {
    /// Collects what the request's targets need.
    pub(crate) fn new(request: &SolveRequest<'a>) -> Self {
        let graph = request.graph;
        let needed = closure(graph, request.targets);
        let order: Vec<VertexIx> = graph
            .topological()
            .into_iter()
            .filter(|ix| needed.contains(ix))
            .collect();
        let mut consumers: BTreeMap<VertexIx, Vec<VertexIx>> = BTreeMap::new();
        for &ix in &order {
            for input in distinct(graph.inputs(ix)) {
                consumers.entry(input).or_default().push(ix);
            }
        }
        Self {
            graph,
            names: request.names,
            no_cache: request.no_cache,
            targets: request.targets,
            order,
            consumers,
        }
    }

    /// The vertices whose results are wanted.
    pub(crate) fn targets(&self) -> &'a [VertexIx] {
        self.targets
    }

    /// The vertices, inputs before consumers.
    pub(crate) fn order(&self) -> &[VertexIx] {
        &self.order
    }

    /// The vertex behind a handle.
    pub(crate) fn vertex(&self, ix: VertexIx) -> &'a Vertex {
        self.graph.vertex(ix)
    }

    /// The planned vertices that take the result of `ix`, each once.
    pub(crate) fn consumers(&self, ix: VertexIx) -> &[VertexIx] {
        self.consumers.get(&ix).map_or(&[], Vec::as_slice)
    }

    /// The step as shown to people.
    pub(crate) fn name(&self, ix: VertexIx) -> &str {
        self.names
            .get(&ix)
            .map_or_else(|| default_name(&self.vertex(ix).op), String::as_str)
    }

    /// Whether lookups are forbidden for a vertex.
    pub(crate) fn is_forced(&self, ix: VertexIx) -> bool {
        self.no_cache.contains(&ix)
    }
}

fn closure(graph: &Graph, targets: &[VertexIx]) -> BTreeSet<VertexIx> {
    let mut needed = BTreeSet::new();
    let mut open = targets.to_vec();
    while let Some(ix) = open.pop() {
        if needed.insert(ix) {
            open.extend(graph.inputs(ix));
        }
    }
    needed
}

fn distinct(inputs: &[VertexIx]) -> BTreeSet<VertexIx> {
    inputs.iter().copied().collect()
}

fn default_name(op: &Op) -> &str {
    match op {
        Op::Image(image) => &image.reference,
        Op::Local(local) => &local.name,
        Op::Http(http) => &http.name,
        Op::Git(_) => "git",
        Op::Exec(_) => "run",
        Op::File(_) => "copy",
    }
}
