//! `rbuild import`.

use std::path::Path;

use rbuild::progress::NullSink;

use super::{CommandResult, image_file, open, platforms, print};
use crate::args::ImportArgs;
use crate::signal;

/// Takes an image in under a name and prints its id.
pub fn run(args: &ImportArgs, root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let (file, platforms) = (image_file(&args.file), platforms(&args.platforms));
    let engine = open(root)?;
    let image = engine.import(&args.name, (&file, &platforms), &NullSink, &cancel)?;
    print(&format!("{}\n", image.id))
}
