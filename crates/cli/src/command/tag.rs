//! `rbuild tag`.

use std::path::Path;

use super::{CommandResult, open};
use crate::args::TagArgs;
use crate::exit::Exit;

/// Gives an image a further name.
pub fn run(args: &TagArgs, root: Option<&Path>) -> CommandResult {
    open(root)?.tag(&args.image, &args.name)?;
    Ok(Exit::Success)
}
