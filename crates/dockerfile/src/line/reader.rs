//! The reader: takes physical lines one by one, puts instructions together.

use super::{LineFile, LineKind, LogicalLine, MAX_LINE_BYTES};
use crate::diagnostic::{Code, Diagnostic, Fault, Phase, Severity};
use crate::directive::{self, Block, Top};
use crate::input::{Logical, narrow};
use crate::node;
use crate::source::{LineRange, MAX_FILE_BYTES, Span};
use crate::word::Word;

/// One physical line.
#[derive(Clone, Copy)]
pub(super) struct Physical<'t> {
    /// Where it begins in the file.
    pub(super) start: usize,
    /// The line without its terminator and without carriage returns before it.
    pub(super) text: &'t str,
}

pub(super) struct Reader<'t> {
    pub(super) text: &'t str,
    pub(super) at: usize,
    pub(super) count: u32,
    too_long: bool,
    block: Block,
    comments: Vec<Word>,
    pub(super) logical: Logical,
    out: LineFile,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Reader<'t> {
        Reader {
            text,
            at: 0,
            count: 0,
            too_long: false,
            block: Block::default(),
            comments: Vec::new(),
            logical: Logical::default(),
            out: LineFile {
                directives: directive::detect(text),
                ..LineFile::default()
            },
        }
    }

    /// Reads all lines.
    pub(super) fn read(&mut self) {
        while let Some(line) = self.next() {
            self.logical_line(line);
        }
        self.finish();
    }

    /// Returns what was read.
    pub(super) fn done(mut self) -> LineFile {
        self.out.line_count = self.count;
        self.out
    }

    /// Takes the next physical line.
    ///
    /// Grammar: dockerfile.ebnf#physical-line
    pub(super) fn next(&mut self) -> Option<Physical<'t>> {
        let rest = &self.text[self.at..];
        if rest.is_empty() || self.too_long {
            return None;
        }
        let content = rest.find('\n').unwrap_or(rest.len());
        if content > MAX_LINE_BYTES {
            self.too_long = true;
            return None;
        }
        let start = self.at;
        self.at += (content + 1).min(rest.len());
        self.count += 1;
        Some(Physical {
            start,
            text: rest[..content].trim_end_matches('\r'),
        })
    }

    pub(super) fn error(&mut self, fault: Fault, lines: LineRange) {
        let found = fault.into_error(Phase::Syntax, lines);
        self.out.diagnostics.push(found);
    }

    fn push_line(&mut self, kind: LineKind, start: usize) {
        let span = Span::new(narrow(start), narrow(self.at));
        self.out.lines.push(LogicalLine { kind, span });
    }

    /// Reads one logical line that begins with `line`.
    ///
    /// Grammar: dockerfile.ebnf#logical-line
    /// Grammar: dockerfile.ebnf#blank-line
    fn logical_line(&mut self, line: Physical<'t>) {
        let mut text = line.text;
        if line.start == 0 {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        let trimmed = text.trim_start();
        let kind = self.top(trimmed, line);
        if kind != Some(LineKind::Directive) && trimmed.starts_with('#') {
            self.comment(text, line);
        }
        match (kind, trimmed) {
            (Some(kind), _) => self.push_line(kind, line.start),
            (None, "") => self.push_line(LineKind::Blank, line.start),
            (None, _) if trimmed.starts_with('#') => {
                self.push_line(LineKind::Comment, line.start);
            }
            (None, _) => self.instruction(line, trimmed),
        }
    }

    /// Offers a line to the directives.
    ///
    /// Grammar: dockerfile.ebnf#directive-line
    fn top(&mut self, trimmed: &str, line: Physical<'t>) -> Option<LineKind> {
        // BuildKit has not counted the line yet when it complains.
        let lines = LineRange {
            first: self.count - 1,
            last: self.count - 1,
        };
        let start = line.start + (trimmed.as_ptr() as usize - line.text.as_ptr() as usize);
        let span = Span::new(narrow(start), narrow(start + trimmed.len()));
        match self.block.read(trimmed, "#") {
            Top::End => None,
            Top::Repeated(name) => {
                let message = format!("only one {name} parser directive can be used");
                self.error(Fault::new(Code::DuplicateDirective, message, span), lines);
                Some(LineKind::Directive)
            }
            Top::Directive("escape", value) => {
                match value {
                    "\\" => self.out.directives.escape = '\\',
                    "`" => self.out.directives.escape = '`',
                    _ => {
                        let message =
                            format!("invalid escape token '{value}' does not match ` or \\");
                        let fault = Fault::new(Code::InvalidEscape, message, span);
                        self.error(fault, lines);
                    }
                }
                Some(LineKind::Directive)
            }
            Top::Directive(..) => Some(LineKind::Directive),
        }
    }

    /// Keeps a comment for the next instruction; an empty one drops those before it.
    ///
    /// Grammar: dockerfile.ebnf#comment
    fn comment(&mut self, text: &str, line: Physical<'t>) {
        // BuildKit drops the first character, which is not the `#` of an indented comment.
        let mut chars = text.chars();
        chars.next();
        let body = chars.as_str().trim();
        if body.is_empty() {
            self.comments.clear();
            return;
        }
        let start = line.start + (body.as_ptr() as usize - line.text.as_ptr() as usize);
        let span = Span::new(narrow(start), narrow(start + body.len()));
        self.comments.push(Word::new(body, span));
    }

    /// Reads an instruction, its continuations and its here-documents.
    ///
    /// Grammar: dockerfile.ebnf#instruction-line
    fn instruction(&mut self, first: Physical<'t>, trimmed: &'t str) {
        let first_line = self.count;
        let start = first.start + (trimmed.as_ptr() as usize - first.text.as_ptr() as usize);
        let (mut end, blank_lines) = self.join(trimmed, start);
        let range = |count| LineRange {
            first: first_line,
            last: count,
        };
        if blank_lines {
            self.warn_blank_lines(start, end);
        }
        let escape = self.out.directives.escape;
        let comments = std::mem::take(&mut self.comments);
        match node::read(&self.logical, escape) {
            Ok(mut node) => {
                let complete = match node.takes_heredocs() {
                    true => self.heredocs(&mut node, &mut end, first_line),
                    false => true,
                };
                node.header.lines = range(self.count);
                node.header.comments = comments;
                node.header.span.end = node.header.span.end.max(narrow(end));
                if complete {
                    self.out.nodes.push(node);
                }
            }
            Err(fault) => {
                let lines = range(self.count);
                self.error(fault, lines);
            }
        }
        self.push_line(LineKind::Instruction, first.start);
    }

    /// Joins `trimmed`, which begins at `start`, and its continuations into the logical line.
    /// Returns where the text ends and whether there were blank lines in it.
    ///
    /// Grammar: dockerfile.ebnf#joined-line
    fn join(&mut self, trimmed: &'t str, start: usize) -> (usize, bool) {
        let escape = self.out.directives.escape;
        let mut blank_lines = false;
        let mut end = start + trimmed.len();
        self.logical.clear();
        let (text, mut continues) = continuation(trimmed, escape);
        self.logical.push(text, start);
        while continues {
            let Some(line) = self.next() else {
                break;
            };
            let content = line.text.trim_start();
            if content.starts_with('#') {
                continue;
            }
            if content.is_empty() {
                blank_lines = true;
                continue;
            }
            let (text, more) = continuation(line.text, escape);
            self.logical.push(text, line.start);
            end = line.start + line.text.len();
            continues = more;
        }
        (end, blank_lines)
    }

    fn warn_blank_lines(&mut self, start: usize, end: usize) {
        let message = format!("Empty continuation line found in: {}", self.logical.text());
        let lines = LineRange {
            first: self.count,
            last: self.count,
        };
        self.out.diagnostics.push(Diagnostic {
            severity: Severity::Warning,
            code: Code::EmptyContinuation,
            phase: Phase::Syntax,
            message,
            span: Span::new(narrow(start), narrow(end)),
            lines,
            help: Some("Remove the blank lines, or begin them with `#`.".to_owned()),
        });
    }

    /// Looks at what only the whole file shows.
    fn finish(&mut self) {
        let last = LineRange {
            first: self.count,
            last: self.count,
        };
        if self.too_long {
            let start = self.at;
            self.at = self.text.len();
            let message =
                format!("dockerfile line greater than max allowed size of {MAX_LINE_BYTES}");
            let line_end = self.text[start..].find('\n').unwrap_or(self.at - start);
            let span = Span::new(narrow(start), narrow(start + line_end));
            let fault = Fault::new(Code::LineTooLong, message, span);
            let help = "Break the line with the escape character, or move the data to a file.";
            self.error(fault.help(help), last);
            self.push_line(LineKind::Unread, start);
        }
        if self.out.nodes.is_empty() && self.out.diagnostics.is_empty() {
            let span = Span::new(0, narrow(self.text.len()));
            let fault = match self.text.is_empty() {
                true => Fault::new(Code::EmptyFile, "the Dockerfile cannot be empty", span),
                false => Fault::new(Code::NoInstructions, "file with no instructions", span),
            };
            self.error(fault.help("Begin with `FROM image`."), last);
        }
    }

    pub(super) fn refuse_file(&mut self) {
        self.at = self.text.len();
        self.push_line(LineKind::Unread, 0);
        let message = format!("dockerfile larger than max allowed size of {MAX_FILE_BYTES}");
        let fault = Fault::new(Code::FileTooLarge, message, Span::default());
        self.error(fault, LineRange::default());
    }
}

/// Splits off the continuation mark: the escape character, blanks behind it, and before it either
/// nothing or another character. Returns the text and whether the line goes on.
///
/// Grammar: dockerfile.ebnf#continuation
fn continuation(line: &str, escape: char) -> (&str, bool) {
    let text = line
        .trim_end_matches([' ', '\t'])
        .strip_suffix(escape)
        .filter(|before| !before.ends_with(escape));
    match text {
        Some(text) => (text, true),
        None => (line, false),
    }
}
