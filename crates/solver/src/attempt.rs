//! The work on one vertex, on whichever thread: supply a source, key and look up, carry out.
//!
//! Owns no state of the solve. Everything here ends in a value, panics of the worker included.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use rbuild_graph::{InputUse, Op, Vertex, VertexIx, op_key};
use rbuild_progress::CancelToken;

use crate::announce::{Announcer, End};
use crate::error::Failure;
use crate::key::{key_of, note};
use crate::plan::Plan;
use crate::{CacheError, CacheIndex, CacheKey, KeyInputs, OpContext, Origin, Part, Record, Worker};

/// What all tasks of a solve share.
pub(crate) struct Bench<'a, W> {
    pub(crate) plan: &'a Plan<'a>,
    pub(crate) worker: &'a W,
    pub(crate) cache: &'a dyn CacheIndex,
    pub(crate) announcer: Announcer<'a>,
    /// The caller's token; tasks listen to the one they are handed, which also stands for failures.
    pub(crate) outer: &'a CancelToken,
}

/// The results of a vertex's inputs, in the op's order.
pub(crate) struct Inputs<O> {
    pub(crate) outputs: Vec<O>,
    pub(crate) identities: Vec<Option<CacheKey>>,
}

/// The keys of a vertex; equal ones where no input counts by content.
pub(crate) struct Keys {
    pub(crate) chain: CacheKey,
    pub(crate) content: CacheKey,
    note: KeyInputs,
}

/// A result.
pub(crate) struct Done<O> {
    pub(crate) output: O,
    pub(crate) identity: Option<CacheKey>,
    pub(crate) origin: Origin,
}

/// A piece of work.
pub(crate) enum Task<O> {
    /// Carry out a source.
    Supply(VertexIx),
    /// Key a vertex and look it up.
    Probe(VertexIx, Arc<Inputs<O>>),
    /// Carry out a vertex that was not found.
    Perform(VertexIx, Arc<Inputs<O>>, Arc<Keys>, Lookup),
}

/// Whether a record may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Yes.
    Allowed,
    /// No: the vertex is to be made again.
    Forbidden,
}

/// How a task ended.
pub(crate) enum Message<O, E: std::error::Error + 'static> {
    /// The vertex has a result.
    Done(VertexIx, Done<O>),
    /// Nothing was found.
    Missed(VertexIx, Arc<Inputs<O>>, Arc<Keys>),
    /// The vertex failed or was stopped.
    Failed(VertexIx, Failure<E>),
}

type Attempt<T, W> = Result<T, Failure<<W as Worker>::Error>>;

enum Probed<O> {
    Hit(Done<O>),
    Miss(Keys),
}

impl<W: Worker> Bench<'_, W> {
    /// Does a task, with vertex events.
    pub(crate) fn execute(
        &self,
        task: Task<W::Output>,
        cancel: &CancelToken,
    ) -> Message<W::Output, W::Error> {
        match task {
            Task::Supply(ix) => self.guarded(ix, cancel, |started| {
                self.announcer.begin(ix, started);
                let done = self.supply(ix, cancel)?;
                self.announcer.end(ix, started, End::Made);
                Ok(Message::Done(ix, done))
            }),
            Task::Probe(ix, inputs) => self.guarded(ix, cancel, |started| {
                Ok(match self.probe(ix, &inputs, cancel)? {
                    Probed::Hit(done) => {
                        self.announcer.end(ix, started, End::Cached);
                        Message::Done(ix, done)
                    }
                    Probed::Miss(keys) => Message::Missed(ix, Arc::clone(&inputs), Arc::new(keys)),
                })
            }),
            Task::Perform(ix, inputs, keys, lookup) => self.guarded(ix, cancel, |started| {
                self.announcer.begin(ix, started);
                let done = self.perform(ix, &inputs, &keys, lookup, cancel)?;
                let end = match done.origin {
                    Origin::Cached => End::Cached,
                    Origin::Source | Origin::Made => End::Made,
                };
                self.announcer.end(ix, started, end);
                Ok(Message::Done(ix, done))
            }),
        }
    }

    /// Runs `work`; a failure or a panic becomes a message and the vertex's last event.
    fn guarded(
        &self,
        ix: VertexIx,
        cancel: &CancelToken,
        work: impl FnOnce(SystemTime) -> Attempt<Message<W::Output, W::Error>, W>,
    ) -> Message<W::Output, W::Error> {
        let started = SystemTime::now();
        // Whatever a panic leaves behind in the worker is not used again: the solve fails.
        let failure = match catch_unwind(AssertUnwindSafe(|| work(started))) {
            Ok(Ok(message)) => return message,
            Ok(Err(failure)) => failure,
            Err(panic) => Failure::Panicked(panic_text(&*panic)),
        };
        let end = if cancel.is_cancelled() || self.outer.is_cancelled() {
            End::Cancelled
        } else {
            End::Failed(failure.line())
        };
        self.announcer.end(ix, started, end);
        Message::Failed(ix, failure)
    }

    fn supply(&self, ix: VertexIx, cancel: &CancelToken) -> Attempt<Done<W::Output>, W> {
        let vertex = self.plan.vertex(ix);
        let cx = self.context(ix, cancel);
        let output = self.worker.run(vertex, &[], &cx).map_err(Failure::Worker)?;
        let source = self.worker.source_key(vertex);
        Ok(Done {
            output,
            identity: source.as_ref().map(CacheKey::of_source),
            origin: Origin::Source,
        })
    }

    /// Looks under the chain key, then under the content key; the digests that only the latter needs
    /// are not taken before.
    fn probe(
        &self,
        ix: VertexIx,
        inputs: &Inputs<W::Output>,
        cancel: &CancelToken,
    ) -> Attempt<Probed<W::Output>, W> {
        let op = op_key(&self.plan.vertex(ix).op);
        let mut parts = self.chain_parts(ix, inputs, cancel)?;
        let chain = key_of(&op, &parts);
        let allowed = !self.plan.is_forced(ix);
        if allowed && let Some(done) = self.find(ix, &chain, inputs)? {
            return Ok(Probed::Hit(done));
        }
        self.use_content(ix, inputs, &mut parts, cancel)?;
        let keys = self.keys(ix, chain, key_of(&op, &parts), &parts);
        if allowed
            && keys.content != keys.chain
            && let Some(done) = self.find(ix, &keys.content, inputs)?
        {
            self.adopt(&keys)?;
            return Ok(Probed::Hit(done));
        }
        Ok(Probed::Miss(keys))
    }

    fn perform(
        &self,
        ix: VertexIx,
        inputs: &Inputs<W::Output>,
        keys: &Keys,
        lookup: Lookup,
        cancel: &CancelToken,
    ) -> Attempt<Done<W::Output>, W> {
        // Held until the result is recorded, so that whoever waits for it finds the record.
        let _lock = match lookup {
            Lookup::Forbidden => None,
            Lookup::Allowed => {
                let lock = self.cache.lock(&keys.content, cancel)?;
                if let Some(done) = self.find(ix, &keys.content, inputs)? {
                    self.adopt(keys)?;
                    return Ok(done);
                }
                Some(lock)
            }
        };
        let cx = self.context(ix, cancel);
        let output = self
            .worker
            .run(self.plan.vertex(ix), &inputs.outputs, &cx)
            .map_err(Failure::Worker)?;
        let saved = self.worker.save(&output).map_err(Failure::Worker)?;
        let identity = match lookup {
            Lookup::Allowed => keys.content.clone(),
            Lookup::Forbidden => keys.content.renewed(&saved),
        };
        let record = Record {
            identity: identity.clone(),
            saved,
        };
        self.cache
            .record(&keys.distinct(), &record.encode(), &keys.note)?;
        Ok(Done {
            output,
            identity: Some(self.over_base(ix, identity, inputs)),
            origin: Origin::Made,
        })
    }

    /// Returns the recorded result under `key` if there is one and it can still be loaded.
    fn find(
        &self,
        ix: VertexIx,
        key: &CacheKey,
        inputs: &Inputs<W::Output>,
    ) -> Attempt<Option<Done<W::Output>>, W> {
        let Some(bytes) = self.cache.lookup(key)? else {
            return Ok(None);
        };
        let Some(record) = Record::decode(&bytes) else {
            // Written by a version that encodes otherwise: made again and replaced.
            tracing::debug!(%key, "record of another encoding");
            return Ok(None);
        };
        let vertex = self.plan.vertex(ix);
        let loaded = self
            .worker
            .load(vertex, &record.saved, &inputs.outputs)
            .map_err(Failure::Worker)?;
        Ok(loaded.map(|output| Done {
            output,
            identity: Some(self.over_base(ix, record.identity, inputs)),
            origin: Origin::Cached,
        }))
    }

    /// Lets a result that was found under the content key be found under the chain key next time.
    fn adopt(&self, keys: &Keys) -> Attempt<(), W> {
        if keys.chain != keys.content
            && let Some(bytes) = self.cache.lookup(&keys.content)?
        {
            self.cache
                .record(std::slice::from_ref(&keys.chain), &bytes, &keys.note)?;
        }
        Ok(())
    }

    fn chain_parts(
        &self,
        ix: VertexIx,
        inputs: &Inputs<W::Output>,
        cancel: &CancelToken,
    ) -> Attempt<Vec<Part>, W> {
        let op = &self.plan.vertex(ix).op;
        let identities = inputs.identities.iter().enumerate();
        identities
            .map(|(input, identity)| match (op.input_use(input), identity) {
                (InputUse::Unkeyed, _) => Ok(Part::Nothing),
                (_, Some(identity)) => Ok(Part::Identity(identity.clone())),
                (InputUse::Files, None) => self
                    .content(ix, input, inputs, cancel)?
                    .ok_or(Failure::Unkeyed(input)),
                (InputUse::Chain, None) => Err(Failure::Unkeyed(input)),
            })
            .collect()
    }

    /// Replaces the identities of inputs that are read through files by the digests of these files.
    fn use_content(
        &self,
        ix: VertexIx,
        inputs: &Inputs<W::Output>,
        parts: &mut [Part],
        cancel: &CancelToken,
    ) -> Attempt<(), W> {
        let op = &self.plan.vertex(ix).op;
        for (input, part) in parts.iter_mut().enumerate() {
            if op.input_use(input) == InputUse::Files
                && matches!(part, Part::Identity(_))
                && let Some(content) = self.content(ix, input, inputs, cancel)?
            {
                *part = content;
            }
        }
        Ok(())
    }

    fn content(
        &self,
        ix: VertexIx,
        input: usize,
        inputs: &Inputs<W::Output>,
        cancel: &CancelToken,
    ) -> Attempt<Option<Part>, W> {
        cancel.check().map_err(|_| CacheError::Cancelled)?;
        let cx = self.context(ix, cancel);
        let vertex = self.plan.vertex(ix);
        self.worker
            .content(vertex, input, &inputs.outputs, &cx)
            .map(|digest| digest.map(Part::Content))
            .map_err(Failure::Worker)
    }

    fn keys(&self, ix: VertexIx, chain: CacheKey, content: CacheKey, parts: &[Part]) -> Keys {
        let vertex = self.plan.vertex(ix);
        let inputs = vertex.inputs.iter();
        let labels: Vec<&str> = inputs.map(|&input| self.plan.name(input)).collect();
        Keys {
            chain,
            content,
            note: note(vertex, self.plan.name(ix), &labels, parts),
        }
    }

    /// Adds the base to the identity of a result whose key says nothing about it.
    fn over_base(&self, ix: VertexIx, identity: CacheKey, inputs: &Inputs<W::Output>) -> CacheKey {
        match unkeyed_base(self.plan.vertex(ix)).and_then(|base| inputs.identities.get(base)) {
            Some(Some(base)) => identity.stacked_over(base),
            _ => identity,
        }
    }

    fn context<'c>(&'c self, ix: VertexIx, cancel: &'c CancelToken) -> OpContext<'c> {
        OpContext {
            key: self.announcer.key(ix),
            sink: self.announcer.sink(),
            cancel,
        }
    }
}

impl Keys {
    fn distinct(&self) -> Vec<CacheKey> {
        if self.chain == self.content {
            vec![self.content.clone()]
        } else {
            vec![self.chain.clone(), self.content.clone()]
        }
    }
}

/// Position of a base that a linked copy is stacked over without regard to it.
fn unkeyed_base(vertex: &Vertex) -> Option<usize> {
    let Op::File(file) = &vertex.op else {
        return None;
    };
    file.base
        .filter(|&base| vertex.op.input_use(base) != InputUse::Chain)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a message".to_owned())
}

impl<O> Task<O> {
    /// The vertex it is about.
    pub(crate) fn vertex(&self) -> VertexIx {
        match self {
            Self::Supply(ix) | Self::Probe(ix, _) | Self::Perform(ix, ..) => *ix,
        }
    }
}
