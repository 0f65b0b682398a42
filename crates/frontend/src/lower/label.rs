//! LABEL, and the names and values that it shares with ENV.

use rbuild_dockerfile::instruction::LabelInstruction;
use rbuild_dockerfile::line::Pair;

use super::Outcome;
use super::stage::StageCx;
use crate::Diagnostic;
use crate::stage::Command;

pub(super) fn lower(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    label: &LabelInstruction,
) -> Outcome {
    let pairs = expand_pairs(stage, command, &label.pairs)?;
    let mut created_by = "LABEL".to_owned();
    for (name, value) in pairs {
        created_by.push_str(&format!(" {name}={value}"));
        stage.state.run_config().labels.insert(name, value);
    }
    stage.state.note(created_by);
    Ok(())
}

/// Expands names and values, all with the same environment.
pub(super) fn expand_pairs(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    pairs: &[Pair],
) -> Result<Vec<(String, String)>, Diagnostic> {
    pairs
        .iter()
        .map(|pair| {
            let name = stage.expand(&pair.key, command)?;
            let value = stage.expand(&pair.value, command)?;
            Ok((name, value))
        })
        .collect()
}
