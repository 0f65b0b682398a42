//! CMD and ENTRYPOINT: what a container runs.

use rbuild_dockerfile::instruction::{CommandForm, CommandInstruction};

use super::stage::StageCx;
use super::{Outcome, shell};
use crate::go_text::quoted_list;
use crate::stage::Command;
use crate::{Code, Diagnostic};

pub(super) fn cmd(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    cmd: &CommandInstruction,
) -> Outcome {
    stage.only_last("CMD", |last| &mut last.cmd, command.span);
    let args = container_args(stage, command, cmd, "CMD");
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
    stage.only_last("ENTRYPOINT", |last| &mut last.entrypoint, command.span);
    let args = container_args(stage, command, entrypoint, "ENTRYPOINT");
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
    keyword: &str,
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
        let message = format!(
            "JSON arguments recommended for {keyword} to prevent unintended behavior \
             related to OS signals"
        );
        let warning = Diagnostic::warning(Code::JsonArgsRecommended, command.span, message);
        stage.build.report(warning);
    }
    let text = args.collect::<Vec<_>>().join(" ");
    shell::wrap(stage, text)
}
