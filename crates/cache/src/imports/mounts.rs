//! Cache mounts that caches elsewhere know, and taking one over.

use std::path::Path;

use rbuild_layer::LayerStore;
use rbuild_progress::CancelToken;

use super::Imports;
use crate::entry::Signed;
use crate::mounts::{MountEntry, Restored, mount_name, restore};
use crate::trust::Doubt;
use crate::{Error, Result};

/// A snapshot of a cache mount that a cache knows.
#[derive(Clone, Debug)]
pub struct KnownMount {
    /// The line of the index.
    pub line: Signed<MountEntry>,
    /// Position of the cache among those that are read.
    pub(super) from: usize,
}

impl Imports<'_> {
    /// The snapshots of the mount that stores call `name` and Dockerfiles `id`, from caches of which it is taken,
    /// newest first.
    ///
    /// Errors: `Cancelled` only.
    pub fn mounts(
        &self,
        (rung, name, id): (&str, &str, &str),
        cancel: &CancelToken,
    ) -> Result<Vec<KnownMount>> {
        let takes = |from: &super::From| from.spec.mounts.include(id);
        if !self.from.iter().any(takes) {
            return Ok(Vec::new());
        }
        let known = self.known.get_or_init(|| self.read_all(cancel));
        cancel.check()?;
        let found = known.mounts.get(&mount_name(rung, name));
        let found = found.into_iter().flatten().filter(|known| {
            let from = self.from.get(known.from);
            from.is_some_and(|from| {
                let place = from.spec.place.text();
                takes(from) && !self.lost().places.contains(place)
            })
        });
        Ok(found.cloned().collect())
    }

    /// Fills `dir`, a new directory of a mount, from the first of these snapshots that can be had; `None` if none
    /// can, and people were told why.
    ///
    /// Errors: `Cancelled`; `dir` cannot be emptied after a failure.
    pub fn restore(
        &self,
        candidates: &[KnownMount],
        (layers, dir): (&LayerStore, &Path),
        cancel: &CancelToken,
    ) -> Result<Option<Restored>> {
        for known in candidates {
            let Some(from) = self.from.get(known.from) else {
                continue;
            };
            let entry = &known.line.entry;
            let place = from.spec.place.text();
            if self.lost().places.contains(place) {
                continue;
            }
            if !self.trust.proves(&known.line) {
                let doubt = Doubt::Forged.text();
                self.warn(&format!(
                    "the entry for the cache mount {} is left out: it is {doubt}",
                    entry.name
                ));
                continue;
            }
            let places = (&*from.backend, layers);
            match restore(entry, places, (dir, from.spec.mounts_max), cancel) {
                Ok(restored) => return Ok(Some(restored)),
                Err(error @ (Error::Cancelled | Error::Store(_))) => return Err(error),
                Err(error) => {
                    if error.is_of_place() {
                        self.give_up_place(place);
                    }
                    let reason = error.chain();
                    let name = &entry.name;
                    self.warn(&format!("the cache mount {name} is not restored: {reason}"));
                }
            }
        }
        Ok(None)
    }
}
