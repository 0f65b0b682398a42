//! `rbuild prune`.

use std::io::{self, IsTerminal};
use std::path::Path;

use rbuild::progress::CancelToken;
use rbuild::{Limits, PruneRequest, PruneScope};

use super::{CommandError, CommandResult, du, open, print};
use crate::args::PruneArgs;
use crate::exit::Exit;
use crate::prompt::{Echo, prompt};
use crate::render::bytes;
use crate::signal;

/// Removes what is asked for from the cache, after asking.
pub fn run(args: PruneArgs, root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    if !args.force && !agreed(&args, &cancel)? {
        return Ok(Exit::Success);
    }
    let (verbose, request) = (args.verbose, request(args));
    let pruned = open(root)?.prune(&request, &cancel)?;
    let listed = match (pruned.entries.is_empty(), verbose) {
        (true, _) => String::new(),
        (false, true) => pruned.entries.iter().map(du::paragraph).collect(),
        (false, false) => du::table(&pruned.entries),
    };
    print(&format!("{listed}Total:  {}\n", bytes(pruned.freed_bytes)))
}

fn request(args: PruneArgs) -> PruneRequest {
    PruneRequest {
        scope: match args.all {
            true => PruneScope::All,
            false => PruneScope::Private,
        },
        filters: args.filters,
        limits: Limits {
            reserved: args.reserved_space,
            max_used: args.max_used_space,
            min_free: args.min_free_space,
        },
    }
}

/// Asks on the terminal; where there is none nobody can be asked.
fn agreed(args: &PruneArgs, cancel: &CancelToken) -> Result<bool, CommandError> {
    if !io::stdin().is_terminal() {
        let message = "nobody can be asked whether to prune; say -f to prune without asking";
        return Err(CommandError::Usage(message.to_owned()));
    }
    let what = match args.all {
        true => "all of the build cache, that of the images' steps included",
        false => "all of the build cache that no image holds",
    };
    let limited = !args.filters.is_empty()
        || args.reserved_space + args.max_used_space + args.min_free_space > 0;
    let part = if limited {
        ", within the given limits"
    } else {
        ""
    };
    let question = format!("This removes {what}{part}. Go on? [y/N] ");
    let answer = prompt(&question, Echo::On, cancel).map_err(anyhow::Error::from)?;
    let answer = answer.unwrap_or_default();
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}
