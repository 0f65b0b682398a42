//! The graph and its builder, over petgraph.
//!
//! Handles are given in order of making and an input must exist first; so ascending handles are a
//! topological order and a circle cannot be written down. Pruning removes vertices without
//! renumbering the others.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};

use crate::digest::vertex_id;
use crate::{ExecOp, Op, Vertex, VertexId, VertexIx};

/// A finished, acyclic graph; edges run from an input to its consumer.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    inner: StableDiGraph<Vertex, ()>,
}

/// Collects vertices; equal ones are kept once.
#[derive(Debug, Clone, Default)]
pub struct GraphBuilder {
    inner: StableDiGraph<Vertex, ()>,
    known: HashMap<VertexId, VertexIx>,
}

impl GraphBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vertex, or finds the equal one that is there already.
    ///
    /// # Panics
    /// If an input is not a handle of this builder: that is a mistake of the calling code, no
    /// outside data can bring it about.
    pub fn add(&mut self, op: Op, inputs: Vec<VertexIx>) -> VertexIx {
        let id = vertex_id(&op, inputs.iter().map(|ix| &self.inner[node(*ix)].id));
        if let Some(&found) = self.known.get(&id) {
            return found;
        }
        let sources: BTreeSet<VertexIx> = inputs.iter().copied().collect();
        let added = self.inner.add_node(Vertex {
            op,
            inputs,
            id: id.clone(),
        });
        for source in sources {
            self.inner.add_edge(node(source), added, ());
        }
        let ix = handle(added);
        self.known.insert(id, ix);
        ix
    }

    /// The vertex behind a handle of this builder.
    pub fn vertex(&self, ix: VertexIx) -> Option<&Vertex> {
        self.inner.node_weight(node(ix))
    }

    /// Drops every vertex that no target needs; the handles of the others stay as they are.
    pub fn finish(mut self, targets: &[VertexIx]) -> Graph {
        let mut needed = BTreeSet::new();
        let mut open: Vec<VertexIx> = targets.to_vec();
        while let Some(ix) = open.pop() {
            if needed.insert(ix)
                && let Some(vertex) = self.vertex(ix)
            {
                open.extend(&vertex.inputs);
            }
        }
        self.inner
            .retain_nodes(|_, ix| needed.contains(&handle(ix)));
        Graph { inner: self.inner }
    }
}

impl Graph {
    /// Number of vertices.
    pub fn len(&self) -> usize {
        self.inner.node_count()
    }

    /// Whether there is no vertex: an image without layers, say.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The vertex behind a handle.
    ///
    /// # Panics
    /// If the handle is of another graph, or was pruned; see [`Graph::get`].
    pub fn vertex(&self, ix: VertexIx) -> &Vertex {
        &self.inner[node(ix)]
    }

    /// The vertex behind a handle, if this graph has it.
    pub fn get(&self, ix: VertexIx) -> Option<&Vertex> {
        self.inner.node_weight(node(ix))
    }

    /// The inputs of a vertex in the op's order; a vertex may stand there more than once.
    ///
    /// # Panics
    /// As [`Graph::vertex`].
    pub fn inputs(&self, ix: VertexIx) -> &[VertexIx] {
        &self.vertex(ix).inputs
    }

    /// The vertices that take the result of `ix`, each once, ascending.
    pub fn consumers(&self, ix: VertexIx) -> Vec<VertexIx> {
        let mut found: Vec<VertexIx> = self
            .inner
            .neighbors_directed(node(ix), Direction::Outgoing)
            .map(handle)
            .collect();
        found.sort_unstable();
        found
    }

    /// All handles, inputs before their consumers; the same order each time.
    pub fn topological(&self) -> Vec<VertexIx> {
        self.inner.node_indices().map(handle).collect()
    }

    /// The ops of all steps that run a command, inputs before their consumers.
    pub fn execs(&self) -> impl Iterator<Item = &ExecOp> {
        let ops = self.inner.node_weights().map(|vertex| &vertex.op);
        ops.filter_map(|op| match op {
            Op::Exec(exec) => Some(exec),
            _ => None,
        })
    }

    /// The graph in the dot language; `names` labels the vertices.
    pub fn to_dot(&self, names: &BTreeMap<VertexIx, String>) -> String {
        crate::dot::draw(self, names)
    }
}

impl PartialEq for Graph {
    /// Equal vertices under equal handles.
    fn eq(&self, other: &Self) -> bool {
        let order = self.topological();
        order == other.topological() && order.iter().all(|ix| self.vertex(*ix) == other.vertex(*ix))
    }
}

fn node(ix: VertexIx) -> NodeIndex {
    NodeIndex::new(ix.index())
}

fn handle(node: NodeIndex) -> VertexIx {
    // petgraph's default index type is u32, so this never cuts anything off.
    VertexIx(u32::try_from(node.index()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CopyAction, FileAction, FileOp, InputUse, LocalOp};

    fn local(name: &str) -> Op {
        Op::Local(LocalOp { name: name.into() })
    }

    fn copy(base: Option<usize>, input: usize, dest: &str) -> Op {
        let action = FileAction::Copy(CopyAction {
            input,
            sources: vec!["/a".into()],
            dest: dest.into(),
            dest_is_dir: false,
            owner: None,
            chmod: None,
            excludes: vec![],
            parents: false,
            unpack: false,
            local: true,
        });
        Op::File(FileOp {
            base,
            link: false,
            actions: vec![action],
        })
    }

    #[test]
    fn pruning_keeps_handles_and_order() {
        let mut builder = GraphBuilder::new();
        let context = builder.add(local("context"), vec![]);
        let unused = builder.add(local("unused"), vec![]);
        let first = builder.add(copy(None, 0, "/x"), vec![context]);
        let last = builder.add(copy(Some(0), 1, "/y"), vec![first, context]);
        let graph = builder.finish(&[last]);
        assert_eq!(graph.topological(), [context, first, last]);
        assert_eq!(graph.inputs(last), [first, context]);
        assert_eq!(graph.consumers(context), [first, last]);
        assert!(graph.get(unused).is_none());
        assert_eq!(graph.vertex(last).op.input_use(0), InputUse::Chain);
        assert_eq!(graph.vertex(last).op.input_use(1), InputUse::Files);
    }

    #[test]
    fn a_linked_copy_does_not_look_at_its_base() {
        let Op::File(file) = copy(Some(0), 1, "/x") else {
            unreachable!("copy makes a file op");
        };
        let linked = Op::File(FileOp {
            link: true,
            ..file.clone()
        });
        assert_eq!(linked.input_use(0), InputUse::Unkeyed);
        assert_eq!(linked.input_use(1), InputUse::Files);
        let onto_itself = FileOp {
            base: Some(1),
            link: true,
            ..file
        };
        assert_eq!(Op::File(onto_itself).input_use(1), InputUse::Files);
    }

    #[test]
    fn nothing_wanted_is_nothing_kept() {
        let mut builder = GraphBuilder::new();
        builder.add(local("context"), vec![]);
        assert!(builder.finish(&[]).is_empty());
    }

    #[test]
    fn drawing_names_vertices_and_marks_edges() {
        let mut builder = GraphBuilder::new();
        let context = builder.add(local("context"), vec![]);
        let made = builder.add(copy(None, 0, "/x"), vec![context]);
        let names = BTreeMap::from([(made, "[1/1] COPY \"a\" /x".to_owned())]);
        let drawn = builder.finish(&[made]).to_dot(&names);
        assert!(drawn.contains("v0 [label=\"local context\"];"), "{drawn}");
        assert!(
            drawn.contains(r#"v1 [label="[1/1] COPY \"a\" /x\nfile: copy"];"#),
            "{drawn}"
        );
        assert!(drawn.contains("v0 -> v1 [style=dashed];"), "{drawn}");
    }
}
