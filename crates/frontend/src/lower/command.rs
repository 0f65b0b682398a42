//! CMD and ENTRYPOINT: what a container runs.

use rbuild_dockerfile::instruction::{CommandForm, CommandInstruction};

use super::stage::StageCx;
use super::{Outcome, shell};
use crate::Code;
use crate::go_text::quoted_list;
use crate::stage::Command;

pub(super) fn cmd(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    cmd: &CommandInstruction,
) -> Outcome {
    stage.only_last(command, |last| &mut last.cmd);
    let args = container_args(stage, command, cmd);
    stage.state.note(format!("CMD {}", quoted_list(&args)));
    let config = stage.state.run_config();
    config.cmd = Some(args);
    config.args_escaped = true;
    Ok(())
}

pub(super) fn entrypoint(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    entrypoint: &CommandInstruction,
) -> Outcome {
    stage.only_last(command, |last| &mut last.entrypoint);
    let args = container_args(stage, command, entrypoint);
    stage
        .state
        .note(format!("ENTRYPOINT {}", quoted_list(&args)));
    let own_cmd = stage.last.cmd.is_some();
    let config = stage.state.run_config();
    config.entrypoint = Some(args);
    // An inherited CMD was meant for the inherited entry point.
    if !own_cmd {
        config.cmd = None;
    }
    Ok(())
}

fn container_args(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    instruction: &CommandInstruction,
) -> Vec<String> {
    let args = instruction.command.args.iter().map(|arg| arg.text.clone());
    if instruction.command.form == CommandForm::Exec {
        return args.collect();
    }
    if stage
        .state
        .config
        .config
        .shell
        .as_ref()
        .is_none_or(Vec::is_empty)
    {
        let keyword = command.instruction.header.keyword.as_str();
        let message = format!(
            "JSON arguments recommended for {keyword} to prevent unintended behavior \
             related to OS signals"
        );
        let help = format!(
            "Write `{keyword} [\"program\", \"argument\"]`, or choose the shell with SHELL."
        );
        stage.warn(command, (Code::JsonArgsRecommended, message), (None, &help));
    }
    let text = args.collect::<Vec<_>>().join(" ");
    shell::wrap(stage, text)
}
