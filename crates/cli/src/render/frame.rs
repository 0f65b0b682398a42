//! One picture of a running build: which lines, in which order, cut to the terminal.
//!
//! Pure: a function of the trace, the time and the size.

use std::collections::BTreeSet;
use std::time::SystemTime;

use rbuild::progress::{StatusUpdate, VertexKey};

use super::text::{bytes, columns, fit, seconds, visible};
use super::trace::{Step, StepState, Trace, since};
use crate::style::{Look, Role, Symbols};

/// Lines of output shown below a step that runs.
const LOG_LINES: usize = 6;
/// Widest picture; on a wider terminal times would stand too far from their steps.
const MAX_COLUMNS: usize = 140;
/// Columns of the bar that shows how far a piece of work is.
const BAR: usize = 20;

/// Size of the terminal and what it can show.
#[derive(Debug, Clone, Copy)]
pub struct Canvas {
    /// Lines that may be used.
    pub rows: usize,
    /// Columns of a line.
    pub columns: usize,
    /// Colours and symbols.
    pub look: Look,
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A build.
    Build,
    /// A push of images that are there.
    Push,
    /// The making of a lock.
    Lock,
}

impl Work {
    fn word(self) -> &'static str {
        match self {
            Self::Build => "Building",
            Self::Push => "Pushing",
            Self::Lock => "Locking",
        }
    }
}

/// Whether the build goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It does.
    Live,
    /// It is over: nothing spins, nothing is left out.
    Final(Ending),
}

/// How the build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Well.
    Finished,
    /// With an error, which need not be a step's.
    Failed,
    /// By an interrupt.
    Stopped,
}

/// One line: painted text and how many columns it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// With colours, without line end.
    pub text: String,
    /// On the screen.
    pub columns: usize,
}

/// A picture.
#[derive(Debug, Default)]
pub struct Frame {
    /// Steps that have ended and leave the picture upwards, for good; in order.
    pub settled: Vec<(VertexKey, Row)>,
    /// The lines to keep up to date.
    pub live: Vec<Row>,
}

/// Draws what is known at `now` of the `work` that began at `begun`; `settled` steps are left out.
pub fn draw(
    trace: &Trace,
    settled: &BTreeSet<VertexKey>,
    times: (SystemTime, SystemTime),
    canvas: Canvas,
    (work, phase): (Work, Phase),
) -> Frame {
    let (begun, now) = times;
    let artist = Artist {
        canvas,
        now,
        work,
        phase,
    };
    let mut steps: Vec<(&VertexKey, &Step)> = trace
        .begun()
        .filter(|(key, _)| !settled.contains(*key))
        .collect();
    let mut frame = Frame::default();
    // A line for the header, and one below for the cursor: a picture that fills the terminal would
    // scroll it, and could not be found again.
    let room = canvas.rows.saturating_sub(2).max(1);
    if phase == Phase::Live {
        // Oldest first, and only from the top: what is below a running step stays below it.
        while steps.len() > room.saturating_sub(LOG_LINES).max(1) && steps[0].1.has_ended() {
            let (key, step) = steps.remove(0);
            frame.settled.push((key.clone(), artist.step(step)));
        }
    }
    frame.live = artist.steps(&steps, room);
    // How it ended belongs where it is seen: last, once the first steps have left the screen.
    let scrolled = !settled.is_empty() || frame.live.len() > room;
    let place = match phase {
        Phase::Final(_) if scrolled => frame.live.len(),
        Phase::Final(_) | Phase::Live => 0,
    };
    frame.live.insert(place, artist.header(trace, begun));
    frame
}

struct Artist {
    canvas: Canvas,
    now: SystemTime,
    work: Work,
    phase: Phase,
}

impl Artist {
    fn header(&self, trace: &Trace, begun: SystemTime) -> Row {
        let (ended, all) = trace.progress();
        let spent = seconds(since(begun, self.now));
        let word = match self.phase {
            Phase::Final(Ending::Failed) => ("FAILED", Role::Bad),
            Phase::Final(Ending::Finished) => ("FINISHED", Role::Good),
            Phase::Final(Ending::Stopped) => ("STOPPED", Role::Warning),
            Phase::Live => ("", Role::Normal),
        };
        let mut line = self.line();
        line.put(
            Role::Title,
            &format!("[+] {} {spent} ({ended}/{all}) ", self.work.word()),
        );
        line.put(word.1, word.0);
        line.finish(("", Role::Normal))
    }

    /// The steps with what they are at, in at most `room` lines unless the build is over.
    fn steps(&self, steps: &[(&VertexKey, &Step)], room: usize) -> Vec<Row> {
        if self.phase != Phase::Live {
            return steps.iter().map(|(_, step)| self.step(step)).collect();
        }
        let running = steps.iter().filter(|(_, step)| !step.has_ended()).count();
        let spare = room.saturating_sub(steps.len());
        let each = spare / running.max(1);
        // Where it does not come out even, the steps that run longest show one line more.
        let mut odd = spare - each * running;
        let mut rows = Vec::new();
        for (_, step) in steps {
            rows.push(self.step(step));
            if step.state == StepState::Running {
                let more = odd.min(1);
                odd -= more;
                rows.extend(self.details(step, (each + more).min(LOG_LINES + 2)));
            }
        }
        if rows.len() > room {
            let hidden = rows.len() - room + 1;
            rows.truncate(room.saturating_sub(1));
            let mut line = self.line();
            line.put(Role::Dim, &format!("   and {hidden} more"));
            rows.push(line.finish(("", Role::Normal)));
        }
        rows
    }

    fn step(&self, step: &Step) -> Row {
        let (symbol, role) = self.symbol(step);
        let spent = seconds(step.spent(self.now));
        let (right, right_role) = match &step.state {
            StepState::Cached => ("cached", Role::Dim),
            StepState::Canceled => ("canceled", Role::Dim),
            StepState::Failed(_) => (spent.as_str(), Role::Bad),
            StepState::Running => (spent.as_str(), Role::Active),
            StepState::Done | StepState::Planned => (spent.as_str(), Role::Dim),
        };
        let mut line = self.line();
        line.put(role, &format!(" {symbol} "));
        line.put(
            match step.state {
                StepState::Canceled => Role::Dim,
                StepState::Running => Role::Title,
                _ => Role::Normal,
            },
            &step.name,
        );
        line.finish((right, right_role))
    }

    fn symbol(&self, step: &Step) -> (&'static str, Role) {
        let unicode = self.canvas.look.symbols == Symbols::Unicode;
        let pick = |nice, plain| if unicode { nice } else { plain };
        match step.state {
            StepState::Done => (pick("✔", "+"), Role::Good),
            StepState::Cached => (pick("✔", "="), Role::Dim),
            StepState::Failed(_) => (pick("✘", "x"), Role::Bad),
            StepState::Canceled => (pick("–", "-"), Role::Dim),
            StepState::Running if self.phase == Phase::Live => (self.spinner(), Role::Active),
            StepState::Running | StepState::Planned => (pick("·", "."), Role::Dim),
        }
    }

    fn spinner(&self) -> &'static str {
        const NICE: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
        const PLAIN: [&str; 4] = ["|", "/", "-", "\\"];
        let set: &[&str] = match self.canvas.look.symbols {
            Symbols::Unicode => &NICE,
            Symbols::Ascii => &PLAIN,
        };
        let ticks = since(SystemTime::UNIX_EPOCH, self.now).as_millis() / 100;
        set[usize::try_from(ticks % set.len() as u128).unwrap_or_default()]
    }

    /// What a running step is at and what it said last, in at most `room` lines.
    fn details(&self, step: &Step, room: usize) -> Vec<Row> {
        let open = step
            .statuses
            .iter()
            .filter(|status| status.completed.is_none());
        let statuses: Vec<Row> = open
            .take(room.min(4))
            .map(|status| self.status(status))
            .collect();
        let why = step.miss.iter().take(room - statuses.len());
        let why: Vec<Row> = why
            .map(|why| self.log(&format!("cache miss: {why}")))
            .collect();
        let left = (room - statuses.len() - why.len()).min(LOG_LINES);
        let mut logs: Vec<Row> = step
            .tail
            .lines()
            .rev()
            .map(|line| visible(&line.bytes))
            .filter(|text| !text.is_empty())
            .take(left)
            .map(|text| self.log(&text))
            .collect();
        logs.reverse();
        why.into_iter().chain(statuses).chain(logs).collect()
    }

    fn status(&self, status: &StatusUpdate) -> Row {
        let amount = match status.total.filter(|&total| total > 0) {
            Some(total) => {
                let bar = self.bar(status.current, total);
                format!("{bar}  {} / {}", bytes(status.current), bytes(total))
            }
            None if status.current > 0 => bytes(status.current),
            None => String::new(),
        };
        let mut line = self.line();
        line.put(Role::Dim, &format!("   {} {}", self.rule(), status.name));
        line.finish((&amount, Role::Dim))
    }

    fn bar(&self, current: u64, total: u64) -> String {
        let scaled = u128::from(current.min(total)) * BAR as u128 / u128::from(total.max(1));
        let full = usize::try_from(scaled).unwrap_or(BAR);
        let (done, open) = match self.canvas.look.symbols {
            Symbols::Unicode => ("━", "─"),
            Symbols::Ascii => ("=", "-"),
        };
        format!("{}{}", done.repeat(full), open.repeat(BAR - full))
    }

    fn log(&self, text: &str) -> Row {
        let mut line = self.line();
        line.put(Role::Dim, &format!("   {} {text}", self.rule()));
        line.finish(("", Role::Normal))
    }

    fn rule(&self) -> &'static str {
        match self.canvas.look.symbols {
            Symbols::Unicode => "│",
            Symbols::Ascii => "|",
        }
    }

    fn line(&self) -> Line {
        Line {
            look: self.canvas.look,
            limit: self.canvas.columns.min(MAX_COLUMNS),
            pieces: Vec::new(),
        }
    }
}

/// A line in the making: pieces from the left, one at the right edge.
struct Line {
    look: Look,
    limit: usize,
    pieces: Vec<(Role, String)>,
}

impl Line {
    fn put(&mut self, role: Role, text: &str) {
        self.pieces.push((role, text.to_owned()));
    }

    /// Cuts the left side so that the right side has room, if there is room for both at all.
    fn finish(self, (right, role): (&str, Role)) -> Row {
        let wide = columns(right);
        let right = if wide + 12 <= self.limit { right } else { "" };
        let reserved = if right.is_empty() { 0 } else { wide + 2 };
        let room = self.limit.saturating_sub(reserved);
        let mark = self.look.symbols.ellipsis();
        let (mut text, mut used) = (String::new(), 0);
        for (role, piece) in &self.pieces {
            let cut = fit(piece, room - used, mark);
            used += columns(&cut);
            text.push_str(&self.look.paint(*role, &cut));
        }
        if !right.is_empty() {
            let gap = self.limit - used - wide;
            text.push_str(&" ".repeat(gap));
            text.push_str(&self.look.paint(role, right));
            used += gap + wide;
        }
        Row {
            text: text.trim_end().to_owned(),
            columns: used,
        }
    }
}
