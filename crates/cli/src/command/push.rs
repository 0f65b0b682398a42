//! `rbuild push`.

use std::io::{self, Write};
use std::path::Path;

use super::shown::{mode, shown};
use super::{CommandError, CommandResult, open, print};
use crate::args::PushArgs;
use crate::exit::Exit;
use crate::render::{Mode, Work, failed_steps};
use crate::signal;
use crate::style::Look;

/// Sends images to registries, and prints the digest of each.
pub fn run(args: &PushArgs, root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    if args.forget {
        return forget(args, root);
    }
    if args.names.is_empty() && !args.resume {
        return Err(CommandError::Usage(
            "name the images to push, or give --resume to go on with what was begun".to_owned(),
        ));
    }
    let engine = open(root)?;
    let mode = mode(args.progress, args.quiet);
    let (result, trace) = shown((mode, Work::Push), |sink| match args.resume {
        true => engine.resume_push(&args.names, sink, &cancel),
        false => engine.push(&args.names, sink, &cancel),
    })?;
    if mode != Mode::RawJson {
        let steps = failed_steps(&trace, mode, Look::of(&io::stderr()));
        io::stderr().write_all(&steps).ok();
    }
    let pushed = result?;
    if args.quiet {
        return Ok(Exit::Success);
    }
    if pushed.is_empty() {
        io::stderr().write_all(b"no push is unfinished\n").ok();
    }
    let lines = pushed.iter().flat_map(|image| {
        let names = image.names.iter();
        names.map(|name| format!("{}@{}\n", name.familiar(), image.digest))
    });
    print(&lines.collect::<String>())
}

/// Forgets unfinished pushes, and prints the names that they had.
fn forget(args: &PushArgs, root: Option<&Path>) -> CommandResult {
    let forgotten = open(root)?.forget_pushes(&args.names)?;
    if args.quiet {
        return Ok(Exit::Success);
    }
    if forgotten.is_empty() {
        io::stderr().write_all(b"no push is unfinished\n").ok();
    }
    let lines = forgotten
        .iter()
        .map(|name| format!("{}\n", name.familiar()));
    print(&lines.collect::<String>())
}
