//! `rbuild rmi`.

use std::path::Path;

use rbuild::Removal;

use super::{CommandError, CommandResult, open, print};
use crate::args::RemoveArgs;
use crate::exit::Exit;

/// Removes names and images; goes on after a failure, and then fails.
pub fn run(args: &RemoveArgs, root: Option<&Path>) -> CommandResult {
    let engine = open(root)?;
    let removal = if args.force {
        Removal::Forced
    } else {
        Removal::Careful
    };
    let mut exit = Exit::Success;
    for name in &args.images {
        match engine.remove_image(name, removal) {
            Ok(removed) => {
                for name in &removed.untagged {
                    print(&format!("Untagged: {}\n", name.familiar()))?;
                }
                for id in &removed.deleted {
                    print(&format!("Deleted: {id}\n"))?;
                }
            }
            Err(error) => {
                let failed = CommandError::Engine(error).show("");
                exit = if args.force { exit } else { failed };
            }
        }
    }
    Ok(exit)
}
