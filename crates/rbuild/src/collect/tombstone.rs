//! What is left of a record that was removed: when and why, to explain that a step is made again.
//!
//! Bounded in number and age. A step that is made again takes its tombstone away (see the cache index).

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use rbuild_solver::KeyInputs;
use rbuild_store::{Change, Store, Table};
use serde::{Deserialize, Serialize};

use crate::Result;

/// Most tombstones that are kept.
const MOST: usize = 2000;
/// How long one is kept, in seconds: 60 days.
const OLDEST: u64 = 60 * 86_400;

/// When and why a record was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tombstone {
    /// When, in seconds since 1970.
    pub at: u64,
    /// The limit in bytes that was kept; `None` if somebody asked for the removal.
    pub limit: Option<u64>,
}

impl Tombstone {
    /// For what is removed now.
    pub(crate) fn now(limit: Option<u64>) -> Tombstone {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Tombstone {
            at: since.unwrap_or_default().as_secs(),
            limit,
        }
    }

    /// That of a key.
    pub(crate) fn read(store: &Store, key: &str) -> Option<Tombstone> {
        let row = store.get(Table::Evicted, key).ok().flatten()?;
        serde_json::from_slice(&row).ok()
    }

    /// The row that is written.
    pub(crate) fn encode(&self) -> Vec<u8> {
        format!(
            "{{\"at\":{},\"limit\":{}}}",
            self.at,
            match self.limit {
                Some(limit) => limit.to_string(),
                None => "null".to_owned(),
            }
        )
        .into_bytes()
    }
}

/// Leaves tombstones for the records among rows that go. Without them a miss is explained less well.
pub(super) fn bury(store: &Store, rows: &[(Table, String)], grave: Tombstone) {
    let grave = grave.encode();
    let records = rows.iter().filter(|(table, _)| *table == Table::Records);
    let changes: Vec<Change<'_>> = records
        .take(MOST)
        .map(|(_, key)| Change::Put(Table::Evicted, key, &grave))
        .collect();
    if let Err(error) = store.transact(&changes) {
        tracing::debug!(%error, "tombstones were not written");
    }
}

/// Takes away what only served explanations of what is gone: tombstones that are too many or too old, and
/// lists of files that no step names. A list of a step that runs just now may go with them.
pub(super) fn tidy(store: &Store) {
    let now = Tombstone::now(None).at;
    if let Err(error) = clear(store, now).and_then(|()| clear_listings(store)) {
        tracing::debug!(%error, "tombstones were not tidied");
    }
}

fn clear(store: &Store, now: u64) -> Result<()> {
    let rows = store.list(Table::Evicted, "")?;
    let age = |row: &[u8]| -> u64 {
        let found: Option<Tombstone> = serde_json::from_slice(row).ok();
        found.map_or(u64::MAX, |it| now.saturating_sub(it.at))
    };
    let mut aged: Vec<(u64, String)> = rows
        .into_iter()
        .map(|(key, row)| (age(&row), key))
        .collect();
    aged.sort();
    let stay = aged.iter().take(MOST).take_while(|(age, _)| *age <= OLDEST);
    let gone = aged.split_off(stay.count());
    delete(
        store,
        Table::Evicted,
        gone.iter().map(|(_, key)| key.as_str()),
    )
}

fn clear_listings(store: &Store) -> Result<()> {
    let lists = store.keys(Table::Listings, "")?;
    if lists.is_empty() {
        return Ok(());
    }
    let mut named = BTreeSet::new();
    for (_, row) in store.list(Table::Steps, "")? {
        if let Ok(note) = serde_json::from_slice::<KeyInputs>(&row) {
            named.extend(note.inputs.into_iter().filter_map(|input| input.files));
        }
    }
    let named: BTreeSet<&str> = named.iter().map(|name| name.as_str()).collect();
    let gone = lists.iter().map(String::as_str);
    delete(
        store,
        Table::Listings,
        gone.filter(|name| !named.contains(name)),
    )
}

fn delete<'a>(store: &Store, table: Table, keys: impl Iterator<Item = &'a str>) -> Result<()> {
    let changes: Vec<Change<'_>> = keys.map(|key| Change::Delete(table, key)).collect();
    Ok(store.transact(&changes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tombstones_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let rows: Vec<(Table, String)> = (0..3)
            .map(|n| (Table::Records, format!("r{n}")))
            .chain([(Table::Steps, "s".to_owned())])
            .collect();
        let grave = Tombstone {
            at: 1000,
            limit: Some(5),
        };
        bury(&store, &rows, grave);
        assert_eq!(Tombstone::read(&store, "r1"), Some(grave));
        assert_eq!(Tombstone::read(&store, "s"), None);
        store.put(Table::Evicted, "odd", b"{").unwrap();
        clear(&store, 1000 + OLDEST).unwrap();
        assert_eq!(store.keys(Table::Evicted, "").unwrap().len(), 3);
        let many: Vec<(Table, String)> = (0..MOST)
            .map(|n| (Table::Records, format!("m{n}")))
            .collect();
        let later = Tombstone { at: 2000, ..grave };
        bury(&store, &many, later);
        clear(&store, 2000).unwrap();
        assert_eq!(store.keys(Table::Evicted, "").unwrap().len(), MOST);
        assert_eq!(Tombstone::read(&store, "r1"), None);
        clear(&store, 2001 + OLDEST).unwrap();
        assert!(store.keys(Table::Evicted, "").unwrap().is_empty());
    }

    #[test]
    fn lists_go_with_the_steps_that_name_them() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let name = |text: &str| rbuild_oci::Digest::sha256_of(text.as_bytes());
        for text in ["kept", "gone"] {
            store
                .put(Table::Listings, name(text).as_str(), b"x")
                .unwrap();
        }
        let (op, kept) = (name("op"), name("kept"));
        let note = format!(
            r#"{{"name":"n","op":"{op}","fields":[],"inputs":[{{"label":"l","part":{{"by":"nothing"}},"files":"{kept}"}}]}}"#
        );
        store.put(Table::Steps, "key", note.as_bytes()).unwrap();
        tidy(&store);
        assert_eq!(store.keys(Table::Listings, "").unwrap(), [kept.as_str()]);
    }
}
