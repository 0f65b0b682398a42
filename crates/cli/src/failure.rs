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
    let label = look.paint(Role::Bad, "ERROR:");
    if report.kind == ErrorKind::Cancelled {
        // Where it was then is no one's mistake.
        return format!("{label} {prefix}canceled\n");
    }
    if let Some(log) = &report.log {
        let log_label = look.paint(Role::Help, "log:");
        out.push_str(&format!(
            "{log_label} {}\n",
            clean(&log.display().to_string())
        ));
    }
    for place in &report.excerpts {
        out.push_str(&excerpt(place, look));
    }
    for advice in &report.help {
        let advice_label = look.paint(Role::Help, "help:");
        out.push_str(&format!("{advice_label} {}\n", clean(advice)));
    }
    // Last, since that is where people and scripts look for it.
    out.push_str(&format!("{label} {prefix}{}\n", harmless(&report.message)));
    out
}

/// Line ends stay, as BuildKit lists several causes in several lines; other control characters go.
fn harmless(message: &str) -> String {
    message
        .split('\n')
        // ssh ends its lines for a terminal.
        .map(|line| clean(line.trim_end_matches('\r')))
        .collect::<Vec<_>>()
        .join("\n")
}
