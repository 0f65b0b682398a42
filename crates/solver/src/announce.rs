//! The vertex events of a solve.

use std::time::SystemTime;

use rbuild_graph::VertexIx;
use rbuild_progress::{Event, Sink, VertexKey, VertexUpdate};

use crate::plan::Plan;

/// What a vertex says that was stopped because of something else; BuildKit's words, which its
/// clients look for.
const CANCELLED: &str = "context canceled";

/// Sends vertex events.
pub(crate) struct Announcer<'a> {
    plan: &'a Plan<'a>,
    sink: &'a dyn Sink,
}

/// How a vertex ended.
pub(crate) enum End {
    /// Its result was made.
    Made,
    /// Its result was found.
    Cached,
    /// It failed, with the reason in one line.
    Failed(String),
    /// It was stopped.
    Cancelled,
}

impl<'a> Announcer<'a> {
    pub(crate) fn new(plan: &'a Plan<'a>, sink: &'a dyn Sink) -> Self {
        Self { plan, sink }
    }

    /// Where the events go.
    pub(crate) fn sink(&self) -> &'a dyn Sink {
        self.sink
    }

    /// Names a vertex in events.
    pub(crate) fn key(&self, ix: VertexIx) -> VertexKey {
        VertexKey::new(self.plan.vertex(ix).id.to_string())
    }

    /// Announces every planned vertex, inputs before consumers.
    pub(crate) fn plan(&self) {
        for &ix in self.plan.order() {
            self.send(self.update(ix));
        }
    }

    /// Says that work on a vertex begins.
    pub(crate) fn begin(&self, ix: VertexIx, started: SystemTime) {
        self.send(VertexUpdate {
            started: Some(started),
            ..self.update(ix)
        });
    }

    /// Says that a vertex ended.
    pub(crate) fn end(&self, ix: VertexIx, started: SystemTime, end: End) {
        let (cached, error) = match end {
            End::Made => (false, None),
            End::Cached => (true, None),
            End::Failed(line) => (false, Some(line)),
            End::Cancelled => (false, Some(CANCELLED.to_owned())),
        };
        self.send(VertexUpdate {
            started: Some(started),
            completed: Some(SystemTime::now()),
            cached,
            error,
            ..self.update(ix)
        });
    }

    fn update(&self, ix: VertexIx) -> VertexUpdate {
        let inputs = &self.plan.vertex(ix).inputs;
        let inputs = inputs.iter().map(|&input| self.key(input)).collect();
        VertexUpdate::planned(self.key(ix), self.plan.name(ix), inputs)
    }

    fn send(&self, update: VertexUpdate) {
        self.sink.send(Event::Vertex(update));
    }
}
