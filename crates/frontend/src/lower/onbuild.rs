//! ONBUILD: kept as text for the images and stages that build on this one; no history.

use rbuild_dockerfile::instruction::OnbuildInstruction;

use super::Outcome;
use super::stage::StageCx;

pub(super) fn lower(stage: &mut StageCx<'_, '_>, onbuild: &OnbuildInstruction) -> Outcome {
    let triggers = &mut stage.state.run_config().on_build;
    triggers.push(onbuild.expression.clone());
    Ok(())
}
