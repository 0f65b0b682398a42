//! What of a plan comes from the network and is not pinned by the Dockerfile itself.

use rbuild_dockerfile::Span;
use rbuild_frontend::{Plan, RemoteTree};
use rbuild_graph::{GitOp, HttpOp, Op};
use rbuild_source::{file_name, git_name, names_commit};

/// A file or a tree of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    File(HttpOp),
    Commit(GitOp),
}

impl Source {
    /// The source of an op; `None` if it is none, or one that the Dockerfile pins.
    fn of(op: &Op) -> Option<Source> {
        match op {
            Op::Http(op) if op.checksum.is_none() && op.url.is_some() => {
                Some(Source::File(op.clone()))
            }
            Op::Git(op) if !names_commit(op) => Some(Source::Commit(op.clone())),
            _ => None,
        }
    }

    /// The source of a context from elsewhere.
    pub(super) fn of_tree(tree: &RemoteTree) -> Option<Source> {
        match tree {
            RemoteTree::Git(op) => Source::of(&Op::Git(op.clone())),
            RemoteTree::Archive(op) | RemoteTree::File(op) => Source::of(&Op::Http(op.clone())),
        }
    }

    /// The name of its entry.
    pub(super) fn name(&self) -> String {
        match self {
            Source::File(op) => file_name(op.url.as_deref().unwrap_or_default()),
            Source::Commit(op) => git_name(op),
        }
    }
}

/// The sources of a plan and the instructions that need them, in the order of the graph.
pub(super) fn sources(plan: &Plan) -> Vec<(Source, &[Span])> {
    let graph = &plan.graph;
    let found = graph.topological().into_iter().filter_map(|ix| {
        let source = Source::of(&graph.vertex(ix).op)?;
        let origins = plan.origins.get(&ix).map_or(&[][..], Vec::as_slice);
        Some((source, origins))
    });
    found.collect()
}
