//! What must hold for every text, whoever made it: random tests and the fuzz targets ask here.

use rbuild_dockerfile::json::oracle_json;
use rbuild_dockerfile::line::read_lines;
use rbuild_dockerfile::print::print;
use rbuild_dockerfile::word::{Braces, Piece, Reading, pieces};
use rbuild_dockerfile::{Severity, SourceFile, Span};
use serde_json::Value;

/// Removes what tells of places and of blanks, so that only the tree is left.
fn tree(value: Value) -> Value {
    const PLACES: [&str; 9] = [
        "line",
        "end_line",
        "start",
        "end",
        "original",
        "code",
        "expression",
        "parse_warnings",
        "file",
    ];
    match value {
        Value::Object(map) => {
            let kept = map
                .into_iter()
                .filter(|(key, _)| !PLACES.contains(&key.as_str()));
            kept.map(|(key, value)| (key, tree(value))).collect()
        }
        Value::Array(list) => list.into_iter().map(tree).collect(),
        Value::String(text) => match text.strip_prefix("dockerfile parse error on line ") {
            Some(rest) => Value::from(rest.split_once(": ").map_or("", |(_, message)| message)),
            None => Value::String(text),
        },
        other => other,
    }
}

/// The lines cover every byte, and whatever names a place names one in the file.
pub fn check_lines(text: &str) {
    let file = read_lines(text);
    let mut end = 0;
    for line in &file.lines {
        assert_eq!(line.span.start, end, "a gap in {text:?}");
        end = line.span.end;
    }
    assert_eq!(end as usize, text.len(), "bytes without a line in {text:?}");
    let source = SourceFile::new("Dockerfile", text);
    for node in &file.nodes {
        let words = [&node.header.keyword]
            .into_iter()
            .chain(&node.flags)
            .chain(&node.header.comments);
        for word in words {
            check_span(&source, word.span, text);
        }
        check_span(&source, node.header.span, text);
        let lines = source.lines_of(node.header.span);
        assert!(lines.first >= node.header.lines.first, "{text:?}");
        assert!(lines.last <= node.header.lines.last, "{text:?}");
    }
    for found in rbuild_dockerfile::parse(text).diagnostics {
        check_span(&source, found.span, text);
        assert!(found.severity == Severity::Error || !found.message.is_empty());
    }
}

fn check_span(source: &SourceFile, span: Span, text: &str) {
    let range = span.start as usize..span.end as usize;
    assert!(
        source.text().get(range).is_some(),
        "{span:?} does not fit {text:?}"
    );
}

/// Printing what was read and reading it again changes nothing.
pub fn check_printing(text: &str) {
    let first = tree(oracle_json("", text.as_bytes()));
    if !first["parse_error"].is_null() {
        return;
    }
    let printed = print(&read_lines(text));
    let second = tree(oracle_json("", printed.as_bytes()));
    if let Some(found) = difference(&first, &second) {
        panic!("{found}\nfrom    {text:?}\nprinted {printed:?}");
    }
}

/// Returns where two trees differ first.
fn difference(first: &Value, second: &Value) -> Option<String> {
    match (first, second) {
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().find_map(|(key, value)| difference(value, &b[key]))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).find_map(|(a, b)| difference(a, b))
        }
        _ if first == second => None,
        _ => Some(format!("{first}\nis now {second}")),
    }
}

/// The pieces cover the word up to the first that cannot be read; says whether all can be.
pub fn check_pieces(word: &str, escape: char) -> bool {
    let pieces = pieces(word, Reading::new(escape));
    // A byte order mark in front is no part of any.
    let mark = word.chars().next().filter(|ch| *ch == '\u{feff}');
    let mut end = mark.map_or(0, char::len_utf8);
    for piece in &pieces {
        let at = match piece {
            Piece::Plain { at, .. }
            | Piece::Raw { at, .. }
            | Piece::Quoted { at, .. }
            | Piece::Invalid { at, .. } => at,
            Piece::Variable(variable) => &variable.at,
        };
        assert_eq!(at.start, end, "a gap in {word:?}");
        end = at.end;
    }
    if ends_in_a_fault(&pieces) {
        assert!(end <= word.len(), "beyond the end of {word:?}");
        return false;
    }
    assert_eq!(end, word.len(), "bytes without a piece in {word:?}");
    true
}

/// Nothing is read behind a fault, however deep it lies.
fn ends_in_a_fault(pieces: &[Piece]) -> bool {
    match pieces.last() {
        Some(Piece::Invalid { .. }) => true,
        Some(Piece::Quoted { pieces, .. }) => ends_in_a_fault(pieces),
        Some(Piece::Variable(variable)) => match &variable.braces {
            Braces::Operator(found) => {
                ends_in_a_fault(&found.operand) || ends_in_a_fault(&found.replacement)
            }
            Braces::Absent | Braces::Plain => false,
        },
        Some(Piece::Plain { .. } | Piece::Raw { .. }) | None => false,
    }
}
