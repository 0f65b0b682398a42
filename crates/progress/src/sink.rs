//! Who hears the events: the trait, and the sinks that need no terminal.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Event;

/// Hears what a build says.
///
/// Called from many threads at once; events about one piece of work come from one thread and in
/// order. Must not call back into the build.
pub trait Sink: Send + Sync {
    /// Takes one event. Never fails: a listener that went away is no reason to stop a build.
    fn send(&self, event: Event);
}

impl<S: Sink + ?Sized> Sink for &S {
    fn send(&self, event: Event) {
        (**self).send(event);
    }
}

impl<S: Sink + ?Sized> Sink for Arc<S> {
    fn send(&self, event: Event) {
        (**self).send(event);
    }
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn send(&self, event: Event) {
        (**self).send(event);
    }
}

/// Drops every event.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullSink;

impl Sink for NullSink {
    fn send(&self, _event: Event) {}
}

/// Queue length of [`channel`]: a few refreshes of a busy display.
const QUEUE: usize = 512;

/// Returns a sink and the end where its events come out, in the order sent.
///
/// The queue is bounded. When it is full, a status that another will follow is dropped and every
/// other event waits for room. When the receiver is gone all events are dropped.
pub fn channel() -> (ChannelSink, Receiver<Event>) {
    channel_of(QUEUE)
}

/// Like [`channel`], with room for `events` events; at least one.
pub fn channel_of(events: usize) -> (ChannelSink, Receiver<Event>) {
    let (sender, receiver) = sync_channel(events.max(1));
    (ChannelSink { sender }, receiver)
}

/// The sending end of [`channel`]; the receiver sees the end when all clones are gone.
#[derive(Clone)]
pub struct ChannelSink {
    sender: SyncSender<Event>,
}

impl Sink for ChannelSink {
    fn send(&self, event: Event) {
        if let Err(TrySendError::Full(event)) = self.sender.try_send(event)
            && !event.may_be_lost()
        {
            // An error here means that nobody listens any more, which is no reason to stop.
            self.sender.send(event).ok();
        }
    }
}

impl fmt::Debug for ChannelSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSink").finish_non_exhaustive()
    }
}

/// Keeps every event, for tests and for callers that look only after the build.
#[derive(Debug, Default)]
pub struct CollectSink {
    events: Mutex<Vec<Event>>,
}

impl CollectSink {
    /// Returns an empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes out all events so far, in the order sent.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sink for CollectSink {
    fn send(&self, event: Event) {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{StatusUpdate, VertexKey, VertexUpdate};

    fn status(current: u64, completed: Option<SystemTime>) -> Event {
        Event::Status(StatusUpdate {
            vertex: VertexKey::new("v"),
            id: "i".into(),
            name: "i".into(),
            current,
            total: None,
            started: None,
            completed,
        })
    }

    fn vertex(name: &str) -> Event {
        Event::Vertex(VertexUpdate::planned(VertexKey::new("v"), name, vec![]))
    }

    #[test]
    fn full_queue_drops_unfinished_status() {
        let (sink, receiver) = channel_of(1);
        sink.send(status(1, None));
        sink.send(status(2, None)); // would block for ever if it were kept
        drop(sink);
        assert_eq!(receiver.iter().count(), 1);
    }

    #[test]
    fn full_queue_keeps_everything_else() {
        let (sink, receiver) = channel_of(1);
        let sender = std::thread::spawn(move || {
            for _ in 0..100 {
                sink.send(vertex("a"));
                sink.send(status(1, Some(SystemTime::UNIX_EPOCH)));
            }
        });
        assert_eq!(receiver.iter().count(), 200);
        sender.join().unwrap();
    }

    #[test]
    fn gone_receiver_does_not_block() {
        let (sink, receiver) = channel_of(1);
        drop(receiver);
        sink.send(vertex("a"));
        sink.send(vertex("b"));
    }

    #[test]
    fn collect_keeps_order() {
        let sink = CollectSink::new();
        sink.send(vertex("a"));
        sink.send(vertex("b"));
        let names: Vec<String> = sink
            .take()
            .into_iter()
            .filter_map(|event| match event {
                Event::Vertex(v) => Some(v.name),
                _ => None,
            })
            .collect();
        assert_eq!(names, ["a", "b"]);
        assert!(sink.take().is_empty());
    }
}
