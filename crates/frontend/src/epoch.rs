//! `SOURCE_DATE_EPOCH`: the time that everything new gets.

use rbuild_dockerfile::InstructionKind;

use crate::scope::Globals;
use crate::stage::{Base, Stage, Table};
use crate::{Code, Diagnostic, LowerRequest, NamedContext};

const NAME: &str = "SOURCE_DATE_EPOCH";

/// The time in seconds since 1970: from the build argument, else from the global ARG, else from
/// the request.
///
/// `context` stands for the time of the context: a directory has none, and neither have those that are
/// named by other names of local contexts.
pub(crate) fn source_epoch(
    request: &LowerRequest,
    globals: &Globals,
    table: &Table<'_>,
) -> Result<Option<i64>, Diagnostic> {
    let argument = request.build_args.get(NAME).map(String::as_str);
    let Some(text) = argument.or_else(|| globals.scope.get(NAME)) else {
        return Ok(request.source_epoch);
    };
    if text.is_empty() {
        return Ok(None);
    }
    if text == "context" {
        return Ok(request.context_epoch);
    }
    if let Ok(seconds) = text.parse() {
        return Ok(Some(seconds));
    }
    if let Some(stage) = table.find(text) {
        return Err(of_stage(&table.stages[stage]));
    }
    match request.contexts.get(text) {
        Some(NamedContext::Local) => Ok(None),
        Some(_) => Err(unsupported("a named context as SOURCE_DATE_EPOCH")),
        None => {
            let message = format!("invalid {NAME}: {text}");
            Err(Diagnostic::error_nowhere(Code::InvalidEpoch, message))
        }
    }
}

/// What is wrong with taking the time from a stage; in the end, that it needs a remote ADD.
fn of_stage(stage: &Stage<'_>) -> Diagnostic {
    let foreign = stage
        .commands
        .iter()
        .find_map(|command| match &command.instruction.kind {
            InstructionKind::Add(_) | InstructionKind::Arg(_) => None,
            _ => Some(command.instruction.header.keyword.text.to_uppercase()),
        });
    let reason = match (foreign, &stage.base) {
        (Some(keyword), _) => format!("unsupported {keyword} instruction"),
        (None, Base::Scratch) => return unsupported("a remote ADD as SOURCE_DATE_EPOCH"),
        (None, _) => "the stage must be FROM scratch".to_owned(),
    };
    let message = format!("{NAME} stage does not meet source-only requirements: {reason}");
    Diagnostic::error(Code::InvalidEpoch, stage.span, message)
}

fn unsupported(what: &str) -> Diagnostic {
    let message = format!("not supported yet by this version: {what}");
    Diagnostic::error_nowhere(Code::Unsupported, message)
        .with_help("Give the time in seconds since 1970.")
}
