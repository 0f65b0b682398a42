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
        let mounts = results.mounts.iter();
        for (name, id) in mounts.filter(|(_, id)| target.spec.mounts.include(id)) {
            let previous = self.previous((target, index), &mount_name(results.rung, name));
            let time = time_after(&previous, now_secs());
            let taken = self.mount(
                (target, index),
                (results.rung, name),
                (&previous, time),
                token,
            );
            let sent = match taken {
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
        let idle = results.idle_mounts.iter();
        for (name, _) in idle.filter(|(_, id)| target.spec.mounts.include(id)) {
            match self.idle_mount((target, index), (results.rung, name), token) {
                Ok(line) => all.lines.extend(line),
                Err(Error::Cancelled) if cancel.is_cancelled() => return Err(Error::Cancelled),
                // This build did nothing with it, so nobody waits for it.
                Err(error) => tracing::debug!(%error, name, "an idle cache mount is not sent"),
            }
        }
        Ok(all)
    }

    /// A mount that this build has not used, if the place has none of that name. It is as old as its last use:
    /// whatever another build says of it in the meantime is newer.
    fn idle_mount(
        &self,
        (target, index): (&Target, &Index),
        (rung, name): (&str, &str),
        cancel: &CancelToken,
    ) -> Result<Option<Signed<MountEntry>>> {
        let store = self.layers.store();
        let Some(used) = store.last_use(&format!("mount {name}"))? else {
            return Ok(None);
        };
        let previous = self.previous((target, index), &mount_name(rung, name));
        if !previous.is_empty() {
            return Ok(None);
        }
        let (line, _) = self.mount((target, index), (rung, name), (&previous, used), cancel)?;
        Ok(line)
    }

    /// What the same writer said of a mount: others may lie about where bytes are.
    fn previous(&self, (target, index): (&Target, &Index), name: &str) -> Vec<MountEntry> {
        let ours = self.writer.key.as_ref().map(|key| key.public().to_string());
        let previous = index.mounts.iter().filter(|line| {
            let signer = line.signature.as_ref().map(|signature| &signature.key);
            let entry = &line.entry;
            signer == ours.as_ref() && entry.scope == target.spec.scope && entry.name == name
        });
        previous.map(|line| line.entry.clone()).collect()
    }

    fn mount(
        &self,
        (target, index): (&Target, &Index),
        (rung, name): (&str, &str),
        (previous, now): (&[MountEntry], u64),
        cancel: &CancelToken,
    ) -> Result<(Option<Signed<MountEntry>>, MountSent)> {
        cancel.check()?;
        let taking = Taking {
            layers: &self.layers,
            name,
            rung,
            previous,
            backend: target.backend(),
            scope: &target.spec.scope,
            writer: &self.writer.name,
            now,
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
