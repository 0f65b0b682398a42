//! `rbuild save`.

use std::path::Path;

use rbuild::oci::Platform;
use rbuild::progress::NullSink;
use rbuild::{ArchiveFormat, Dest};

use super::{CommandResult, open};
use crate::args::{SaveArgs, SaveFormat};
use crate::exit::Exit;
use crate::signal;

/// Writes an image as an archive; a file appears whole or not at all.
pub fn run(args: &SaveArgs, root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let format = match args.format {
        SaveFormat::Oci => ArchiveFormat::Oci,
        SaveFormat::Docker => ArchiveFormat::Docker,
    };
    let dest = match &args.output {
        Some(path) => Dest::File(path.clone()),
        None => Dest::Stdout,
    };
    let platforms: Vec<Platform> = args.platforms.iter().map(|arg| arg.0.clone()).collect();
    let what = (args.images.as_slice(), platforms.as_slice());
    open(root)?.save(what, (format, &dest), &NullSink, &cancel)?;
    Ok(Exit::Success)
}
