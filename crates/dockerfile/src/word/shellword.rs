//! The reader of shell words: text to pieces.
//!
//! It follows BuildKit's lexer, which reads and evaluates in one pass. So that faults appear in
//! the same order here, a fault is a last piece of the tree, found when evaluation gets there.

use nom::bytes::complete::{take_till, take_while, take_while1};
use nom::character::complete::char as one_char;
use nom::combinator::{opt, recognize};
use nom::sequence::{delimited, pair};
use nom::{IResult, Parser};

use super::substitution::braced;
use super::{Braces, Piece, SyntaxFault, Variable};

/// How deep `${...}` may be nested.
pub const MAX_DEPTH: usize = 64;

/// The rules that differ between the places where words are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The escape character.
    pub escape: char,
    /// Keep quotes in the text.
    pub raw_quotes: bool,
    /// Keep escape characters in the text.
    pub raw_escapes: bool,
    /// Quotes are ordinary characters.
    pub ignore_quotes: bool,
}

impl Reading {
    /// The usual rules with this escape character.
    pub fn new(escape: char) -> Reading {
        Reading {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            ignore_quotes: false,
        }
    }
}

/// A list of pieces and whether it was ended by its stop character.
pub(super) struct Sequence {
    pub(super) pieces: Vec<Piece>,
    pub(super) closed: bool,
}

/// Where the reader stands in nested substitutions.
#[derive(Clone, Copy)]
pub(super) struct Level<'a> {
    reading: Reading,
    source: &'a str,
    depth: usize,
}

/// Takes a word apart. Linear in its length. A byte order mark in front is dropped, as in BuildKit.
///
/// Grammar: shellword.ebnf#word
pub fn pieces(source: &str, reading: Reading) -> Vec<Piece> {
    let level = Level {
        reading,
        source,
        depth: 0,
    };
    let text = source.strip_prefix('\u{feff}').unwrap_or(source);
    sequence(level, text, None).1.pieces
}

impl<'a> Level<'a> {
    /// The offset in the word at which `rest` begins.
    fn offset(&self, rest: &str) -> usize {
        self.source.len() - rest.len()
    }

    pub(super) fn invalid(&self, from: &str, rest: &str, fault: SyntaxFault) -> Piece {
        let at = self.offset(from)..self.offset(rest);
        Piece::Invalid { fault, at }
    }

    fn raw(&self, from: &str, rest: &str, text: impl Into<String>) -> Piece {
        let at = self.offset(from)..self.offset(rest);
        let text = text.into();
        Piece::Raw { text, at }
    }

    fn is_special(&self, ch: char) -> bool {
        matches!(ch, '$' | '<')
            || ch == self.reading.escape
            || (matches!(ch, '\'' | '"') && !self.reading.ignore_quotes)
    }

    /// Reads the operand of a substitution, up to `stop`.
    pub(super) fn operand(
        self,
        input: &'a str,
        stop: char,
        raw_escapes: bool,
        missing: SyntaxFault,
    ) -> (&'a str, Sequence) {
        let inner = Level {
            reading: Reading {
                raw_escapes,
                ..self.reading
            },
            depth: self.depth + 1,
            ..self
        };
        if inner.depth > MAX_DEPTH {
            let pieces = vec![self.invalid(input, input, SyntaxFault::TooDeep)];
            let closed = false;
            return (input, Sequence { pieces, closed });
        }
        let (rest, mut found) = sequence(inner, input, Some(stop));
        if !found.closed && rest.is_empty() {
            found.pieces.push(self.invalid(rest, rest, missing));
        }
        (rest, found)
    }
}

/// Reads pieces up to the stop character, the end, or a fault.
fn sequence<'a>(level: Level<'a>, input: &'a str, stop: Option<char>) -> (&'a str, Sequence) {
    let mut pieces = Vec::new();
    let mut rest = input;
    while let Some(first) = rest.chars().next() {
        if Some(first) == stop {
            let closed = true;
            return (&rest[first.len_utf8()..], Sequence { pieces, closed });
        }
        let (after, piece) = match first {
            '$' => dollar(level, rest),
            '<' => less_than(level, rest),
            '\'' if !level.reading.ignore_quotes => single_quoted(level, rest),
            '"' if !level.reading.ignore_quotes => double_quoted(level, rest),
            _ if first == level.reading.escape => escaped(level, rest),
            _ => plain(level, rest, stop),
        };
        rest = after;
        let faulty = is_faulty(&piece);
        pieces.push(piece);
        if faulty {
            break;
        }
    }
    let closed = false;
    (rest, Sequence { pieces, closed })
}

/// Says whether a piece ends in a fault, so that nothing after it is read.
fn is_faulty(piece: &Piece) -> bool {
    match piece {
        Piece::Invalid { .. } => true,
        Piece::Quoted { pieces, .. } => pieces.last().is_some_and(is_faulty),
        Piece::Variable(variable) => match &variable.braces {
            Braces::Operator(found) => {
                found.operand.last().is_some_and(is_faulty)
                    || found.replacement.last().is_some_and(is_faulty)
            }
            Braces::Absent | Braces::Plain => false,
        },
        Piece::Plain { .. } | Piece::Raw { .. } => false,
    }
}

/// Reads text without special characters.
///
/// Grammar: shellword.ebnf#plain
fn plain<'a>(level: Level<'a>, input: &'a str, stop: Option<char>) -> (&'a str, Piece) {
    let (rest, text) = split(
        input,
        take_till(|ch| level.is_special(ch) || Some(ch) == stop),
    );
    let at = level.offset(input)..level.offset(rest);
    let text = text.to_owned();
    (rest, Piece::Plain { text, at })
}

/// Applies a parser that cannot fail.
pub(super) fn split<'a>(
    input: &'a str,
    mut parser: impl Parser<&'a str, Output = &'a str, Error = nom::error::Error<&'a str>>,
) -> (&'a str, &'a str) {
    parser.parse(input).unwrap_or((input, ""))
}

/// Reads `<`, or `<<` with the blanks behind it: they belong to a here-document's word.
///
/// Grammar: shellword.ebnf#heredoc-mark
fn less_than<'a>(level: Level<'a>, input: &'a str) -> (&'a str, Piece) {
    let mark = pair(
        one_char::<&str, nom::error::Error<&str>>('<'),
        opt(pair(
            one_char('<'),
            take_while(|ch| matches!(ch, '\t' | '\r' | ' ')),
        )),
    );
    let (rest, text) = split(input, recognize(mark));
    (rest, level.raw(input, rest, text))
}

/// Reads the escape character and the character after it; at the end of the word it is dropped.
///
/// Grammar: shellword.ebnf#escaped
fn escaped<'a>(level: Level<'a>, input: &'a str) -> (&'a str, Piece) {
    let escape = level.reading.escape;
    let after = &input[escape.len_utf8()..];
    let mut text = String::new();
    if level.reading.raw_escapes {
        text.push(escape);
    }
    let mut chars = after.chars();
    text.extend(chars.next());
    let rest = chars.as_str();
    (rest, level.raw(input, rest, text))
}

/// Reads `'...'`, in which nothing is special.
///
/// Grammar: shellword.ebnf#single-quoted
fn single_quoted<'a>(level: Level<'a>, input: &'a str) -> (&'a str, Piece) {
    let quoted: IResult<&str, &str> =
        delimited(one_char('\''), take_till(|ch| ch == '\''), one_char('\'')).parse(input);
    match quoted {
        Ok((rest, _)) if level.reading.raw_quotes => {
            let text = &input[..input.len() - rest.len()];
            (rest, level.raw(input, rest, text))
        }
        Ok((rest, text)) => (rest, level.raw(input, rest, text)),
        Err(_) => {
            let fault = SyntaxFault::OpenQuote("single");
            ("", level.invalid(input, "", fault))
        }
    }
}

/// Reads `"..."`, in which variables count and the escape character protects `"`, `$`, itself.
///
/// Grammar: shellword.ebnf#double-quoted
fn double_quoted<'a>(level: Level<'a>, input: &'a str) -> (&'a str, Piece) {
    let Reading {
        escape,
        raw_quotes,
        raw_escapes,
        ..
    } = level.reading;
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut from = input;
    let mut rest = &input[1..];
    if raw_quotes {
        text.push('"');
    }
    loop {
        let (after, run) = split(
            rest,
            take_till(|ch| matches!(ch, '"' | '$') || ch == escape),
        );
        text.push_str(run);
        rest = after;
        match rest.chars().next() {
            None => {
                let fault = SyntaxFault::OpenQuote("double");
                pieces.push(level.invalid(input, "", fault));
                break;
            }
            Some('"') => {
                rest = &rest[1..];
                if raw_quotes {
                    text.push('"');
                }
                pieces.push(level.raw(from, rest, text));
                break;
            }
            Some('$') => {
                let raw = level.raw(from, rest, std::mem::take(&mut text));
                let (after, variable) = dollar(level, rest);
                let faulty = is_faulty(&variable);
                pieces.extend([raw, variable]);
                (from, rest) = (after, after);
                if faulty {
                    break;
                }
            }
            Some(_) => {
                rest = &rest[escape.len_utf8()..];
                if raw_escapes {
                    text.push(escape);
                }
                match rest.chars().next() {
                    None => {}
                    Some(next) if matches!(next, '"' | '$') || next == escape => {
                        text.push(next);
                        rest = &rest[next.len_utf8()..];
                    }
                    // Kept; and twice when escapes are kept anyway, as BuildKit has it: patterns
                    // in quotes depend on that.
                    Some(_) => text.push(escape),
                }
            }
        }
    }
    let at = level.offset(input)..level.offset(rest);
    (rest, Piece::Quoted { pieces, at })
}

/// Reads what begins with `$`.
///
/// Grammar: shellword.ebnf#dollar
fn dollar<'a>(level: Level<'a>, input: &'a str) -> (&'a str, Piece) {
    let after = &input[1..];
    if let Some(inside) = after.strip_prefix('{') {
        return braced(level, input, inside);
    }
    let (rest, name) = split(after, name);
    if name.is_empty() {
        let at = level.offset(input)..level.offset(after);
        let text = "$".to_owned();
        return (after, Piece::Plain { text, at });
    }
    (rest, variable(level, input, rest, name, Braces::Absent))
}

pub(super) fn variable(
    level: Level<'_>,
    from: &str,
    rest: &str,
    name: &str,
    braces: Braces,
) -> Piece {
    Piece::Variable(Variable {
        name: name.to_owned(),
        braces,
        at: level.offset(from)..level.offset(rest),
    })
}

/// Reads a variable's name, possibly empty: digits, one special character, or letters, digits
/// and underscores.
///
/// Grammar: shellword.ebnf#name
pub(super) fn name(input: &str) -> IResult<&str, &str> {
    match input.chars().next() {
        Some(ch) if ch.is_numeric() => take_while1(|ch: char| ch.is_numeric()).parse(input),
        Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => Ok((&input[1..], &input[..1])),
        _ => take_while(|ch: char| ch.is_alphanumeric() || ch == '_').parse(input),
    }
}

#[cfg(test)]
mod tests;
