//! A byte counter that reports now and then rather than at every step.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::{Event, Sink, StatusUpdate, VertexKey};

/// Shortest time between two statuses of one meter.
const INTERVAL: Duration = Duration::from_millis(100);

/// Reports one piece of a vertex's work as statuses: one at the start, then at most one per 100 ms,
/// and one at the end.
///
/// May be shared between threads. Dropping it ends the piece of work too: how a vertex failed is told
/// by the vertex, and no status is left open.
#[must_use = "dropping the meter ends the piece of work"]
pub struct Meter<'a> {
    sink: &'a dyn Sink,
    vertex: VertexKey,
    name: String,
    total: Option<u64>,
    started: SystemTime,
    clock: Instant,
    current: AtomicU64,
    /// Nanoseconds on `clock` before which no status is sent.
    next_nanos: AtomicU64,
}

impl<'a> Meter<'a> {
    /// Begins a piece of work called `name`, of `total` bytes if known, and says so.
    pub fn new(
        sink: &'a dyn Sink,
        vertex: &VertexKey,
        name: impl Into<String>,
        total: Option<u64>,
    ) -> Self {
        let meter = Self {
            sink,
            vertex: vertex.clone(),
            name: name.into(),
            total,
            started: SystemTime::now(),
            clock: Instant::now(),
            current: AtomicU64::new(0),
            next_nanos: AtomicU64::new(nanos(INTERVAL)),
        };
        meter.send(None);
        meter
    }

    /// Counts `amount` more bytes as done.
    pub fn add(&self, amount: u64) {
        self.current.fetch_add(amount, Ordering::Relaxed);
        let now = nanos(self.clock.elapsed());
        let next = self.next_nanos.load(Ordering::Relaxed);
        // The exchange lets exactly one of several threads send.
        if now >= next
            && self
                .next_nanos
                .compare_exchange(
                    next,
                    now + nanos(INTERVAL),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
        {
            self.send(None);
        }
    }

    /// Returns the bytes counted so far.
    pub fn current(&self) -> u64 {
        self.current.load(Ordering::Relaxed)
    }

    /// Ends the piece of work and says so.
    pub fn finish(self) {
        drop(self);
    }

    fn send(&self, completed: Option<SystemTime>) {
        self.sink.send(Event::Status(StatusUpdate {
            vertex: self.vertex.clone(),
            id: self.name.clone(),
            name: self.name.clone(),
            current: self.current(),
            total: self.total,
            started: Some(self.started),
            completed,
        }));
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        self.send(Some(SystemTime::now()));
    }
}

impl fmt::Debug for Meter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("name", &self.name)
            .field("current", &self.current())
            .finish_non_exhaustive()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CollectSink;

    #[test]
    fn many_small_steps_make_few_statuses() {
        let sink = CollectSink::new();
        let meter = Meter::new(
            &sink,
            &VertexKey::new("v"),
            "exporting layers",
            Some(100_000),
        );
        let begin = Instant::now();
        for _ in 0..100_000 {
            meter.add(1);
        }
        let allowed = 2 + begin.elapsed().as_millis() / 100 + 1;
        meter.finish();
        let events = sink.take();
        assert!(
            (events.len() as u128) <= allowed,
            "{} statuses",
            events.len()
        );
        let Some(Event::Status(last)) = events.last() else {
            panic!("no status")
        };
        assert_eq!((last.current, last.total), (100_000, Some(100_000)));
        assert!(last.completed.is_some());
        let Some(Event::Status(first)) = events.first() else {
            panic!("no status")
        };
        assert_eq!((first.current, first.completed), (0, None));
    }
}
