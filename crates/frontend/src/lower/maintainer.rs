//! MAINTAINER: the author of the image.

use rbuild_dockerfile::instruction::MaintainerInstruction;

use super::Outcome;
use super::stage::StageCx;

pub(super) fn lower(stage: &mut StageCx<'_, '_>, maintainer: &MaintainerInstruction) -> Outcome {
    let name = maintainer.name.as_str();
    name.clone_into(&mut stage.state.config.author);
    stage.state.note(format!("MAINTAINER {name}"));
    Ok(())
}
