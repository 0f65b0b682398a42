//! Owners by name where there are no names.

use rbuild_dockerfile::Word;
use rbuild_graph::{Owner, OwnerId};

use crate::Code;
use crate::lower::StageCx;
use crate::stage::Command;
use crate::state::Root;

/// Warns of names in `--chown` on an image without files, and so without accounts: the step will fail.
/// Of other images the step itself tells when it looks.
pub(crate) fn check(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    (owner, word): (Option<&Owner>, Option<&Word>),
) {
    let (Some(owner), Root::Empty) = (owner, stage.state.root) else {
        return;
    };
    for id in std::iter::once(&owner.user).chain(owner.group.as_ref()) {
        let OwnerId::Name(name) = id else {
            continue;
        };
        if name == "root" {
            continue;
        }
        let message =
            format!("Owner '{name}' cannot be found: the image is empty, it has no accounts");
        let help = "Give numbers, as in `--chown=1000:1000`.";
        stage.warn(command, (Code::UnknownOwner, message), (word, help));
    }
}
