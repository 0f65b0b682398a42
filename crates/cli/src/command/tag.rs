//! `rbuild tag`.

use std::path::Path;

use rbuild::progress::NullSink;

use super::{CommandResult, open, platforms};
use crate::args::TagArgs;
use crate::exit::Exit;
use crate::signal;

/// Gives an image a further name; one from elsewhere is brought into the store.
pub fn run(args: &TagArgs, root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let platforms = platforms(&args.platforms);
    let engine = open(root)?;
    engine.tag((&args.image, &platforms), &args.name, &NullSink, &cancel)?;
    Ok(Exit::Success)
}
