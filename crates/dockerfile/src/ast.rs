//! The tree of a Dockerfile: directives, stages, instructions, words.

use crate::diagnostic::{Diagnostic, Phase};
use crate::instruction::InstructionKind;
use crate::source::{LineRange, Span, Spanned};
use crate::word::Word;

/// The result of parsing: the tree, and what is wrong with the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The tree of everything that could be understood.
    pub dockerfile: Dockerfile,
    /// The findings in the order of their places; the first error is the one BuildKit reports.
    pub diagnostics: Vec<Diagnostic>,
    /// What the rules on good style find in the text alone, in the order in which BuildKit does:
    /// instruction by instruction, then over the whole file, which needs a file without errors.
    pub lint: Vec<Diagnostic>,
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

impl Directives {
    /// Returns the image reference of the `syntax` directive: its value up to the first space.
    pub fn syntax_reference(&self) -> Option<&str> {
        first_word(self.syntax.as_ref())
    }

    /// Returns the options of the `check` directive: its value up to the first space.
    pub fn check_options(&self) -> Option<&str> {
        first_word(self.check.as_ref())
    }
}

fn first_word(value: Option<&Spanned<String>>) -> Option<&str> {
    value.map(|found| found.value.split(' ').next().unwrap_or_default())
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The keyword as written.
    pub keyword: Word,
    /// From the keyword to the end of the last line, heredoc bodies included.
    pub span: Span,
    /// The physical lines, heredoc bodies included.
    pub lines: LineRange,
    /// The logical line: continuations joined, trailing blanks still there.
    pub original: String,
    /// The comment lines directly above, without `#` and blanks.
    pub comments: Vec<Word>,
}

impl Header {
    /// Returns the logical line without blanks at its ends.
    pub fn code(&self) -> &str {
        self.original.trim()
    }

    /// Returns the text after `name ` in the first comment line above that begins so.
    pub(crate) fn description(&self, name: &str) -> Option<String> {
        self.comments
            .iter()
            .find_map(|line| line.text.strip_prefix(name)?.strip_prefix(' '))
            .filter(|_| !name.is_empty())
            .map(str::to_owned)
    }
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
    /// The number before `<<`, which only the shell heeds; 0 when there is none.
    pub descriptor: u64,
    /// The body's place in the file, without the terminator line.
    pub span: Span,
}
