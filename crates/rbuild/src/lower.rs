//! A finished store that builds take from, and finishing one.

use rbuild_progress::{CancelToken, Event, Sink, WarningNote};
use rbuild_sandbox::NurseryMode;
use rbuild_store::{Sealed, Store};
use rustix::process::geteuid;

use crate::nursery::LazyNursery;
use crate::{EngineConfig, Result};

/// Opens the store of an engine, over the one that it takes from if there is one.
pub(crate) fn open(config: &EngineConfig, nursery: &LazyNursery) -> Result<Store> {
    let store = Store::open(&config.root)?;
    Ok(match &config.store_from {
        Some(dir) => store.over(Sealed::open(dir, &ids(nursery))?),
        None => store,
    })
}

/// Finishes a store.
pub(crate) fn seal(store: &Store, nursery: &LazyNursery, cancel: &CancelToken) -> Result<()> {
    // What a restart left in doubt is looked at, or would be lost to those who take from it.
    for object in store.suspects()? {
        drop(store.lease(&[object])?);
    }
    Ok(store.seal(&ids(nursery), cancel)?)
}

/// Says what of the store below could not be used.
pub(crate) fn warn_of_damage(store: &Store, sink: &dyn Sink) {
    let Some(lower) = store.lower() else { return };
    for what in lower.damage() {
        sink.send(Event::Warning(WarningNote {
            vertex: None,
            short: format!("StoreFrom: {}: {what}", lower.root().display()),
            detail: vec!["What needs it was made again. Make that store anew.".to_owned()],
            url: None,
            file: None,
            line: None,
            end_line: None,
        }));
    }
}

/// How ids of files in trees are mapped here: trees that were written with another mapping have the
/// wrong owners.
fn ids(nursery: &LazyNursery) -> String {
    let user = geteuid().as_raw();
    match nursery.mode() {
        Ok(NurseryMode::Root) => "all".to_owned(),
        // The ids of another namespace, or of the same number in it, may be others outside.
        Ok(NurseryMode::Nested { .. }) => {
            let map = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
            let maps = map("/proc/self/uid_map") + &map("/proc/self/gid_map");
            let words: Vec<&str> = maps.split_whitespace().collect();
            format!("nested {}", words.join(" "))
        }
        Ok(NurseryMode::Subordinate { uids, gids }) => {
            let ranges = uids.iter().chain(&gids);
            let ranges: Vec<String> = ranges
                .map(|range| format!("{}+{}", range.start, range.count))
                .collect();
            format!("user {user} {}", ranges.join(" "))
        }
        Ok(NurseryMode::SingleId) | Err(_) => format!("user {user} alone"),
    }
}
