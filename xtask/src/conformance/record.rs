//! What is known of earlier runs: differences with their reasons, and floors that no run may fall below.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rbuild_testkit::repository_root;

use super::summary::{Mark, OTHER, Summary};
use crate::shell::{self, say};

/// The two parts of the corpus, as their records are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the parser says of a file.
    Parse,
    /// The image of a build case, or its error.
    Build,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Build => "build",
        }
    }
}

/// How one case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The row of the table that it counts in.
    pub kind: &'static str,
    /// In what it differs; `None` for an equal one.
    pub difference: Option<String>,
}

/// Results of one run by name.
pub type Results = BTreeMap<String, Verdict>;

/// Returns the folder of the records.
pub fn folder() -> PathBuf {
    repository_root().join("testdata/conformance")
}

/// Prints what differs and returns the figures that count.
///
/// Whatever differs without standing among the known differences has failed. With `update` the floor is
/// raised to what is equal now; else fewer equal ones than the floor are a failure, if this is the `whole` part.
pub fn settle(part: Part, results: &Results, whole: bool, update: bool) -> Result<Summary> {
    let known = known(part)?;
    let mut summary = Summary::default();
    let mut equal = 0;
    for (name, Verdict { kind, difference }) in results {
        let mark = match (difference, known.get(name.as_str())) {
            (None, reason) => {
                equal += 1;
                if reason.is_some() {
                    say(&format!("equal   {name}, which is known to differ"));
                }
                Mark::Passed
            }
            (Some(difference), Some(reason)) => {
                say(&format!("known   {name}: {reason}"));
                if !whole {
                    say(&format!("        {difference}"));
                }
                Mark::Known
            }
            (Some(difference), None) => {
                say(&format!("FAILED  {name}: {difference}"));
                Mark::Failed
            }
        };
        summary.count(kind, mark);
    }
    let floor = floor(part)?;
    if update {
        raise(part, equal)?;
    } else if whole && equal < floor {
        say(&format!(
            "FAILED  {equal} equal, fewer than the floor of {floor}"
        ));
        summary.count(OTHER, Mark::Failed);
    }
    Ok(summary)
}

/// Reads `PART NAME: reason` lines; `#` begins a comment.
fn known(part: Part) -> Result<BTreeMap<String, String>> {
    let text = shell::read(&folder().join("known.txt"))?;
    let prefix = format!("{} ", part.name());
    let lines = text.lines().filter_map(|line| line.strip_prefix(&prefix));
    Ok(lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, reason)| (name.to_owned(), reason.to_owned()))
        .collect())
}

fn floor(part: Part) -> Result<usize> {
    let text = shell::read(&folder().join("floor.txt"))?;
    let prefix = format!("{} ", part.name());
    let figure = text.lines().find_map(|line| line.strip_prefix(&prefix));
    figure
        .context("floor.txt has a line for each part")?
        .parse()
        .context("a floor is a number")
}

fn raise(part: Part, equal: usize) -> Result<()> {
    let mut text = String::new();
    for other in [Part::Build, Part::Parse] {
        let figure = if other == part { equal } else { floor(other)? };
        text.push_str(&format!("{} {figure}\n", other.name()));
    }
    shell::write(&folder().join("floor.txt"), text)
}
