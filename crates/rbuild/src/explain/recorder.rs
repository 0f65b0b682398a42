//! Listens to a solve: says why a step was missed as it begins, and keeps the run when it ends.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rbuild_frontend::Plan;
use rbuild_graph::VertexIx;
use rbuild_oci::Digest;
use rbuild_progress::{Event, MissNote, Sink, VertexKey, VertexUpdate};
use rbuild_solver::{Cause, Hit, KeyInputs, Miss, Witness};
use rbuild_source::Listing;
use rbuild_store::{Store, Table};

use super::difference::{Difference, Surroundings};
use super::history::{self, Project};
use super::nearest::{self, Past};
use super::run::{How, RUN_FORM, Reason, Run, RunStep};
use super::words;
use crate::collect::Tombstone;
use crate::{BuildRequest, OnMiss, Result};

/// What a recorder is made of.
pub(crate) struct Given<'a> {
    pub store: &'a Store,
    /// What goes before every key in the store.
    pub rung: &'static str,
    pub request: &'a BuildRequest,
    pub plan: &'a Plan,
    /// What other machines left.
    pub others: &'a dyn OtherMachines,
    pub sink: &'a dyn Sink,
}

/// What other machines left in caches, as far as these were read.
pub(crate) trait OtherMachines: Sync {
    /// What keys were made of, by key, the newest first.
    fn notes(&self) -> Vec<(String, KeyInputs)>;

    /// A list of files that one of these notes names, encoded.
    fn list(&self, name: &Digest) -> Option<Vec<u8>>;
}

/// Listens to one solve.
pub(crate) struct Recorder<'a> {
    given: Given<'a>,
    project: Project,
    arguments: BTreeSet<&'a str>,
    past: OnceLock<Past>,
    /// What keys were made of in caches elsewhere, and those as a past.
    elsewhere: OnceLock<(BTreeMap<String, KeyInputs>, Past)>,
    state: Mutex<State>,
}

/// What was heard.
#[derive(Default)]
struct State {
    steps: BTreeMap<VertexIx, Heard>,
    /// Steps that were missed, as events call them.
    missed: BTreeMap<VertexKey, VertexIx>,
    /// Steps that were missed because of `--no-cache`, or of such a step.
    excused: BTreeSet<VertexIx>,
}

/// What was heard of one step.
struct Heard {
    key: String,
    identity: String,
    how: How,
    spent_ms: u64,
    reason: Option<(Reason, String)>,
}

impl<'a> Recorder<'a> {
    /// Listens for the build of `given`.
    pub(crate) fn new(given: Given<'a>) -> Recorder<'a> {
        let arguments = given.request.build_args.keys().map(String::as_str);
        let declared = given.plan.outline.args.iter().map(|arg| arg.name.as_str());
        Recorder {
            project: Project::of(given.request),
            arguments: arguments.chain(declared).collect(),
            past: OnceLock::new(),
            elsewhere: OnceLock::new(),
            state: Mutex::default(),
            given,
        }
    }

    /// Keeps what was heard, unless it is what the last build came to.
    ///
    /// Failing loses an explanation, not a build.
    pub(crate) fn keep(&self, succeeded: bool) {
        if let Err(error) = self.kept(succeeded) {
            tracing::debug!(%error, "the run was not kept");
        }
    }

    fn kept(&self, succeeded: bool) -> Result<()> {
        let state = self.state();
        let all_found = state.missed.is_empty();
        if all_found && (!succeeded || state.steps.is_empty()) {
            return Ok(());
        }
        let seen = seen(&state);
        let store = self.given.store;
        if all_found && history::is_seen(store, &self.project, &seen)? {
            return Ok(());
        }
        let run = self.run(&state, succeeded);
        history::save(store, &self.project, &run, &seen)
    }

    fn run(&self, state: &State, succeeded: bool) -> Run {
        let (request, plan) = (self.given.request, self.given.plan);
        let (id, ended_ms) = history::new_id();
        let graph = &plan.graph;
        let steps = graph.topological().into_iter();
        let steps = steps.filter(|ix| !graph.vertex(*ix).op.is_source());
        Run {
            form: RUN_FORM,
            id,
            ended_ms,
            dockerfile: self.project.dockerfile.clone(),
            context: self.project.context.clone(),
            target: request.target.clone(),
            platforms: request.platforms.iter().map(ToString::to_string).collect(),
            arguments: self
                .arguments
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            succeeded,
            steps: steps
                .map(|ix| self.step(ix, state.steps.get(&ix)))
                .collect(),
        }
    }

    fn step(&self, ix: VertexIx, heard: Option<&Heard>) -> RunStep {
        let name = self.given.plan.names.get(&ix).cloned().unwrap_or_default();
        let Some(heard) = heard else {
            return RunStep {
                name,
                key: None,
                how: How::NotReached,
                spent_ms: 0,
                reason: None,
                why: None,
            };
        };
        // What is noted beside the identity has the lists of files; a forced step has no such note.
        let store = self.given.store;
        let is_noted = || matches!(store.get(Table::Steps, &heard.identity), Ok(Some(_)));
        let key = match heard.identity == heard.key || is_noted() {
            true => &heard.identity,
            false => &heard.key,
        };
        let (reason, why) = heard.reason.clone().unzip();
        RunStep {
            name,
            key: Some(key.clone()),
            how: heard.how,
            spent_ms: heard.spent_ms,
            reason,
            why,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name_of(&self, key: &rbuild_solver::CacheKey) -> String {
        format!("{}{key}", self.given.rung)
    }

    /// Why a step was missed.
    fn reason(&self, miss: &Miss<'_>, made: &[bool]) -> Reason {
        let key = self.name_of(miss.key);
        let store = self.given.store;
        match miss.cause {
            Cause::Forced => return Reason::Forced,
            Cause::Gone => return Reason::Gone,
            Cause::NoRecord => {}
        }
        if let Some(Tombstone { at, limit }) = Tombstone::read(store, &key) {
            return Reason::Evicted { at, limit };
        }
        let past = self.past.get_or_init(|| Past::load(store, &self.project));
        match past.end_of(&key) {
            Some(How::Failed) => return Reason::Unfinished,
            Some(How::Cached | How::Made) => return Reason::Gone,
            Some(How::NotReached) | None => {}
        }
        let around = Around {
            store,
            others: self.given.others,
            made,
            arguments: &self.arguments,
            listings: RefCell::default(),
        };
        let plan: BTreeSet<&str> = self.given.plan.names.values().map(String::as_str).collect();
        let note = |key: &str| -> Option<KeyInputs> { nearest::note(store, key) };
        if let Some(reason) = past.nearest(miss.inputs, (&key, &plan), &around, &note) {
            return reason;
        }
        let like = past.keys_like(&miss.inputs.name, &key, &plan);
        let grave = like.iter().find_map(|key| Tombstone::read(store, key));
        if let Some(Tombstone { at, limit }) = grave {
            return Reason::Evicted { at, limit };
        }
        // No build of this machine had it: what other machines had may tell.
        let (notes, others) = self.elsewhere.get_or_init(|| {
            let notes = self.given.others.notes();
            let others = Past::elsewhere(&notes);
            // Of several notes under one key the newest, which comes first.
            (notes.into_iter().rev().collect(), others)
        });
        let note = |key: &str| notes.get(key).cloned();
        let changed = others.nearest(miss.inputs, (&key, &plan), &around, &note);
        changed.unwrap_or(Reason::New)
    }

    /// Whether `--fail-on-miss` lets a step pass: it was asked for, or follows from one that was.
    fn is_excused(&self, miss: &Miss<'_>, reason: &Reason, state: &State) -> bool {
        let inputs = self.given.plan.graph.inputs(miss.vertex);
        let follows_excused = || inputs.iter().any(|input| state.excused.contains(input));
        match reason {
            Reason::Forced => true,
            // What a forced step yields is new to all that stand on it.
            Reason::New => follows_excused(),
            Reason::Changed { differences, .. } => {
                let is_followed = |it: &Difference| {
                    matches!(
                        it,
                        Difference::Step {
                            made_again: true,
                            ..
                        } | Difference::Files {
                            made_again: true,
                            ..
                        }
                    )
                };
                differences.iter().all(is_followed) && follows_excused()
            }
            _ => false,
        }
    }
}

impl Witness for Recorder<'_> {
    fn found(&self, hit: &Hit<'_>) {
        let heard = Heard {
            key: self.name_of(hit.key),
            identity: self.name_of(hit.identity),
            how: How::Cached,
            spent_ms: 0,
            reason: None,
        };
        self.state().steps.insert(hit.vertex, heard);
    }

    fn missed(&self, miss: &Miss<'_>) -> Result<(), String> {
        let graph = &self.given.plan.graph;
        let inputs = graph.inputs(miss.vertex);
        let made: Vec<bool> = {
            let state = self.state();
            let was_made = |input: &VertexIx| {
                let heard = state.steps.get(input);
                heard.is_some_and(|heard| heard.how != How::Cached)
            };
            inputs.iter().map(was_made).collect()
        };
        let reason = self.reason(miss, &made);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let line = words::line(&reason, now.unwrap_or_default().as_secs());
        let vertex = VertexKey::new(graph.vertex(miss.vertex).id.to_string());
        self.given.sink.send(Event::Miss(MissNote {
            vertex: vertex.clone(),
            kind: reason.kind(),
            reason: line.clone(),
        }));
        let mut state = self.state();
        let is_excused = self.is_excused(miss, &reason, &state);
        if is_excused {
            state.excused.insert(miss.vertex);
        }
        state.missed.insert(vertex, miss.vertex);
        let key = self.name_of(miss.key);
        let heard = Heard {
            identity: key.clone(),
            key,
            how: How::Failed,
            spent_ms: 0,
            reason: Some((reason, line.clone())),
        };
        state.steps.insert(miss.vertex, heard);
        match self.given.request.on_miss {
            OnMiss::Fail if !is_excused => Err(line),
            OnMiss::Fail | OnMiss::Build => Ok(()),
        }
    }
}

impl Sink for Recorder<'_> {
    /// Hears how steps end, and passes everything on.
    fn send(&self, event: Event) {
        if let Event::Vertex(VertexUpdate {
            key,
            started: Some(started),
            completed: Some(completed),
            error: None,
            ..
        }) = &event
        {
            let mut state = self.state();
            if let Some(ix) = state.missed.get(key).copied()
                && let Some(heard) = state.steps.get_mut(&ix)
                && heard.how == How::Failed
            {
                let spent = completed.duration_since(*started).unwrap_or_default();
                heard.how = How::Made;
                heard.spent_ms = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX);
            }
        }
        self.given.sink.send(event);
    }
}

impl fmt::Debug for Recorder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}

/// What the steps of a run came to, in one digest.
fn seen(state: &State) -> Digest {
    let mut bytes = Vec::new();
    for heard in state.steps.values() {
        bytes.extend_from_slice(heard.identity.as_bytes());
        bytes.push(b'\n');
    }
    Digest::sha256_of(&bytes)
}

/// What telling keys apart needs while a build runs.
struct Around<'a> {
    store: &'a Store,
    others: &'a dyn OtherMachines,
    made: &'a [bool],
    arguments: &'a BTreeSet<&'a str>,
    /// Lists that were read already.
    listings: RefCell<BTreeMap<Digest, Arc<Listing>>>,
}

impl Surroundings for Around<'_> {
    fn listing(&self, name: &Digest) -> Option<Arc<Listing>> {
        if let Some(known) = self.listings.borrow().get(name) {
            return Some(Arc::clone(known));
        }
        let kept = self.store.get(Table::Listings, name.as_str());
        let list = kept.ok().flatten().or_else(|| self.others.list(name))?;
        let read = Arc::new(Listing::decode(&list)?);
        let mut listings = self.listings.borrow_mut();
        listings.insert(name.clone(), Arc::clone(&read));
        Some(read)
    }

    fn was_made(&self, at: usize) -> bool {
        self.made.get(at).copied().unwrap_or(false)
    }

    fn is_argument(&self, name: &str) -> bool {
        self.arguments.contains(name)
    }
}
