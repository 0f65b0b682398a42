//! Events at fixed times.

use std::time::{Duration, SystemTime};

use rbuild::progress::{
    Event, LogChunk, MissNote, StatusUpdate, Stream, VertexKey, VertexUpdate, WarningNote,
};

/// This many milliseconds after the build began.
pub fn at(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + ms)
}

pub fn key(name: &str) -> VertexKey {
    VertexKey::new(format!("sha256:{name}"))
}

pub fn planned(name: &str) -> Event {
    Event::Vertex(VertexUpdate::planned(key(name), name, vec![]))
}

pub fn started(name: &str, ms: u64) -> Event {
    Event::Vertex(VertexUpdate {
        started: Some(at(ms)),
        ..VertexUpdate::planned(key(name), name, vec![])
    })
}

fn ended(name: &str, from: u64, to: u64) -> VertexUpdate {
    VertexUpdate {
        started: Some(at(from)),
        completed: Some(at(to)),
        ..VertexUpdate::planned(key(name), name, vec![])
    }
}

pub fn done(name: &str, from: u64, to: u64) -> Event {
    Event::Vertex(ended(name, from, to))
}

pub fn cached(name: &str, ms: u64) -> Event {
    Event::Vertex(VertexUpdate {
        cached: true,
        ..ended(name, ms, ms)
    })
}

pub fn failed(name: &str, from: u64, to: u64, error: &str) -> Event {
    Event::Vertex(VertexUpdate {
        error: Some(error.to_owned()),
        ..ended(name, from, to)
    })
}

pub fn log(name: &str, ms: u64, text: &str) -> Event {
    Event::Log(LogChunk {
        vertex: key(name),
        stream: Stream::Stdout,
        data: text.as_bytes().to_vec(),
        at: at(ms),
    })
}

pub fn status(name: &str, id: &str, current: u64, total: Option<u64>, end: Option<u64>) -> Event {
    Event::Status(StatusUpdate {
        vertex: key(name),
        id: id.to_owned(),
        name: id.to_owned(),
        current,
        total,
        started: Some(at(0)),
        completed: end.map(at),
    })
}

pub fn warning(short: &str, line: u32) -> Event {
    Event::Warning(WarningNote {
        vertex: None,
        short: short.to_owned(),
        detail: vec!["why".to_owned()],
        url: Some("https://example.org/rule".to_owned()),
        file: Some("Dockerfile".to_owned()),
        line: Some(line),
        end_line: None,
    })
}

pub fn miss(name: &str, reason: &str) -> Event {
    Event::Miss(MissNote {
        vertex: key(name),
        kind: "changed",
        reason: reason.to_owned(),
    })
}
