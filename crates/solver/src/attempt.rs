//! The work on one vertex, on whichever thread: supply a source, look up, carry out, record.
//!
//! Owns no state of the solve. Everything here ends in a value, panics of the worker included.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use rbuild_graph::{InputUse, Op, Vertex, VertexIx};
use rbuild_progress::CancelToken;

use crate::announce::{Announcer, End};
use crate::error::Failure;
use crate::keying::{Keys, Probed};
use crate::note::base_of;
use crate::plan::Plan;
use crate::{
    CacheIndex, CacheKey, Cause, Hit, Miss, OpContext, Origin, Presence, Record, Witness, Worker,
};

/// What all tasks of a solve share.
pub(crate) struct Bench<'a, W> {
    pub(crate) plan: &'a Plan<'a>,
    pub(crate) worker: &'a W,
    pub(crate) cache: &'a dyn CacheIndex,
    pub(crate) announcer: Announcer<'a>,
    pub(crate) witness: Option<&'a dyn Witness>,
    /// The caller's token; tasks listen to the one they are handed, which also stands for failures.
    pub(crate) outer: &'a CancelToken,
}

/// The results of a vertex's inputs, in the op's order; where a record is expected only the base has to be there.
pub(crate) struct Inputs<O> {
    pub(crate) outputs: Vec<Option<O>>,
    pub(crate) identities: Vec<Option<CacheKey>>,
}

/// A result.
pub(crate) struct Done<O> {
    pub(crate) output: O,
    pub(crate) identity: Option<CacheKey>,
    pub(crate) origin: Origin,
}

/// What looking under a key came to.
pub(crate) enum Found<O> {
    /// A result.
    Here(Done<O>),
    /// A record whose result is gone.
    Gone,
    /// No record.
    Nothing,
}

/// A piece of work.
pub(crate) enum Task<O> {
    /// Carry out a source.
    Supply(VertexIx),
    /// Key a vertex and look it up.
    Probe(VertexIx, Arc<Inputs<O>>),
    /// Carry out a vertex that was not found.
    Perform(VertexIx, Missed<O>, Lookup),
}

/// A vertex that was not found: what it is made from, and under which keys it will be recorded.
pub(crate) struct Missed<O> {
    pub(crate) inputs: Arc<Inputs<O>>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) cause: Cause,
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
    Missed(VertexIx, Missed<O>),
    /// A record that was expected cannot be used: the vertex needs all its inputs after all.
    Unfounded(VertexIx),
    /// The vertex failed or was stopped.
    Failed(VertexIx, Failure<E>),
}

pub(crate) type Attempt<T, W> = Result<T, Failure<<W as Worker>::Error>>;

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
                let (done, presence) = self.supply(ix, cancel)?;
                let end = match presence {
                    Presence::Kept => End::Cached,
                    Presence::Fresh => End::Made,
                };
                self.announcer.end(ix, started, end);
                Ok(Message::Done(ix, done))
            }),
            Task::Probe(ix, inputs) => self.guarded(ix, cancel, |started| {
                Ok(match self.probe(ix, &inputs, cancel)? {
                    Probed::Hit(done) => {
                        self.announcer.end(ix, started, End::Cached);
                        Message::Done(ix, done)
                    }
                    Probed::Unfounded => Message::Unfounded(ix),
                    Probed::Miss(keys, cause) => Message::Missed(
                        ix,
                        Missed {
                            inputs: Arc::clone(&inputs),
                            keys: Arc::new(keys),
                            cause,
                        },
                    ),
                })
            }),
            Task::Perform(ix, missed, lookup) => self.guarded(ix, cancel, |started| {
                self.announcer.begin(ix, started);
                let done = self.perform(ix, &missed, lookup, cancel)?;
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

    fn supply(
        &self,
        ix: VertexIx,
        cancel: &CancelToken,
    ) -> Attempt<(Done<W::Output>, Presence), W> {
        let vertex = self.plan.vertex(ix);
        let cx = self.context(ix, cancel);
        let supplied = self.worker.supply(vertex, &cx).map_err(Failure::Worker)?;
        let done = Done {
            output: supplied.output,
            identity: supplied.key.as_ref().map(CacheKey::of_source),
            origin: Origin::Source,
        };
        Ok((done, supplied.presence))
    }

    fn perform(
        &self,
        ix: VertexIx,
        missed: &Missed<W::Output>,
        lookup: Lookup,
        cancel: &CancelToken,
    ) -> Attempt<Done<W::Output>, W> {
        let (inputs, keys) = (&*missed.inputs, &*missed.keys);
        // Held until the result is recorded, so that whoever waits for it finds the record.
        let _lock = match lookup {
            Lookup::Forbidden => None,
            Lookup::Allowed => {
                let lock = self.cache.lock(&keys.content, cancel)?;
                if let Found::Here(done) = self.find(ix, &keys.content, inputs)? {
                    self.adopt(keys)?;
                    return Ok(done);
                }
                Some(lock)
            }
        };
        let note = self.note_with_files(ix, &keys.note, inputs, cancel);
        if let Some(witness) = self.witness {
            let miss = Miss {
                vertex: ix,
                key: &keys.content,
                inputs: &note,
                cause: missed.cause,
            };
            witness.missed(&miss).map_err(Failure::Refused)?;
        }
        let cx = self.context(ix, cancel);
        let output = self
            .worker
            .run(self.plan.vertex(ix), &inputs.all()?, &cx)
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
            .record(&keys.distinct(), &record.encode(), &note)?;
        Ok(Done {
            output,
            identity: Some(self.over_base(ix, identity, inputs)),
            origin: Origin::Made,
        })
    }

    /// Returns the recorded result under `key` if there is one and it can still be loaded.
    pub(crate) fn find(
        &self,
        ix: VertexIx,
        key: &CacheKey,
        inputs: &Inputs<W::Output>,
    ) -> Attempt<Found<W::Output>, W> {
        let Some(bytes) = self.cache.lookup(key)? else {
            return Ok(Found::Nothing);
        };
        let Some(record) = Record::decode(&bytes) else {
            // Written by a version that encodes otherwise: made again and replaced.
            tracing::debug!(%key, "record of another encoding");
            return Ok(Found::Gone);
        };
        let vertex = self.plan.vertex(ix);
        let base = base_of(&vertex.op).and_then(|base| inputs.outputs.get(base)?.as_ref());
        let loaded = self
            .worker
            .load(vertex, &record.saved, base)
            .map_err(Failure::Worker)?;
        let Some(output) = loaded else {
            return Ok(Found::Gone);
        };
        if let Some(witness) = self.witness {
            witness.found(&Hit {
                vertex: ix,
                key,
                identity: &record.identity,
            });
        }
        Ok(Found::Here(Done {
            output,
            identity: Some(self.over_base(ix, record.identity, inputs)),
            origin: Origin::Cached,
        }))
    }

    /// Lets a result that was found under the content key be found under the chain key next time.
    pub(crate) fn adopt(&self, keys: &Keys) -> Attempt<(), W> {
        if keys.chain != keys.content
            && let Some(bytes) = self.cache.lookup(&keys.content)?
        {
            self.cache
                .record(std::slice::from_ref(&keys.chain), &bytes, &keys.note)?;
        }
        Ok(())
    }

    /// Adds the base to the identity of a result whose key says nothing about it.
    pub(crate) fn over_base(
        &self,
        ix: VertexIx,
        identity: CacheKey,
        inputs: &Inputs<W::Output>,
    ) -> CacheKey {
        match unkeyed_base(self.plan.vertex(ix)).and_then(|base| inputs.identities.get(base)) {
            Some(Some(base)) => identity.stacked_over(base),
            _ => identity,
        }
    }

    pub(crate) fn context<'c>(&'c self, ix: VertexIx, cancel: &'c CancelToken) -> OpContext<'c> {
        OpContext {
            key: self.announcer.key(ix),
            sink: self.announcer.sink(),
            cancel,
        }
    }
}

/// Position of a base that a linked copy is stacked over without regard to it.
pub(crate) fn unkeyed_base(vertex: &Vertex) -> Option<usize> {
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

impl<O: Clone> Inputs<O> {
    /// All of them, for carrying the vertex out.
    fn all<E: std::error::Error + 'static>(&self) -> Result<Vec<O>, Failure<E>> {
        let outputs = self.outputs.iter().enumerate();
        outputs
            .map(|(input, output)| output.clone().ok_or(Failure::Unkeyed(input)))
            .collect()
    }
}

impl<O> Inputs<O> {
    /// Whether the vertex can be carried out.
    pub(crate) fn are_here(&self) -> bool {
        self.outputs.iter().all(Option::is_some)
    }
}

impl<O> Task<O> {
    /// The vertex it is about.
    pub(crate) fn vertex(&self) -> VertexIx {
        match self {
            Self::Supply(ix) | Self::Probe(ix, _) | Self::Perform(ix, ..) => *ix,
        }
    }
}
