//! Outline and targets as tables, column by column as Go's tabwriter sets them.

use rbuild::{Access, OutlineReport, TargetsReport};

use crate::render::{clean, columns};

/// What can be asked, and what the answer is.
pub const SUBREQUESTS: [(&str, &str); 4] = [
    ("lint", "Find what is doubtful in the Dockerfile"),
    ("outline", "List what the target takes from outside"),
    ("targets", "List the stages that can be built"),
    ("subrequests.describe", "List what can be asked"),
];

/// Blanks between two columns.
const GAP: usize = 3;

/// What a target takes from outside: a table for each kind that there is.
pub fn outline(report: &OutlineReport) -> String {
    let outline = &report.outline;
    let mut out = String::new();
    if outline.name.is_some() || outline.description.is_some() {
        let name = outline.name.as_deref().unwrap_or("(default)");
        let mut rows = vec![row(["TARGET:", name])];
        if let Some(description) = &outline.description {
            rows.push(row(["DESCRIPTION:", description]));
        }
        out.push_str(&table(&rows));
        out.push('\n');
    }
    if !outline.args.is_empty() {
        let mut rows = vec![row(["BUILD ARG", "VALUE", "DESCRIPTION"])];
        rows.extend(outline.args.iter().map(|arg| {
            let text = |part: &Option<String>| part.clone().unwrap_or_default();
            row([&arg.name, &text(&arg.value), &text(&arg.description)])
        }));
        out.push_str(&table(&rows));
        out.push('\n');
    }
    for (title, list) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !list.is_empty() {
            out.push_str(&accesses(title, list));
            out.push('\n');
        }
    }
    out
}

fn accesses(title: &str, list: &[Access]) -> String {
    let mut rows = vec![row([title, "REQUIRED"])];
    rows.extend(list.iter().map(|access| {
        let required = if access.required { "true" } else { "" };
        row([&access.name, required])
    }));
    table(&rows)
}

/// The targets there are.
pub fn targets(report: &TargetsReport) -> String {
    let mut rows = vec![row(["TARGET", "DESCRIPTION"])];
    let last = report.targets.len().saturating_sub(1);
    for (at, target) in report.targets.iter().enumerate() {
        let name = match (&target.name, at == last) {
            (Some(name), true) => format!("{name} (default)"),
            (None, true) => "(default)".to_owned(),
            (name, false) => name.clone().unwrap_or_default(),
        };
        let description = target.description.as_deref().unwrap_or_default();
        rows.push(row([&name, description]));
    }
    table(&rows)
}

/// What can be asked.
pub fn describe() -> String {
    let mut rows = vec![row(["NAME", "VERSION", "DESCRIPTION"])];
    rows.extend(
        SUBREQUESTS
            .iter()
            .map(|(name, what)| row([*name, "1.0.0", *what])),
    );
    table(&rows)
}

fn row<const N: usize>(cells: [impl AsRef<str>; N]) -> Vec<String> {
    cells.iter().map(|cell| clean(cell.as_ref())).collect()
}

/// All columns but the last are as wide as their widest cell; a last cell that is empty leaves the
/// blanks before it, as in BuildKit's tables.
fn table(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        cells.map(|cell| columns(cell)).max().unwrap_or(0) + GAP
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if at + 1 < row.len() {
                out.push_str(&" ".repeat(widths[at] - columns(cell)));
            }
        }
        out.push('\n');
    }
    out
}
