//! Cache mounts that lie in directories of the host.

use std::collections::BTreeMap;

use rbuild_graph::{ExecMountKind, Graph};
use rbuild_progress::{Event, Sink, WarningNote};
use rbuild_store::HostDir;

use crate::engine::Engine;
use crate::{BuildError, BuildRequest, ErrorKind, Result};

/// Finds the directories that a request names, and makes those that are missing.
///
/// Errors: one cannot be a cache mount, or is, or lies in, that of another id: then a step could exchange
/// directories below the other's feet.
pub(crate) fn open(engine: &Engine, request: &BuildRequest) -> Result<BTreeMap<String, HostDir>> {
    let mut all: BTreeMap<String, HostDir> = BTreeMap::new();
    for (id, path) in &request.cache_dirs {
        let dir = engine
            .store()
            .host_dir(path)
            .map_err(|e| BuildError::caused(ErrorKind::Usage, e))?;
        if let Some((other, _)) = all.iter().find(|(_, known)| known.overlaps(&dir)) {
            let message = format!(
                "the directories of the cache mounts {other} and {id} are the same or lie in each other"
            );
            return Err(BuildError::new(ErrorKind::Usage, message)
                .help("give each cache mount a directory of its own"));
        }
        all.insert(id.clone(), dir);
    }
    Ok(all)
}

/// Tells of directories that no step of a build mounts.
pub(crate) fn warn_of_idle(request: &BuildRequest, graph: &Graph, sink: &dyn Sink) {
    if request.cache_dirs.is_empty() {
        return;
    }
    let mut known: Vec<&str> = Vec::new();
    for exec in graph.execs() {
        known.extend(exec.mounts.iter().filter_map(|mount| match &mount.kind {
            ExecMountKind::Cache { id, .. } => Some(id.as_str()),
            _ => None,
        }));
    }
    known.sort_unstable();
    known.dedup();
    let idle = request.cache_dirs.keys();
    for id in idle.filter(|id| !known.contains(&id.as_str())) {
        let there = match known.is_empty() {
            true => "there are no cache mounts".to_owned(),
            false => format!("there are: {}", known.join(", ")),
        };
        sink.send(Event::Warning(WarningNote {
            vertex: None,
            short: format!("CacheMount: no step mounts the cache {id}; {there}"),
            detail: Vec::new(),
            url: None,
            file: None,
            line: None,
            end_line: None,
        }));
    }
}
