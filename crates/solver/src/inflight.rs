//! Same work once: which key is being worked on, and which vertices wait for that.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_graph::VertexIx;

use crate::CacheKey;

/// The keys being worked on in this solve.
#[derive(Default)]
pub(crate) struct Inflight {
    leaders: BTreeMap<CacheKey, Party>,
    /// Keys that were worked on before, so that a forced vertex that comes late does not repeat it.
    finished: BTreeSet<CacheKey>,
}

struct Party {
    leader: VertexIx,
    followers: Vec<VertexIx>,
}

/// A vertex's part in the work on its key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It does the work.
    Leader,
    /// Another vertex does; this one waits and then finds the result.
    Follower,
    /// Another vertex has done the work already; its result can be found.
    Late,
}

impl Inflight {
    /// Enters a vertex that found nothing under `key`.
    pub(crate) fn enter(&mut self, key: &CacheKey, vertex: VertexIx) -> Role {
        if let Some(party) = self.leaders.get_mut(key) {
            party.followers.push(vertex);
            return Role::Follower;
        }
        if self.finished.contains(key) {
            return Role::Late;
        }
        let party = Party {
            leader: vertex,
            followers: Vec::new(),
        };
        self.leaders.insert(key.clone(), party);
        Role::Leader
    }

    /// Ends the work of `leader` on `key` and returns who waited for it, in order of entry.
    ///
    /// Returns nobody if that vertex does not lead.
    pub(crate) fn leave(&mut self, key: &CacheKey, leader: VertexIx) -> Vec<VertexIx> {
        match self.leaders.get(key) {
            Some(party) if party.leader == leader => {
                self.finished.insert(key.clone());
                let party = self.leaders.remove(key);
                party.map_or_else(Vec::new, |party| party.followers)
            }
            _ => Vec::new(),
        }
    }
}
