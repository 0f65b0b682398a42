//! ARG: declares a build argument from here on.
//!
//! Value: the build argument, else the default, else the global one, else none. A value enters the
//! environment of expansions and of RUN, never the config.

use rbuild_dockerfile::instruction::{ArgInstruction, ArgPair};

use super::Outcome;
use super::stage::StageCx;
use crate::Diagnostic;
use crate::scope::NON_ENV_ARGS;
use crate::stage::Command;
use crate::state::DeclaredArg;

pub(super) fn lower(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    arg: &ArgInstruction,
) -> Outcome {
    let mut shown = Vec::with_capacity(arg.args.len());
    for pair in &arg.args {
        let name = pair.key.as_str();
        let value = value(stage, command, pair)?;
        if let Some(value) = &value
            && !NON_ENV_ARGS.contains(&name)
        {
            stage.state.scope.set(name, value);
        }
        shown.push(match &value {
            Some(value) => format!("{name}={value}"),
            None => name.to_owned(),
        });
        stage.state.args.push(DeclaredArg {
            name: name.to_owned(),
            value,
        });
    }
    stage.state.note(format!("ARG {}", shown.join(" ")));
    Ok(())
}

fn value(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    pair: &ArgPair,
) -> Result<Option<String>, Diagnostic> {
    let name = pair.key.as_str();
    if let Some(given) = stage.round.request.build_args.get(name) {
        return Ok(Some(given.clone()));
    }
    match &pair.value {
        Some(default) => stage.expand(default, command).map(Some),
        None => Ok(stage
            .round
            .outline
            .globals
            .scope
            .get(name)
            .map(str::to_owned)),
    }
}
