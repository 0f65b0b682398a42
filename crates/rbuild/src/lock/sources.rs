//! Files and references of repositories as entries of a lock in the making.

use std::collections::BTreeMap;

use rbuild_dockerfile::Span;
use rbuild_source::{CommitPin, FilePin};

use super::entries::{Making, Needs};
use super::needs::Source;
use super::report::{LockEntry, What};
use super::{LockedCommit, LockedFile};
use crate::step::announced;
use crate::{BuildError, Result};

/// Most servers that are asked at the same time.
const AT_ONCE: usize = 8;

/// A source by name, and the instructions that need it.
type Wanted<'n> = (&'n String, &'n (Source, Vec<Span>));

/// What a source stands for.
enum Found {
    File(FilePin),
    Commit(CommitPin),
}

impl Found {
    fn shown(&self) -> String {
        match self {
            Found::File(pin) => pin.blob.to_string(),
            Found::Commit(pin) => pin.commit.clone(),
        }
    }
}

impl Source {
    fn what(&self) -> What {
        match self {
            Source::File(_) => What::File,
            Source::Commit(_) => What::Git,
        }
    }
}

impl Making<'_> {
    /// Notes the files and references that are not there.
    pub(super) fn look_for_sources(&mut self, needs: &Needs) {
        for (source, spans) in &needs.sources {
            let name = source.name();
            if self.stands_for(source.what(), &name).is_none() {
                let missing = self.missing(spans);
                self.note(source.what(), name, missing);
            }
        }
    }

    /// Enters the files and references that are not there, or are to be looked up anew.
    pub(super) fn take_sources(&mut self, needs: &Needs) -> Result<()> {
        // What differs only in its login or in its directory is one entry.
        let sources = needs.sources.iter();
        let mut by_name: BTreeMap<String, &(Source, Vec<Span>)> = BTreeMap::new();
        for source in sources {
            by_name.entry(source.0.name()).or_insert(source);
        }
        by_name.retain(|name, (source, _)| {
            let is_there = self.stands_for(source.what(), name).is_some();
            !is_there || self.filling.request.update.hits(name)
        });
        let wanted: Vec<Wanted<'_>> = by_name
            .iter()
            .map(|(name, wanted)| (name, *wanted))
            .collect();
        for some in wanted.chunks(AT_ONCE) {
            for ((name, (source, _)), found) in some.iter().zip(self.ask(some)) {
                self.enter(name, source.what(), found?);
            }
        }
        Ok(())
    }

    /// What an entry stands for as yet.
    fn stands_for(&self, what: What, name: &str) -> Option<String> {
        match what {
            What::File => Some(self.lock.files.get(name)?.pin.blob.to_string()),
            What::Git | What::Image => Some(self.lock.commits.get(name)?.pin.commit.clone()),
        }
    }

    fn enter(&mut self, name: &str, what: What, found: Found) {
        let to = found.shown();
        match self.stands_for(what, name) {
            None => self.note(what, name.to_owned(), LockEntry::Added { to }),
            Some(from) if from != to => {
                self.note(what, name.to_owned(), LockEntry::Moved { from, to });
            }
            Some(_) => {}
        }
        match found {
            Found::File(pin) => {
                let indirect = self.lock.files.get(name).is_some_and(|file| file.indirect);
                let file = LockedFile { pin, indirect };
                self.lock.files.insert(name.to_owned(), file);
            }
            Found::Commit(pin) => {
                let before = self.lock.commits.get(name);
                let indirect = before.is_some_and(|commit| commit.indirect);
                let commit = LockedCommit { pin, indirect };
                self.lock.commits.insert(name.to_owned(), commit);
            }
        }
    }

    /// Asks what sources stand for, all at once.
    fn ask(&self, wanted: &[Wanted<'_>]) -> Vec<Result<Found>> {
        let ask = |(name, (source, spans)): Wanted<'_>| {
            let found = self.found(source, name);
            found.map_err(|e| e.at(self.places.excerpts(spans)))
        };
        std::thread::scope(|scope| {
            let ask = &ask;
            let running: Vec<_> = wanted
                .iter()
                .map(|wanted| scope.spawn(move || ask(*wanted)))
                .collect();
            let ended = running.into_iter().map(|thread| {
                let broken = || BuildError::build("asking what an address stands for broke off");
                thread.join().unwrap_or_else(|_| Err(broken()))
            });
            ended.collect()
        })
    }

    fn found(&self, source: &Source, name: &str) -> Result<Found> {
        let fetching = self.fetching;
        let worker = fetching.worker()?;
        announced(fetching.sink, &format!("[internal] lock {name}"), |key| {
            let cx = fetching.remote((&worker, key));
            match source {
                Source::File(op) => {
                    let ready = fetching.engine.http().supply(op, &cx)?.0.ready(&cx)?;
                    Ok(Found::File(FilePin {
                        blob: ready.blob().clone(),
                        modified: ready.modified_secs(),
                    }))
                }
                Source::Commit(op) => Ok(Found::Commit(fetching.engine.git().pin(op, &cx)?)),
            }
        })
    }
}
