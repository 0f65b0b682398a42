//! Comparison with what BuildKit made of the same Dockerfiles, recorded in a folder beside the repository.
//!
//! Two parts: what the parser says of every file, and the images and errors of the build cases. What is known to
//! differ stands in `testdata/conformance/` with its reason; nothing else may.

mod blame;
mod build;
mod case;
mod judge;
mod links;
mod parse;
mod record;
mod summary;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rbuild_testkit::repository_root;

use self::summary::Summary;
use crate::shell;
use crate::test::Tally;

pub use parse::{first_difference, sort_unordered};

/// What to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    parse: bool,
    build: bool,
    only: Option<String>,
    record: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            parse: true,
            build: true,
            only: None,
            record: false,
        }
    }
}

impl Options {
    /// Reads the words after `conformance`.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            match *word {
                "--parse" => options.build = false,
                "--build" => options.parse = false,
                "--record" => options.record = true,
                "--only" => options.only = rest.next().map(|name| (*name).to_owned()),
                _ => bail!("conformance has no `{word}`"),
            }
        }
        if options.only.is_some() && options.record {
            bail!("--record needs the whole corpus, not one name");
        }
        Ok(options)
    }

    /// Whether `name` is to be looked at.
    fn wants(&self, name: &str) -> bool {
        self.only
            .as_ref()
            .is_none_or(|only| name.contains(only.as_str()))
    }
}

/// Returns the folder of recorded results, where there is one.
pub fn corpus() -> Option<PathBuf> {
    let folder = repository_root().parent()?.join("shared/conformance");
    folder.is_dir().then_some(folder)
}

/// Compares and fails on a difference that is not known.
pub fn conformance(options: &Options) -> Result<()> {
    let tally = run(&shell::release_binary()?, options)?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        bail!("{} results differ without a known reason", tally.failed);
    }
    Ok(())
}

/// Compares and returns how many are equal, and how many differ that must not.
pub fn run(binary: &Path, options: &Options) -> Result<Tally> {
    let Some(corpus) = corpus() else {
        bail!("there is no folder ../shared/conformance beside the repository");
    };
    let mut summary = Summary::default();
    if options.parse {
        summary.add(parse::compare(&corpus, binary, options)?);
    }
    if options.build {
        summary.add(build::compare(&corpus, binary, options)?);
    }
    summary.print();
    Ok(summary.tally())
}
