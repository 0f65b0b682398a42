//! The scheduler: all state of a solve, owned by the calling thread.
//!
//! Work goes out as tasks and comes back as messages; see [`crate`] for the order of things.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::Scope;

use rbuild_graph::{InputUse, Op, VertexIx};
use rbuild_progress::CancelToken;

use crate::attempt::{Bench, Done, Inputs, Lookup, Message, Missed, Task};
use crate::error::Failure;
use crate::inflight::{Inflight, Role};
use crate::mailbox::{Mailbox, Woken};
use crate::pool::{CloseOnDrop, Queue};
use crate::state::State;
use crate::survey::{Standing, Survey};
use crate::{CacheKey, SolveError, Solved, Worker};

/// The state of a solve.
pub(crate) struct Schedule<'a, W: Worker> {
    bench: &'a Bench<'a, W>,
    states: BTreeMap<VertexIx, State<W::Output>>,
    /// Vertices whose inputs all have results; those without files to digest come first.
    ready: BTreeSet<(Effort, VertexIx)>,
    /// Vertices that were not found and are to be carried out, and sources in the network.
    missed: VecDeque<Task<W::Output>>,
    inflight: Inflight,
    /// What was looked at when something was not found, where that was worth it.
    survey: Option<Survey>,
    failure: Option<SolveError<W::Error>>,
}

/// How dear it may be to find out whether a vertex has a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Effort {
    /// The keys of its inputs are enough.
    Lookup,
    /// Files must be digested.
    Digest,
}

impl<'a, W: Worker> Schedule<'a, W> {
    /// Returns the state in which nothing is done.
    pub(crate) fn new(bench: &'a Bench<'a, W>) -> Self {
        let mut schedule = Self {
            bench,
            states: BTreeMap::new(),
            ready: BTreeSet::new(),
            missed: VecDeque::new(),
            inflight: Inflight::default(),
            survey: None,
            failure: None,
        };
        for &ix in bench.plan.order() {
            schedule.wait(ix);
        }
        schedule
    }

    /// Solves everything; starts threads from the first miss on.
    pub(crate) fn run(
        mut self,
        parallelism: NonZeroUsize,
    ) -> Result<Solved<W::Output>, SolveError<W::Error>> {
        self.run_inline();
        if self.failure.is_none() && !self.missed.is_empty() {
            self.look_ahead();
        }
        if self.failure.is_none() && self.has_tasks() {
            self.run_parallel(parallelism);
        }
        self.into_result()
    }

    /// Works on this thread until something has to be made.
    fn run_inline(&mut self) {
        let outer = self.bench.outer;
        while self.missed.is_empty() && self.failure.is_none() {
            if outer.is_cancelled() {
                self.failure = Some(SolveError::Cancelled);
                return;
            }
            let Some(task) = self.next_task() else {
                return;
            };
            let message = self.bench.execute(task, outer);
            self.accept(message);
        }
    }

    /// Works on threads until nothing is left.
    fn run_parallel(&mut self, parallelism: NonZeroUsize) {
        let opened = CancelToken::try_new().and_then(|stop| Ok((stop, Mailbox::new()?)));
        let (stop, mailbox) = match opened {
            Ok(opened) => opened,
            Err(source) => {
                self.failure = Some(SolveError::Threads { source });
                return;
            }
        };
        let (bench, queue) = (self.bench, Queue::new(parallelism));
        let work = |task| mailbox.post(bench.execute(task, &stop));
        std::thread::scope(|scope| {
            let crew = Crew {
                queue: &queue,
                mailbox: &mailbox,
                stop: &stop,
                work: &work,
            };
            let _close = CloseOnDrop(&queue);
            let _stop = CancelOnDrop(&stop);
            self.conduct(&crew, scope);
        });
    }

    /// Hands out tasks and takes in messages until no task is out.
    fn conduct<'scope, 'env>(
        &mut self,
        crew: &Crew<'scope, W>,
        scope: &'scope Scope<'scope, 'env>,
    ) {
        let mut out = 0;
        loop {
            while self.failure.is_none()
                && let Some(task) = self.next_task()
            {
                out += 1;
                if let Err(source) = crew.queue.push(scope, crew.work, task) {
                    self.failure = Some(SolveError::Threads { source });
                }
            }
            if self.failure.is_some() && !crew.stop.is_cancelled() {
                crew.stop.cancel();
                out -= self.drop_tasks(crew.queue.clear());
            }
            if out == 0 {
                return;
            }
            let listen = self.failure.is_none().then_some(self.bench.outer);
            if crew.mailbox.wait(listen) == Woken::Cancelled {
                self.failure = Some(SolveError::Cancelled);
            }
            for message in crew.mailbox.take() {
                out -= 1;
                self.accept(message);
            }
        }
    }

    fn has_tasks(&self) -> bool {
        !self.ready.is_empty() || !self.missed.is_empty()
    }

    /// Takes the next task; looking up comes before making, since it may show more to make.
    fn next_task(&mut self) -> Option<Task<W::Output>> {
        let Some((_, ix)) = self.ready.pop_first() else {
            return self.missed.pop_front();
        };
        if self.bench.plan.vertex(ix).op.is_source() {
            return Some(Task::Supply(ix));
        }
        Some(Task::Probe(ix, Arc::new(self.inputs(ix))))
    }

    /// Leaves out what nothing needs, where results may be known whose inputs are not.
    fn look_ahead(&mut self) {
        let is_open = |state: &State<W::Output>| {
            matches!(state, State::Waiting(_) | State::Keying | State::Running(_))
        };
        let open = self.states.iter().filter(|(_, state)| is_open(state));
        if !self.bench.is_worth_a_survey(open.map(|(ix, _)| *ix)) {
            return;
        }
        let foreseen: BTreeMap<VertexIx, Option<CacheKey>> = self
            .missed
            .iter()
            .map(|task| (task.vertex(), self.bench.foreseen_of(task)))
            .collect();
        let standing = |ix| match (self.states.get(&ix), foreseen.get(&ix)) {
            (Some(State::Done(done)), _) => Standing::Done(done),
            (_, Some(identity)) => Standing::Missed(identity.clone()),
            _ => Standing::Open,
        };
        match self.bench.survey(standing, self.bench.outer) {
            Ok(survey) => {
                self.survey = Some(survey);
                self.keep_needed();
            }
            // Whatever it is: it comes again, with its place, if it has to do with what is needed.
            Err(error) => tracing::debug!(%error, "nothing was looked at ahead"),
        }
    }

    /// Puts aside what nothing needs, and takes up again what something does.
    fn keep_needed(&mut self) {
        let Some(survey) = &self.survey else { return };
        let needed = self.bench.needed(survey);
        // Again if something that waited for another begins, for which the same question is asked.
        while self.put_aside(&needed) {}
    }

    /// Tells whether vertices were released that may be put aside themselves.
    fn put_aside(&mut self, needed: &BTreeSet<VertexIx>) -> bool {
        let mut is_released = false;
        for &ix in self.bench.plan.order() {
            match (self.states.get(&ix), needed.contains(&ix)) {
                (Some(State::Done(_) | State::Failed | State::Cancelled), _) => {}
                // What is out already comes back whatever is needed.
                (Some(State::Waiting(_)), true) | (Some(State::Spared), true) => self.wait(ix),
                (Some(State::Waiting(_)), false) => self.set(ix, State::Spared),
                (Some(State::Running(keys)), false) if self.is_queued(ix) => {
                    let key = keys.content.clone();
                    self.missed.retain(|task| task.vertex() != ix);
                    self.set(ix, State::Spared);
                    for follower in self.inflight.leave(&key, ix) {
                        self.release(follower);
                        is_released = true;
                    }
                }
                (Some(State::Keying), false) => {
                    let before = self.ready.len() + self.missed.len();
                    self.ready.retain(|(_, other)| *other != ix);
                    self.missed.retain(|task| task.vertex() != ix);
                    if self.ready.len() + self.missed.len() < before {
                        self.set(ix, State::Spared);
                    }
                }
                _ => {}
            }
        }
        is_released
    }

    fn is_queued(&self, ix: VertexIx) -> bool {
        self.missed.iter().any(|task| task.vertex() == ix)
    }

    /// Lets a vertex wait for the inputs that it needs, or begin if they are there.
    fn wait(&mut self, ix: VertexIx) {
        let awaited = self.bench.awaited(ix, self.survey.as_ref());
        let is_missing = |input: &&VertexIx| self.states.get(input).and_then(State::done).is_none();
        let missing = awaited.iter().filter(is_missing).count();
        self.set(ix, State::Waiting(missing));
        if missing == 0 {
            self.make_ready(ix);
        }
    }

    /// Takes in how a task ended.
    fn accept(&mut self, message: Message<W::Output, W::Error>) {
        match message {
            Message::Done(ix, done) => self.finish(ix, done),
            Message::Missed(ix, missed) => match self.inflight.enter(&missed.keys.content, ix) {
                Role::Leader if self.bench.plan.is_forced(ix) => {
                    self.perform(ix, missed, Lookup::Forbidden);
                }
                Role::Leader | Role::Late => self.perform(ix, missed, Lookup::Allowed),
                Role::Follower => self.set(ix, State::Keyed(missed)),
            },
            Message::Unfounded(ix) => {
                if let Some(survey) = &mut self.survey {
                    survey.forget(ix);
                }
                self.wait(ix);
                self.keep_needed();
            }
            Message::Failed(ix, failure) => self.fail(ix, failure),
        }
    }

    fn finish(&mut self, ix: VertexIx, done: Done<W::Output>) {
        let key = self.states.get(&ix).and_then(State::work_key).cloned();
        self.set(ix, State::Done(done));
        if let Some(key) = key {
            for follower in self.inflight.leave(&key, ix) {
                self.release(follower);
            }
        }
        for &consumer in self.bench.plan.consumers(ix) {
            if let Some(survey) = &self.survey
                && !self.bench.awaited(consumer, Some(survey)).contains(&ix)
            {
                continue;
            }
            let state = self.states.get_mut(&consumer);
            if state.is_some_and(State::input_arrived) {
                self.make_ready(consumer);
            }
        }
    }

    /// Lets a vertex pick up what the one it waited for has recorded.
    ///
    /// Also when it is forced: that result is of this solve.
    fn release(&mut self, follower: VertexIx) {
        if let Some(State::Keyed(missed)) = self.states.insert(follower, State::Keying) {
            self.perform(follower, missed, Lookup::Allowed);
        }
    }

    fn perform(&mut self, ix: VertexIx, missed: Missed<W::Output>, lookup: Lookup) {
        self.set(ix, State::Running(Arc::clone(&missed.keys)));
        self.missed.push_back(Task::Perform(ix, missed, lookup));
    }

    fn fail(&mut self, ix: VertexIx, failure: Failure<W::Error>) {
        if self.failure.is_some() || self.bench.outer.is_cancelled() {
            self.set(ix, State::Cancelled);
            self.failure.get_or_insert(SolveError::Cancelled);
        } else {
            self.set(ix, State::Failed);
            self.failure = Some(failure.at(ix, self.bench.plan.name(ix)));
        }
    }

    /// Marks tasks that were never begun; returns how many there are.
    fn drop_tasks(&mut self, tasks: Vec<Task<W::Output>>) -> usize {
        for task in &tasks {
            self.set(task.vertex(), State::Cancelled);
        }
        tasks.len()
    }

    fn make_ready(&mut self, ix: VertexIx) {
        self.set(ix, State::Keying);
        // Waiting for the network is work for the pool: several wait at the same time.
        if self.bench.plan.vertex(ix).op.is_remote() {
            self.missed.push_back(Task::Supply(ix));
        } else {
            self.ready.insert((self.effort(ix), ix));
        }
    }

    fn effort(&self, ix: VertexIx) -> Effort {
        let vertex = self.bench.plan.vertex(ix);
        let local = |input: &VertexIx| matches!(self.bench.plan.vertex(*input).op, Op::Local(_));
        let mut inputs = vertex.inputs.iter().enumerate();
        if inputs.any(|(n, ix)| local(ix) && vertex.op.input_use(n) == InputUse::Files) {
            Effort::Digest
        } else {
            Effort::Lookup
        }
    }

    fn inputs(&self, ix: VertexIx) -> Inputs<W::Output> {
        let inputs = self.bench.plan.vertex(ix).inputs.iter().map(|input| {
            match self.states.get(input).and_then(State::done) {
                Some(done) => (Some(done.output.clone()), done.identity.clone()),
                None => {
                    let survey = self.survey.as_ref();
                    (
                        None,
                        survey.and_then(|survey| survey.identity(*input)).cloned(),
                    )
                }
            }
        });
        let (outputs, identities) = inputs.unzip();
        Inputs {
            outputs,
            identities,
        }
    }

    fn set(&mut self, ix: VertexIx, state: State<W::Output>) {
        self.states.insert(ix, state);
    }

    fn into_result(self) -> Result<Solved<W::Output>, SolveError<W::Error>> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let results = self
            .states
            .into_iter()
            .filter_map(|(ix, state)| match state {
                State::Done(done) => Some((ix, (done.output, done.origin))),
                _ => None,
            });
        Ok(Solved {
            results: results.collect(),
        })
    }
}

/// What the owner needs to hand out tasks.
struct Crew<'scope, W: Worker> {
    queue: &'scope Queue<Task<W::Output>>,
    mailbox: &'scope Mailbox<Message<W::Output, W::Error>>,
    stop: &'scope CancelToken,
    work: &'scope (dyn Fn(Task<W::Output>) + Sync),
}

/// Stops running tasks should the owner panic; a scope waits for its threads even then.
struct CancelOnDrop<'a>(&'a CancelToken);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.cancel();
        }
    }
}
