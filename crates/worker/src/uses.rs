//! What will be done with the layer of each step: a pure look at the graph and at what is asked for.
//!
//! From it follow the form in which a layer is made, and what of it is made while later steps run.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_graph::{Graph, Op, VertexId, VertexIx};
use rbuild_layer::Compression;

/// What the outputs of a build ask of the layers of its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whether there is an image at all.
    pub image: ImageAsked,
    /// How its layers will be compressed; more than one for several outputs.
    pub compressions: BTreeSet<Compression>,
    /// Whether the files of the result will be read one by one.
    pub files: FilesAsked,
    /// What caches elsewhere will take.
    pub cached: Cached,
}

/// How layers will be compressed for caches elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cached {
    /// Those of the result.
    pub of_result: BTreeSet<Compression>,
    /// Those of every step.
    pub of_all: BTreeSet<Compression>,
}

/// Whether a build ends in an image, whose name comes from the diff ids of its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageAsked {
    /// No: nobody will ask for a diff id.
    No,
    /// Yes.
    Yes,
}

/// Whether an output consists of the result's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilesAsked {
    /// No.
    No,
    /// Yes.
    Yes,
}

/// What will be done with the layer of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerUse {
    /// The form that a layer of files is made in.
    pub form: MadeAs,
    /// What is made of it while later steps run.
    pub early: Option<Early>,
}

/// The form that a layer of files is made in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MadeAs {
    /// The tar: it is exported, only copied from, or nothing is known.
    #[default]
    Blob,
    /// The tar and its compressed form at once: nothing waits for it but the output.
    Compressed(Compression),
    /// A directory: a RUN stands on it and no output needs the tar.
    Tree,
}

/// What is made of a finished layer before an output asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Early {
    /// Its compressed forms; none for the diff id alone.
    pub compressions: BTreeSet<Compression>,
}

/// Says for every step of `graph` what will be done with its layer.
///
/// `results` are the vertices that the outputs are made of. Linear in the size of the graph.
pub fn layer_uses(
    graph: &Graph,
    results: &[VertexIx],
    asked: &Asked,
) -> BTreeMap<VertexId, LayerUse> {
    let mut in_result = BTreeSet::new();
    for result in results {
        mark_stack(graph, *result, &mut in_result);
    }
    let order = graph.topological();
    let mut below_run = BTreeSet::new();
    for &ix in &order {
        // Its root, and whatever it mounts: all of them need directories.
        if let Op::Exec(_) = graph.vertex(ix).op {
            for input in graph.inputs(ix) {
                mark_stack(graph, *input, &mut below_run);
            }
        }
    }
    let mut waited_for = BTreeSet::new();
    let mut uses = BTreeMap::new();
    for &ix in order.iter().rev() {
        if is_waited_for(graph, ix, &waited_for) {
            waited_for.insert(ix);
        }
        let place = Place {
            in_result: in_result.contains(&ix),
            below_run: below_run.contains(&ix),
            waited_for: waited_for.contains(&ix),
            is_last: graph.consumers(ix).is_empty(),
        };
        let vertex = graph.vertex(ix);
        if matches!(vertex.op, Op::File(_) | Op::Exec(_)) {
            uses.insert(vertex.id.clone(), place.layer_use(&vertex.op, asked));
        }
    }
    uses
}

/// Marks a vertex and all that its file system is stacked on.
fn mark_stack(graph: &Graph, top: VertexIx, marked: &mut BTreeSet<VertexIx>) {
    let mut next = Some(top);
    // What is marked has its whole stack marked.
    while let Some(ix) = next.filter(|ix| marked.insert(*ix)) {
        next = base_of(graph, ix);
    }
}

fn base_of(graph: &Graph, ix: VertexIx) -> Option<VertexIx> {
    let base = match &graph.vertex(ix).op {
        Op::File(file) => file.base?,
        Op::Exec(exec) => exec.base?,
        _ => return None,
    };
    graph.inputs(ix).get(base).copied()
}

/// Whether something else than further layers of files on top begins only when this is done.
fn is_waited_for(graph: &Graph, ix: VertexIx, waited_for: &BTreeSet<VertexIx>) -> bool {
    graph.consumers(ix).into_iter().any(|consumer| {
        let is_plain_layer = matches!(graph.vertex(consumer).op, Op::File(_))
            && base_of(graph, consumer) == Some(ix)
            && !waited_for.contains(&consumer);
        !is_plain_layer
    })
}

/// Where a step stands in the graph.
struct Place {
    in_result: bool,
    below_run: bool,
    waited_for: bool,
    is_last: bool,
}

impl Place {
    fn layer_use(&self, op: &Op, asked: &Asked) -> LayerUse {
        let asked_for = self.in_result.then_some(asked);
        let compressions = asked_for.map(|asked| &asked.compressions);
        let compressions = compressions.filter(|all| !all.is_empty());
        let is_exported =
            compressions.is_some() || asked_for.is_some_and(|asked| asked.files == FilesAsked::Yes);
        let cached = self.cached(&asked.cached);
        let first = compressions.and_then(BTreeSet::first).or(cached.first());
        let form = match (op, first) {
            (Op::File(_), _) if self.below_run && !is_exported => MadeAs::Tree,
            // Otherwise whoever waits would wait for the compression, too.
            (Op::File(_), Some(compression)) if !self.waited_for => {
                MadeAs::Compressed(*compression)
            }
            // What a RUN leaves is a directory whatever is wanted.
            _ => MadeAs::Blob,
        };
        // The last step's layer is asked for at once; and a layer of files has its diff id.
        let has_image = asked_for.is_some_and(|asked| asked.image == ImageAsked::Yes);
        let mut early = match compressions {
            _ if self.is_last || matches!(form, MadeAs::Compressed(_)) => None,
            Some(all) => Some(Early {
                compressions: all.clone(),
            }),
            None if has_image && matches!(op, Op::Exec(_)) => Some(Early::default()),
            None => None,
        };
        if !cached.is_empty() {
            // Also what is made compressed at once: whoever sends it hears of it that way.
            let early = early.get_or_insert_default();
            early.compressions.extend(cached);
        }
        LayerUse { form, early }
    }

    fn cached(&self, cached: &Cached) -> BTreeSet<Compression> {
        let of_result = cached.of_result.iter().filter(|_| self.in_result);
        of_result.chain(&cached.of_all).copied().collect()
    }
}

#[cfg(test)]
mod tests;
