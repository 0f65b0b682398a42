//! Logical lines by cases: the joined texts of a file's instructions.

use super::*;
use crate::diagnostic::Code;
use crate::source::LineRange;
use crate::word::Word;

fn originals(text: &str) -> Vec<String> {
    let file = read_lines(text);
    file.nodes
        .into_iter()
        .map(|node| node.header.original)
        .collect()
}

#[test]
fn continuations_join_without_anything_between() {
    assert_eq!(originals("RUN fo\\\no \\  \n  bar\n"), ["RUN foo   bar"]);
    assert_eq!(originals("RUN a\\\r\nb\r\n"), ["RUN ab"]);
    assert_eq!(
        originals("# escape=`\nRUN a`\nb\\\nUSER c"),
        ["RUN ab\\", "USER c"]
    );
}

#[test]
fn doubled_escapes_do_not_continue() {
    assert_eq!(
        originals("RUN a\\\\\nRUN b\\\\\\\nRUN c"),
        ["RUN a\\\\", "RUN b\\\\\\", "RUN c"]
    );
}

#[test]
fn comments_vanish_in_continuations() {
    assert_eq!(originals("RUN a \\\n  # no \\\nb\n"), ["RUN a b"]);
}

#[test]
fn blank_lines_warn_once() {
    let file = read_lines("FROM a\nRUN a \\\n\n\n  b\n");
    assert_eq!(file.diagnostics.len(), 1);
    assert_eq!(file.diagnostics[0].lines, LineRange { first: 5, last: 5 });
}

#[test]
fn comments_go_with_the_next_instruction() {
    let file = read_lines("# one\n#\n# two\n# three\nFROM a\nRUN b\n");
    let comments = |ix: usize| -> Vec<&str> {
        let found = file.nodes[ix].header.comments.iter();
        found.map(Word::as_str).collect()
    };
    assert_eq!(comments(0), ["two", "three"]);
    assert!(comments(1).is_empty());
}

#[test]
fn heredoc_bodies_are_verbatim() {
    let file = read_lines("COPY <<A <<-B /\n# a\\\r\nA\n\tb\n\tB\nRUN c\n");
    let bodies: Vec<&str> = file.nodes[0]
        .heredocs
        .iter()
        .map(|file| file.data.as_str())
        .collect();
    assert_eq!(bodies, ["# a\\\r\n", "\tb\n"]);
    assert_eq!(file.nodes[0].header.lines, LineRange { first: 1, last: 5 });
    assert_eq!(file.nodes.len(), 2);
}

#[test]
fn open_heredocs_are_errors() {
    let file = read_lines("FROM a\nRUN <<A\nb\n");
    assert_eq!(file.diagnostics[0].message, "unterminated heredoc");
    assert_eq!(file.diagnostics[0].lines, LineRange { first: 2, last: 3 });
}

#[test]
fn long_lines_are_refused() {
    let long = "x".repeat(MAX_LINE_BYTES);
    assert!(read_lines(&long).diagnostics.is_empty());
    let file = read_lines(&format!("FROM a\n{long}x\nRUN b\n"));
    assert_eq!(file.diagnostics[0].code, Code::LineTooLong);
    assert_eq!(file.nodes.len(), 1);
    assert_eq!(
        file.lines.last().expect("lines").span.end as usize,
        7 + long.len() + 8
    );
}

#[test]
fn directives_must_not_repeat() {
    let file = read_lines("# escape=`\n# escape=`\nFROM a\n");
    assert_eq!(file.diagnostics[0].code, Code::DuplicateDirective);
    let file = read_lines("# escape=x\nFROM a\n");
    assert_eq!(file.diagnostics[0].code, Code::InvalidEscape);
}
