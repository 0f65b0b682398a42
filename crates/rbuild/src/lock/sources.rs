//! Files and references of repositories as entries of a lock in the making.

use rbuild_dockerfile::Span;
use rbuild_source::FilePin;

use super::entries::Making;
use super::needs::Source;
use super::report::{LockEntry, What};
use super::{LockedCommit, LockedFile};
use crate::step::announced;
use crate::{BuildError, Result};

impl Making<'_> {
    /// Enters a file or a reference of a repository.
    pub(super) fn take_source(
        &mut self,
        source: &Source,
        spans: &[Span],
        is_check: bool,
    ) -> Result<()> {
        let name = source.name();
        let what = match source {
            Source::File(_) => What::File,
            Source::Commit(_) => What::Git,
        };
        let before = match what {
            What::File => self
                .lock
                .files
                .get(&name)
                .map(|file| file.pin.blob.to_string()),
            _ => self
                .lock
                .commits
                .get(&name)
                .map(|commit| commit.pin.commit.clone()),
        };
        if is_check {
            if before.is_none() {
                let missing = self.missing(spans);
                self.note(what, name, missing);
            }
            return Ok(());
        }
        if before.is_some() && !self.filling.request.update.hits(&name) {
            return Ok(());
        }
        let to = self
            .resolved(source, &name)
            .map_err(|e| e.at(self.places.excerpts(spans)))?;
        match before {
            None => self.note(what, name, LockEntry::Added { to }),
            Some(from) if from != to => self.note(what, name, LockEntry::Moved { from, to }),
            Some(_) => {}
        }
        Ok(())
    }

    /// Asks what a source stands for, and enters that; returns it.
    fn resolved(&mut self, source: &Source, name: &str) -> Result<String> {
        let fetching = self.fetching;
        let worker = fetching.worker()?;
        let step = format!("[internal] lock {name}");
        match source {
            Source::File(op) => {
                let (pin, to) = announced(fetching.sink, &step, |key| {
                    let cx = fetching.remote((&worker, key));
                    let ready = fetching.engine.http().supply(op, &cx)?.0.ready(&cx)?;
                    let pin = FilePin {
                        blob: ready.blob().clone(),
                        modified: ready.modified_secs(),
                    };
                    let to = pin.blob.to_string();
                    Ok::<_, BuildError>((pin, to))
                })?;
                let indirect = self.lock.files.get(name).is_some_and(|file| file.indirect);
                self.lock
                    .files
                    .insert(name.to_owned(), LockedFile { pin, indirect });
                Ok(to)
            }
            Source::Commit(op) => {
                let pin = announced(fetching.sink, &step, |key| {
                    let cx = fetching.remote((&worker, key));
                    Ok::<_, BuildError>(fetching.engine.git().pin(op, &cx)?)
                })?;
                let to = pin.commit.clone();
                let indirect = self
                    .lock
                    .commits
                    .get(name)
                    .is_some_and(|found| found.indirect);
                self.lock
                    .commits
                    .insert(name.to_owned(), LockedCommit { pin, indirect });
                Ok(to)
            }
        }
    }
}
