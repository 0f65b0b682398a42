//! LABEL, and the names and values that it shares with ENV.

use rbuild_dockerfile::instruction::LabelInstruction;
use rbuild_dockerfile::line::{Pair, PairStyle};

use super::Outcome;
use super::stage::StageCx;
use crate::stage::Command;
use crate::{Code, Diagnostic};

pub(super) fn lower(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    label: &LabelInstruction,
) -> Outcome {
    let pairs = expand_pairs(stage, command, &label.pairs)?;
    let mut created_by = "LABEL".to_owned();
    for (written, (name, value)) in label.pairs.iter().zip(pairs) {
        warn_of_legacy(stage, command, written);
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

/// Warns of a name with its value behind a blank.
pub(super) fn warn_of_legacy(stage: &mut StageCx<'_, '_>, command: &Command<'_>, pair: &Pair) {
    if pair.style == PairStyle::Blank {
        let keyword = command.instruction.header.keyword.as_str();
        let message = format!(
            "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"
        );
        let code = Code::LegacyKeyValueFormat;
        let help = "Write `name=value`, in quotes where the value has blanks.";
        stage.warn(command, (code, message), (Some(&pair.key), help));
    }
}
