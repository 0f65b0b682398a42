//! Here-document words: `<<NAME`, `<<-NAME`, `3<<"NAME"`.

use nom::bytes::complete::{tag, take_while};
use nom::character::complete::{char as one_char, digit0};
use nom::combinator::{all_consuming, opt};
use nom::sequence::terminated;
use nom::{IResult, Parser};

use crate::expand::{ExpandError, ExpandMode, Expanded, expand};

/// What a here-document's word says about the body that follows the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The line that ends the body.
    pub name: String,
    /// Whether variables in the body count: no part of the word is quoted.
    pub expand: bool,
    /// Whether leading tabs do not count (`<<-`).
    pub chomp: bool,
    /// The number before `<<`, 0 without one.
    pub descriptor: u64,
}

/// Escapes in here-document words are always `\`, whatever the directive says.
const ESCAPE: char = '\\';

/// Splits a word into descriptor, `-` and terminator word.
///
/// Grammar: dockerfile.ebnf#heredoc-word
fn heredoc_word(word: &str) -> IResult<&str, (&str, Option<char>, &str)> {
    let blank = |ch: char| matches!(ch, '\t' | '\n' | '\x0c' | '\r' | ' ');
    all_consuming((
        terminated(digit0, tag("<<")),
        terminated(opt(one_char('-')), take_while(blank)),
        take_while(|ch| ch != '<'),
    ))
    .parse(word)
}

fn lex(word: &str, raw_quotes: bool, raw_escapes: bool) -> Result<Expanded, ExpandError> {
    let mode = ExpandMode {
        raw_quotes,
        raw_escapes,
        skip_unset: true,
        ignore_quotes: false,
    };
    expand(word, ESCAPE, &|_| None, mode)
}

/// Reads a word as a here-document's; `None` when it is none.
///
/// Errors: the terminator has an open quote or a broken `${`.
///
/// Grammar: dockerfile.ebnf#heredoc-name
pub fn mark(word: &str) -> Result<Option<Mark>, ExpandError> {
    let Ok((_, (descriptor, dash, terminator))) = heredoc_word(word) else {
        return Ok(None);
    };
    let plain = lex(terminator, false, false)?.words;
    let [name] = plain.as_slice() else {
        return Ok(None);
    };
    let quotes = |words: &[String]| {
        let chars = words.iter().flat_map(|word| word.chars());
        chars.filter(|ch| matches!(ch, '\'' | '"')).count()
    };
    let raw = lex(terminator, true, false)?.words;
    Ok(Some(Mark {
        name: name.clone(),
        expand: quotes(&plain) == quotes(&raw),
        chomp: dash.is_some(),
        descriptor: match descriptor {
            "" => 0,
            digits => digits.parse().unwrap_or(u64::MAX),
        },
    }))
}

/// Returns the here-documents of a logical line, in order.
///
/// A line that cannot be split into words has none. Errors: as [`mark`].
pub fn marks(line: &str) -> Result<Vec<Mark>, ExpandError> {
    if !line.contains("<<") {
        return Ok(Vec::new());
    }
    let words = lex(line, true, true).map(|done| done.words);
    let mut found = Vec::new();
    for word in words.unwrap_or_default() {
        found.extend(mark(&word)?);
    }
    Ok(found)
}

/// Removes the leading tabs of every line.
pub fn chomp(body: &str) -> String {
    let lines = body.split_inclusive('\n');
    lines.map(|line| line.trim_start_matches('\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &[&str]) {
        let found: Vec<String> = marks(line)
            .expect("valid")
            .into_iter()
            .map(|mark| {
                let dash = if mark.chomp { "-" } else { "" };
                let raw = if mark.expand { "" } else { "'" };
                format!("{}{dash}{raw}{}", mark.descriptor, mark.name)
            })
            .collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn words_of_heredocs() {
        check("RUN <<A 3<<-'B' <<\"C\"D", &["0A", "3-'B", "0'CD"]);
        check("RUN <<  A > b", &["0A"]);
        check("RUN <<\tA <<\x0cB", &["0A"]);
        check("RUN <<- A", &[]);
        check("RUN <<<A '<<B' \"<<C\"", &[]);
        check("RUN <<'two words'", &["0'two words"]);
        check("RUN <<$X", &["0$X"]);
    }

    #[test]
    fn tabs_are_removed_from_every_line() {
        assert_eq!(chomp("\ta\n\t\tb\n c\td\n"), "a\nb\n c\td\n");
    }
}
