//! What an engine tells while it works, as pieces of our step's progress.

use std::collections::BTreeMap;
use std::time::SystemTime;

use rbuild_progress::{Event, Sink, StatusUpdate, VertexKey};
use rbuild_registry::PullStep;

/// Words of engines that stand for work; others, such as `Waiting`, are left out.
const WORK: [(&str, &str); 2] = [("Downloading", "pulling"), ("Extracting", "extracting")];

/// Turns lines of an engine into statuses.
pub(super) struct Telling<'a> {
    sink: &'a dyn Sink,
    vertex: &'a VertexKey,
    /// By layer what is done with it, since when, and how much of it there was.
    open: BTreeMap<String, (String, SystemTime, u64)>,
}

impl<'a> Telling<'a> {
    pub(super) fn new(sink: &'a dyn Sink, vertex: &'a VertexKey) -> Self {
        Self {
            sink,
            vertex,
            open: BTreeMap::new(),
        }
    }

    /// Takes a line.
    pub(super) fn hear(&mut self, step: &PullStep) {
        if step.id.is_empty() {
            return;
        }
        let work = WORK.iter().find(|(word, _)| *word == step.status);
        let name = work.map(|(_, ours)| format!("{ours} {}", step.id));
        if let Some((open, started, current)) = self.open.get(&step.id)
            && name.as_ref() != Some(open)
        {
            self.tell((open, *current, None), *started, Some(SystemTime::now()));
            self.open.remove(&step.id);
        }
        let Some(name) = name else { return };
        let (current, total) = (step.progress.current, step.progress.total);
        let started = match self.open.get(&step.id) {
            Some((_, started, _)) => *started,
            None => SystemTime::now(),
        };
        self.tell((&name, current, Some(total)), started, None);
        self.open.insert(step.id.clone(), (name, started, current));
    }

    /// Tells in a line of its own how it went.
    pub(super) fn note(&self, text: &str) {
        let now = SystemTime::now();
        self.tell((text, 0, None), now, Some(now));
    }

    fn tell(
        &self,
        (name, current, total): (&str, u64, Option<u64>),
        started: SystemTime,
        completed: Option<SystemTime>,
    ) {
        self.sink.send(Event::Status(StatusUpdate {
            vertex: self.vertex.clone(),
            id: name.to_owned(),
            name: name.to_owned(),
            current,
            total: total.filter(|total| *total > 0),
            started: Some(started),
            completed,
        }));
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        for (name, started, current) in self.open.values() {
            self.tell((name, *current, None), *started, Some(SystemTime::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use rbuild_progress::CollectSink;
    use rbuild_registry::PullProgress;

    use super::*;

    #[test]
    fn work_on_a_layer_begins_and_ends() {
        let sink = CollectSink::new();
        let vertex = VertexKey::new("v");
        let mut telling = Telling::new(&sink, &vertex);
        for (id, status, current) in [
            ("", "Pulling from x", 0),
            ("ab", "Pulling fs layer", 0),
            ("ab", "Downloading", 5),
            ("ab", "Downloading", 10),
            ("ab", "Download complete", 0),
            ("ab", "Extracting", 3),
        ] {
            telling.hear(&PullStep {
                id: id.to_owned(),
                status: status.to_owned(),
                progress: PullProgress { current, total: 10 },
                stream: String::new(),
            });
        }
        drop(telling);
        let told: Vec<_> = sink
            .take()
            .into_iter()
            .map(|event| match event {
                Event::Status(status) => (status.id, status.current, status.completed.is_some()),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [
            ("pulling ab", 5, false),
            ("pulling ab", 10, false),
            ("pulling ab", 10, true),
            ("extracting ab", 3, false),
            ("extracting ab", 3, true),
        ];
        assert_eq!(
            told,
            expected.map(|(id, current, ended)| (id.to_owned(), current, ended))
        );
    }
}
