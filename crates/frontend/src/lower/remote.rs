//! Files from the network as vertices: sources of ADD, and contexts that are no local directory.

use std::collections::BTreeMap;

use rbuild_dockerfile::Span;
use rbuild_graph::{CopyAction, FileAction, FileOp, Graph, HttpOp, Op, VertexIx};

use crate::build::{Build, Tag};
use crate::remote::shown;
use crate::request::RemoteTree;

/// The vertex of a file that is fetched; named by its address.
pub(super) fn file(op: HttpOp, span: Span, build: &mut Build) -> VertexIx {
    let name = match &op.url {
        Some(url) => shown(url),
        None => "standard input".to_owned(),
    };
    let tag = Tag {
        name,
        span,
        stage: None,
    };
    build.add(Op::Http(op), Vec::new(), tag)
}

/// The vertex whose layers are the files of a context from elsewhere.
pub(crate) fn tree(tree: &RemoteTree, (label, span): (&str, Span), build: &mut Build) -> VertexIx {
    let (file_op, unpack) = match tree {
        RemoteTree::Git(op) => {
            let name = format!("[{label}] {}", shown(&op.remote));
            let tag = Tag {
                name,
                span,
                stage: None,
            };
            return build.add(Op::Git(op.clone()), Vec::new(), tag);
        }
        RemoteTree::Archive(op) => (op, true),
        RemoteTree::File(op) => (op, false),
    };
    let copy = CopyAction {
        input: 0,
        sources: vec![file_source(file_op)],
        dest: "/".to_owned(),
        dest_is_dir: true,
        owner: None,
        chmod: None,
        excludes: Vec::new(),
        parents: false,
        unpack,
        local: false,
    };
    let op = FileOp {
        base: None,
        link: false,
        actions: vec![FileAction::Copy(copy)],
    };
    let tag = Tag {
        name: format!("[{label}] take over the files"),
        span,
        stage: None,
    };
    let input = file(file_op.clone(), span, build);
    build.add(Op::File(op), vec![input], tag)
}

/// The graph that yields the files of a context from elsewhere, its last vertex, and names.
///
/// The vertices are those that a plan with this context has, so that what was done for one is found
/// by the other.
pub fn context_graph(from: &RemoteTree) -> (Graph, VertexIx, BTreeMap<VertexIx, String>) {
    let mut build = Build::default();
    let top = tree(from, ("internal", Span::default()), &mut build);
    let plan = build.finish_at(top);
    (plan.graph, top, plan.names)
}

/// The path of a fetched file in its vertex, as a source of a copy: nothing in it is a wildcard.
pub(super) fn file_source(op: &HttpOp) -> String {
    let mut source = String::from("/");
    for c in op.name.chars() {
        match c {
            '*' | '?' | '[' => source.extend(['[', c, ']']),
            '\\' => source.push_str("[\\\\]"),
            _ => source.push(c),
        }
    }
    source
}
