//! What files were cut into last time, so that those that have not changed since are not read again.
//!
//! A memory of this store alone, under the name of the mount.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use rbuild_layer::{Mtime, Stamp};
use rbuild_store::{Store, Table};

use super::list::{ChunkId, Input, MAX_UNPACKED, put};
use crate::Result;

/// First byte of what is kept; another layout has another one.
const VERSION: u8 = 1;

/// How long a file must have been left alone before it was read: times are that coarse.
const QUIET: Duration = Duration::from_millis(20);

/// What a file looked like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Look {
    pub stamp: Stamp,
    pub mtime: Mtime,
    pub size: u64,
}

impl Look {
    /// Whether no later change could look the same as what was read at `time` or later.
    pub fn is_settled(&self, time: SystemTime) -> bool {
        let last = SystemTime::from(self.mtime.max(self.stamp.changed));
        time.duration_since(last).is_ok_and(|age| age >= QUIET)
    }
}

/// The chunks of files by how those looked.
pub(super) type Recall = HashMap<Look, Vec<ChunkId>>;

/// What is remembered of a mount; nothing if that cannot be read.
pub(super) fn load(store: &Store, name: &str) -> Recall {
    let row = store.get(Table::Snapshots, name).ok().flatten();
    row.and_then(|row| decode(&row)).unwrap_or_default()
}

/// Remembers `files`.
pub(super) fn save(store: &Store, name: &str, files: &[(Look, &[ChunkId])]) -> Result<()> {
    let row = encode(files).unwrap_or_default();
    Ok(store.put(Table::Snapshots, name, &row)?)
}

fn encode(files: &[(Look, &[ChunkId])]) -> std::io::Result<Vec<u8>> {
    let mut out = vec![VERSION];
    put(&mut out, files.len() as u64);
    for (look, chunks) in files {
        put(&mut out, look.stamp.device);
        put(&mut out, look.stamp.inode);
        for time in [look.stamp.changed, look.mtime] {
            out.extend_from_slice(&time.secs.to_le_bytes());
            put(&mut out, time.nanos.into());
        }
        put(&mut out, look.size);
        put(&mut out, chunks.len() as u64);
        chunks.iter().for_each(|chunk| out.extend_from_slice(chunk));
    }
    zstd::bulk::compress(&out, 1)
}

fn decode(row: &[u8]) -> Option<Recall> {
    use std::io::Read;

    let mut bytes = Vec::new();
    let unpacked = zstd::stream::read::Decoder::new(row).ok()?;
    unpacked.take(MAX_UNPACKED).read_to_end(&mut bytes).ok()?;
    let mut input = Input(bytes.strip_prefix(&[VERSION])?);
    let files = input.many(53, |input| {
        let stamp = (input.number()?, input.number()?);
        let mut time = || {
            Ok::<_, String>(Mtime {
                secs: i64::from_le_bytes(input.array()?),
                nanos: input.small()?,
            })
        };
        let (changed, mtime) = (time()?, time()?);
        let look = Look {
            stamp: Stamp {
                device: stamp.0,
                inode: stamp.1,
                changed,
            },
            mtime,
            size: input.number()?,
        };
        Ok((look, input.many(32, Input::array)?))
    });
    Some(files.ok()?.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_found_by_look() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let look = |inode, nanos| Look {
            stamp: Stamp {
                device: 3,
                inode,
                changed: Mtime { secs: -5, nanos },
            },
            mtime: Mtime::from_secs(1 << 40),
            size: 7,
        };
        let chunks = [[1; 32], [2; 32]];
        save(&store, "m", &[(look(1, 1), &chunks), (look(2, 0), &[])]).unwrap();
        let recall = load(&store, "m");
        assert_eq!(recall.get(&look(1, 1)), Some(&chunks.to_vec()));
        assert_eq!(recall.get(&look(2, 0)), Some(&Vec::new()));
        assert_eq!(recall.get(&look(1, 2)), None);
        store.put(Table::Snapshots, "m", b"rubbish").unwrap();
        assert!(load(&store, "m").is_empty() && load(&store, "other").is_empty());
    }

    #[test]
    fn what_has_just_changed_may_change_again_unseen() {
        let now = SystemTime::now();
        let look = |age: Duration| Look {
            stamp: Stamp {
                device: 0,
                inode: 0,
                changed: (now - age).into(),
            },
            mtime: Mtime::default(),
            size: 0,
        };
        assert!(look(Duration::from_millis(21)).is_settled(now));
        assert!(!look(Duration::from_millis(19)).is_settled(now));
        assert!(!look(Duration::ZERO).is_settled(now - Duration::from_secs(1)));
    }
}
