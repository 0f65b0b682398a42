//! `rbuild history`.

use std::path::Path;

use jiff::Timestamp;
use rbuild::oci::History;
use rbuild::progress::NullSink;
use rbuild::{ImageDetails, Platforms};
use serde_json::json;

use super::images::{NONE, ago, short};
use super::table::Table;
use super::{CommandResult, open, print};
use crate::args::{HistoryArgs, TableFormat};
use crate::render::{bytes, clean, fit};
use crate::signal;
use crate::style::Look;

/// Columns of a step in the table.
const STEP_COLUMNS: usize = 60;

/// Lists the steps of an image, the last first.
pub fn run(args: &HistoryArgs, root: Option<&Path>) -> CommandResult {
    let platform = args.platform.as_ref().map(|arg| &arg.0);
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let wanted = match platform {
        Some(platform) => Platforms::These(vec![platform.clone()]),
        None => Platforms::Native,
    };
    let stored = open(root)?.open_image(&args.image, &wanted, (&NullSink, &cancel))?;
    let image = stored.pick(&args.image.to_string(), platform)?;
    let steps = steps(image);
    match args.format {
        TableFormat::Table => print(&table(image, &steps, args)),
        TableFormat::Json => print(
            &steps
                .iter()
                .map(|(step, size)| record(step, *size))
                .collect::<String>(),
        ),
    }
}

/// The steps, last first, each with the size of its layer.
fn steps(image: &ImageDetails) -> Vec<(&History, u64)> {
    let mut sizes = image.layer_sizes.iter();
    let mut steps: Vec<(&History, u64)> = image
        .config
        .history
        .iter()
        .map(|step| {
            let size = if step.empty_layer { None } else { sizes.next() };
            (step, size.copied().unwrap_or_default())
        })
        .collect();
    steps.reverse();
    steps
}

fn table(image: &ImageDetails, steps: &[(&History, u64)], args: &HistoryArgs) -> String {
    let now = Timestamp::now();
    let mark = Look::of(&std::io::stdout()).symbols.ellipsis();
    let mut table = Table::new(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
    for (place, (step, size)) in steps.iter().enumerate() {
        let by = clean(&step.created_by);
        // Only the last step's result has an id.
        let id = if place == 0 {
            short(&image.summary.id)
        } else {
            NONE.to_owned()
        };
        table.row(vec![
            id,
            ago(step.created.as_deref(), now),
            if args.no_trunc {
                by
            } else {
                fit(&by, STEP_COLUMNS, mark)
            },
            bytes(*size),
            clean(&step.comment),
        ]);
    }
    table.text()
}

fn record(step: &History, size: u64) -> String {
    let record = json!({
        "CreatedAt": step.created,
        "CreatedBy": step.created_by,
        "Size": size,
        "Comment": step.comment,
    });
    format!("{record}\n")
}
