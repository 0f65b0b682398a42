//! Raw progress: one JSON object a line, as BuildKit's clients write a `SolveStatus`.
//!
//! Field names, their order, and which empty ones are left out are Go's; see BuildKit,
//! `client/graph.go`.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rbuild::progress::{
    Event, LogChunk, MissNote, StatusUpdate, Stream, VertexUpdate, WarningNote,
};
use serde_json::{Map, Value, json};

/// Returns one event that arrived `now` as a line, its end included.
pub fn line(event: &Event, now: SystemTime) -> Vec<u8> {
    let (list, record) = match event {
        Event::Vertex(update) => ("vertexes", vertex(update)),
        Event::Status(update) => ("statuses", status(update, now)),
        Event::Log(chunk) => ("logs", log(chunk)),
        Event::Warning(note) => ("warnings", warning(note)),
        // A list of our own: clients that do not know it pass over it.
        Event::Miss(note) => ("misses", miss(note)),
    };
    let mut text = json!({ list: [record] }).to_string().into_bytes();
    text.push(b'\n');
    text
}

fn vertex(update: &VertexUpdate) -> Value {
    let mut fields = Fields::default();
    fields.put("digest", update.key.as_str());
    if !update.inputs.is_empty() {
        let inputs: Vec<&str> = update.inputs.iter().map(|key| key.as_str()).collect();
        fields.put("inputs", inputs);
    }
    fields.put("name", update.name.as_str());
    fields.put_some("started", update.started.map(time));
    fields.put_some("completed", update.completed.map(time));
    fields.put_some("cached", update.cached.then_some(true));
    fields.put_some("error", update.error.as_deref());
    fields.0.into()
}

fn status(update: &StatusUpdate, now: SystemTime) -> Value {
    let mut fields = Fields::default();
    fields.put("id", update.id.as_str());
    fields.put("vertex", update.vertex.as_str());
    fields.put_some(
        "name",
        Some(update.name.as_str()).filter(|name| !name.is_empty()),
    );
    fields.put_some("total", update.total.filter(|&total| total > 0));
    fields.put("current", update.current);
    fields.put("timestamp", time(now));
    fields.put_some("started", update.started.map(time));
    fields.put_some("completed", update.completed.map(time));
    fields.0.into()
}

fn log(chunk: &LogChunk) -> Value {
    let stream = match chunk.stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    };
    let mut fields = Fields::default();
    fields.put("vertex", chunk.vertex.as_str());
    fields.put("stream", stream);
    fields.put("data", STANDARD.encode(&chunk.data));
    fields.put("timestamp", time(chunk.at));
    fields.0.into()
}

fn miss(note: &MissNote) -> Value {
    let mut fields = Fields::default();
    fields.put("vertex", note.vertex.as_str());
    fields.put("kind", note.kind);
    fields.put("reason", note.reason.as_str());
    fields.0.into()
}

fn warning(note: &WarningNote) -> Value {
    let mut fields = Fields::default();
    fields.put_some("vertex", note.vertex.as_ref().map(|key| key.as_str()));
    fields.put("level", 1);
    let short = match note.line {
        // BuildKit's clients get the line in the text as well.
        Some(line) => format!("{} (line {line})", note.short),
        None => note.short.clone(),
    };
    fields.put("short", STANDARD.encode(short));
    if !note.detail.is_empty() {
        let detail: Vec<String> = note
            .detail
            .iter()
            .map(|line| STANDARD.encode(line))
            .collect();
        fields.put("detail", detail);
    }
    fields.put_some("url", note.url.as_deref());
    fields.put_some(
        "sourceInfo",
        note.file.as_deref().map(|file| json!({ "filename": file })),
    );
    if let Some(first) = note.line {
        let last = note.end_line.unwrap_or(first);
        fields.put(
            "range",
            json!([{ "start": { "line": first }, "end": { "line": last } }]),
        );
    }
    fields.0.into()
}

/// An object whose fields keep their order.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn put_some(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }
}

fn time(at: SystemTime) -> String {
    // Only a clock tens of thousands of years off cannot be written.
    Timestamp::try_from(at).map_or_else(|_| String::new(), |stamp| stamp.to_string())
}
