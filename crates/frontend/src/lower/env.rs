//! ENV: sets variables for the steps to come and for containers of the image.

use rbuild_dockerfile::instruction::EnvInstruction;

use super::Outcome;
use super::label::{self, expand_pairs};
use super::stage::StageCx;
use crate::lint;
use crate::stage::Command;

pub(super) fn lower(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    env: &EnvInstruction,
) -> Outcome {
    // All values see the environment from before the instruction.
    let pairs = expand_pairs(stage, command, &env.pairs)?;
    let mut created_by = "ENV".to_owned();
    for (written, (name, value)) in env.pairs.iter().zip(&pairs) {
        label::warn_of_legacy(stage, command, written);
        lint::secret::check(stage, command, ("ENV", name, &written.key));
        created_by.push_str(&format!(" {name}={value}"));
        stage.state.scope.set(name, value);
        set(&mut stage.state.run_config().env, name, value);
    }
    stage.state.note(created_by);
    Ok(())
}

/// Sets a variable of a config; a known one keeps its place.
fn set(env: &mut Vec<String>, name: &str, value: &str) {
    let pair = format!("{name}={value}");
    let names_it = |old: &&mut String| old.split('=').next() == Some(name);
    match env.iter_mut().find(names_it) {
        Some(old) => *old = pair,
        None => env.push(pair),
    }
}
