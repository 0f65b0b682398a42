//! `rbuild build --call`: answers a question about the Dockerfile instead of building it.

use std::io;
use std::path::Path;

use rbuild::progress::{CancelToken, NullSink};
use rbuild::{BuildRequest, CheckReport};

use super::{CommandError, CommandResult, StoreWishes, open_with, print};
use crate::answer;
use crate::args::{Call, CallFormat, CallMethod, CallStatus, NetworkArgs};
use crate::exit::Exit;
use crate::failure::failure;
use crate::style::Look;

/// Answers; findings of a check and what stops a build end with 1, as with BuildKit's client.
pub fn run(
    call: Call,
    request: &BuildRequest,
    (root, network, wishes): (Option<&Path>, NetworkArgs, StoreWishes),
    cancel: &CancelToken,
) -> CommandResult {
    let is_json = call.format == CallFormat::Json;
    if call.method == CallMethod::Describe {
        return match is_json {
            true => print(&answer::describe_json()),
            false => print(&answer::describe()),
        };
    }
    let engine = open_with(root, network, wishes)?;
    match call.method {
        CallMethod::Outline => {
            let report = engine.outline(request, &NullSink, cancel)?;
            match is_json {
                true => print(&answer::outline_json(&report)),
                false => print(&answer::outline_text(&report)),
            }
        }
        CallMethod::Targets => {
            let report = engine.targets(request, &NullSink, cancel)?;
            match is_json {
                true => print(&answer::targets_json(&report)),
                false => print(&answer::targets_text(&report)),
            }
        }
        _ => checked(call, &engine.check(request, &NullSink, cancel)?),
    }
}

fn checked(call: Call, report: &CheckReport) -> CommandResult {
    match call.format {
        CallFormat::Json => print(&answer::check_json(report))?,
        CallFormat::Sarif => print(&answer::sarif(report, &uri(report)?))?,
        CallFormat::Text => text(report)?,
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
