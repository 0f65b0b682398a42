//! Which vertices have to be worked on at all.
//!
//! A cache elsewhere may know the result of a step, and not what that step was made from: then nothing of the
//! latter is needed but what the result is stacked on. Looked at once, when something was not found and is
//! about to be made; a build that finds everything never comes here.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_graph::{InputUse, VertexIx, op_key};
use rbuild_progress::CancelToken;

use crate::attempt::{Attempt, Bench, Done, Inputs, Lookup, Task, unkeyed_base};
use crate::key::key_of;
use crate::note::base_of;
use crate::{CacheKey, Part, Record, Worker};

/// What is known of a vertex when the survey begins.
pub(crate) enum Standing<'a, O> {
    /// It has a result.
    Done(&'a Done<O>),
    /// It was not found; its result will have this identity, if that can be told beforehand.
    Missed(Option<CacheKey>),
    /// It was not looked at.
    Open,
}

/// What came out of a look at all vertices.
#[derive(Default)]
pub(crate) struct Survey {
    /// Identities of results, those to be made included where they can be told.
    identities: BTreeMap<VertexIx, CacheKey>,
    /// Vertices with a record, which need only what they are stacked on.
    found: BTreeSet<VertexIx>,
}

impl Survey {
    /// The identity of the result of a vertex, made or not.
    pub(crate) fn identity(&self, ix: VertexIx) -> Option<&CacheKey> {
        self.identities.get(&ix)
    }

    /// Takes back that a vertex has a record: it could not be used after all.
    pub(crate) fn forget(&mut self, ix: VertexIx) {
        self.found.remove(&ix);
    }
}

impl<W: Worker> Bench<'_, W> {
    /// Whether results may be known whose inputs are not.
    pub(crate) fn is_worth_a_survey(&self, open: impl Iterator<Item = VertexIx>) -> bool {
        let mut steps = open.filter(|ix| !self.plan.is_forced(*ix));
        steps.any(|ix| {
            let op = &self.plan.vertex(ix).op;
            !op.is_source() && self.cache.may_have_alone(&op_key(op))
        })
    }

    /// The identity of what a task will make, if it can be told.
    pub(crate) fn foreseen_of(&self, task: &Task<W::Output>) -> Option<CacheKey> {
        match task {
            Task::Perform(ix, missed, Lookup::Allowed) => {
                self.foreseen_over(*ix, missed.keys.content.clone(), &missed.inputs)
            }
            Task::Supply(_) | Task::Probe(..) | Task::Perform(..) => None,
        }
    }

    /// Looks for records of all vertices, without making anything.
    pub(crate) fn survey<'s>(
        &self,
        standing: impl Fn(VertexIx) -> Standing<'s, W::Output>,
        cancel: &CancelToken,
    ) -> Attempt<Survey, W>
    where
        W: 's,
    {
        let mut survey = Survey::default();
        for &ix in self.plan.order() {
            let identity = match standing(ix) {
                Standing::Done(done) => done.identity.clone(),
                Standing::Missed(identity) => identity,
                Standing::Open if self.plan.vertex(ix).op.is_source() => None,
                Standing::Open if self.plan.is_forced(ix) => None,
                Standing::Open => {
                    let inputs = self.known_inputs(ix, &survey, &standing);
                    self.foreseen(ix, &inputs, (&mut survey, cancel))?
                }
            };
            if let Some(identity) = identity {
                survey.identities.insert(ix, identity);
            }
        }
        Ok(survey)
    }

    /// What is known of the inputs of a vertex.
    fn known_inputs<'s>(
        &self,
        ix: VertexIx,
        survey: &Survey,
        standing: impl Fn(VertexIx) -> Standing<'s, W::Output>,
    ) -> Inputs<W::Output>
    where
        W: 's,
    {
        let known = self.plan.vertex(ix).inputs.iter().map(|&input| {
            let output = match standing(input) {
                Standing::Done(done) => Some(done.output.clone()),
                Standing::Missed(_) | Standing::Open => None,
            };
            (output, survey.identity(input).cloned())
        });
        let (outputs, identities) = known.unzip();
        Inputs {
            outputs,
            identities,
        }
    }

    /// The identity that the result of a vertex has or will have, if it can be told; notes if it has a record.
    fn foreseen(
        &self,
        ix: VertexIx,
        inputs: &Inputs<W::Output>,
        (survey, cancel): (&mut Survey, &CancelToken),
    ) -> Attempt<Option<CacheKey>, W> {
        let op = &self.plan.vertex(ix).op;
        let is_known = |input: usize| {
            let of = |known: &[Option<CacheKey>]| known.get(input).is_some_and(Option::is_some);
            let is_here = inputs.outputs.get(input).is_some_and(Option::is_some);
            match op.input_use(input) {
                InputUse::Unkeyed => true,
                InputUse::Chain => of(&inputs.identities),
                InputUse::Files => of(&inputs.identities) || is_here,
            }
        };
        if !(0..inputs.identities.len()).all(is_known) {
            return Ok(None);
        }
        let parts = self.chain_parts(ix, inputs, cancel)?;
        let chain = key_of(&op_key(op), &parts);
        if let Some(identity) = self.recorded(&chain)? {
            survey.found.insert(ix);
            return Ok(self.foreseen_over(ix, identity, inputs));
        }
        // Of files that are not made yet nobody knows the content, and it is in the identity.
        let by_files = |(input, part): (usize, &Part)| {
            op.input_use(input) == InputUse::Files && matches!(part, Part::Identity(_))
        };
        if parts.iter().enumerate().any(by_files) {
            return Ok(None);
        }
        Ok(self.foreseen_over(ix, chain, inputs))
    }

    /// The identity under a key whose result can be used.
    fn recorded(&self, key: &CacheKey) -> Attempt<Option<CacheKey>, W> {
        let record = self.cache.lookup(key)?;
        let record = record.and_then(|bytes| Record::decode(&bytes));
        Ok(record
            .filter(|record| self.worker.is_kept(&record.saved))
            .map(|record| record.identity))
    }

    /// As `over_base`; `None` where the base counts and is not known.
    fn foreseen_over(
        &self,
        ix: VertexIx,
        identity: CacheKey,
        inputs: &Inputs<W::Output>,
    ) -> Option<CacheKey> {
        let base = unkeyed_base(self.plan.vertex(ix));
        if let Some(base) = base
            && inputs.identities.get(base).is_none_or(Option::is_none)
        {
            return None;
        }
        Some(self.over_base(ix, identity, inputs))
    }

    /// The inputs that a vertex waits for.
    pub(crate) fn awaited(&self, ix: VertexIx, survey: Option<&Survey>) -> BTreeSet<VertexIx> {
        let vertex = self.plan.vertex(ix);
        if survey.is_none_or(|survey| !survey.found.contains(&ix)) {
            return vertex.inputs.iter().copied().collect();
        }
        let base = base_of(&vertex.op).and_then(|base| vertex.inputs.get(base));
        base.copied().into_iter().collect()
    }

    /// The vertices that have to be worked on, or have been.
    pub(crate) fn needed(&self, survey: &Survey) -> BTreeSet<VertexIx> {
        let mut needed = BTreeSet::new();
        let mut open = self.plan.targets().to_vec();
        while let Some(ix) = open.pop() {
            if needed.insert(ix) {
                open.extend(self.awaited(ix, Some(survey)));
            }
        }
        needed
    }
}
