//! Instruction lines taken apart: keyword, flags, arguments; not yet their types.

use nom::Parser;
use nom::bytes::complete::{take_till, take_while};
use nom::error::Error;

use crate::argument;
use crate::ast::{Header, InlineFile};
use crate::diagnostic::Fault;
use crate::flag;
use crate::input::Logical;
use crate::keyword::{Keyword, Shape};
use crate::word::Word;

/// How many instructions may be nested by ONBUILD before the rest is left as text. One is all
/// that is valid; the limit only keeps a hostile line from exhausting the stack.
const MAX_NESTING: usize = 16;

/// One top-level instruction line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Keyword, place, joined text, comments.
    pub header: Header,
    /// The flags, `--` included, quotes removed.
    pub flags: Vec<Word>,
    /// The arguments by the rule of the keyword.
    pub arguments: Arguments,
    /// The heredocs of the line, in order, bodies as they are in the file.
    pub heredocs: Vec<InlineFile>,
}

/// The arguments of a line, split by the rule of its keyword.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// Words, or the one string of a shell form; empty when there was nothing.
    Words(Vec<Word>),
    /// A JSON array of strings; each span includes the quotes.
    Json(Vec<Word>),
    /// The type word of HEALTHCHECK and its command.
    Health(Word, Box<Arguments>),
    /// Names and values of ENV or LABEL.
    Pairs(Vec<Pair>),
    /// The instruction after ONBUILD.
    Nested(Box<Node>),
}

/// A name and value of ENV or LABEL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name, unexpanded.
    pub key: Word,
    /// The value, unexpanded.
    pub value: Word,
    /// How the two were joined.
    pub style: PairStyle,
}

/// How a name and its value were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairStyle {
    /// `name=value`.
    Equals,
    /// The legacy `name value` with the rest of the line as the value.
    Blank,
}

impl Node {
    /// Returns the keyword, if it is one.
    pub fn keyword(&self) -> Option<Keyword> {
        Keyword::find(&self.header.keyword.text)
    }

    /// Says whether here-documents may stand in the line: RUN, ADD and COPY without JSON, and
    /// ONBUILD of those.
    pub(crate) fn takes_heredocs(&self) -> bool {
        match &self.arguments {
            Arguments::Nested(inner) => {
                inner.keyword().is_some_and(Keyword::takes_heredocs) && !inner.is_json()
            }
            _ => self.keyword().is_some_and(Keyword::takes_heredocs) && !self.is_json(),
        }
    }

    fn is_json(&self) -> bool {
        matches!(self.arguments, Arguments::Json(_))
    }
}

/// Says whether `ch` separates words where quotes do not count.
///
/// Grammar: dockerfile.ebnf#blank
/// Grammar: dockerfile.ebnf#blanks
pub(crate) fn is_blank(ch: char) -> bool {
    matches!(ch, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// Takes a whole logical line apart. Lines and comments of the header are left for the caller.
pub(crate) fn read(logical: &Logical, escape: char) -> Result<Node, Fault> {
    instruction(logical, logical.text(), escape, 0)
}

/// Reads one instruction, `line` being the logical line or what follows ONBUILD in it.
///
/// Grammar: dockerfile.ebnf#instruction
fn instruction(logical: &Logical, line: &str, escape: char, depth: usize) -> Result<Node, Fault> {
    let trimmed = line.trim();
    let (rest, keyword) = split_keyword(trimmed);
    let (rest, flags) = flag::flags(logical, rest, escape);
    let rest = rest.trim();
    let arguments = match Keyword::find(keyword) {
        Some(found) if found.shape() == Shape::Nested && !rest.is_empty() => {
            if depth < MAX_NESTING {
                Arguments::Nested(Box::new(instruction(logical, rest, escape, depth + 1)?))
            } else {
                Arguments::Words(vec![logical.word(rest)])
            }
        }
        Some(found) => argument::arguments(logical, rest, found, escape)?,
        // Nothing is known of the arguments of something unknown.
        None => Arguments::Words(Vec::new()),
    };
    let header = Header {
        keyword: logical.word(keyword),
        span: logical.span_of(trimmed),
        original: line.to_owned(),
        ..Header::default()
    };
    Ok(Node {
        header,
        flags,
        arguments,
        heredocs: Vec::new(),
    })
}

/// Splits the keyword from the rest of a trimmed line.
///
/// Grammar: dockerfile.ebnf#keyword-and-rest
fn split_keyword(line: &str) -> (&str, &str) {
    let mut parts = (
        take_till::<_, _, Error<&str>>(is_blank),
        take_while(is_blank),
    );
    match parts.parse(line) {
        Ok((rest, (keyword, _))) => (rest, keyword),
        Err(_) => ("", line),
    }
}
