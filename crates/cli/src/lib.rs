//! The `rbuild` command as a library: arguments in, progress and results out, an exit code at the
//! end.
//!
//! Only this crate prints, and only it reads the environment. What it knows of building it asks the
//! library `rbuild` for. It is a library so that tests and examples can draw without building.

mod answer;
pub mod args;
mod command;
mod exit;
mod failure;
mod prompt;
pub mod render;
mod signal;
mod snippet;
pub mod style;

use std::ffi::OsString;
use std::path::Path;

use clap::Parser;

pub use exit::Exit;
pub use failure::failure;
pub use snippet::excerpt;

/// Does what the process's arguments ask for.
pub fn main() -> Exit {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    if words.len() < 2 {
        words.push("--help".into());
    }
    let words = args::with_command(words, |word| Path::new(word).exists());
    match args::Cli::try_parse_from(&words) {
        Ok(cli) => command::run(cli),
        Err(error) => args::advised(error, &words).exit(),
    }
}
