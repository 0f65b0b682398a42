//! The thread that draws: takes events as they come and writes to standard error.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rbuild::progress::Event;

use super::json;
use super::{Canvas, Ending, Phase, Plain, Trace, Tty, Work};
use crate::style::{Look, terminal_size};

/// Time between two pictures on a terminal.
const FRAME: Duration = Duration::from_millis(100);
/// Time for which lines are gathered: a status that is over by then takes one line, not two.
const BATCH: Duration = Duration::from_millis(50);
/// Size of a terminal that does not tell.
const UNKNOWN_SIZE: (usize, usize) = (24, 80);

/// How a build is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A picture kept up to date.
    Tty,
    /// Lines.
    Plain,
    /// One JSON object a line.
    RawJson,
    /// Not at all.
    Silent,
}

/// A running display.
#[derive(Debug)]
pub struct Display {
    thread: JoinHandle<Trace>,
    ending: Sender<Ending>,
}

impl Display {
    /// Starts to show `events` until their sender is gone.
    ///
    /// Fails if no thread can be started.
    pub fn start(mode: Mode, work: Work, events: Receiver<Event>) -> io::Result<Self> {
        let (ending, ended) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("rbuild-display".to_owned())
            .spawn(move || match mode {
                Mode::Tty => live(work, &events, &ended),
                Mode::Plain => plain(&events),
                Mode::RawJson => raw(&events),
                Mode::Silent => silent(&events),
            })?;
        Ok(Self { thread, ending })
    }

    /// Waits until the last event is shown and the `ending`, and returns what is known of the build.
    ///
    /// The sender of the events must be gone.
    pub fn finish(self, ending: Ending) -> Trace {
        // Only the live picture listens.
        self.ending.send(ending).ok();
        // A display that panicked has nothing to tell, and the build's own outcome still counts.
        self.thread.join().unwrap_or_default()
    }
}

/// Draws at most once per [`FRAME`], and only while something changes.
fn live(work: Work, events: &Receiver<Event>, ended: &Receiver<Ending>) -> Trace {
    let mut tty = Tty::new(work, SystemTime::now());
    let mut earliest = Instant::now();
    let mut due: Option<Instant> = None;
    loop {
        match next(events, due) {
            Ok(event) => {
                tty.event(&event);
                due = due.or(Some(earliest));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let now = Instant::now();
        if due.is_some_and(|due| due <= now) {
            put(tty
                .picture(SystemTime::now(), canvas(), Phase::Live)
                .as_bytes());
            earliest = now + FRAME;
            due = tty.trace().is_running().then_some(earliest);
        }
    }
    // Whoever lets go of the display without a word had an error.
    let phase = Phase::Final(ended.recv().unwrap_or(Ending::Failed));
    put(tty.picture(SystemTime::now(), canvas(), phase).as_bytes());
    tty.into_trace()
}

/// Waits for an event, for ever if nothing is due.
fn next(events: &Receiver<Event>, due: Option<Instant>) -> Result<Event, RecvTimeoutError> {
    match due {
        Some(due) => events.recv_timeout(due.saturating_duration_since(Instant::now())),
        None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

/// Writes what arrives within [`BATCH`] together, and a step that waits for the floor when it is due.
fn plain(events: &Receiver<Event>) -> Trace {
    let mut plain = Plain::default();
    let mut due: Option<Instant> = None;
    loop {
        let arrived = next(events, due);
        let now = SystemTime::now();
        match arrived {
            Ok(event) => {
                plain.event(&event, now);
                due = due.or_else(|| Some(Instant::now() + BATCH));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if due.is_some_and(|due| due <= Instant::now()) {
            put(&plain.lines(now));
            // The floor changes by time, not by an event.
            due = plain.is_waiting().then(|| Instant::now() + FRAME);
        }
    }
    put(&plain.lines(SystemTime::now()));
    plain.into_trace()
}

fn raw(events: &Receiver<Event>) -> Trace {
    let mut trace = Trace::default();
    while let Ok(event) = events.recv() {
        trace.apply(&event);
        put(&json::line(&event, SystemTime::now()));
    }
    trace
}

fn silent(events: &Receiver<Event>) -> Trace {
    let mut trace = Trace::default();
    events.iter().for_each(|event| trace.apply(&event));
    trace
}

fn canvas() -> Canvas {
    let (rows, columns) = terminal_size(&io::stderr()).unwrap_or(UNKNOWN_SIZE);
    Canvas {
        rows,
        columns,
        look: Look::of(&io::stderr()),
    }
}

/// Writes in one go. A terminal that went away is no reason to stop a build.
fn put(bytes: &[u8]) {
    if !bytes.is_empty() {
        io::stderr().write_all(bytes).ok();
    }
}
