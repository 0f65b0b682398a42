//! The straight line from a Dockerfile's text to an image. Read this first.
//!
//! ```text
//! text ─ intake ─ parse ─ lower (asks, is answered) ─ plan ─ solve ─ assemble ─ keep, export
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use rbuild_cache::Used;
use rbuild_frontend::Plan;
use rbuild_graph::{Graph, Op};
use rbuild_layer::LayerId;
use rbuild_progress::{CancelToken, Event, Sink, VertexKey, WarningNote};
use rbuild_solver::{CacheIndex, CacheKey, Origin, SolveError, SolveRequest, Solved, solve};
use rbuild_source::LocalContext;
use rbuild_store::{HostDir, Lease};
use rbuild_worker::{Ahead, Asked, MountsElsewhere, Output, StoreIndex, layer_uses};

use crate::caches::{Caches, Telling};
use crate::elsewhere::Fetching;
use crate::engine::Engine;
use crate::explain::{self, Recorder};
use crate::load::Loader;
use crate::outcome::StepCount;
use crate::planning::{Planned, plan};
use crate::push::Early;
use crate::warnings::Heeding;
use crate::workers::{self, Agents, Given};
use crate::{
    BuildError, BuildRequest, ContextInput, NamedContextInput, Outcome, Result, cache_dirs,
    deliver, image_config, intake, load, reproduce,
};

/// Builds what `request` asks for.
pub(crate) fn build(
    engine: &Engine,
    request: &BuildRequest,
    sink: &dyn Sink,
    cancel: &CancelToken,
) -> Result<Outcome> {
    deliver::check(request)?;
    let prepared = load::prepare(engine, request, cancel)?;
    let loader = prepared.as_ref().map(|(loader, _)| loader);
    let request = prepared.as_ref().map_or(request, |(_, request)| request);
    let agents = Agents::of(request);
    agents.open()?;
    let cache_dirs = cache_dirs::open(engine, request)?;
    // Held until the outputs are written.
    let lease = Arc::new(engine.store().lease(&[])?.0);
    let planned = plan(&Fetching {
        engine,
        request,
        agents: &agents,
        lease: &lease,
        sink,
        cancel,
    })?;
    cache_dirs::warn_of_idle(request, &planned.plan.graph, sink);
    let locals = open_locals(engine, request, &planned)?;
    let telling = Telling { sink };
    let caches = Caches::open(engine, request, &telling)?;
    let built = Built {
        engine,
        request,
        caches: &caches,
        planned: &planned,
        lease: &lease,
        agents: &agents,
        cache_dirs: &cache_dirs,
        locals: &locals,
        loader,
        sink,
        cancel,
    };
    match Early::of(request, || bases(&planned)) {
        None => built.complete(None, cancel),
        Some(early) => early.alongside(engine, (sink, cancel), |steps| {
            built.complete(Some(&early), steps)
        }),
    }
}

/// The layers of the images that the results stand on.
fn bases(planned: &Planned) -> Vec<LayerId> {
    let graph = &planned.plan.graph;
    let mut layers = Vec::new();
    for result in &planned.plan.results {
        let mut next = result.edge;
        while let Some(ix) = next {
            let base = match &graph.vertex(ix).op {
                Op::File(file) => file.base,
                Op::Exec(exec) => exec.base,
                Op::Image(image) => {
                    layers.extend(planned.images.get(&image.manifest).into_iter().flatten());
                    None
                }
                _ => None,
            };
            next = base.and_then(|base| graph.inputs(ix).get(base).copied());
        }
    }
    layers
}

/// A build whose plan is made.
struct Built<'a> {
    engine: &'a Engine,
    request: &'a BuildRequest,
    caches: &'a Caches<'a>,
    planned: &'a Planned,
    lease: &'a Arc<Lease>,
    agents: &'a Agents<'a>,
    cache_dirs: &'a BTreeMap<String, HostDir>,
    locals: &'a BTreeMap<String, LocalContext>,
    loader: Option<&'a Loader>,
    sink: &'a dyn Sink,
    cancel: &'a CancelToken,
}

impl Built<'_> {
    /// As `finish`, and once more where layers of a cache elsewhere turn out not to be there.
    fn complete(&self, early: Option<&Early>, steps: &CancelToken) -> Result<Outcome> {
        let mut losses = 0;
        loop {
            let error = match self.finish(early, steps) {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            losses += 1;
            if !self.caches.give_up(self.engine, &error, (losses, steps))? {
                return Err(error);
            }
        }
    }

    /// Carries out the steps, which listen to `steps`; also what was used of caches, and what is new for them.
    fn solved(
        &self,
        early: Option<&Early>,
        steps: &CancelToken,
    ) -> Result<(Solved<Output>, BTreeMap<CacheKey, Used>)> {
        let engine = self.engine;
        let layers = engine.layers().clone();
        let listeners = early.map(Early::listener).into_iter();
        let listeners = listeners.chain(self.caches.listener()).collect();
        let ahead = Ahead::telling(layers, listeners);
        let ahead = Arc::new(ahead.map_err(|e| BuildError::caused(crate::ErrorKind::Host, e))?);
        let shared = Shared {
            locals: self.locals,
            ahead: &ahead,
            lease: self.lease,
            agents: self.agents,
            caches: self.caches,
            cache_dirs: self.cache_dirs,
        };
        let local = StoreIndex::new(Arc::clone(engine.store()), engine.rung());
        let index = self.caches.index(&local, engine, steps);
        let cache: &dyn CacheIndex = match self.caches.is_empty() {
            true => &local,
            false => &index,
        };
        let given = (&shared, cache);
        let solved = solve_plan(
            engine,
            self.request,
            self.planned,
            given,
            (self.sink, steps),
        )?;
        ahead.close();
        if let Some(early) = early {
            early.close();
        }
        Ok((solved, index.used()))
    }

    /// Carries out the steps, which listen to `steps`, and hands out the result.
    fn finish(&self, early: Option<&Early>, steps: &CancelToken) -> Result<Outcome> {
        let Built {
            engine,
            request,
            planned,
            lease,
            sink,
            cancel,
            ..
        } = *self;
        let (solved, used) = self.solved(early, steps)?;
        for local in self.locals.values() {
            local.save(engine.store())?;
        }
        let asked = deliver::asked(request);
        let epoch = planned.plan.source_epoch;
        reproduce::warn_without_epoch(request, epoch, sink);
        let times = image_config::Times {
            epoch,
            latest: reproduce::latest(request, epoch),
        };
        let images = planned.plan.results.iter().map(|result| {
            let stores = (engine.layers(), &**lease);
            let mut image =
                image_config::assemble(result, &solved, stores, (&asked, times, cancel))?;
            self.caches.write_inline(engine, &used, &mut image)?;
            Ok(image)
        });
        let mut outcome = deliver::deliver(
            engine,
            request,
            (images, self.loader),
            (&planned.plan, sink, cancel),
        )?;
        outcome.steps = StepCount {
            cached: solved.count(Origin::Cached),
            made: solved.count(Origin::Made),
        };
        let results = (&used, &result_layers(planned, &solved));
        self.caches
            .export(engine, &planned.plan.graph, results, (sink, cancel));
        Ok(outcome)
    }
}

/// The layers that the results of a build consist of.
fn result_layers(planned: &Planned, solved: &Solved<Output>) -> BTreeSet<LayerId> {
    let edges = planned.plan.results.iter().filter_map(|result| result.edge);
    let outputs = edges.filter_map(|edge| solved.output(edge));
    outputs
        .flat_map(|output| output.layers().iter().copied())
        .collect()
}

/// The graph of a build in the dot language.
pub(crate) fn graph_dot(
    engine: &Engine,
    request: &BuildRequest,
    sink: &dyn Sink,
    cancel: &CancelToken,
) -> Result<String> {
    let lease = Arc::new(engine.store().lease(&[])?.0);
    let planned = plan(&Fetching {
        engine,
        request,
        agents: &Agents::of(request),
        lease: &lease,
        sink,
        cancel,
    })?;
    Ok(planned.plan.to_dot())
}

/// Opens the local directories that the graph names.
fn open_locals(
    engine: &Engine,
    request: &BuildRequest,
    planned: &Planned,
) -> Result<BTreeMap<String, LocalContext>> {
    let mut locals = BTreeMap::new();
    for ix in planned.plan.graph.topological() {
        let Op::Local(local) = &planned.plan.graph.vertex(ix).op else {
            continue;
        };
        let (dir, ignore) = match request.contexts.get(&local.name) {
            Some(NamedContextInput::Directory(dir)) => (dir, intake::ignore_in(dir)?),
            _ => match &request.context {
                ContextInput::Directory(dir) => {
                    (dir, intake::ignore_of(request, &planned.dockerfile)?)
                }
                ContextInput::Empty | ContextInput::Archive(_) | ContextInput::Remote(_) => {
                    let places = planned.places.excerpts(origins(&planned.plan, ix));
                    return Err(BuildError::build("the build has no context to copy from")
                        .at(places)
                        .help("give a directory instead of `-`, and the Dockerfile with -f -"));
                }
            },
        };
        let context = LocalContext::open(dir, ignore, engine.store())?;
        locals.insert(local.name.clone(), context);
    }
    Ok(locals)
}

fn origins(plan: &Plan, ix: rbuild_graph::VertexIx) -> &[rbuild_dockerfile::Span] {
    plan.origins.get(&ix).map_or(&[], Vec::as_slice)
}

/// What the steps share with what comes after them.
struct Shared<'a> {
    locals: &'a BTreeMap<String, LocalContext>,
    ahead: &'a Arc<Ahead>,
    lease: &'a Arc<Lease>,
    agents: &'a Agents<'a>,
    caches: &'a Caches<'a>,
    cache_dirs: &'a BTreeMap<String, HostDir>,
}

fn solve_plan(
    engine: &Engine,
    request: &BuildRequest,
    planned: &Planned,
    (shared, cache): (&Shared<'_>, &dyn CacheIndex),
    (sink, cancel): (&dyn Sink, &CancelToken),
) -> Result<Solved<Output>> {
    let plan = &planned.plan;
    let targets: Vec<_> = plan
        .results
        .iter()
        .filter_map(|result| result.edge)
        .collect();
    let asked = Asked {
        cached: shared.caches.asked(),
        ..reproduce::asked_of_steps(request, plan.source_epoch)
    };
    let mounts = shared.caches.mounts(engine, sink);
    let given = Given {
        images: planned.images.clone(),
        locals: shared.locals.clone(),
        agents: shared.agents.open()?.clone(),
        cache_dirs: shared.cache_dirs.clone(),
        mounts_elsewhere: mounts.as_ref().map(|mounts| mounts as &dyn MountsElsewhere),
        uses: layer_uses(&plan.graph, &targets, &asked),
        ahead: Arc::clone(shared.ahead),
        lease: Arc::clone(shared.lease),
        pins: planned.pins.clone(),
    };
    let worker = workers::worker(engine, request, given);
    let heeding = Heeding {
        options: &planned.checks,
        sink,
    };
    let others = shared.caches.others(engine.store(), cancel);
    let recorder = Recorder::new(explain::Given {
        store: engine.store(),
        rung: engine.rung(),
        request,
        plan,
        others: &others,
        sink: &heeding,
    });
    let wanted = SolveRequest {
        graph: &plan.graph,
        targets: &targets,
        names: &plan.names,
        no_cache: &plan.no_cache,
        parallelism: request.jobs.unwrap_or_else(default_jobs),
        witness: Some(&recorder),
    };
    warn_of_single_id(engine, &plan.graph, sink);
    let solved = solve(&wanted, &worker, cache, &recorder, cancel);
    recorder.keep(solved.is_ok());
    solved.map_err(|e| step_error(engine, planned, e))
}

/// Steps wait more than they compute: many more than there are cores, so that downloads overlap.
fn default_jobs() -> NonZeroUsize {
    const FEWEST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(15);
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    cores
        .saturating_mul(NonZeroUsize::MIN.saturating_add(3))
        .max(FEWEST)
}

/// Says once what the lowest rung of the privilege ladder cannot do.
fn warn_of_single_id(engine: &Engine, graph: &Graph, sink: &dyn Sink) {
    if engine.rung().is_empty() || graph.execs().next().is_none() {
        return;
    }
    sink.send(Event::Warning(WarningNote {
        vertex: None,
        short: "SingleId: this user has no subordinate ids, so all files belong to root".to_owned(),
        detail: vec![
            "Changes of owner succeed without effect. Entries in /etc/subuid and /etc/subgid and the \
             programs newuidmap and newgidmap (Debian: uidmap) lift this."
                .to_owned(),
        ],
        url: None,
        file: None,
        line: None,
        end_line: None,
    }));
}

/// A worker's error; where trees cannot be touched because the host refuses, it is the host's.
fn worker_error(engine: &Engine, error: rbuild_worker::Error) -> BuildError {
    let in_trees = matches!(
        error,
        rbuild_worker::Error::Layer(rbuild_layer::Error::TreeWork { .. })
    );
    match engine.host_refusal() {
        Some(refusal) if in_trees => refusal.into(),
        _ => error.into(),
    }
}

/// Adds to a step's error where in the Dockerfile it stands.
fn step_error(
    engine: &Engine,
    planned: &Planned,
    error: SolveError<rbuild_worker::Error>,
) -> BuildError {
    let (vertex, error) = match error {
        SolveError::Cancelled => return BuildError::cancelled(),
        SolveError::Vertex { vertex, source, .. } => {
            let log = match &source {
                rbuild_worker::Error::Exit { log, .. } => Some(log.clone()),
                _ => None,
            };
            let key = VertexKey::new(planned.plan.graph.vertex(vertex).id.to_string());
            (vertex, worker_error(engine, source).of_step(key, log))
        }
        SolveError::Cache { vertex, source, .. } => {
            (vertex, BuildError::caused(crate::ErrorKind::Build, source))
        }
        SolveError::Refused {
            vertex,
            name,
            reason,
        } => (vertex, BuildError::missed(&name, &reason)),
        SolveError::Panicked { vertex, .. } | SolveError::Unkeyed { vertex, .. } => {
            (vertex, BuildError::build(error.to_string()))
        }
        other => return BuildError::caused(crate::ErrorKind::Build, other),
    };
    error.at(planned.places.excerpts(origins(&planned.plan, vertex)))
}
