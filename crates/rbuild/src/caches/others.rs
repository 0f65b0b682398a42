//! What other machines left in the caches that a build reads, to explain misses with.

use std::cmp::Reverse;

use rbuild_cache::Imports;
use rbuild_oci::Digest;
use rbuild_progress::CancelToken;
use rbuild_solver::KeyInputs;
use rbuild_store::Store;

use crate::explain::OtherMachines;

/// The caches of one build, as far as they were read.
pub(crate) struct Others<'a> {
    pub(super) imports: &'a Imports<'a>,
    pub(super) store: &'a Store,
    pub(super) cancel: &'a CancelToken,
}

impl OtherMachines for Others<'_> {
    fn notes(&self) -> Vec<(String, KeyInputs)> {
        let mut results = self.imports.results();
        results.sort_by_key(|line| Reverse(line.entry.created));
        let notes = results.iter().filter_map(|line| {
            let key = line.entry.keys.last()?.clone();
            Some((key, line.entry.inputs.clone()))
        });
        notes.collect()
    }

    fn list(&self, name: &Digest) -> Option<Vec<u8>> {
        self.imports.list(name, self.store, self.cancel)
    }
}
