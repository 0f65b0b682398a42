//! `rbuild build --call`: answers a question about the Dockerfile instead of building it.

use std::io;
use std::path::Path;

use rbuild::progress::NullSink;
use rbuild::{BuildRequest, CheckReport};

use super::{CommandError, CommandResult, open, print};
use crate::answer;
use crate::args::{Call, CallFormat, CallMethod, CallStatus};
use crate::exit::Exit;
use crate::failure::failure;
use crate::signal;
use crate::style::Look;

/// Answers; findings of a check and what stops a build end with 1, as with BuildKit's client.
pub fn run(call: Call, request: &BuildRequest, root: Option<&Path>) -> CommandResult {
    match (call.method, call.format) {
        (CallMethod::Outline, CallFormat::Json) => {
            print(&answer::outline_json(&rbuild::outline(request)?))
        }
        (CallMethod::Outline, _) => print(&answer::outline_text(&rbuild::outline(request)?)),
        (CallMethod::Targets, CallFormat::Json) => {
            print(&answer::targets_json(&rbuild::targets(request)?))
        }
        (CallMethod::Targets, _) => print(&answer::targets_text(&rbuild::targets(request)?)),
        (CallMethod::Describe, CallFormat::Json) => print(&answer::describe_json()),
        (CallMethod::Describe, _) => print(&answer::describe()),
        (CallMethod::Check | CallMethod::Build, _) => check(call, request, root),
    }
}

fn check(call: Call, request: &BuildRequest, root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let report = open(root)?.check(request, &NullSink, &cancel)?;
    match call.format {
        CallFormat::Json => print(&answer::check_json(&report))?,
        CallFormat::Sarif => print(&answer::sarif(&report, &uri(&report)?))?,
        CallFormat::Text => text(&report)?,
    };
    let is_clean = report.findings.is_empty() && report.error.is_none();
    match call.status {
        CallStatus::Counts if !is_clean => Ok(Exit::Failed),
        CallStatus::Counts | CallStatus::Ignored => Ok(Exit::Success),
    }
}

fn text(report: &CheckReport) -> CommandResult {
    use std::io::Write;
    print(&answer::check_text(report, Look::of(&io::stdout())))?;
    if let Some(error) = &report.error {
        let text = failure(error, "", Look::of(&io::stderr()));
        io::stderr().write_all(text.as_bytes()).ok();
    }
    Ok(Exit::Success)
}

/// What a code host calls the Dockerfile, provided that this runs at the top of the repository.
fn uri(report: &CheckReport) -> Result<String, CommandError> {
    let top = std::env::current_dir().map_err(anyhow::Error::from)?;
    let path = report.path.as_deref();
    let path = path.unwrap_or(Path::new(report.source.name()));
    Ok(answer::sarif_uri(path, &top))
}
