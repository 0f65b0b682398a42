//! What `rbuild explain` asks: a run and its steps in words, and one run against another.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rbuild_oci::Digest;
use rbuild_solver::{KeyInputs, NOTE_FORM};
use rbuild_source::Listing;
use rbuild_store::Table;
use serde::Serialize;

use super::carried::CarriedRun;
use super::difference::{Difference, Surroundings, differences};
use super::nearest::{self, StepName};
use super::run::{Reason, Run, RunStep};
use super::{history, words};
use crate::engine::Engine;
use crate::{BuildError, ErrorKind, Result};

/// A step of a run beside the same step of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComparedStep {
    /// The step.
    pub name: String,
    /// The step of the other run, as it was shown; `None` if that had none like it.
    pub other: Option<String>,
    /// How they compare.
    pub outcome: Compared,
    /// What differs, what weighs most first.
    pub differences: Vec<Difference>,
}

/// How two steps compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// They have the same key.
    Same,
    /// Something differs.
    Different,
    /// The other run has no such step, or did not get to it.
    OnlyHere,
    /// Their keys differ, and what they were made of is forgotten.
    Forgotten,
}

impl Engine {
    /// The builds that are kept, the latest first.
    ///
    /// Errors: the store cannot be read.
    pub fn runs(&self) -> Result<Vec<Run>> {
        history::last_runs(self.store(), None, usize::MAX)
    }

    /// The last build that is kept of a Dockerfile or context in or below `near`; else of any.
    ///
    /// Errors: none is kept.
    pub fn last_run(&self, near: &Path) -> Result<Run> {
        let runs = self.runs()?;
        let is_near = |run: &&Run| {
            [&run.dockerfile, &run.context]
                .iter()
                .any(|place| Path::new(place).starts_with(near))
        };
        let found = runs.iter().find(is_near).or(runs.first());
        found.cloned().ok_or_else(|| {
            BuildError::build("no build is known in this store")
                .help("a build is noted when it makes a step, or finds others than the last one")
        })
    }

    /// The build with a name, or with the only name that begins so.
    ///
    /// Errors: there is none, or there are several.
    pub fn run_named(&self, id: &str) -> Result<Run> {
        let mut found = self.runs()?;
        found.retain(|run| run.id.starts_with(id));
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(BuildError::new(
                ErrorKind::Usage,
                format!("no build {id:?} is known in this store"),
            )
            .help("`rbuild explain --runs` lists those that are known")),
            count => Err(BuildError::new(
                ErrorKind::Usage,
                format!("{id:?} is the beginning of {count} builds"),
            )
            .help("give more of the name")),
        }
    }

    /// A run with all that explaining it elsewhere takes.
    ///
    /// Errors: the store cannot be read.
    pub fn carry_run(&self, run: &Run) -> Result<CarriedRun> {
        CarriedRun::gather(self.store(), run)
    }

    /// What a step's key was made of.
    fn note(&self, key: &str) -> Option<KeyInputs> {
        nearest::note(self.store(), key)
    }

    fn listing(&self, name: &Digest) -> Option<Listing> {
        let row = self.store().get(Table::Listings, name.as_str());
        Listing::decode(&row.ok().flatten()?)
    }

    /// Compares the steps of a run with those of another, which may come from another machine.
    pub fn compare_runs(&self, now: &CarriedRun, then: &CarriedRun) -> Vec<ComparedStep> {
        let steps = now.run.steps.iter();
        steps.map(|step| self.compared(step, (now, then))).collect()
    }

    fn compared(&self, step: &RunStep, (now, then): (&CarriedRun, &CarriedRun)) -> ComparedStep {
        let other = counterpart(step, &then.run);
        let mut compared = ComparedStep {
            name: step.name.clone(),
            other: other.map(|other| other.name.clone()),
            outcome: Compared::OnlyHere,
            differences: Vec::new(),
        };
        let keys = step.key.as_ref().zip(other.and_then(|it| it.key.as_ref()));
        let Some((key, before)) = keys else {
            return compared;
        };
        if key == before {
            compared.outcome = Compared::Same;
            return compared;
        }
        let note = |of: &CarriedRun, key: &str| {
            let found = of.notes.get(key).cloned().or_else(|| self.note(key));
            found.filter(|note| note.form == NOTE_FORM)
        };
        let around = Carried {
            engine: self,
            runs: [now, then],
        };
        match note(now, key).zip(note(then, before)) {
            Some((now, then)) => {
                compared.outcome = Compared::Different;
                compared.differences = differences(&then, &now, &around);
            }
            None => compared.outcome = Compared::Forgotten,
        }
        compared
    }
}

/// The step of a run that is like one of another: of the same stage and text, of the same text, in the
/// same place; of several the one whose place is nearest.
fn counterpart<'r>(step: &RunStep, run: &'r Run) -> Option<&'r RunStep> {
    let now = StepName::parse(&step.name);
    let found = run.steps.iter().min_by_key(|other| {
        let then = StepName::parse(&other.name);
        let class = match (then.stage == now.stage, then.text == now.text) {
            (true, true) => 0,
            (false, true) => 1,
            (true, false) if then.number == now.number => 2,
            _ => 3,
        };
        (class, then.number.abs_diff(now.number))
    })?;
    let then = StepName::parse(&found.name);
    let is_like = then.text == now.text || (then.stage, then.number) == (now.stage, now.number);
    is_like.then_some(found)
}

/// The steps of a run that are meant by a number in its list, by a stage and a number within it
/// (`build 2`), or by a part of the text.
pub fn steps_named<'r>(run: &'r Run, what: &str) -> Vec<&'r RunStep> {
    if let Ok(number) = what.parse::<usize>() {
        let found = number.checked_sub(1).and_then(|at| run.steps.get(at));
        return found.into_iter().collect();
    }
    let bare = what.trim_start_matches('[').trim_end_matches(']');
    let bare = bare.split('/').next().unwrap_or(bare);
    if let Some((stage, number)) = bare.rsplit_once(' ')
        && let Ok(number) = number.parse::<usize>()
    {
        let is_meant = |step: &&RunStep| {
            let name = StepName::parse(&step.name);
            name.stage == stage.trim() && name.number == number
        };
        let found: Vec<&RunStep> = run.steps.iter().filter(is_meant).collect();
        if !found.is_empty() {
            return found;
        }
    }
    let what = what.to_lowercase();
    let has_it = |step: &&RunStep| step.name.to_lowercase().contains(&what);
    run.steps.iter().filter(has_it).collect()
}

/// All that is known of a reason, a line each, files on lines of their own with two blanks in front.
pub fn reason_lines(reason: &Reason) -> Vec<String> {
    match reason {
        Reason::Changed {
            then, differences, ..
        } => difference_lines(differences, then),
        other => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            vec![words::line(other, now.unwrap_or_default().as_secs())]
        }
    }
}

/// Differences to the step that was called `then`, as [`reason_lines`].
pub fn difference_lines(differences: &[Difference], then: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for difference in differences {
        lines.push(words::difference(difference, then));
        if let Difference::Files {
            changes: Some(changes),
            ..
        } = difference
        {
            let named = changes.named.iter().map(words::file);
            lines.extend(named.map(|file| format!("  {file}")));
            let more = changes.count.saturating_sub(changes.named.len() as u64);
            if more > 0 {
                lines.push(format!("  and {more} more"));
            }
        }
    }
    lines
}

/// Lists of files of two runs, and of this store.
struct Carried<'a> {
    engine: &'a Engine,
    runs: [&'a CarriedRun; 2],
}

impl Surroundings for Carried<'_> {
    fn listing(&self, name: &Digest) -> Option<Arc<Listing>> {
        let carried = self.runs.iter().find_map(|run| run.listing(name));
        carried.or_else(|| self.engine.listing(name)).map(Arc::new)
    }

    fn was_made(&self, _at: usize) -> bool {
        // Whose result differs is a step of the list itself.
        false
    }

    fn is_argument(&self, name: &str) -> bool {
        let mut runs = self.runs.iter();
        runs.any(|carried| carried.run.arguments.iter().any(|known| known == name))
    }
}
