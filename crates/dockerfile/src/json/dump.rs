//! The dump of the lines as nested lists, as BuildKit's parser tests print them.

use super::flat_arguments;
use crate::node::{Arguments, Node};
use crate::quote::go_quote;

/// Returns the dump of all lines, one list a line.
pub(super) fn dump(nodes: &[Node]) -> String {
    let lines: Vec<String> = nodes
        .iter()
        .map(|node| format!("({})", list(node)))
        .collect();
    lines.join("\n")
}

fn list(node: &Node) -> String {
    let mut out = node.header.keyword.text.to_lowercase();
    if !node.flags.is_empty() {
        let quoted: Vec<String> = node.flags.iter().map(|flag| go_quote(&flag.text)).collect();
        out.push_str(&format!(" [{}]", quoted.join(" ")));
    }
    match &node.arguments {
        Arguments::Nested(inner) => out.push_str(&format!(" ({})", list(inner))),
        _ if node.keyword().is_none() => out.push_str(" \"\""),
        other => {
            for text in flat_arguments(other) {
                out.push(' ');
                out.push_str(&go_quote(&text));
            }
        }
    }
    out.trim().to_owned()
}
