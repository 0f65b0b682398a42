//! `rbuild save`.

use std::path::Path;

use rbuild::oci::Address;
use rbuild::progress::NullSink;
use rbuild::{SaveDest, SaveRequest};

use super::{CommandResult, dest, open, platforms};
use crate::args::{SaveArgs, SaveFormat};
use crate::exit::Exit;
use crate::signal;

/// Writes images as a layout or an archive; a file appears whole or not at all.
pub fn run(args: &SaveArgs, root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let path = match &args.output {
        Some(Address::Name(path)) => Some(Path::new(path)),
        _ => None,
    };
    let dest = match (&args.output, args.format) {
        (Some(address), _) if path.is_none() => SaveDest::Address(address.clone()),
        (_, SaveFormat::Oci) => SaveDest::Oci(dest(path)),
        (_, SaveFormat::Docker) => SaveDest::Docker(dest(path)),
    };
    let request = SaveRequest {
        images: args.images.clone(),
        platforms: platforms(&args.platforms),
        dest,
    };
    open(root)?.save(&request, &NullSink, &cancel)?;
    Ok(Exit::Success)
}
