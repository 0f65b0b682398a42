//! What is kept of a build: its steps, how each came about, and why those that were missed were missed.

use serde::{Deserialize, Serialize};

use super::difference::Difference;

/// The layout of a kept run; one of another layout is as good as none.
pub(super) const RUN_FORM: u32 = 1;

/// A build that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The layout, for whoever reads it later.
    pub form: u32,
    /// Names it; begins with the time in UTC, so that names sort by age.
    pub id: String,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: u64,
    /// The Dockerfile: an absolute path, or `-`.
    pub dockerfile: String,
    /// The context: an absolute path, an address without secrets, `-` for an archive, or nothing.
    pub context: String,
    /// The stage that was built, if one was named.
    pub target: Option<String>,
    /// The platforms that were asked for; empty for this machine's.
    pub platforms: Vec<String>,
    /// Names of its build arguments, sorted; never their values.
    pub arguments: Vec<String>,
    /// Whether it came to an end without an error.
    pub succeeded: bool,
    /// The steps in the order of the graph, sources left out.
    pub steps: Vec<RunStep>,
}

impl Run {
    /// Steps of other machines, taken for one run; of it nothing else is known.
    pub(super) fn elsewhere(steps: Vec<RunStep>) -> Run {
        Run {
            form: RUN_FORM,
            id: "a cache".to_owned(),
            ended_ms: 0,
            dockerfile: String::new(),
            context: String::new(),
            target: None,
            platforms: Vec::new(),
            arguments: Vec::new(),
            succeeded: true,
            steps,
        }
    }
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStep {
    /// The step as shown to people.
    pub name: String,
    /// Under which its record and the inputs of its key are kept; `None` if it was not reached.
    pub key: Option<String>,
    /// How it came about.
    pub how: How,
    /// How long it took, in milliseconds; 0 for what was found.
    pub spent_ms: u64,
    /// Why it was not found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The reason in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How a step came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Its result was found.
    Cached,
    /// It was carried out.
    Made,
    /// It was begun and did not end well.
    Failed,
    /// It was not begun.
    NotReached,
}

/// Why a step was not found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// It was to be made again whatever there is (`--no-cache`).
    Forced,
    /// No earlier build that is known had it.
    New,
    /// An earlier build had the same step and did not finish it.
    Unfinished,
    /// Its result was removed to give space back.
    Evicted {
        /// When, in seconds since 1970.
        at: u64,
        /// The limit in bytes that was kept; `None` if somebody asked for the removal.
        limit: Option<u64>,
    },
    /// Its result was here and is not, for a reason that nobody noted.
    Gone,
    /// Something that its key is made of differs from the nearest earlier step.
    Changed {
        /// That step as it was shown.
        then: String,
        /// The run that it was in.
        run: String,
        /// What differs, what weighs most first; not empty.
        differences: Vec<Difference>,
    },
}

impl Reason {
    /// The kind in one word, as in [`rbuild_progress::MissNote`].
    pub fn kind(&self) -> &'static str {
        match self {
            Reason::Forced => "forced",
            Reason::New => "new",
            Reason::Unfinished => "unfinished",
            Reason::Evicted { .. } => "evicted",
            Reason::Gone => "gone",
            Reason::Changed { .. } if self.follows() => "follows",
            Reason::Changed { .. } => "changed",
        }
    }

    /// Whether nothing differs but results of steps that were made again in the same build.
    pub fn follows(&self) -> bool {
        match self {
            Reason::Changed { differences, .. } => differences
                .iter()
                .all(|it| matches!(it, Difference::Step { made_again, .. } if *made_again)),
            _ => false,
        }
    }
}
