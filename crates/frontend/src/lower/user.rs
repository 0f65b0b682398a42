//! USER: who runs the steps to come and containers; looked up when a step runs.

use rbuild_dockerfile::instruction::UserInstruction;

use super::Outcome;
use super::stage::StageCx;
use crate::stage::Command;

pub(super) fn lower(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    user: &UserInstruction,
) -> Outcome {
    let user = stage.expand(&user.user, command)?;
    stage.state.run_config().user.clone_from(&user);
    stage.state.note(format!("USER {user}"));
    Ok(())
}
