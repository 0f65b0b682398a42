//! `rbuild export`.

use std::path::Path;

use rbuild::progress::NullSink;

use super::{CommandResult, dest, open};
use crate::args::ExportArgs;
use crate::exit::Exit;
use crate::signal;

/// Writes the files of an image as a tar.
pub fn run(args: &ExportArgs, root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let platform = args.platform.as_ref().map(|arg| &arg.0);
    let dest = dest(args.output.as_deref());
    let engine = open(root)?;
    engine.export_files((&args.image, platform), &dest, &NullSink, &cancel)?;
    Ok(Exit::Success)
}
