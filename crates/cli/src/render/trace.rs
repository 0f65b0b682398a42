//! What is known of a running build: its steps, what they are at, and the ends of their output.
//!
//! Fed with events, asked by whoever draws. Knows no terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use rbuild::progress::{Event, LogChunk, StatusUpdate, VertexKey, VertexUpdate, WarningNote};

use super::tail::Tail;
use super::text::clean;

/// End of the error text of a step that was stopped because of something else.
const CANCELED: &str = "context canceled";

/// A build as far as its events tell.
#[derive(Debug, Default)]
pub struct Trace {
    steps: BTreeMap<VertexKey, Step>,
    /// Steps in the order in which they began.
    begun: Vec<VertexKey>,
    warnings: Vec<WarningNote>,
}

/// One step.
#[derive(Debug, Default)]
pub struct Step {
    /// As shown to people, without control characters.
    pub name: String,
    /// When it began last.
    pub started: Option<SystemTime>,
    /// When it ended; `None` while it runs.
    pub completed: Option<SystemTime>,
    /// Time spent before it began last: a step may begin several times.
    pub spent_before: Duration,
    /// How it ended or stands.
    pub state: StepState,
    /// Why its result was not found in the cache, if that is known.
    pub miss: Option<String>,
    /// Pieces of its work in order of appearance.
    pub statuses: Vec<StatusUpdate>,
    /// End of its output.
    pub tail: Tail,
}

/// How a step stands.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum StepState {
    /// Not begun.
    #[default]
    Planned,
    /// Begun.
    Running,
    /// Ended well.
    Done,
    /// Its result was found.
    Cached,
    /// Failed, with the reason in one line.
    Failed(String),
    /// Stopped because of something else.
    Canceled,
}

impl Trace {
    /// Takes in one event.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Vertex(update) => self.vertex(update),
            Event::Status(update) => self.status(update),
            Event::Log(chunk) => self.log(chunk),
            Event::Warning(note) => self.warnings.push(note.clone()),
            Event::Miss(note) => {
                if let Some(step) = self.steps.get_mut(&note.vertex) {
                    step.miss = Some(clean(&note.reason));
                }
            }
        }
    }

    /// The step that events call `key`.
    pub fn step(&self, key: &VertexKey) -> Option<&Step> {
        self.steps.get(key)
    }

    /// All steps that began, in that order.
    pub fn begun(&self) -> impl Iterator<Item = (&VertexKey, &Step)> {
        let step = |key| self.steps.get(key).map(|step| (key, step));
        self.begun.iter().filter_map(step)
    }

    /// The warnings in order of arrival, each once.
    pub fn warnings(&self) -> Vec<&WarningNote> {
        let mut seen = BTreeSet::new();
        let fresh = |note: &&WarningNote| seen.insert((note.short.clone(), note.line));
        self.warnings.iter().filter(fresh).collect()
    }

    /// Counts the steps that ended well and all steps.
    pub fn progress(&self) -> (usize, usize) {
        let ended = |step: &&Step| matches!(step.state, StepState::Done | StepState::Cached);
        (self.steps.values().filter(ended).count(), self.steps.len())
    }

    /// Whether a step runs, so that what is shown changes with time.
    pub fn is_running(&self) -> bool {
        self.steps
            .values()
            .any(|step| step.state == StepState::Running)
    }

    fn vertex(&mut self, update: &VertexUpdate) {
        let step = self.steps.entry(update.key.clone()).or_default();
        if step.started.is_none() && update.started.is_some() {
            self.begun.push(update.key.clone());
        }
        // A plan that is announced again says nothing new about a step that has begun.
        if step.started.is_none() || update.started.is_some() {
            step.update(update);
        }
    }

    fn status(&mut self, update: &StatusUpdate) {
        let Some(step) = self.steps.get_mut(&update.vertex) else {
            return;
        };
        match step.statuses.iter_mut().find(|known| known.id == update.id) {
            Some(known) => known.clone_from(update),
            None => step.statuses.push(update.clone()),
        }
    }

    fn log(&mut self, chunk: &LogChunk) {
        if let Some(step) = self.steps.get_mut(&chunk.vertex) {
            let since = step.started.map(|started| since(started, chunk.at));
            step.tail.push(&chunk.data, since.unwrap_or_default());
        }
    }
}

impl Step {
    /// Time spent on it until `now`.
    pub fn spent(&self, now: SystemTime) -> Duration {
        let last = self
            .started
            .map(|started| since(started, self.completed.unwrap_or(now)));
        self.spent_before + last.unwrap_or_default()
    }

    /// Whether it has ended, well or not.
    pub fn has_ended(&self) -> bool {
        !matches!(self.state, StepState::Planned | StepState::Running)
    }

    fn update(&mut self, update: &VertexUpdate) {
        if let (Some(started), Some(completed)) = (self.started, self.completed)
            && update.started.is_some_and(|again| again != started)
        {
            self.spent_before += since(started, completed);
        }
        self.name = clean(&update.name);
        self.started = update.started;
        self.completed = update.completed;
        self.state = state_of(update);
    }
}

fn state_of(update: &VertexUpdate) -> StepState {
    match (&update.error, update.started, update.completed) {
        (Some(error), ..) if error.ends_with(CANCELED) => StepState::Canceled,
        (Some(error), ..) => StepState::Failed(clean(error)),
        (None, _, Some(_)) if update.cached => StepState::Cached,
        (None, _, Some(_)) => StepState::Done,
        (None, Some(_), None) => StepState::Running,
        (None, None, None) => StepState::Planned,
    }
}

/// Time from `start` to `end`; nothing if the clock was set back in between.
pub fn since(start: SystemTime, end: SystemTime) -> Duration {
    end.duration_since(start).unwrap_or_default()
}
