//! From text to the typed tree: the crate's main entry.

use crate::ast::{Dockerfile, Instruction, Parsed};
use crate::diagnostic::{Code, Diagnostic, Fault, Phase};
use crate::instruction::{InstructionKind, Typed, typed};
use crate::line::{LineFile, read_lines};
use crate::lint;
use crate::node::Node;
use crate::source::{LineRange, Span};

/// Parses a Dockerfile.
///
/// Never fails and never panics: what is wrong is in [`Parsed::diagnostics`], and the tree holds
/// everything else. Linear in the length of `text`; files over
/// [`MAX_FILE_BYTES`](crate::source::MAX_FILE_BYTES) are refused with a diagnostic.
pub fn parse(text: &str) -> Parsed {
    assemble(read_lines(text))
}

/// Gives the lines of a file their types and puts them into stages.
pub fn assemble(file: LineFile) -> Parsed {
    let LineFile {
        nodes,
        directives,
        diagnostics,
        line_count,
        ..
    } = file;
    let mut assembly = Assembly {
        dockerfile: Dockerfile {
            directives,
            ..Dockerfile::default()
        },
        diagnostics,
        lint: Vec::new(),
        orphans: false,
    };
    let any = !nodes.is_empty();
    for node in nodes {
        assembly.add(node);
    }
    assembly.finish(any, line_count)
}

struct Assembly {
    dockerfile: Dockerfile,
    diagnostics: Vec<Diagnostic>,
    lint: Vec<Diagnostic>,
    orphans: bool,
}

impl Assembly {
    fn add(&mut self, node: Node) {
        let lines = node.header.lines;
        lint::of_line(&node, &mut self.lint);
        match typed(node) {
            Ok(Typed::Stage(stage)) => {
                lint::of_stage(&stage, &mut self.lint);
                self.dockerfile.stages.push(*stage);
            }
            Ok(Typed::Instruction(instruction)) => {
                lint::of_instruction(&instruction, &mut self.lint);
                self.place(*instruction);
            }
            Err(fault) => self
                .diagnostics
                .push(fault.into_error(Phase::Instruction, lines)),
        }
    }

    /// Puts an instruction into the stage it belongs to.
    fn place(&mut self, instruction: Instruction) {
        if let Some(stage) = self.dockerfile.stages.last_mut() {
            stage.instructions.push(instruction);
        } else if matches!(instruction.kind, InstructionKind::Arg(_)) {
            self.dockerfile.meta_args.push(instruction);
        } else if !self.orphans {
            // Once is enough: what is missing is one FROM.
            self.orphans = true;
            let header = &instruction.header;
            let fault = Fault::new(
                Code::NoCurrentStage,
                "no build stage in current context",
                header.span,
            );
            let fault = fault.help("Only ARG may stand before the first FROM.");
            self.diagnostics
                .push(fault.into_error(Phase::Structure, header.lines));
        }
    }

    fn finish(mut self, any: bool, line_count: u32) -> Parsed {
        let failed = self.diagnostics.iter().any(Diagnostic::is_error);
        if any && self.dockerfile.stages.is_empty() && !failed {
            let fault = Fault::new(
                Code::NoStages,
                "dockerfile contains no stages to build",
                Span::default(),
            );
            let lines = LineRange {
                first: line_count,
                last: line_count,
            };
            let fault = fault.help("Add a line `FROM image`.");
            self.diagnostics
                .push(fault.into_error(Phase::Structure, lines));
        }
        if !self.diagnostics.iter().any(Diagnostic::is_error) {
            lint::of_file(&self.dockerfile, &mut self.lint);
        }
        self.diagnostics.sort_by_key(|found| found.span.start);
        Parsed {
            dockerfile: self.dockerfile,
            diagnostics: self.diagnostics,
            lint: self.lint,
        }
    }
}

/// Parses an ONBUILD trigger that an image carries.
///
/// Spans and lines are those of `text`. Its escape character is always `\`, whatever the file
/// that it came from says. Errors: the diagnostics, at least one of them an error.
pub fn parse_trigger(text: &str) -> Result<Instruction, Vec<Diagnostic>> {
    let file = read_lines(text);
    let mut diagnostics = file.diagnostics;
    let single = file.nodes.len() == 1;
    let first = file.nodes.into_iter().next();
    let lines = first.as_ref().map(|node| node.header.lines);
    let lines = lines.unwrap_or_default();
    let instruction = match first.map(typed) {
        Some(Ok(Typed::Instruction(instruction))) if single => Some(*instruction),
        Some(Err(fault)) => {
            diagnostics.push(fault.into_error(Phase::Instruction, lines));
            None
        }
        _ => None,
    };
    match instruction {
        Some(instruction) if !diagnostics.iter().any(Diagnostic::is_error) => Ok(instruction),
        _ if diagnostics.iter().any(Diagnostic::is_error) => Err(diagnostics),
        _ => {
            let fault = Fault::new(
                Code::InvalidTrigger,
                "onbuild trigger should be a single expression",
                Span::new(0, crate::input::narrow(text.len())),
            );
            diagnostics.push(fault.into_error(Phase::Structure, lines));
            Err(diagnostics)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let found = parse(text).diagnostics;
        found.iter().map(Diagnostic::full_message).collect()
    }

    #[test]
    fn all_errors_are_collected() {
        assert_eq!(
            errors("FROM a\nRUNN x\nCOPY a\n"),
            [
                "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)",
                "dockerfile parse error on line 3: COPY requires at least two arguments, but only \
                 one was provided. Destination could not be determined",
            ]
        );
    }

    #[test]
    fn the_first_syntax_error_wins() {
        let parsed = parse("FROM a\nRUNN x\nENV a\n");
        let first = parsed.first_error().expect("an error");
        assert_eq!(first.message, "ENV must have two arguments");
    }

    #[test]
    fn files_need_a_stage() {
        assert_eq!(errors(""), ["the Dockerfile cannot be empty"]);
        assert_eq!(errors("\n# a\n"), ["file with no instructions"]);
        assert_eq!(
            errors("ARG a\n"),
            ["dockerfile contains no stages to build"]
        );
        assert_eq!(
            errors("RUN a\nRUN b\n"),
            ["no build stage in current context"]
        );
    }

    #[test]
    fn triggers_are_single_instructions() {
        assert!(parse_trigger("RUN <<A\nx\nA").is_ok());
        for text in ["", "RUN a\nRUN b", "FROM a", "RUNN a"] {
            assert!(parse_trigger(text).is_err(), "{text}");
        }
    }
}
