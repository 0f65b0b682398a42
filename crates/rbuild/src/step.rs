//! The engine's own steps as people see them: `[internal] …` and `exporting to image`.

use std::time::SystemTime;

use rbuild_oci::Digest;
use rbuild_progress::{Event, Sink, StatusUpdate, VertexKey, VertexUpdate};

/// Does a piece of work as a step of its own in the progress.
pub(crate) fn announced<T, E: std::fmt::Display>(
    sink: &dyn Sink,
    name: &str,
    work: impl FnOnce(&VertexKey) -> Result<T, E>,
) -> Result<T, E> {
    let digest = Digest::sha256_of(format!("rbuild internal step {name}").as_bytes());
    let key = VertexKey::new(digest.to_string());
    let started = SystemTime::now();
    let update = |completed, error| {
        Event::Vertex(VertexUpdate {
            key: key.clone(),
            inputs: Vec::new(),
            name: name.to_owned(),
            started: Some(started),
            completed,
            cached: false,
            error,
        })
    };
    sink.send(update(None, None));
    let result = work(&key);
    let error = result.as_ref().err().map(ToString::to_string);
    sink.send(update(Some(SystemTime::now()), error));
    result
}

/// Tells of `bytes` that a step read at once, by the name that BuildKit gives to such work.
pub(crate) fn note_read(sink: &dyn Sink, key: &VertexKey, name: &str, bytes: u64) {
    let now = SystemTime::now();
    sink.send(Event::Status(StatusUpdate {
        vertex: key.clone(),
        id: name.to_owned(),
        name: name.to_owned(),
        current: bytes,
        total: None,
        started: Some(now),
        completed: Some(now),
    }));
}

/// Tells of a part of a step while it is done.
pub(crate) fn status<T, E>(
    sink: &dyn Sink,
    key: &VertexKey,
    id: &str,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let started = SystemTime::now();
    let update = |completed| {
        Event::Status(StatusUpdate {
            vertex: key.clone(),
            id: id.to_owned(),
            name: id.to_owned(),
            current: 0,
            total: None,
            started: Some(started),
            completed,
        })
    };
    sink.send(update(None));
    let done = work()?;
    sink.send(update(Some(SystemTime::now())));
    Ok(done)
}
