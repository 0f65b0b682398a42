//! Lines of a Dockerfile back to text.
//!
//! Reading the printed text gives the same tree, places aside: directives first, one instruction
//! after the other, continuations joined, blanks between words reduced. What could not be read is
//! left out.

use crate::ast::Directives;
use crate::heredoc;
use crate::line::{LineFile, MAX_LINE_BYTES};
use crate::node::{Arguments, Node, PairStyle};
use crate::word::Word;

/// Instructions longer than this are broken into several physical lines.
const BREAK_BYTES: usize = MAX_LINE_BYTES / 2;

/// Prints the directives and instruction lines of a file.
pub fn print(file: &LineFile) -> String {
    let escape = file.directives.escape;
    let mut out = String::new();
    directives(&mut out, &file.directives);
    // The blank line ends the directives, so that no comment is taken for one.
    out.push('\n');
    for node in &file.nodes {
        for comment in &node.header.comments {
            out.push_str("# ");
            out.push_str(&comment.text);
            out.push('\n');
        }
        line(&mut out, &printed(node, escape), escape);
        for file in &node.heredocs {
            out.push_str(&file.data);
            out.push_str(&file.name);
            out.push('\n');
        }
    }
    out
}

fn directives(out: &mut String, directives: &Directives) {
    if let Some(syntax) = &directives.syntax {
        out.push_str(&format!("# syntax={}\n", syntax.value));
    }
    if let Some(check) = &directives.check {
        out.push_str(&format!("# check={}\n", check.value));
    }
    if directives.escape != Directives::default().escape {
        out.push_str(&format!("# escape={}\n", directives.escape));
    }
}

/// Writes a logical line, broken where it is too long and protected where its end would make it
/// go on.
fn line(out: &mut String, text: &str, escape: char) {
    if text.is_empty() {
        // Only a lone continuation mark at the end of a file makes an empty instruction.
        out.push(escape);
        out.push('\n');
        return;
    }
    let mut rest = text;
    while rest.len() > BREAK_BYTES {
        let Some(at) = breaking_point(rest, escape) else {
            break;
        };
        out.push_str(&rest[..at]);
        out.push(escape);
        out.push('\n');
        rest = &rest[at..];
    }
    out.push_str(rest);
    let end = rest.trim_end_matches([' ', '\t']);
    let continues = end
        .strip_suffix(escape)
        .is_some_and(|before| !before.ends_with(escape));
    if continues || rest.ends_with('\r') {
        // A vertical tab is trimmed like a space, but no continuation mark stands before it, and
        // it keeps a carriage return from being part of the line's end.
        out.push('\x0b');
    }
    out.push('\n');
}

/// Returns where a long line can be broken: not behind an escape character, and not where the
/// next line would be taken for a comment or a blank one.
fn breaking_point(text: &str, escape: char) -> Option<usize> {
    let safe = |at: usize| {
        let (before, after) = text.split_at(at);
        let begins = after.trim_start();
        !before.ends_with(escape)
            && !begins.is_empty()
            && !begins.starts_with('#')
            && !begins.starts_with(escape)
    };
    (1..=BREAK_BYTES)
        .rev()
        .filter(|at| text.is_char_boundary(*at))
        .take(1024)
        .find(|at| safe(*at))
}

/// Writes an instruction on one line; as it was written where another notation of its flags would
/// change which words of the line are here-documents.
fn printed(node: &Node, escape: char) -> String {
    let text = instruction(node, escape);
    let names = |text: &str| -> Vec<String> {
        let marks = heredoc::marks(text).unwrap_or_default();
        marks.into_iter().map(|mark| mark.name).collect()
    };
    let wanted = node.heredocs.iter().map(|file| &file.name);
    if node.takes_heredocs() && !names(&text).iter().eq(wanted) {
        return node.header.code().to_owned();
    }
    text
}

/// Writes keyword, flags and arguments on one line.
fn instruction(node: &Node, escape: char) -> String {
    if node.keyword().is_none() {
        // Nothing is known of its arguments.
        return node.header.code().to_owned();
    }
    let mut out = node.header.keyword.text.clone();
    for flag in &node.flags {
        out.push(' ');
        push_flag(&mut out, &flag.text, escape);
    }
    let arguments = arguments(&node.arguments, escape);
    if arguments.starts_with("--") {
        out.push_str(" --");
    }
    if !arguments.is_empty() {
        out.push(' ');
        out.push_str(&arguments);
    }
    out
}

/// Writes a flag, quoted behind its `=` where it must be.
fn push_flag(out: &mut String, text: &str, escape: char) {
    let special = |ch: char| ch.is_whitespace() || matches!(ch, '\'' | '"') || ch == escape;
    if !text.contains(special) {
        out.push_str(text);
        return;
    }
    // The dashes must stand outside, or it is no flag.
    let (name, value) = match text.split_once('=') {
        Some((name, _)) if !name.contains(special) => text.split_at(name.len() + 1),
        _ => text.split_at(2),
    };
    out.push_str(name);
    out.push('"');
    for ch in value.chars() {
        if ch == '"' || ch == escape {
            out.push(escape);
        }
        out.push(ch);
    }
    out.push('"');
}

fn arguments(arguments: &Arguments, escape: char) -> String {
    match arguments {
        Arguments::Words(words) => join(words),
        Arguments::Json(words) => {
            let texts: Vec<&str> = words.iter().map(Word::as_str).collect();
            serde_json::Value::from(texts).to_string()
        }
        Arguments::Health(kind, command) => {
            format!("{} {}", kind.text, self::arguments(command, escape))
        }
        Arguments::Pairs(pairs) => {
            let pairs: Vec<String> = pairs
                .iter()
                .map(|pair| {
                    let mark = match pair.style {
                        PairStyle::Equals => '=',
                        PairStyle::Blank => ' ',
                    };
                    format!("{}{mark}{}", pair.key.text, pair.value.text)
                })
                .collect();
            pairs.join(" ")
        }
        Arguments::Nested(inner) => instruction(inner, escape),
    }
}

/// Joins words; with a blank that JSON does not know where they could become an array.
fn join(words: &[Word]) -> String {
    let texts: Vec<&str> = words.iter().map(Word::as_str).collect();
    let blank = match texts.first() {
        Some(first) if first.starts_with('[') => "\x0b",
        _ => " ",
    };
    texts.join(blank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::read_lines;

    fn check(text: &str, expected: &str) {
        assert_eq!(print(&read_lines(text)), expected);
    }

    #[test]
    fn lines_are_joined_and_directives_come_first() {
        check(
            "# escape=`\n# syntax=x\n\n# why\nRun  a `\n  b\nCOPY   c\td\n",
            "# syntax=x\n# escape=`\n\n# why\nRun a   b\nCOPY c d\n",
        );
    }

    #[test]
    fn flags_keep_their_blanks() {
        check(
            "RUN --mount=\"a b\" -- --c\n",
            "\nRUN --mount=\"a b\" -- --c\n",
        );
    }

    #[test]
    fn long_lines_are_broken() {
        let text = format!("RUN {}\\\n{}\n", "a# ".repeat(20_000), "b".repeat(20_000));
        let printed = print(&read_lines(&text));
        assert!(printed.lines().all(|line| line.len() <= MAX_LINE_BYTES));
        let original = |text: &str| read_lines(text).nodes[0].header.original.clone();
        assert_eq!(original(&printed), original(&text));
    }
}
