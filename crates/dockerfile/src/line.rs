//! Instruction lines: keyword, flags and arguments of each, before they get their types.

use crate::ast::{Header, InlineFile};
use crate::word::Word;

/// One top-level instruction line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Keyword, place, joined text, comments.
    pub header: Header,
    /// The flags, `--` included, quotes removed.
    pub flags: Vec<Word>,
    /// The arguments by the rule of the keyword.
    pub arguments: Arguments,
    /// The heredocs of the line, in order.
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
