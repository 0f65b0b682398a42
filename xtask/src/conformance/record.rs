//! What earlier runs found: names that were equal, floors, and known differences with their reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result};
use rbuild_testkit::repository_root;

use crate::shell::{self, say};
use crate::test::Tally;

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

/// Results of one run by name: nothing for an equal one, else in what it differs.
pub type Results = BTreeMap<String, Option<String>>;

/// Returns the folder of the records.
pub fn folder() -> PathBuf {
    repository_root().join("testdata/conformance")
}

/// Prints what differs, compares with the records and returns the figures that count.
///
/// A result counts as failed if it differs and was equal in the record, or, for the parser, if it differs
/// without standing among the known differences. With `update` the records are written anew instead.
pub fn settle(part: Part, results: &Results, whole: bool, update: bool) -> Result<Tally> {
    let known = known(part)?;
    let passing = passing(part)?;
    let equal: BTreeSet<&str> = names(results, Option::is_none).collect();
    let mut worse = Vec::new();
    for (name, difference) in results {
        let Some(difference) = difference else {
            continue;
        };
        let must_hold = match part {
            Part::Parse => !known.contains_key(name.as_str()),
            Part::Build => passing.contains(name.as_str()),
        };
        match (must_hold, known.get(name.as_str())) {
            (true, _) => worse.push(format!("{name}: {difference}")),
            (false, Some(reason)) if whole => say(&format!("known  {name}: {reason}")),
            (false, _) => say(&format!("differs  {name}: {difference}")),
        }
    }
    for line in &worse {
        say(&format!("WORSE  {line}"));
    }
    let share = 100.0 * equal.len() as f64 / results.len().max(1) as f64;
    say(&format!(
        "{}: {} of {} equal ({share:.1} %), {} known to differ",
        part.name(),
        equal.len(),
        results.len(),
        names(results, Option::is_some)
            .filter(|name| known.contains_key(*name))
            .count(),
    ));
    if update {
        write(part, &equal)?;
        return Ok(Tally {
            passed: equal.len(),
            failed: 0,
        });
    }
    let mut failed = worse.len();
    let floor = floor(part)?;
    if whole && equal.len() < floor {
        say(&format!("WORSE  fewer equal than the floor of {floor}"));
        failed = failed.max(1);
    }
    Ok(Tally {
        passed: equal.len(),
        failed,
    })
}

fn names(results: &Results, wanted: fn(&Option<String>) -> bool) -> impl Iterator<Item = &str> {
    let kept = results
        .iter()
        .filter(move |(_, difference)| wanted(difference));
    kept.map(|(name, _)| name.as_str())
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

fn passing(part: Part) -> Result<BTreeSet<String>> {
    match part {
        Part::Parse => Ok(BTreeSet::new()),
        Part::Build => {
            let text = shell::read(&folder().join("passing.txt"))?;
            Ok(text.lines().map(str::to_owned).collect())
        }
    }
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

fn write(part: Part, equal: &BTreeSet<&str>) -> Result<()> {
    let path = folder().join("floor.txt");
    let mut floors = BTreeMap::new();
    for other in [Part::Parse, Part::Build] {
        floors.insert(other.name(), floor(other)?);
    }
    floors.insert(part.name(), equal.len());
    let text: String = floors
        .iter()
        .map(|(name, count)| format!("{name} {count}\n"))
        .collect();
    shell::write(&path, text)?;
    if part == Part::Build {
        let known = known(part)?;
        let stable = equal.iter().filter(|name| !known.contains_key(**name));
        let text: String = stable.map(|name| format!("{name}\n")).collect();
        shell::write(&folder().join("passing.txt"), text)?;
    }
    Ok(())
}
