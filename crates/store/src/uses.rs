//! When things were last used, how often, and what making them took: what a collector goes by.
//!
//! A build notes in memory what it uses and writes it down once, at its end, and only what nobody has
//! written down within the last minute: a build that is fully cached writes nothing most of the time.
//! A killed build loses its notes, which can be borne. What a name stands for is the business of the
//! crates above.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::store::Store;
use crate::{Result, Table};

/// How old a row is before a mere use is written down again, in seconds.
const FRESH_SECS: u64 = 60;

/// What is known of the use of one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// When it was last used, in seconds since 1970; up to a minute early.
    pub last_used: u64,
    /// How often it was used, counted once a minute at most.
    pub uses: u64,
    /// How long making it took, in milliseconds; zero where nobody knows.
    pub cost_ms: u64,
}

impl Use {
    /// Three numbers, in the order of the fields.
    fn encode(self) -> String {
        format!("{} {} {}", self.last_used, self.uses, self.cost_ms)
    }

    fn decode(row: &[u8]) -> Option<Self> {
        let mut numbers = std::str::from_utf8(row).ok()?.split(' ');
        let mut next = || numbers.next()?.parse().ok();
        Some(Self {
            last_used: next()?,
            uses: next()?,
            cost_ms: next()?,
        })
    }
}

/// What was used since the last flush: by name, with the cost if it was made meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<BTreeMap<String, Option<Duration>>>);

impl Notes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Option<Duration>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Notes that something is used. Does no I/O.
    pub fn note_use(&self, name: &str) {
        let mut notes = self.notes.lock();
        if !notes.contains_key(name) {
            notes.insert(name.to_owned(), None);
        }
    }

    /// Notes that something was made, and how long that took. Does no I/O.
    pub fn note_made(&self, name: &str, cost: Duration) {
        self.notes.lock().insert(name.to_owned(), Some(cost));
    }

    /// How long making something took, as noted in this process or written down; `None` if nobody knows.
    pub fn cost_of(&self, name: &str) -> Result<Option<Duration>> {
        if let Some(Some(cost)) = self.notes.lock().get(name) {
            return Ok(Some(*cost));
        }
        let row = self.get(Table::Uses, name)?;
        let known = row.and_then(|row| Use::decode(&row));
        Ok(known
            .map(|known| Duration::from_millis(known.cost_ms))
            .filter(|cost| !cost.is_zero()))
    }

    /// When something was last used, in seconds since 1970, as written down; `None` if nobody knows.
    pub fn last_use(&self, name: &str) -> Result<Option<u64>> {
        let row = self.get(Table::Uses, name)?;
        Ok(row
            .and_then(|row| Use::decode(&row))
            .map(|known| known.last_used))
    }

    /// Writes down what was noted since the last call, in one transaction.
    ///
    /// On failure the notes are lost: they are not worth a build.
    pub fn flush_uses(&self) -> Result<()> {
        let notes = std::mem::take(&mut *self.notes.lock());
        if notes.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = notes.keys().map(String::as_str).collect();
        let rows = self.get_many(Table::Uses, &names)?;
        let now = now_secs();
        let mut changed = Vec::new();
        for ((name, cost), row) in notes.iter().zip(rows) {
            let known = row.and_then(|row| Use::decode(&row));
            if let Some(new) = noted(known, *cost, now) {
                changed.push((name.as_str(), new.encode()));
            }
        }
        let rows: Vec<_> = changed
            .iter()
            .map(|(name, row)| (Table::Uses, *name, row.as_bytes()))
            .collect();
        self.put_many(&rows)
    }

    /// Reads all that was written down, by name.
    pub fn uses(&self) -> Result<BTreeMap<String, Use>> {
        let rows = self.list(Table::Uses, "")?.into_iter();
        // A row of another version is as good as none.
        Ok(rows
            .map(|(name, row)| (name, Use::decode(&row).unwrap_or_default()))
            .collect())
    }
}

/// The row after a use at `now`; `None` if what is there will do.
fn noted(known: Option<Use>, cost: Option<Duration>, now: u64) -> Option<Use> {
    let before = known.unwrap_or_default();
    let age = now.checked_sub(before.last_used);
    // A clock that was put back leaves a time to come, which is put right.
    let is_fresh = age.is_some_and(|age| age < FRESH_SECS);
    if known.is_some() && is_fresh && cost.is_none() {
        return None;
    }
    let cost_ms = cost.map(|cost| u64::try_from(cost.as_millis()).unwrap_or(u64::MAX));
    Some(Use {
        last_used: now,
        uses: before.uses.saturating_add(1),
        cost_ms: cost_ms.unwrap_or(before.cost_ms),
    })
}

fn now_secs() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_written_once_a_minute_and_costs_at_once() {
        let known = Use {
            last_used: 1000,
            uses: 2,
            cost_ms: 7,
        };
        let used = |now| noted(Some(known), None, now);
        assert_eq!(used(1059), None);
        let later = Use {
            last_used: 1060,
            uses: 3,
            cost_ms: 7,
        };
        assert_eq!(used(1060), Some(later));
        assert_eq!(used(900).map(|row| row.last_used), Some(900));
        let made = noted(Some(known), Some(Duration::from_secs(2)), 1001);
        assert_eq!(made.map(|row| (row.uses, row.cost_ms)), Some((3, 2000)));
        assert_eq!(noted(None, None, 5).map(|row| row.uses), Some(1));
    }

    #[test]
    fn notes_are_flushed_together() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.note_made("a", Duration::from_millis(1500));
        store.note_use("a");
        store.note_use("b");
        let cost = Some(Duration::from_millis(1500));
        assert_eq!(store.cost_of("a").unwrap(), cost);
        assert_eq!(store.cost_of("b").unwrap(), None);
        assert!(store.uses().unwrap().is_empty());
        store.flush_uses().unwrap();
        store.note_use("b");
        store.flush_uses().unwrap();
        assert_eq!(store.cost_of("a").unwrap(), cost);
        let uses = store.uses().unwrap();
        assert_eq!((uses["a"].cost_ms, uses["a"].uses), (1500, 1));
        assert_eq!((uses["b"].cost_ms, uses["b"].uses), (0, 1));
    }

    #[test]
    fn rows_come_back_and_others_are_refused() {
        let row = Use {
            last_used: 1,
            uses: 2,
            cost_ms: 3,
        };
        assert_eq!(Use::decode(row.encode().as_bytes()), Some(row));
        for bad in [&b""[..], b"1 2", b"a b c", b"\xff"] {
            assert_eq!(Use::decode(bad), None);
        }
    }
}
