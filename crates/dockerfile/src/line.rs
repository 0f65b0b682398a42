//! Physical lines to logical lines: continuations, comments, directives, here-documents.
//!
//! The logical lines cover every byte of the file, in order and without overlap; instruction
//! lines are handed on, as joined text with a segment map, to the module that takes them apart.

mod body;
mod reader;

use crate::ast::Directives;
use crate::diagnostic::Diagnostic;
use crate::node::Node;
use crate::source::{MAX_FILE_BYTES, Span};
use reader::Reader;

pub use crate::node::{Arguments, Pair, PairStyle};

/// The longest physical line, in bytes, without its terminator.
pub const MAX_LINE_BYTES: usize = 65535;

/// What a logical line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineKind {
    /// Nothing but blanks.
    Blank,
    /// `# ...`.
    Comment,
    /// `# name=value` at the top.
    Directive,
    /// An instruction with its continuations and here-documents.
    Instruction,
    /// Text behind a physical line that is too long.
    Unread,
}

/// One logical line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogicalLine {
    /// What it is.
    pub kind: LineKind,
    /// Its bytes, line terminators included.
    pub span: Span,
}

/// A file split into lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineFile {
    /// All logical lines; their spans cover the file.
    pub lines: Vec<LogicalLine>,
    /// The instruction lines that could be split into arguments, unknown keywords included.
    pub nodes: Vec<Node>,
    /// The directives.
    pub directives: Directives,
    /// What is wrong so far: syntax only.
    pub diagnostics: Vec<Diagnostic>,
    /// The number of physical lines read.
    pub line_count: u32,
}

/// Splits a file into logical lines and instruction lines into arguments.
///
/// Never fails: faulty lines are missing from `nodes` and present in `diagnostics`. Linear in the
/// length of `text`.
///
/// Grammar: dockerfile.ebnf#dockerfile
pub fn read_lines(text: &str) -> LineFile {
    let mut reader = Reader::new(text);
    if text.len() > MAX_FILE_BYTES {
        reader.refuse_file();
    } else {
        reader.read();
    }
    reader.done()
}

#[cfg(test)]
mod tests;
