//! ARG: declares a build argument from here on.
//!
//! Value: the build argument, else the default, else the global one, else none. A value enters the
//! environment of expansions and of RUN, never the config.

use rbuild_dockerfile::instruction::{ArgInstruction, ArgPair};

use super::Outcome;
use super::stage::StageCx;
use crate::lint;
use crate::scope::NON_ENV_ARGS;
use crate::stage::Command;
use crate::state::DeclaredArg;
use crate::{Diagnostic, Parameter};

pub(super) fn lower(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    arg: &ArgInstruction,
) -> Outcome {
    let mut shown = Vec::with_capacity(arg.args.len());
    for pair in &arg.args {
        let name = pair.key.as_str();
        lint::secret::check(stage, command, ("ARG", name, &pair.key));
        let value = value(stage, command, pair)?;
        if let Some(value) = &value
            && !NON_ENV_ARGS.contains(&name)
        {
            stage.state.scope.set(name, value);
        }
        list(stage, command, (pair, &value));
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

/// Lists an argument among those of the build; one that only repeats a global one is that one.
fn list(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    (pair, value): (&ArgPair, &Option<String>),
) {
    let name = &pair.key.text;
    let globals = &stage.round.outline.globals;
    let given = stage.round.request.build_args.contains_key(name);
    if pair.value.is_none() && !given && globals.scope.get(name).is_some() {
        stage.state.params.use_globals([name], globals);
        return;
    }
    let parameter = Parameter {
        name: name.clone(),
        value: value.clone(),
        description: pair.doc.clone(),
        span: command.span,
    };
    stage.state.params.args.insert(name.clone(), parameter);
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
