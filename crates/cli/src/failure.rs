//! What is said when something failed, in one text.

use rbuild::{ErrorKind, Report};

use crate::render::clean;
use crate::snippet::excerpt;
use crate::style::{Look, Role};

/// Returns where the whole output lies, the excerpts, the advice, and at last the error line.
///
/// `prefix` stands before the message: `failed to solve: ` for builds.
pub fn failure(report: &Report, prefix: &str, look: Look) -> String {
    let mut out = String::new();
    if let Some(log) = &report.log {
        let label = look.paint(Role::Help, "log:");
        out.push_str(&format!("{label} {}\n", clean(&log.display().to_string())));
    }
    for place in &report.excerpts {
        out.push_str(&excerpt(place, look));
    }
    for advice in &report.help {
        let label = look.paint(Role::Help, "help:");
        out.push_str(&format!("{label} {}\n", clean(advice)));
    }
    let message = match report.kind {
        ErrorKind::Cancelled => "canceled".to_owned(),
        _ => harmless(&report.message),
    };
    let label = look.paint(Role::Bad, "ERROR:");
    // Last, since that is where people and scripts look for it.
    out.push_str(&format!("{label} {prefix}{message}\n"));
    out
}

/// Line ends stay, as BuildKit lists several causes in several lines; other control characters go.
fn harmless(message: &str) -> String {
    message
        .split('\n')
        .map(clean)
        .collect::<Vec<_>>()
        .join("\n")
}
