//! VOLUME: paths that a container gets a volume at; no directory is made.

use rbuild_dockerfile::instruction::VolumeInstruction;

use super::Outcome;
use super::stage::StageCx;
use crate::go_text::plain_list;
use crate::stage::Command;
use crate::{Code, Diagnostic};

pub(super) fn lower(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    volume: &VolumeInstruction,
) -> Outcome {
    let mut paths = Vec::with_capacity(volume.volumes.len());
    for word in &volume.volumes {
        paths.push(stage.expand(word, command)?);
    }
    if paths.iter().any(String::is_empty) {
        let message = "VOLUME specified can not be an empty string";
        return Err(Diagnostic::error(
            Code::InvalidVolume,
            command.span,
            message,
        ));
    }
    stage.state.note(format!("VOLUME {}", plain_list(&paths)));
    stage.state.run_config().volumes.extend(paths);
    Ok(())
}
