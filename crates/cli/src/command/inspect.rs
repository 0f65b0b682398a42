//! `rbuild inspect`.

use std::path::Path;

use rbuild::progress::NullSink;
use rbuild::{ImageDetails, Platforms, StoredImage};
use serde_json::{Value, json};

use super::{CommandResult, open, print};
use crate::args::InspectArgs;
use crate::signal;

/// Prints an array with an object for each image, in the order asked for.
pub fn run(args: &InspectArgs, root: Option<&Path>) -> CommandResult {
    let engine = open(root)?;
    let platform = args.platform.as_ref().map(|arg| &arg.0);
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let wanted = match platform {
        Some(platform) => Platforms::These(vec![platform.clone()]),
        None => Platforms::All,
    };
    let images = args.images.iter().map(|address| {
        let stored = engine.open_image(address, &wanted, (&NullSink, &cancel))?;
        let image = match platform {
            Some(_) => stored.pick(&address.to_string(), platform)?,
            None => stored.shown(),
        };
        let whole = stored.is_index() && platform.is_none();
        Ok(record(image, whole.then_some(&stored)))
    });
    let records = images.collect::<Result<Vec<Value>, rbuild::BuildError>>()?;
    print(&format!("{:#}\n", Value::from(records)))
}

/// The fields of `docker image inspect`, those that exist here: of an image of several platforms those of
/// one of them, with a list of all.
fn record(image: &ImageDetails, index: Option<&StoredImage>) -> Value {
    let config = &image.config;
    let summary = index.map_or(&image.summary, |stored| &stored.summary);
    let names: Vec<String> = summary.names.iter().map(|name| name.familiar()).collect();
    let mut record = json!({
        "Id": summary.id,
        "RepoTags": names,
        "ManifestDigest": summary.manifest,
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "OsVersion": config.os_version,
        "Size": summary.size_bytes,
        "Config": config.config,
        "RootFS": { "Type": "layers", "Layers": config.diff_ids() },
    });
    if let Some(stored) = index {
        record["Manifests"] = stored.images.iter().map(part).collect();
    }
    record
}

/// One image of several.
fn part(image: &ImageDetails) -> Value {
    json!({
        "Id": image.summary.id,
        "ManifestDigest": image.summary.manifest,
        "Platform": image.platform.to_string(),
        "Size": image.summary.size_bytes,
    })
}
