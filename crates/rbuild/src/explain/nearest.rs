//! The earlier step to compare a missed one with: of the same name, or in the same place, with the fewest
//! differences.

use std::collections::BTreeSet;

use rbuild_solver::{KeyInputs, NOTE_FORM};
use rbuild_store::{Store, Table};

use super::difference::{Difference, Surroundings, differences};
use super::files::FileChanges;
use super::history::{self, Project};
use super::run::{How, Reason, Run, RunStep};

/// Earlier builds that are looked at.
const RUNS: usize = 10;
/// Earlier steps that a missed one is compared with.
const STEPS: usize = 16;

/// Files in the lists of earlier steps, from which on no further step is compared: the latest come first.
const FILES: u64 = 20_000;

/// What a step is called, taken apart: `[stage 2/5] TEXT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StepName<'a> {
    /// The stage and the platform, as far as they are shown.
    pub stage: &'a str,
    /// Number within the stage; 0 without one.
    pub number: usize,
    /// The instruction.
    pub text: &'a str,
}

impl<'a> StepName<'a> {
    pub(super) fn parse(name: &'a str) -> StepName<'a> {
        let bare = StepName {
            stage: "",
            number: 0,
            text: name,
        };
        let Some((inner, text)) = name.strip_prefix('[').and_then(|it| it.split_once("] ")) else {
            return bare;
        };
        let (stage, count) = inner.rsplit_once(' ').unwrap_or(("", inner));
        let number = count.split_once('/').and_then(|(n, _)| n.parse().ok());
        number.map_or(bare, |number| StepName {
            stage: stage.trim_end(),
            number,
            text,
        })
    }
}

/// The earlier builds that a step may be compared with, the latest first.
pub(super) struct Past {
    runs: Vec<Run>,
    /// Whether they are of the same Dockerfile and context, so that a place means something.
    is_same_project: bool,
}

/// A step of the past.
struct Candidate<'a> {
    run: &'a Run,
    key: &'a str,
    name: &'a str,
    /// How far its place is from that of the missed step.
    distance: usize,
}

impl Past {
    /// Reads the last builds of a project; of any, if it has none.
    pub(super) fn load(store: &Store, project: &Project) -> Past {
        let own = history::last_runs(store, Some(project), RUNS);
        let runs = own.unwrap_or_else(|error| {
            tracing::debug!(%error, "earlier builds could not be read");
            Vec::new()
        });
        if !runs.is_empty() {
            return Past {
                runs,
                is_same_project: project.has_place(),
            };
        }
        Past {
            runs: history::last_runs(store, None, RUNS).unwrap_or_default(),
            is_same_project: false,
        }
    }

    /// What builds of other machines left in caches, taken for one run.
    pub(super) fn elsewhere(notes: &[(String, KeyInputs)]) -> Past {
        let steps = notes.iter().map(|(key, note)| RunStep {
            name: note.name.clone(),
            key: Some(key.clone()),
            how: How::Made,
            spent_ms: 0,
            reason: None,
            why: None,
        });
        Past {
            runs: vec![Run::elsewhere(steps.collect())],
            is_same_project: false,
        }
    }

    /// How the latest earlier step with exactly this key ended.
    pub(super) fn end_of(&self, key: &str) -> Option<How> {
        let steps = self.runs.iter().flat_map(|run| &run.steps);
        let mut ends = steps.filter(|step| step.key.as_deref() == Some(key));
        ends.next().map(|step| step.how)
    }

    /// The differences to the nearest earlier step; `None` if there is no step to compare with.
    ///
    /// `plan` are the names of all steps of now: an earlier step that goes on under its own name is not
    /// taken for another one that stands in its place.
    pub(super) fn nearest(
        &self,
        now: &KeyInputs,
        (key, plan): (&str, &BTreeSet<&str>),
        around: &dyn Surroundings,
        note: &dyn Fn(&str) -> Option<KeyInputs>,
    ) -> Option<Reason> {
        let mut best: Option<((usize, u64, usize), Reason)> = None;
        let mut files = 0;
        for candidate in self.candidates(&now.name, key, plan) {
            let Some(then) = note(candidate.key).filter(|then| then.form == NOTE_FORM) else {
                continue;
            };
            if files > FILES {
                break;
            }
            let found = differences(&then, now, around);
            files += files_in(&found, |changes| changes.total);
            let changed = files_in(&found, |changes| changes.count);
            let rank = (found.len(), changed, candidate.distance);
            // Of equally near ones the latest, which comes first.
            if found.is_empty() || best.as_ref().is_some_and(|(known, _)| *known <= rank) {
                continue;
            }
            let reason = Reason::Changed {
                then: candidate.name.to_owned(),
                run: candidate.run.id.clone(),
                differences: found,
            };
            best = Some((rank, reason));
        }
        best.map(|(_, reason)| reason)
    }

    /// The earlier steps that a missed one may be compared with, by their keys, the best first.
    pub(super) fn keys_like(&self, name: &str, key: &str, plan: &BTreeSet<&str>) -> Vec<&str> {
        let found = self.candidates(name, key, plan);
        found.into_iter().map(|candidate| candidate.key).collect()
    }

    /// Steps of the same stage and text; else of the same text; else in the same place.
    fn candidates(&self, name: &str, key: &str, plan: &BTreeSet<&str>) -> Vec<Candidate<'_>> {
        let now = StepName::parse(name);
        let same_text = |_: &Run, then: &StepName<'_>| then.text == now.text;
        let own = self.matching(now, key, |run, then| {
            same_text(run, then) && then.stage == now.stage
        });
        if !own.is_empty() {
            return own;
        }
        let elsewhere = self.matching(now, key, same_text);
        if !elsewhere.is_empty() || !self.is_same_project {
            return elsewhere;
        }
        let count = |names: &mut dyn Iterator<Item = &str>, of: &StepName<'_>| {
            let same = names.map(StepName::parse);
            same.filter(|it| it.stage == of.stage && it.text == of.text)
                .count()
        };
        self.matching(now, key, |run, then| {
            let mut before = run.steps.iter().map(|step| step.name.as_str());
            // One that goes on under its own name was not replaced.
            then.stage == now.stage
                && then.number == now.number
                && count(&mut before, then) > count(&mut plan.iter().copied(), then)
        })
    }

    fn matching(
        &self,
        now: StepName<'_>,
        key: &str,
        is_meant: impl Fn(&Run, &StepName<'_>) -> bool,
    ) -> Vec<Candidate<'_>> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for run in &self.runs {
            for step in &run.steps {
                let name = StepName::parse(&step.name);
                let Some(known) = step.key.as_deref() else {
                    continue;
                };
                if known != key && is_meant(run, &name) && seen.insert(known) {
                    found.push(Candidate {
                        run,
                        key: known,
                        name: &step.name,
                        distance: name.number.abs_diff(now.number),
                    });
                }
            }
        }
        found.truncate(STEPS);
        found
    }
}

/// What was noted of the inputs of a key.
pub(super) fn note(store: &Store, key: &str) -> Option<KeyInputs> {
    let row = store.get(Table::Steps, key).ok().flatten()?;
    serde_json::from_slice(&row).ok()
}

/// Sums something up over the lists of files.
fn files_in(differences: &[Difference], number: impl Fn(&FileChanges) -> u64) -> u64 {
    let numbers = differences.iter().map(|it| match it {
        Difference::Files {
            changes: Some(changes),
            ..
        } => number(changes),
        _ => 0,
    });
    numbers.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_steps_are_taken_apart() {
        for (name, stage, number, text) in [
            ("[2/5] RUN a] b", "", 2, "RUN a] b"),
            ("[build  2/12] COPY . .", "build", 2, "COPY . ."),
            (
                "[linux/arm64 build 3/3] RUN x",
                "linux/arm64 build",
                3,
                "RUN x",
            ),
            ("RUN [x] y", "", 0, "RUN [x] y"),
            ("[odd] RUN", "", 0, "[odd] RUN"),
        ] {
            let expected = StepName {
                stage,
                number,
                text,
            };
            assert_eq!(StepName::parse(name), expected);
        }
    }
}
