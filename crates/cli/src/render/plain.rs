//! Plain progress: lines that are only ever appended, in BuildKit's layout.
//!
//! Steps run at the same time, lines come one after the other: one step has the floor, the others'
//! lines wait. A step that ends is shown at once with all that it still has to say; otherwise the
//! floor changes when the step that has it ends or has had it for [`FLOOR`].

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use rbuild::progress::{Event, LogChunk, StatusUpdate, VertexKey};

use super::text::{bytes, clean, seconds, stamp};
use super::trace::{Step, StepState, Trace, since};

/// How long a step keeps the floor while others have something to say.
pub const FLOOR: Duration = Duration::from_secs(5);
/// What the reason for a miss is called among the pieces of a step's work.
const MISS: &str = "cache miss";
/// Shortest time between two lines about the same piece of work.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// The state of the output.
#[derive(Debug, Default)]
pub struct Plain {
    trace: Trace,
    voices: BTreeMap<VertexKey, Voice>,
    floor: Option<Floor>,
    last_number: usize,
    out: Vec<u8>,
}

/// Who speaks.
#[derive(Debug)]
struct Floor {
    key: VertexKey,
    since: SystemTime,
}

/// What one step has said and has still to say.
#[derive(Debug)]
struct Voice {
    /// Number of the step; 0 until it is first shown.
    number: usize,
    pending: Pending,
    /// Statuses and when each was last put among the lines.
    statuses: BTreeMap<String, SystemTime>,
    warnings: Vec<String>,
    /// Something changed since it was last shown.
    changed: bool,
    closed: bool,
}

/// Output that waits to be shown, split where lines begin.
#[derive(Debug, Default)]
struct Pending {
    pieces: Vec<Piece>,
    /// Whether the output so far, shown or not, ends within a line.
    mid_line: bool,
    /// Whether what was shown ends within a line.
    shown_mid_line: bool,
}

#[derive(Debug)]
enum Piece {
    /// Output begins a line at this time since the step began.
    Begin(Duration),
    /// A whole line about the piece of work with this id.
    Status(String, String),
    Text(Vec<u8>),
    End,
}

impl Plain {
    /// Takes in one event that arrived `now`.
    pub fn event(&mut self, event: &Event, now: SystemTime) {
        self.trace.apply(event);
        match event {
            Event::Vertex(update) if update.started.is_some() => self.voice(&update.key).touch(),
            Event::Vertex(_) => {}
            Event::Status(update) => self.status(update, now),
            Event::Log(chunk) => self.log(chunk),
            Event::Miss(note) => {
                let line = format!("cache miss: {}", clean(&note.reason));
                let voice = self.voice(&note.vertex);
                voice.pending.status(MISS, line);
                voice.touch();
            }
            Event::Warning(note) => {
                if let Some(key) = &note.vertex {
                    let text = clean(&note.short);
                    let voice = self.voice(key);
                    voice.warnings.push(text);
                    voice.touch();
                }
            }
        }
    }

    /// Decides who is shown `now`, and returns the lines.
    pub fn lines(&mut self, now: SystemTime) -> Vec<u8> {
        self.show_ended(now);
        self.show_open(now);
        std::mem::take(&mut self.out)
    }

    /// Whether a step waits for the floor.
    pub fn is_waiting(&self) -> bool {
        self.voices.values().any(|voice| voice.changed)
    }

    /// Ends here with what is known of the build.
    pub fn into_trace(self) -> Trace {
        self.trace
    }

    fn voice(&mut self, key: &VertexKey) -> &mut Voice {
        self.voices.entry(key.clone()).or_insert_with(|| Voice {
            number: 0,
            pending: Pending::default(),
            statuses: BTreeMap::new(),
            warnings: Vec::new(),
            changed: false,
            closed: false,
        })
    }

    fn status(&mut self, update: &StatusUpdate, now: SystemTime) {
        let line = status_line(update, now);
        let voice = self.voice(&update.vertex);
        let due = voice
            .statuses
            .get(&update.id)
            .is_none_or(|&last| since(last, now) >= STATUS_INTERVAL);
        if due || update.completed.is_some() {
            voice.statuses.insert(update.id.clone(), now);
            voice.pending.status(&update.id, line);
            voice.touch();
        }
    }

    fn log(&mut self, chunk: &LogChunk) {
        let started = self.trace.step(&chunk.vertex).and_then(|step| step.started);
        let at = started.map(|started| since(started, chunk.at));
        let voice = self.voice(&chunk.vertex);
        voice.pending.output(&chunk.data, at.unwrap_or_default());
        voice.touch();
    }

    /// Shows steps that ended: first the one that has the floor, then by time of their end.
    fn show_ended(&mut self, now: SystemTime) {
        let floor = self.floor.as_ref().map(|floor| floor.key.clone());
        let mut ended: Vec<(bool, Option<SystemTime>, VertexKey)> = self
            .trace
            .begun()
            .filter(|(key, step)| step.has_ended() && self.has_news(key))
            .map(|(key, step)| (Some(key) != floor.as_ref(), step.completed, key.clone()))
            .collect();
        ended.sort();
        for (_, _, key) in ended {
            self.show(&key, now);
        }
    }

    /// Shows one of the steps that run, if it has the floor or may take it.
    fn show_open(&mut self, now: SystemTime) {
        let holder = self
            .floor
            .as_ref()
            .map(|floor| (floor.key.clone(), floor.since));
        if let Some((key, _)) = &holder
            && self.has_news(key)
        {
            self.show(key, now);
        }
        if holder.is_some_and(|(_, taken)| since(taken, now) < FLOOR) {
            return;
        }
        let next = self
            .trace
            .begun()
            .find(|(key, step)| step.state == StepState::Running && self.has_news(key))
            .map(|(key, _)| key.clone());
        if let Some(key) = next {
            self.show(&key, now);
        }
    }

    fn has_news(&self, key: &VertexKey) -> bool {
        self.voices.get(key).is_some_and(|voice| voice.changed)
    }

    fn show(&mut self, key: &VertexKey, now: SystemTime) {
        self.take_floor(key, now);
        let (Some(step), Some(voice)) = (self.trace.step(key), self.voices.get_mut(key)) else {
            return;
        };
        voice.speak(&mut self.out);
        if step.has_ended() {
            voice.pending.break_line(&mut self.out);
            if !voice.closed {
                self.out
                    .extend(format!("#{} {}\n", voice.number, ending(step, now)).as_bytes());
            }
            voice.closed = true;
            self.floor = None;
        } else {
            voice.closed = false;
        }
    }

    fn take_floor(&mut self, key: &VertexKey, now: SystemTime) {
        if self.floor.as_ref().is_some_and(|floor| floor.key == *key) {
            return;
        }
        if let Some(floor) = self.floor.take()
            && let Some(voice) = self.voices.get_mut(&floor.key)
        {
            voice.pending.break_line(&mut self.out);
            self.out
                .extend(format!("#{} ...\n", voice.number).as_bytes());
        }
        if self.last_number > 0 {
            self.out.push(b'\n');
        }
        let name = self.trace.step(key).map_or("", |step| step.name.as_str());
        if let Some(voice) = self.voices.get_mut(key) {
            if voice.number == 0 {
                self.last_number += 1;
                voice.number = self.last_number;
            }
            self.out
                .extend(format!("#{} {name}\n", voice.number).as_bytes());
        }
        self.floor = Some(Floor {
            key: key.clone(),
            since: now,
        });
    }
}

impl Voice {
    fn touch(&mut self) {
        self.changed = true;
    }

    fn speak(&mut self, out: &mut Vec<u8>) {
        self.changed = false;
        self.pending.show(self.number, out);
        for warning in self.warnings.drain(..) {
            self.pending.break_line(out);
            out.extend(format!("#{} WARN: {warning}\n", self.number).as_bytes());
        }
    }
}

impl Pending {
    /// Adds a line about a piece of work, or replaces the one that was not shown yet. Output within
    /// a line is broken before it.
    fn status(&mut self, id: &str, line: String) {
        let waiting = self.pieces.iter_mut().find_map(|piece| match piece {
            Piece::Status(known, text) if known == id => Some(text),
            _ => None,
        });
        if let Some(text) = waiting {
            *text = line;
            return;
        }
        if self.mid_line {
            self.pieces.push(Piece::End);
            self.mid_line = false;
        }
        self.pieces.push(Piece::Status(id.to_owned(), line));
    }

    fn output(&mut self, data: &[u8], at: Duration) {
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            if !self.mid_line {
                self.pieces.push(Piece::Begin(at));
            }
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            self.pieces.push(Piece::Text(text.to_vec()));
            self.mid_line = text.len() == piece.len();
            if !self.mid_line {
                self.pieces.push(Piece::End);
            }
        }
    }

    fn show(&mut self, number: usize, out: &mut Vec<u8>) {
        for piece in self.pieces.drain(..) {
            match piece {
                Piece::Begin(at) => out.extend(format!("#{number} {} ", stamp(at)).as_bytes()),
                Piece::Status(_, line) => out.extend(format!("#{number} {line}\n").as_bytes()),
                Piece::Text(text) => out.extend(text),
                Piece::End => out.push(b'\n'),
            }
        }
        self.shown_mid_line = self.mid_line;
    }

    /// Ends the line that was shown in part; what follows of it begins a line of its own.
    fn break_line(&mut self, out: &mut Vec<u8>) {
        if self.shown_mid_line {
            out.push(b'\n');
            self.shown_mid_line = false;
            self.mid_line = false;
        }
    }
}

fn ending(step: &Step, now: SystemTime) -> String {
    match &step.state {
        StepState::Failed(error) => format!("ERROR: {error}"),
        StepState::Canceled => "CANCELED".to_owned(),
        StepState::Cached => "CACHED".to_owned(),
        StepState::Done | StepState::Planned | StepState::Running => {
            format!("DONE {}", seconds(step.spent(now)))
        }
    }
}

fn status_line(update: &StatusUpdate, now: SystemTime) -> String {
    let mut line = clean(&update.id);
    match update.total {
        Some(total) if total > 0 => {
            line.push_str(&format!(" {} / {}", bytes(update.current), bytes(total)));
        }
        _ if update.current > 0 => line.push_str(&format!(" {}", bytes(update.current))),
        _ => {}
    }
    if let Some(started) = update.started {
        let spent = since(started, update.completed.unwrap_or(now));
        if spent > Duration::from_millis(10) {
            line.push_str(&format!(" {}", seconds(spent)));
        }
    }
    if update.completed.is_some() {
        line.push_str(" done");
    }
    line
}
