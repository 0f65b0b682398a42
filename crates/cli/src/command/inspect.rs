//! `rbuild inspect`.

use std::path::Path;

use rbuild::ImageDetails;
use serde_json::{Value, json};

use super::{CommandResult, open, print};
use crate::args::InspectArgs;

/// Prints an array with an object for each image, in the order asked for.
pub fn run(args: &InspectArgs, root: Option<&Path>) -> CommandResult {
    let engine = open(root)?;
    let images = args.images.iter().map(|name| engine.image(name));
    let images = images.collect::<Result<Vec<_>, _>>()?;
    let records: Vec<Value> = images.iter().map(record).collect();
    print(&format!("{:#}\n", Value::from(records)))
}

/// The fields of `docker image inspect`, those that exist here.
fn record(image: &ImageDetails) -> Value {
    let (summary, config) = (&image.summary, &image.config);
    let names: Vec<String> = summary.names.iter().map(|name| name.familiar()).collect();
    json!({
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
    })
}
