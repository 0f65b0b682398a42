//! Remembers what a context file held, so that an unchanged file is not read again.
//!
//! An entry maps (device, inode) to a stamp and what was read under that stamp: the BLAKE3 digest of
//! the bytes and the extended attributes. It is believed only while the stamp is equal, and it is only
//! *written* when the file had been quiet for a while before it was read (see [`Slack`]): a file that
//! changes twice within one clock tick would otherwise keep the first content's digest.
//!
//! What does not live here: deciding which files are read (`local.rs`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rbuild_store::{Store, Table};

use crate::Error;

/// First bytes of an encoded cache; another version is dropped, not read.
const MAGIC: &[u8; 8] = b"rbstat01";

/// Above this many remembered files, those that the last build did not meet are forgotten.
const KEEP_ALL_BELOW: usize = 200_000;

/// Which file in which state: all fields come from one `fstat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time: seconds and nanoseconds since the epoch.
    pub mtime: (i64, u32),
    /// Change time: seconds and nanoseconds since the epoch.
    pub ctime: (i64, u32),
}

/// How long a file must have been quiet before its digest may be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slack {
    /// Local file systems with fine timestamps: 20 ms, two ticks of the kernel's coarse clock.
    Fine,
    /// Remote file systems and those with timestamps of whole seconds: 2 s.
    Coarse,
}

impl Slack {
    fn as_duration(self) -> Duration {
        match self {
            Slack::Fine => Duration::from_millis(20),
            Slack::Coarse => Duration::from_secs(2),
        }
    }
}

/// What was read from a file in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// BLAKE3 of the bytes; absent for what is no regular file or was not read yet.
    pub content: Option<[u8; 32]>,
    /// Extended attributes as they enter a layer.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Debug, Clone)]
struct Row {
    stamp: FileStamp,
    known: Known,
}

/// The remembered files of one context directory.
#[derive(Debug, Default)]
pub struct StatCache {
    old: HashMap<(u64, u64), Row>,
    seen: Mutex<HashMap<(u64, u64), Row>>,
}

impl StatCache {
    /// Reads the cache of the context named `key` from the store.
    ///
    /// A missing, foreign or damaged record gives an empty cache: nothing rests on it but speed.
    /// Errors: [`Error::Store`] if the database cannot be read.
    pub fn load(store: &Store, key: &str) -> Result<StatCache, Error> {
        let bytes = store.get(Table::StatCache, key)?;
        let old = bytes.and_then(|b| decode(&b)).unwrap_or_default();
        Ok(StatCache {
            old,
            seen: Mutex::default(),
        })
    }

    /// Returns what is known of the file with exactly this stamp.
    pub fn lookup(&self, stamp: &FileStamp) -> Option<Known> {
        let id = (stamp.dev, stamp.ino);
        let mut seen = self.seen.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(row) = seen.get(&id) {
            return (row.stamp == *stamp).then(|| row.known.clone());
        }
        let row = self.old.get(&id).filter(|row| row.stamp == *stamp)?;
        seen.insert(id, row.clone());
        Some(row.known.clone())
    }

    /// Remembers what was read of a file, if it had been quiet for `slack` before `read_at`.
    ///
    /// The caller must have seen `stamp` both before and after reading.
    pub fn remember(&self, stamp: FileStamp, known: Known, read_at: SystemTime, slack: Slack) {
        let newest = stamp.mtime.max(stamp.ctime);
        let Ok(age) = read_at.duration_since(UNIX_EPOCH) else {
            return;
        };
        let Some(limit) = age.checked_sub(slack.as_duration()) else {
            return;
        };
        let limit = (limit.as_secs() as i64, limit.subsec_nanos());
        if newest >= limit {
            return;
        }
        let mut seen = self.seen.lock().unwrap_or_else(|e| e.into_inner());
        seen.insert((stamp.dev, stamp.ino), Row { stamp, known });
    }

    /// Writes the cache back if this build learned something.
    ///
    /// Errors: [`Error::Store`] if the database cannot be written.
    pub fn save(&self, store: &Store, key: &str) -> Result<(), Error> {
        let seen = self.seen.lock().unwrap_or_else(|e| e.into_inner());
        let learned = seen.iter().any(|(id, row)| {
            self.old
                .get(id)
                .is_none_or(|o| o.stamp != row.stamp || o.known != row.known)
        });
        if !learned {
            return Ok(());
        }
        let mut rows: BTreeMap<(u64, u64), &Row> = seen.iter().map(|(k, v)| (*k, v)).collect();
        if self.old.len() < KEEP_ALL_BELOW {
            for (id, row) in &self.old {
                rows.entry(*id).or_insert(row);
            }
        }
        store.put(Table::StatCache, key, &encode(rows.values().copied()))?;
        Ok(())
    }
}

fn encode<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for row in rows {
        let s = &row.stamp;
        for n in [s.dev, s.ino, s.size, s.mtime.0 as u64, s.ctime.0 as u64] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&s.mtime.1.to_le_bytes());
        out.extend_from_slice(&s.ctime.1.to_le_bytes());
        out.push(u8::from(row.known.content.is_some()));
        out.extend_from_slice(&row.known.content.unwrap_or_default());
        out.extend_from_slice(&(row.known.xattrs.len() as u32).to_le_bytes());
        for (name, value) in &row.known.xattrs {
            for part in [name, value] {
                out.extend_from_slice(&(part.len() as u32).to_le_bytes());
                out.extend_from_slice(part);
            }
        }
    }
    out
}

fn decode(bytes: &[u8]) -> Option<HashMap<(u64, u64), Row>> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut rows = HashMap::new();
    while !rest.is_empty() {
        let row = decode_row(&mut rest)?;
        rows.insert((row.stamp.dev, row.stamp.ino), row);
    }
    Some(rows)
}

fn decode_row(rest: &mut &[u8]) -> Option<Row> {
    let (dev, ino, size) = (take_u64(rest)?, take_u64(rest)?, take_u64(rest)?);
    let (msec, csec) = (take_u64(rest)? as i64, take_u64(rest)? as i64);
    let (mnanos, cnanos) = (take_u32(rest)?, take_u32(rest)?);
    let has_content = take(rest, 1)?[0] == 1;
    let content: [u8; 32] = take(rest, 32)?.try_into().ok()?;
    let mut xattrs = BTreeMap::new();
    for _ in 0..take_u32(rest)? {
        let name_len = take_u32(rest)? as usize;
        let name = take(rest, name_len)?.to_vec();
        let value_len = take_u32(rest)? as usize;
        xattrs.insert(name, take(rest, value_len)?.to_vec());
    }
    Some(Row {
        stamp: FileStamp {
            dev,
            ino,
            size,
            mtime: (msec, mnanos),
            ctime: (csec, cnanos),
        },
        known: Known {
            content: has_content.then_some(content),
            xattrs,
        },
    })
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(n)?;
    *rest = tail;
    Some(head)
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    take(rest, 8)?.try_into().ok().map(u64::from_le_bytes)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(mtime: i64) -> FileStamp {
        FileStamp {
            dev: 1,
            ino: 2,
            size: 3,
            mtime: (mtime, 5),
            ctime: (mtime, 6),
        }
    }

    fn known() -> Known {
        Known {
            content: Some([7; 32]),
            xattrs: BTreeMap::from([(b"user.a".to_vec(), b"v".to_vec())]),
        }
    }

    #[test]
    fn rows_survive_encoding() {
        let row = Row {
            stamp: stamp(9),
            known: known(),
        };
        let back = decode(&encode([&row].into_iter())).expect("own encoding decodes");
        let got = &back[&(1, 2)];
        assert_eq!((got.stamp, &got.known), (row.stamp, &row.known));
    }

    #[test]
    fn damaged_bytes_are_no_cache() {
        let row = Row {
            stamp: stamp(9),
            known: known(),
        };
        let mut bytes = encode([&row].into_iter());
        bytes.pop();
        assert!(decode(&bytes).is_none());
        assert!(decode(b"something else").is_none());
    }

    #[test]
    fn a_file_that_just_changed_is_not_remembered() {
        let cache = StatCache::default();
        let read_at = UNIX_EPOCH + Duration::new(100, 10_000_000);
        cache.remember(stamp(100), known(), read_at, Slack::Fine);
        assert_eq!(cache.lookup(&stamp(100)), None);
        cache.remember(stamp(99), known(), read_at, Slack::Fine);
        assert_eq!(cache.lookup(&stamp(99)), Some(known()));
        cache.remember(stamp(99), known(), read_at, Slack::Coarse);
        assert_eq!(
            cache.lookup(&stamp(98)),
            None,
            "another stamp is another state"
        );
    }
}
