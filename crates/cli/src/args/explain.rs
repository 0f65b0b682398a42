//! Options of `rbuild explain`.

use std::path::PathBuf;

use clap::Args;

use super::images::TableFormat;

/// Options of `rbuild explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Step to tell all about: its number in the list, stage and number (`build 2`), or a part of its text
    #[arg(value_name = "STEP")]
    pub step: Option<String>,

    /// Build to explain, as --runs lists them, or a file that --export wrote
    /// [default: the last one of this directory, else of the store]
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,

    /// Build to compare it with, or a file that --export wrote, also on another machine
    #[arg(long, value_name = "RUN")]
    pub against: Option<String>,

    /// Write the build and all that explaining it takes to this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["step", "against", "runs"])]
    pub export: Option<PathBuf>,

    /// List the builds that are known
    #[arg(long, conflicts_with_all = ["step", "run", "against"])]
    pub runs: bool,

    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: TableFormat,
}
