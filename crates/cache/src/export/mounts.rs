//! Cache mounts on their way to a place.

use rbuild_progress::CancelToken;

use super::target::Target;
use super::{Results, Shared};
use crate::entry::Signed;
use crate::imports::now_secs;
use crate::index::Index;
use crate::mounts::{MountEntry, Snapshot, Taking, mount_name, snapshot};
use crate::trust::CLOCK_SKEW;
use crate::{Error, Result};

/// What became of a cache mount that was to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSent {
    /// The place has it as it is.
    There,
    /// Another build used it.
    InUse,
    /// Its files hold more than they may.
    TooLarge {
        /// What they hold.
        bytes: u64,
        /// What they may hold.
        limit: u64,
    },
    /// There was no time left.
    LeftOut,
    /// Something went wrong.
    Failed(String),
}

/// Cache mounts that are in a place.
#[derive(Default)]
pub(super) struct Lines {
    /// What its index is to say of them.
    pub lines: Vec<Signed<MountEntry>>,
    /// What became of each, by what the Dockerfile calls it.
    pub told: Vec<(String, MountSent)>,
}

impl Shared {
    /// Sends the cache mounts that a place takes; the lines for its index, and what became of each.
    ///
    /// Errors: `Cancelled` by `cancel`; `token` is set as well when time is up.
    pub(super) fn mounts(
        &self,
        (target, index): (&Target, &Index),
        results: &Results<'_>,
        (token, cancel): (&CancelToken, &CancelToken),
    ) -> Result<Lines> {
        let mut all = Lines::default();
        // What a step has not used just now may be older than what is there.
        let is_there = |name: &str| {
            let name = mount_name(results.rung, name);
            let mut lines = index.mounts.iter().map(|line| &line.entry);
            lines.any(|entry| entry.name == name && entry.scope == target.spec.scope)
        };
        let idle = results.idle_mounts.iter();
        let idle = idle.filter(|(name, _)| !is_there(name));
        let mounts = results.mounts.iter().chain(idle);
        for (name, id) in mounts.filter(|(_, id)| target.spec.mounts.include(id)) {
            let sent = match self.mount((target, index), (results.rung, name), token) {
                Ok((line, sent)) => {
                    all.lines.extend(line);
                    sent
                }
                Err(Error::Cancelled) if cancel.is_cancelled() => return Err(Error::Cancelled),
                Err(Error::Cancelled) => MountSent::LeftOut,
                Err(error) => MountSent::Failed(error.chain()),
            };
            all.told.push((id.clone(), sent));
        }
        Ok(all)
    }

    fn mount(
        &self,
        (target, index): (&Target, &Index),
        (rung, name): (&str, &str),
        cancel: &CancelToken,
    ) -> Result<(Option<Signed<MountEntry>>, MountSent)> {
        cancel.check()?;
        let ours = self.writer.key.as_ref().map(|key| key.public().to_string());
        // Built upon is what the same writer said: others may lie about where bytes are.
        let previous = index.mounts.iter().filter(|line| {
            let signer = line.signature.as_ref().map(|signature| &signature.key);
            signer == ours.as_ref() && line.entry.scope == target.spec.scope
        });
        let previous: Vec<MountEntry> = previous.map(|line| line.entry.clone()).collect();
        let taking = Taking {
            layers: &self.layers,
            name,
            rung,
            previous: &previous,
            backend: target.backend(),
            scope: &target.spec.scope,
            writer: &self.writer.name,
            now: time_after(&previous, now_secs()),
            max_bytes: target.spec.mounts_max,
        };
        Ok(match snapshot(&taking, cancel)? {
            Snapshot::Empty => (None, MountSent::There),
            Snapshot::InUse => (None, MountSent::InUse),
            Snapshot::TooLarge { bytes } => {
                let limit = target.spec.mounts_max;
                (None, MountSent::TooLarge { bytes, limit })
            }
            Snapshot::Unchanged(entry) => {
                let mut lines = index.mounts.iter();
                let known = lines.find(|line| line.entry == entry).cloned();
                let line = known.map(|line| Signed {
                    seen: now_secs(),
                    ..line
                });
                (line, MountSent::There)
            }
            Snapshot::New { entry, blobs } => {
                for blob in blobs {
                    target.send(&blob.descriptor(), self.layers.store(), cancel)?;
                }
                (Some(self.signed(entry)), MountSent::There)
            }
        })
    }
}

/// The time of a snapshot: later than those that it takes the place of, although they may have been taken in the
/// same second or by a clock that was fast. One from the far future is no measure.
fn time_after(previous: &[MountEntry], now: u64) -> u64 {
    let times = previous.iter().map(|entry| entry.created);
    let sane = times.filter(|created| *created < now.saturating_add(CLOCK_SKEW));
    sane.max().map_or(now, |last| now.max(last + 1))
}

#[cfg(test)]
mod tests {
    use rbuild_oci::Digest;

    use super::*;
    use crate::entry::BlobRef;

    #[test]
    fn a_snapshot_is_later_than_what_it_replaces() {
        let entry = |created| MountEntry {
            name: "m".to_owned(),
            scope: String::new(),
            writer: String::new(),
            created,
            bytes: 0,
            list: BlobRef {
                media_type: String::new(),
                digest: Digest::sha256_of(b""),
                size: 0,
            },
            packs: Vec::new(),
        };
        assert_eq!(time_after(&[], 100), 100);
        assert_eq!(time_after(&[entry(99), entry(7)], 100), 100);
        assert_eq!(time_after(&[entry(7), entry(100)], 100), 101);
        assert_eq!(time_after(&[entry(170)], 100), 171);
        assert_eq!(time_after(&[entry(u64::MAX), entry(5)], 100), 100);
    }
}
