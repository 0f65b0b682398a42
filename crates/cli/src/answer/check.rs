//! What a check found, for people.

use rbuild::{CheckReport, Excerpt, Finding};

use crate::render::clean;
use crate::snippet::excerpt;
use crate::style::{Look, Role};

/// Returns the number of findings, and each with its place; empty lines between them.
pub fn text(report: &CheckReport, look: Look) -> String {
    let count = match report.findings.len() {
        0 if report.error.is_some() => return String::new(),
        0 => return "Check complete, no warnings found.\n".to_owned(),
        1 => "1 warning has been found!".to_owned(),
        many => format!("{many} warnings have been found!"),
    };
    let mut out = format!("Check complete, {count}\n");
    for finding in &report.findings {
        out.push('\n');
        out.push_str(&one(finding, report, look));
    }
    out
}

fn one(finding: &Finding, report: &CheckReport, look: Look) -> String {
    let label = look.paint(Role::Warning, "WARNING:");
    let mut out = format!("{label} {}", finding.rule);
    if let Some(url) = &finding.url {
        out.push_str(&format!(" - {url}"));
    }
    out.push_str(&format!("\n{}\n", clean(&finding.message)));
    out.push_str(&excerpt(&place(finding, report), look));
    if let Some(help) = &finding.help {
        let label = look.paint(Role::Help, "help:");
        out.push_str(&format!("{label} {}\n", clean(help)));
    }
    out
}

fn place(finding: &Finding, report: &CheckReport) -> Excerpt {
    Excerpt {
        file: report.source.name().to_owned(),
        text: report.source.text().to_owned(),
        first_line: finding.lines.first,
        last_line: finding.lines.last,
        span: finding
            .span
            .map(|span| span.start as usize..span.end as usize),
        label: None,
    }
}
