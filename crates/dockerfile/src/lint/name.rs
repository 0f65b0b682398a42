//! Names of stages.

use std::collections::BTreeMap;

use super::finding;
use crate::ast::{Header, Stage};
use crate::diagnostic::{Code, Diagnostic};
use crate::quote::go_quote;
use crate::word::Word;

/// Names that mean something else where a stage may be named.
const RESERVED: [&str; 2] = ["scratch", "context"];

/// Names are in lower case, which is how they are compared.
pub(super) fn casing(header: &Header, words: &[Word], found: &mut Vec<Diagnostic>) {
    let [_, _, name] = words else {
        return;
    };
    let lower = name.text.to_lowercase();
    if name.text != lower {
        found.push(finding(
            (
                Code::StageNameCasing,
                format!("Stage name '{}' should be lowercase", name.text),
            ),
            (name.span, header.lines),
            format!("Write `{lower}`."),
        ));
    }
}

/// Names are unique, and mean nothing else.
pub(super) fn unique(stages: &[Stage], found: &mut Vec<Diagnostic>) {
    let mut first = BTreeMap::new();
    for stage in stages {
        let Some(name) = &stage.name else {
            continue;
        };
        let place = (name.span, stage.from.lines);
        let quoted = go_quote(&name.text);
        if RESERVED.contains(&name.as_str()) {
            let message =
                format!("Stage name should not use the same name as reserved stage {quoted}");
            let help = format!(
                "Instructions cannot tell the stage from the built-in {name}.",
                name = name.text
            );
            found.push(finding((Code::ReservedStageName, message), place, help));
        }
        if let Some(line) = first.get(name.as_str()) {
            let message = format!("Duplicate stage name {quoted}, stage names should be unique");
            let help = format!("Line {line} has a stage of this name.");
            found.push(finding((Code::DuplicateStageName, message), place, help));
        } else {
            first.insert(name.as_str(), stage.from.lines.first);
        }
    }
}
