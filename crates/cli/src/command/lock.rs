//! `rbuild lock`.

use std::io::{self, Write};
use std::path::Path;

use rbuild::progress::CancelToken;
use rbuild::{
    BuildRequest, LockChange, LockEntry, LockPolicy, LockReport, LockRequest, LockUpdate, LockUse,
    LockWriting, OtherEntries,
};

use super::shown::{mode, shown};
use super::{CommandError, CommandResult, open_with, print, request};
use crate::args::LockArgs;
use crate::exit::Exit;
use crate::render::{Mode, Work, failed_steps};
use crate::signal;
use crate::style::Look;

/// Makes, completes, renews or checks a lock, and says what changed.
pub fn run(args: LockArgs, root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let (mode, network) = (mode(args.progress, args.quiet), args.network);
    let wanted = wanted(args, &cancel)?;
    let engine = open_with(root, network, super::StoreWishes::default())?;
    let (result, trace) = shown((mode, Work::Lock), |sink| {
        engine.lock(&wanted, sink, &cancel)
    })?;
    if mode != Mode::RawJson {
        let steps = failed_steps(&trace, mode, Look::of(&io::stderr()));
        io::stderr().write_all(&steps).ok();
    }
    let report = result?;
    print(&text(&report, wanted.writing))?;
    match (wanted.writing, report.is_good()) {
        (LockWriting::Checked, false) => Ok(Exit::Failed),
        _ => Ok(Exit::Success),
    }
}

fn wanted(args: LockArgs, cancel: &CancelToken) -> Result<LockRequest, CommandError> {
    let (context, dockerfile) = request::sources(args.context, args.file.as_deref(), cancel)?;
    let mut agents = request::agents(args.ssh)?;
    agents.extend(request::agent_of_context(&context, &agents));
    let contexts = args.contexts.into_iter();
    let build = BuildRequest {
        dockerfile,
        target: args.target,
        build_args: request::build_args(args.build_args),
        platforms: request::platforms(args.platforms)?,
        pull: args.pull.into(),
        resolve: args.resolve,
        lock: LockUse::new(LockPolicy::Ignored, args.lock_file),
        contexts: contexts
            .map(|context| (context.name, context.place))
            .collect(),
        secrets: request::secrets(args.secrets)?,
        agents,
        ..BuildRequest::new(context)
    };
    Ok(LockRequest {
        build,
        update: update(args.update),
        others: match args.prune {
            true => OtherEntries::Removed,
            false => OtherEntries::Kept,
        },
        writing: match args.check {
            true => LockWriting::Checked,
            false => LockWriting::Written,
        },
    })
}

/// Without a name all entries are meant.
fn update(names: Vec<String>) -> LockUpdate {
    match names.iter().any(String::is_empty) {
        _ if names.is_empty() => LockUpdate::Missing,
        true => LockUpdate::All,
        false => LockUpdate::These(names),
    }
}

fn text(report: &LockReport, writing: LockWriting) -> String {
    let mut text: String = report.changes.iter().filter_map(line).collect();
    let count = |wanted: fn(&LockEntry) -> bool| {
        let entries = report.changes.iter().map(|change| &change.entry);
        entries.filter(|entry| wanted(entry)).count()
    };
    let missing = count(|entry| matches!(entry, LockEntry::Missing { .. }));
    let stale = count(|entry| matches!(entry, LockEntry::Stale));
    let unneeded = count(|entry| matches!(entry, LockEntry::Unneeded));
    for image in &report.unseen {
        text.push_str(&format!(
            "note: {image} is not in the store, so that its triggers and variables are not known\n"
        ));
    }
    for image in &report.of_store {
        text.push_str(&format!(
            "note: {image} is an image of this store, and locked as that: --resolve=registry with \
             --update={image} locks the registry's\n"
        ));
    }
    let entries = match report.entries {
        1 => "1 entry".to_owned(),
        many => format!("{many} entries"),
    };
    text.push_str(&format!("{}: {entries}", report.path.display()));
    if unneeded > 0 {
        text.push_str(&format!(", {unneeded} of them for other arguments"));
    }
    match (writing, report.is_good()) {
        (LockWriting::Checked, true) => text.push_str(", complete"),
        (LockWriting::Checked, false) => text.push_str(&format!(
            ", {missing} missing, {stale} that nothing needs; `rbuild lock` mends it"
        )),
        (LockWriting::Written, _) => {}
    }
    text.push('\n');
    text
}

/// One change as a line; `None` for what simply stays.
fn line(change: &LockChange) -> Option<String> {
    let name = match &change.platform {
        Some(platform) => format!("{} {platform}", change.name),
        None => change.name.clone(),
    };
    Some(match &change.entry {
        LockEntry::Added { to } => format!("+ {name} {to}\n"),
        LockEntry::Moved { from, to } => format!("~ {name} {from} -> {to}\n"),
        LockEntry::Removed => format!("- {name}\n"),
        LockEntry::Stale => format!("- {name} (nothing needs it)\n"),
        LockEntry::Missing { lines } => {
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            match lines.as_slice() {
                [] => format!("? {name} is missing\n"),
                [line] => format!("? {name} is missing (line {line})\n"),
                several => format!("? {name} is missing (lines {})\n", several.join(", ")),
            }
        }
        LockEntry::Unneeded => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_to_update_are_all_or_those_given() {
        let given = |names: &[&str]| update(names.iter().map(ToString::to_string).collect());
        assert_eq!(given(&[]), LockUpdate::Missing);
        assert_eq!(given(&[""]), LockUpdate::All);
        assert_eq!(given(&["a", ""]), LockUpdate::All);
        assert_eq!(given(&["a"]), LockUpdate::These(vec!["a".to_owned()]));
    }
}
