//! The entry: a request in, results out.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use rbuild_graph::{Graph, VertexIx};
use rbuild_progress::{CancelToken, Sink};

use crate::announce::Announcer;
use crate::attempt::Bench;
use crate::plan::Plan;
use crate::schedule::Schedule;
use crate::{CacheIndex, SolveError, Solved, Witness, Worker};

/// What to solve.
#[derive(Debug, Clone, Copy)]
pub struct SolveRequest<'a> {
    /// The build definition.
    pub graph: &'a Graph,
    /// The vertices whose results are wanted; vertices that none of them needs are left alone.
    pub targets: &'a [VertexIx],
    /// How steps are shown to people; a vertex without a name is called after its op.
    pub names: &'a BTreeMap<VertexIx, String>,
    /// Vertices to make again whatever is recorded; their results are recorded all the same.
    pub no_cache: &'a BTreeSet<VertexIx>,
    /// Most vertices worked on at a time.
    pub parallelism: NonZeroUsize,
    /// Hears what was found and what was not.
    pub witness: Option<&'a dyn Witness>,
}

/// Finds or makes the results of all vertices that the targets need.
///
/// Announces every vertex first, inputs before consumers, then says when each begins and ends. Starts
/// no thread if everything is found. On the first failure running vertices are stopped; by the time
/// this returns, no task is running any more.
///
/// # Errors
/// [`SolveError::Cancelled`] once `cancel` is set; else what failed first, with its vertex.
pub fn solve<W: Worker>(
    request: &SolveRequest<'_>,
    worker: &W,
    cache: &dyn CacheIndex,
    sink: &dyn Sink,
    cancel: &CancelToken,
) -> Result<Solved<W::Output>, SolveError<W::Error>> {
    let plan = Plan::new(request);
    let bench = Bench {
        plan: &plan,
        worker,
        cache,
        announcer: Announcer::new(&plan, sink),
        witness: request.witness,
        outer: cancel,
    };
    bench.announcer.plan();
    Schedule::new(&bench).run(request.parallelism)
}
