//! Words of an instruction, unexpanded: the text, where it stands, and the tree of its pieces.
//!
//! What the variables in a word are worth is [`mod@crate::expand`]'s business.

mod shellword;
mod substitution;

use std::ops::Range;

pub use shellword::{MAX_DEPTH, Reading, pieces};

use crate::source::Span;

/// A piece of an instruction as written: quotes, escapes and variables still in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Word {
    /// The text with continuations joined. In flags, quotes and escapes are already removed.
    pub text: String,
    /// The bytes it came from; longer than `text` where a continuation or a quote was dropped.
    pub span: Span,
}

impl Word {
    /// Makes a word.
    pub fn new(text: impl Into<String>, span: Span) -> Word {
        Word {
            text: text.into(),
            span,
        }
    }

    /// Says whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Takes the word apart: literal text, quotes, variables.
    pub fn pieces(&self, escape: char) -> Vec<Piece> {
        pieces(&self.text, Reading::new(escape))
    }

    /// Returns the place in the file of a range of `text`; the whole word when it was not written
    /// in one piece.
    pub fn place(&self, at: &Range<usize>) -> Span {
        if self.span.len() != self.text.len() {
            return self.span;
        }
        let offset = |at: usize| self.span.start + crate::input::narrow(at);
        Span::new(offset(at.start), offset(at.end))
    }
}

/// A part of a word. Ranges are byte ranges of the word's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Unquoted text; blanks in it separate words.
    Plain {
        /// The text.
        text: String,
        /// Its place.
        at: Range<usize>,
    },
    /// Quoted or escaped text; blanks in it do not separate words.
    Raw {
        /// The text without its quotes and escapes (unless the reading keeps them).
        text: String,
        /// Its place, quotes and escapes included.
        at: Range<usize>,
    },
    /// A double-quoted part with variables in it.
    Quoted {
        /// Raw text and variables.
        pieces: Vec<Piece>,
        /// Its place, quotes included.
        at: Range<usize>,
    },
    /// `$name` or `${...}`.
    Variable(Variable),
    /// The point from which the word cannot be read; always the last piece.
    Invalid {
        /// What is wrong.
        fault: SyntaxFault,
        /// From the faulty part to the end of what was read.
        at: Range<usize>,
    },
}

/// A reference to a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The name; may be empty, or one special character.
    pub name: String,
    /// Whether it was written with braces.
    pub braces: Braces,
    /// Its place.
    pub at: Range<usize>,
}

/// What stands around a variable's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Braces {
    /// `$name`.
    Absent,
    /// `${name}`.
    Plain,
    /// `${name<operator>operand}`.
    Operator(Box<Substitution>),
}

/// The part of `${...}` after the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Substitution {
    /// What to do.
    pub operator: Operator,
    /// The operator as written, with its colon, without doubling.
    pub modifier: String,
    /// The word or pattern.
    pub operand: Vec<Piece>,
    /// The replacement of `/`.
    pub replacement: Vec<Piece>,
}

/// An operator of `${...}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `-` or `:-`.
    Default(Unset),
    /// `+` or `:+`.
    Alternate(Unset),
    /// `?` or `:?`.
    Require(Unset),
    /// `#`; a second one at the start of the operand asks for the longest match.
    TrimPrefix,
    /// `%`; likewise.
    TrimSuffix,
    /// `/`.
    ReplaceFirst,
    /// `//`.
    ReplaceAll,
    /// A colon and something that is no operator.
    Unsupported,
}

/// When a variable counts as unset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// When it has no value.
    Missing,
    /// Also when its value is empty (the operator has a colon).
    MissingOrEmpty,
}

/// Why a word cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxFault {
    /// A quote is not closed.
    #[error("unexpected end of statement while looking for matching {0}-quote")]
    OpenQuote(&'static str),
    /// `${` is not closed.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// `${name/pattern` without the second slash.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// `${}`, `${{` or `${:`.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// The name is followed by something that is no operator.
    #[error("unsupported modifier ({0}) in substitution")]
    UnsupportedModifier(String),
    /// Too many `${` inside each other.
    #[error("substitutions are nested more than {MAX_DEPTH} deep")]
    TooDeep,
}
