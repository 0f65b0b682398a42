//! Cache mounts that come from caches elsewhere, and which of them a build used.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rbuild_cache::{Error, Imports, MountSent};
use rbuild_graph::Graph;
use rbuild_progress::{CancelToken, Sink};
use rbuild_worker::{MountsElsewhere, cache_mounts};

use crate::BuildRequest;
use crate::engine::Engine;
use crate::step::announced;

/// Cache mounts as steps ask for them.
pub(crate) struct TravellingMounts<'a> {
    pub(super) imports: &'a Imports<'a>,
    pub(super) used: &'a Mutex<BTreeMap<String, String>>,
    pub(super) engine: &'a Engine,
    pub(super) sink: &'a dyn Sink,
}

impl MountsElsewhere for TravellingMounts<'_> {
    fn used(&self, name: &str, id: &str) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(name.to_owned(), id.to_owned());
    }

    fn restore(&self, name: &str, id: &str, dir: &Path, cancel: &CancelToken) -> io::Result<bool> {
        let mount = (self.engine.rung(), name, id);
        let candidates = self
            .imports
            .mounts(mount, cancel)
            .map_err(io::Error::other)?;
        if candidates.is_empty() {
            return Ok(false);
        }
        let shown = format!("importing cache mount {id}");
        let restored = announced(self.sink, &shown, |_| {
            let place = (self.engine.layers(), dir);
            self.imports.restore(&candidates, place, cancel)
        });
        match restored {
            Ok(restored) => Ok(restored.is_some()),
            Err(error @ Error::Cancelled) => Err(io::Error::other(error)),
            Err(error) => Err(io::Error::other(error.chain())),
        }
    }
}

/// The cache mounts of steps that did not run, by what the store calls them.
pub(super) fn idle(
    graph: &Graph,
    used: &BTreeMap<String, String>,
    request: &BuildRequest,
) -> BTreeMap<String, String> {
    graph
        .execs()
        .flat_map(cache_mounts)
        .filter(|(name, id)| !used.contains_key(name) && !request.cache_dirs.contains_key(*id))
        .map(|(name, id)| (name, id.to_owned()))
        .collect()
}

/// What people are told of a mount that was to be sent; `None` if there is nothing to tell.
pub(super) fn why_not_sent(sent: &MountSent) -> Option<String> {
    match sent {
        MountSent::There => None,
        MountSent::InUse => Some("another build is using it".to_owned()),
        MountSent::TooLarge { bytes, limit } => Some(format!(
            "its files hold {bytes} bytes, more than mounts-max={limit}"
        )),
        MountSent::LeftOut => Some("--cache-budget was used up".to_owned()),
        MountSent::Failed(reason) => Some(reason.clone()),
    }
}
