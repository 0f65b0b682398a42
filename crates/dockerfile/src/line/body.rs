//! Bodies of here-documents: the lines behind an instruction.

use super::reader::Reader;
use crate::ast::InlineFile;
use crate::diagnostic::{Code, Fault};
use crate::heredoc::{self, Mark};
use crate::input::narrow;
use crate::node::Node;
use crate::source::{LineRange, Span};

impl Reader<'_> {
    /// Reads the bodies of the line's here-documents; false when one has no end.
    ///
    /// Grammar: dockerfile.ebnf#heredocs
    pub(super) fn heredocs(&mut self, node: &mut Node, end: &mut usize, first_line: u32) -> bool {
        let marks = match heredoc::marks(self.logical.text()) {
            Ok(marks) => marks,
            Err(error) => {
                let lines = LineRange {
                    first: first_line,
                    last: self.count,
                };
                let span = node.header.span;
                self.error(
                    Fault::new(Code::UnterminatedHeredoc, error.to_string(), span),
                    lines,
                );
                return false;
            }
        };
        for mark in marks {
            let name = mark.name.clone();
            match self.body(mark, end) {
                Some(file) => node.heredocs.push(file),
                None => {
                    let lines = LineRange {
                        first: first_line,
                        last: self.count,
                    };
                    let fault = Fault::new(
                        Code::UnterminatedHeredoc,
                        "unterminated heredoc",
                        node.header.span,
                    );
                    let help = format!("End it with a line that holds `{name}` and nothing else.");
                    self.error(fault.help(help), lines);
                    return false;
                }
            }
        }
        true
    }

    /// Reads lines up to the terminator.
    ///
    /// Grammar: dockerfile.ebnf#heredoc-body
    fn body(&mut self, mark: Mark, end: &mut usize) -> Option<InlineFile> {
        let start = self.at;
        while let Some(line) = self.next() {
            let candidate = match mark.chomp {
                true => line.text.trim_start_matches('\t'),
                false => line.text,
            };
            if candidate == mark.name {
                *end = line.start + line.text.len();
                let span = Span::new(narrow(start), narrow(line.start));
                return Some(InlineFile {
                    name: mark.name,
                    data: self.text[start..line.start].to_owned(),
                    expand: mark.expand,
                    chomp: mark.chomp,
                    descriptor: mark.descriptor,
                    span,
                });
            }
        }
        None
    }
}
