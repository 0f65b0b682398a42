//! Live progress on a terminal: a picture that is kept up to date.

use std::collections::BTreeSet;
use std::time::SystemTime;

use rbuild::progress::{Event, VertexKey};

use super::frame::{Canvas, Phase, Row, Work, draw};
use super::screen::Screen;
use super::trace::Trace;

/// The state of the picture.
#[derive(Debug)]
pub struct Tty {
    trace: Trace,
    screen: Screen,
    settled: BTreeSet<VertexKey>,
    begun: SystemTime,
    work: Work,
}

impl Tty {
    /// Returns the empty picture of work that began at `begun`.
    pub fn new(work: Work, begun: SystemTime) -> Self {
        Self {
            trace: Trace::default(),
            screen: Screen::default(),
            settled: BTreeSet::new(),
            begun,
            work,
        }
    }

    /// Takes in one event.
    pub fn event(&mut self, event: &Event) {
        self.trace.apply(event);
    }

    /// Returns what to write to show the build as it is `now`; empty if that would change nothing.
    pub fn picture(&mut self, now: SystemTime, canvas: Canvas, phase: Phase) -> String {
        let times = (self.begun, now);
        let frame = draw(
            &self.trace,
            &self.settled,
            times,
            canvas,
            (self.work, phase),
        );
        let (keys, above): (Vec<VertexKey>, Vec<Row>) = frame.settled.into_iter().unzip();
        self.settled.extend(keys);
        let mut out = self.screen.show(&above, frame.live, canvas.columns);
        if phase != Phase::Live {
            out.push_str(self.screen.leave());
        }
        out
    }

    /// Ends here with what is known of the build.
    pub fn into_trace(self) -> Trace {
        self.trace
    }

    /// What is known of the build.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }
}
