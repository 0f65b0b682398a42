//! The graph as a drawing, in graphviz' dot language.
//!
//! Made for reading as much as for drawing: one line per vertex, its name and the kind of its op,
//! then one line per edge, in topological order.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::{FileAction, Graph, InputUse, Op, Vertex, VertexIx};

/// Draws `graph`; a vertex without a name is labelled by its op alone.
pub(crate) fn draw(graph: &Graph, names: &BTreeMap<VertexIx, String>) -> String {
    let mut out = String::from("digraph build {\n  rankdir=BT;\n  node [shape=box];\n");
    let order = graph.topological();
    for &ix in &order {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "  {ix} [label=\"{}\"];",
            label(graph.vertex(ix), names.get(&ix))
        );
    }
    for &ix in &order {
        let vertex = graph.vertex(ix);
        for (position, input) in vertex.inputs.iter().enumerate() {
            let _ = writeln!(out, "  {input} -> {ix}{};", edge_style(vertex, position));
        }
    }
    out.push_str("}\n");
    out
}

fn label(vertex: &Vertex, name: Option<&String>) -> String {
    let kind = kind(&vertex.op);
    match name {
        Some(name) => format!("{}\\n{}", escape(name), escape(&kind)),
        None => escape(&kind),
    }
}

fn edge_style(vertex: &Vertex, position: usize) -> &'static str {
    match vertex.op.input_use(position) {
        InputUse::Chain => "",
        InputUse::Files => " [style=dashed]",
        InputUse::Unkeyed => " [style=dotted]",
    }
}

fn kind(op: &Op) -> String {
    match op {
        Op::Image(image) => format!("image {}", image.platform),
        Op::Local(local) => format!("local {}", local.name),
        Op::Http(http) => format!("file {}", http.name),
        Op::Git(_) => "git".to_owned(),
        Op::Exec(exec) => match exec.mounts.len() {
            0 => "exec".to_owned(),
            n => format!("exec, mounts: {n}"),
        },
        Op::File(file) => {
            let actions: Vec<&str> = file.actions.iter().map(action).collect();
            let link = if file.link { ", linked" } else { "" };
            format!("file: {}{link}", actions.join(" "))
        }
    }
}

fn action(action: &FileAction) -> &'static str {
    match action {
        FileAction::Copy(copy) if copy.unpack => "add",
        FileAction::Copy(_) => "copy",
        FileAction::Mkdir(_) => "mkdir",
        FileAction::Write(_) => "write",
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\l"),
            c => out.push(c),
        }
    }
    out
}
