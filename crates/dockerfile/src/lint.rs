//! Rules of good style that the text alone can break, one file for each subject.
//!
//! Names and messages are BuildKit's. Rules that need the values of variables, images or the build
//! context live with lowering.

mod casing;
mod comment;
mod name;

use crate::ast::{Dockerfile, Instruction, Stage};
use crate::diagnostic::{Code, Diagnostic, Fault, Phase};
use crate::instruction::InstructionKind;
use crate::keyword::Keyword;
use crate::node::{Arguments, Node};
use crate::source::{LineRange, Span};

/// Looks at a line before it is known whether it is right.
pub(crate) fn of_line(node: &Node, found: &mut Vec<Diagnostic>) {
    let header = &node.header;
    match (node.keyword(), &node.arguments) {
        (Some(Keyword::From), Arguments::Words(words)) => {
            name::casing(header, words, found);
            casing::from_as(header, words, found);
        }
        (Some(Keyword::Maintainer), _) => {
            let message = "Maintainer instruction is deprecated in favor of using label";
            let help = "Write `LABEL org.opencontainers.image.authors=\"...\"`.";
            let fault = Fault::new(Code::MaintainerDeprecated, message, header.keyword.span);
            found.push(rule(fault.help(help), header.lines));
        }
        _ => {}
    }
}

/// Looks at the head of a stage.
pub(crate) fn of_stage(stage: &Stage, found: &mut Vec<Diagnostic>) {
    if let Some(name) = &stage.name {
        comment::describes(&stage.from, "FROM", &[name], found);
    }
}

/// Looks at one instruction.
pub(crate) fn of_instruction(instruction: &Instruction, found: &mut Vec<Diagnostic>) {
    if let InstructionKind::Arg(arg) = &instruction.kind {
        let names: Vec<_> = arg.args.iter().map(|pair| &pair.key).collect();
        comment::describes(&instruction.header, "ARG", &names, found);
    }
}

/// Looks at what only the whole file shows.
pub(crate) fn of_file(dockerfile: &Dockerfile, found: &mut Vec<Diagnostic>) {
    name::unique(&dockerfile.stages, found);
    casing::keywords(&dockerfile.stages, found);
}

/// A finding of a rule.
fn rule(fault: Fault, lines: LineRange) -> Diagnostic {
    fault.into_warning(Phase::Structure, lines)
}

/// A finding of a rule, with what to do.
fn finding(
    (code, message): (Code, String),
    (span, lines): (Span, LineRange),
    help: String,
) -> Diagnostic {
    rule(Fault::new(code, message, span).help(help), lines)
}

#[cfg(test)]
mod tests;
