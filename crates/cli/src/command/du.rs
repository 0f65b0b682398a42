//! `rbuild du`.

use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;
use rbuild::{CacheEntry, DiskUsage};
use serde_json::json;

use super::images::ago;
use super::table::Table;
use super::{CommandResult, open, print};
use crate::args::{TableFormat, UsageArgs};
use crate::render::{bytes, clean};
use crate::signal;

/// Digits of an id in a table.
const SHORT: usize = 25;

/// Lists what takes the disk space of the store.
pub fn run(args: &UsageArgs, root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let mut usage = open(root)?.disk_usage(&cancel)?;
    usage.retain(&args.filters);
    if args.format == TableFormat::Json {
        return print(&usage.entries.iter().map(json).collect::<String>());
    }
    let listed = match args.verbose {
        true => usage.entries.iter().map(paragraph).collect(),
        false => table(&usage.entries),
    };
    let sums = match args.filters.is_empty() {
        true => sums(&usage),
        false => format!("Total:  {}\n", bytes(sum(&usage, |_| true))),
    };
    print(&format!("{listed}{sums}"))
}

/// A line for each entry.
pub fn table(entries: &[CacheEntry]) -> String {
    let now = Timestamp::now();
    let mut table = Table::new(&["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"]);
    for entry in entries {
        // Cache mounts change, which BuildKit marks.
        let mark = if is_mutable(entry) { "*" } else { "" };
        let id: String = entry.id.chars().take(SHORT).collect();
        table.row(vec![
            format!("{id}{mark}"),
            entry.is_reclaimable().to_string(),
            bytes(entry.size_bytes),
            ago(stamp(entry.last_used.or(entry.created)).as_deref(), now),
        ]);
    }
    table.text()
}

/// All that is known of an entry, a line each, and an empty one.
pub fn paragraph(entry: &CacheEntry) -> String {
    let now = Timestamp::now();
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("{:<14}{}\n", format!("{name}:"), clean(value)));
    };
    line("ID", &entry.id);
    if let Some(created) = stamp(entry.created) {
        line("Created at", &created);
    }
    line("Mutable", &is_mutable(entry).to_string());
    line("Reclaimable", &entry.is_reclaimable().to_string());
    line("Shared", &entry.shared.to_string());
    line("In use", &entry.in_use.to_string());
    line("Size", &bytes(entry.size_bytes));
    line("Description", &entry.description);
    line("Usage count", &entry.uses.to_string());
    line("Last used", &ago(stamp(entry.last_used).as_deref(), now));
    line("Made in", &format!("{:.1}s", entry.cost.as_secs_f64()));
    line("Type", &entry.kind.to_string());
    text.push('\n');
    text
}

fn json(entry: &CacheEntry) -> String {
    let record = json!({
        "ID": entry.id,
        "CreatedAt": stamp(entry.created),
        "LastUsedAt": stamp(entry.last_used),
        "UsageCount": entry.uses,
        "CostMilliseconds": u64::try_from(entry.cost.as_millis()).unwrap_or(u64::MAX),
        "Size": entry.size_bytes,
        "Type": entry.kind.to_string(),
        "Description": entry.description,
        "Mutable": is_mutable(entry),
        "Shared": entry.shared,
        "InUse": entry.in_use,
        "Reclaimable": entry.is_reclaimable(),
    });
    format!("{record}\n")
}

/// What the lines add up to, and all that is no line.
fn sums(usage: &DiskUsage) -> String {
    let mut text = String::new();
    let mut line = |name: &str, size: u64| {
        text.push_str(&format!("{:<14}{}\n", format!("{name}:"), bytes(size)));
    };
    line("Shared", sum(usage, |entry| entry.shared));
    line("Private", sum(usage, |entry| !entry.shared));
    line("Reclaimable", sum(usage, CacheEntry::is_reclaimable));
    line("Other", usage.other_bytes);
    line("Total", usage.total_bytes());
    text
}

fn sum(usage: &DiskUsage, wanted: impl Fn(&CacheEntry) -> bool) -> u64 {
    let entries = usage.entries.iter().filter(|entry| wanted(entry));
    entries.map(|entry| entry.size_bytes).sum()
}

fn is_mutable(entry: &CacheEntry) -> bool {
    entry.kind == rbuild::CacheKind::CacheMount
}

fn stamp(time: Option<SystemTime>) -> Option<String> {
    let stamp = Timestamp::try_from(time?).ok()?;
    Some(stamp.to_string())
}
