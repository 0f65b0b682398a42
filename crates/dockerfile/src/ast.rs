//! The tree of a Dockerfile: directives, stages, instructions, words.

use crate::diagnostic::{Diagnostic, Phase};
use crate::instruction::InstructionKind;
use crate::line::Node;
use crate::source::{LineRange, Span, Spanned};
use crate::word::Word;

/// The result of parsing: the tree, and what is wrong with the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The tree of everything that could be understood.
    pub dockerfile: Dockerfile,
    /// The findings in the order of their places; the first error is the one BuildKit reports.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Returns the error that BuildKit would stop at, if the file cannot be built.
    ///
    /// BuildKit splits the whole file into lines before it looks at any instruction, so a late
    /// syntax error comes before an early wrong flag.
    pub fn first_error(&self) -> Option<&Diagnostic> {
        let errors = || self.diagnostics.iter().filter(|found| found.is_error());
        errors()
            .find(|found| found.phase == Phase::Syntax)
            .or_else(|| errors().next())
    }
}

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dockerfile {
    /// The parser directives at the top.
    pub directives: Directives,
    /// Every instruction line in file order, typed or not; the spans of these lines and of the
    /// text between them cover the file.
    pub nodes: Vec<Node>,
    /// The ARG instructions before the first FROM.
    pub meta_args: Vec<Instruction>,
    /// The stages in file order.
    pub stages: Vec<Stage>,
}

/// The parser directives of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The escape character in force, `\` unless set.
    pub escape: char,
    /// The whole value of `# syntax=`, in any of the forms BuildKit detects.
    pub syntax: Option<Spanned<String>>,
    /// The whole value of `# check=`.
    pub check: Option<Spanned<String>>,
}

impl Default for Directives {
    fn default() -> Directives {
        Directives {
            escape: '\\',
            syntax: None,
            check: None,
        }
    }
}

/// FROM and everything up to the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The name after AS, lower-cased; `None` for a stage without one.
    pub name: Option<Word>,
    /// The name after AS as written.
    pub written_name: Option<Word>,
    /// The base: stage name, `scratch` or image reference, unexpanded.
    pub base: Word,
    /// The value of `--platform`, unexpanded; an empty value counts as unset.
    pub platform: Option<Word>,
    /// The description from the comment above (`# NAME text`).
    pub doc: Option<String>,
    /// The FROM line itself.
    pub from: Header,
    /// The instructions after FROM.
    pub instructions: Vec<Instruction>,
}

/// What every instruction has, whatever its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The keyword as written.
    pub keyword: Word,
    /// From the keyword to the end of the last line, heredoc bodies included.
    pub span: Span,
    /// The physical lines, heredoc bodies included.
    pub lines: LineRange,
    /// The logical line: continuations joined, blanks at both ends removed.
    pub code: String,
    /// The comment lines directly above, without `#` and blanks.
    pub comments: Vec<Word>,
}

/// One typed instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Where and how it was written.
    pub header: Header,
    /// What it says.
    pub kind: InstructionKind,
}

/// A file written in place with `<<`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineFile {
    /// The terminator, which names the file.
    pub name: String,
    /// The body, every line with its own terminator; leading tabs of `<<-` are still there for
    /// RUN (see `chomp`) and removed for COPY and ADD.
    pub data: String,
    /// Whether variables in the body are to be expanded (the terminator is not quoted).
    pub expand: bool,
    /// Whether it was written `<<-`.
    pub chomp: bool,
    /// The body's place in the file, without the terminator line.
    pub span: Span,
}
