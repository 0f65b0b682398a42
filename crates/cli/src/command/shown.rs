//! Work of the engine while a display shows its events.

use std::io::{self, IsTerminal};

use rbuild::progress::{ChannelSink, channel};
use rbuild::{BuildError, ErrorKind};

use super::CommandError;
use crate::args::ProgressArg;
use crate::render::{Display, Ending, Mode, Trace, Work};

/// Does `work` while its events are shown; returns what came of it, and what was shown.
///
/// Errors: the display cannot be started.
pub fn shown<T>(
    (mode, kind): (Mode, Work),
    work: impl FnOnce(&ChannelSink) -> Result<T, BuildError>,
) -> Result<(Result<T, BuildError>, Trace), CommandError> {
    let (sink, events) = channel();
    let display = Display::start(mode, kind, events).map_err(anyhow::Error::from)?;
    let result = work(&sink);
    // The display ends when the last sender is gone.
    drop(sink);
    let ending = match &result {
        Ok(_) => Ending::Finished,
        Err(error) if error.kind() == ErrorKind::Cancelled => Ending::Stopped,
        Err(_) => Ending::Failed,
    };
    Ok((result, display.finish(ending)))
}

/// How progress is shown.
pub fn mode(progress: ProgressArg, is_quiet: bool) -> Mode {
    if is_quiet {
        return Mode::Silent;
    }
    let live = io::stderr().is_terminal() && !is_dumb();
    match progress {
        ProgressArg::Auto if live => Mode::Tty,
        ProgressArg::Auto | ProgressArg::Plain => Mode::Plain,
        ProgressArg::Tty => Mode::Tty,
        ProgressArg::Rawjson => Mode::RawJson,
        ProgressArg::Quiet | ProgressArg::None => Mode::Silent,
    }
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}
