//! `rbuild import`.

use std::path::Path;

use rbuild::progress::NullSink;

use super::{CommandResult, open, print};
use crate::args::ImportArgs;
use crate::signal;

/// Takes an archive or layout in and prints the image's id.
pub fn run(args: &ImportArgs, root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let image = open(root)?.import(&args.name, &args.file, &NullSink, &cancel)?;
    print(&format!("{}\n", image.id))
}
