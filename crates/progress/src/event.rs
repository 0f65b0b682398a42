//! The events of a build, equal in content to BuildKit's four progress records.
//!
//! Plain data: who sends them and who draws them is decided elsewhere.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

/// Names a vertex in events: its printed digest, such as `sha256:…`.
///
/// Opaque here; cloning is cheap. Work outside the graph (an export, say) uses the digest of any
/// string that is unique within the build.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VertexKey(Arc<str>);

impl VertexKey {
    /// Wraps a printed digest; the text is not checked.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the printed digest.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VertexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for VertexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VertexKey({})", self.0)
    }
}

impl Serialize for VertexKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// One thing that a build says.
#[derive(Clone, Debug, Serialize)]
pub enum Event {
    /// A vertex was planned, began or ended.
    Vertex(VertexUpdate),
    /// A piece of a vertex's work moved on.
    Status(StatusUpdate),
    /// A vertex printed something.
    Log(LogChunk),
    /// Something is legal but probably not meant.
    Warning(WarningNote),
    /// A vertex is carried out because its result was not found.
    Miss(MissNote),
}

impl Event {
    /// Tells whether a queue that is full may lose this event without misleading whoever reads it.
    ///
    /// Only a status that another will follow: the one that ends a piece of work must arrive.
    pub(crate) fn may_be_lost(&self) -> bool {
        matches!(self, Event::Status(status) if status.completed.is_none())
    }
}

/// The state of a vertex; a full replacement of earlier updates with the same key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VertexUpdate {
    /// Which vertex.
    pub key: VertexKey,
    /// Vertices it waits for; all announced before.
    pub inputs: Vec<VertexKey>,
    /// The step as shown to people, such as `[build 2/3] RUN make`.
    pub name: String,
    /// When it began; `None` while only planned.
    pub started: Option<SystemTime>,
    /// When it ended, well or not; `None` until then.
    pub completed: Option<SystemTime>,
    /// Whether its result was found rather than made.
    pub cached: bool,
    /// Why it failed, one line.
    pub error: Option<String>,
}

impl VertexUpdate {
    /// Returns the update that announces a vertex: planned, not begun.
    pub fn planned(key: VertexKey, name: impl Into<String>, inputs: Vec<VertexKey>) -> Self {
        let name = name.into();
        Self {
            key,
            inputs,
            name,
            started: None,
            completed: None,
            cached: false,
            error: None,
        }
    }
}

/// How far a piece of a vertex's work is; a full replacement of earlier ones with the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusUpdate {
    /// The vertex that does the work.
    pub vertex: VertexKey,
    /// Names the piece of work within the vertex.
    pub id: String,
    /// The piece of work as shown to people; often equal to `id`.
    pub name: String,
    /// Amount done, in bytes where the work is about bytes.
    pub current: u64,
    /// Amount to do, if known; same unit as `current`.
    pub total: Option<u64>,
    /// When it began.
    pub started: Option<SystemTime>,
    /// When it ended; `None` until then.
    pub completed: Option<SystemTime>,
}

/// The output stream that a log chunk came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Bytes that a vertex printed, in order; neither whole lines nor UTF-8 by promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogChunk {
    /// The vertex that printed.
    pub vertex: VertexKey,
    /// Where it printed.
    pub stream: Stream,
    /// What it printed, unchanged.
    pub data: Vec<u8>,
    /// When it was read.
    pub at: SystemTime,
}

/// A warning, with the place it is about where there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WarningNote {
    /// The vertex it is about, if any.
    pub vertex: Option<VertexKey>,
    /// The warning in one line, the name of its rule in front, without the place.
    pub short: String,
    /// Further lines.
    pub detail: Vec<String>,
    /// Where to read about it.
    pub url: Option<String>,
    /// File it is about, as the user named it.
    pub file: Option<String>,
    /// First line of the place, from 1.
    pub line: Option<u32>,
    /// Last line of the place, inclusive.
    pub end_line: Option<u32>,
}

/// Why the result of a vertex was not found in the cache; sent after the vertex began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissNote {
    /// Which vertex.
    pub vertex: VertexKey,
    /// What kind of reason, one word for programs: `new`, `changed`, `follows`, `forced`, `unfinished`,
    /// `evicted`, `gone`.
    pub kind: &'static str,
    /// The reason in one line, without control characters.
    pub reason: String,
}
