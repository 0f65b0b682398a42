//! WORKDIR: the directory of the steps to come and of containers; made if it is missing.

use rbuild_dockerfile::Word;
use rbuild_dockerfile::instruction::WorkdirInstruction;
use rbuild_graph::{FileAction, FileOp, MkdirAction, Op};

use super::Outcome;
use super::owner::parse_owner;
use super::stage::{Inputs, StageCx};
use crate::stage::Command;
use crate::{Code, path};

/// Mode of a directory that WORKDIR makes.
const MODE: u32 = 0o755;

pub(super) fn lower(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    workdir: &WorkdirInstruction,
) -> Outcome {
    let written = stage.expand(&workdir.path, command)?;
    warn_if_relative(stage, command, (&workdir.path, &written));
    let dir = path::join_workdir(&stage.state.workdir(), &written);
    let created_by = format!("WORKDIR {dir}");
    stage.state.run_config().working_dir = dir;
    let path = stage.state.workdir();
    if path == "/" {
        stage.state.note(created_by);
        return Ok(());
    }
    let mut inputs = Inputs::default();
    let mkdir = MkdirAction {
        path,
        mode: MODE,
        owner: parse_owner(&stage.state.config.config.user),
        epoch: stage.round.source_epoch,
    };
    let op = FileOp {
        base: stage.root_input(&mut inputs),
        link: false,
        actions: vec![FileAction::Mkdir(mkdir)],
    };
    let name = stage.step_name(command);
    let tag = stage.tag(name, command);
    let vertex = stage.build.add(Op::File(op), inputs.into_list(), tag);
    stage.state.commit(created_by, vertex);
    Ok(())
}

fn warn_if_relative(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    (word, written): (&Word, &str),
) {
    if !stage.state.workdir_seen && !written.starts_with('/') {
        let quoted = rbuild_dockerfile::quote::go_quote(written);
        let message = format!(
            "Relative workdir {quoted} can have unexpected results if the base image changes"
        );
        let found = (Code::WorkdirRelativePath, message);
        stage.warn(command, found, (Some(word), "Begin the path with `/`."));
    }
    stage.state.workdir_seen = true;
}
