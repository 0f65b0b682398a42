//! The commands for looking after the store and into definitions.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::build::BuildArgs;

/// `rbuild store`.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Read all that is stored and compare it with its digests
    Verify,
    /// Print where the store is
    Path,
    /// Finish the store, so that builds can take from it with --store-from
    Seal {
        /// The store [default: the one that --root names]
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Make a sealed store one to work in again
    Unseal {
        /// The store [default: the one that --root names]
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Delete the store with all images and caches in it
    Delete {
        /// Do not ask: there is no way back
        #[arg(long, required = true)]
        yes: bool,
    },
}

/// `rbuild debug`.
#[derive(Debug, Subcommand)]
pub enum DebugCommand {
    /// Show how a Dockerfile is read
    Parse(ParseArgs),
    /// Show the graph of a build in the dot language
    Graph(Box<GraphArgs>),
}

/// Options of `rbuild debug parse`.
#[derive(Debug, Args)]
pub struct ParseArgs {
    /// Dockerfiles, `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Print JSON, one object a file; the only form there is
    #[arg(long, required = true)]
    pub json: bool,
}

/// Options of `rbuild debug graph`.
#[derive(Debug, Args)]
pub struct GraphArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub build: BuildArgs,
}
