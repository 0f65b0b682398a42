//! An index as a document: JSON lines under a first one that names the version, compressed with zstd.
//!
//! One line that cannot be read is left out and counted; the others are as good as without it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};

use rbuild_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::entry::{BlobRef, Entry, Signed, StepEntry};
use crate::mounts::MountEntry;
use crate::{Error, Result};

/// Version that is written, and the latest that is read.
const VERSION: u32 = 1;

/// Most bytes that an index unpacks to.
const MAX_UNPACKED: u64 = 256 << 20;

/// Longest line.
const MAX_LINE: u64 = 4 << 20;

/// Most lines of one index.
const MAX_LINES: usize = 200_000;

/// How an index is compressed: small, since every build that imports reads it whole.
const LEVEL: i32 = 9;

#[derive(Serialize, Deserialize)]
struct Head {
    rbuild_cache_index: u32,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Step(Signed<StepEntry>),
    Mount(Signed<MountEntry>),
}

/// What one or several indexes say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Results of steps.
    pub steps: Vec<Signed<StepEntry>>,
    /// Cache mounts.
    pub mounts: Vec<Signed<MountEntry>>,
    /// Lines that could not be read.
    pub unreadable: usize,
}

/// How long entries are kept that no build has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Seconds since a build that writes to the place used it.
    pub unused_secs: u64,
    /// Most bytes of blobs that the index may name; `None` is any number.
    pub max_bytes: Option<u64>,
}

impl Default for Keep {
    /// Two weeks, any size.
    fn default() -> Self {
        Self {
            unused_secs: 14 * 24 * 3600,
            max_bytes: None,
        }
    }
}

impl Index {
    /// An index that says this and nothing else.
    pub fn of_steps(steps: Vec<Signed<StepEntry>>) -> Self {
        Self {
            steps,
            ..Self::default()
        }
    }

    /// The document.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let broken = |reason: String| Error::Document {
            place: "of this build".to_owned(),
            what: "index",
            reason,
        };
        let head = Head {
            rbuild_cache_index: VERSION,
        };
        let steps = self.steps.iter().cloned().map(Line::Step);
        let lines = steps.chain(self.mounts.iter().cloned().map(Line::Mount));
        let mut text = Vec::new();
        let mut add = |line: serde_json::Result<Vec<u8>>| {
            text.extend(line.map_err(|e| broken(e.to_string()))?);
            text.push(b'\n');
            Ok::<_, Error>(())
        };
        add(serde_json::to_vec(&head))?;
        for line in lines {
            add(serde_json::to_vec(&line))?;
        }
        zstd::encode_all(text.as_slice(), LEVEL).map_err(|e| broken(e.to_string()))
    }

    /// Reads a document of the place that is called `place`.
    ///
    /// Errors: [`Error::Document`] for what is no index, or one of a later version; [`Error::TooLarge`].
    pub fn decode(bytes: &[u8], place: &str) -> Result<Self> {
        let broken = |reason: String| Error::Document {
            place: place.to_owned(),
            what: "index",
            reason,
        };
        let unpacked =
            zstd::stream::read::Decoder::new(bytes).map_err(|e| broken(e.to_string()))?;
        let mut text = BufReader::new(unpacked.take(MAX_UNPACKED + 1));
        let mut read = 0;
        let mut line = Vec::new();
        let mut next = |line: &mut Vec<u8>| -> Result<bool> {
            line.clear();
            let count = (&mut text).take(MAX_LINE).read_until(b'\n', line);
            read += count.map_err(|e| broken(e.to_string()))? as u64;
            if read > MAX_UNPACKED || line.len() as u64 == MAX_LINE {
                return Err(Error::TooLarge {
                    place: place.to_owned(),
                    what: "index",
                    limit: if read > MAX_UNPACKED {
                        MAX_UNPACKED
                    } else {
                        MAX_LINE
                    },
                });
            }
            Ok(!line.is_empty())
        };
        next(&mut line)?;
        let head: Head = serde_json::from_slice(&line).map_err(|e| broken(e.to_string()))?;
        if head.rbuild_cache_index != VERSION {
            let version = head.rbuild_cache_index;
            return Err(broken(format!(
                "it has version {version}, known is {VERSION}"
            )));
        }
        let mut index = Self::default();
        while next(&mut line)? {
            if index.steps.len() + index.mounts.len() + index.unreadable >= MAX_LINES {
                return Err(broken(format!("it has more than {MAX_LINES} lines")));
            }
            match serde_json::from_slice(&line) {
                Ok(Line::Step(step)) if is_sound(&step.entry) => index.steps.push(step),
                Ok(Line::Mount(mount)) if is_sound_mount(&mount.entry) => index.mounts.push(mount),
                Ok(Line::Step(_) | Line::Mount(_)) | Err(_) => index.unreadable += 1,
            }
        }
        Ok(index)
    }

    /// Adds what another index says. Of entries with an equal name that the same key signed for the same scope,
    /// the newest stays; what somebody else signed, or nobody, never takes the place of another's.
    pub fn merge(&mut self, other: Index) {
        self.unreadable += other.unreadable;
        self.steps.extend(other.steps);
        self.steps = newest(std::mem::take(&mut self.steps));
        self.mounts.extend(other.mounts);
        self.mounts = newest(std::mem::take(&mut self.mounts));
    }

    /// Drops what no build has used for long, and then what was not used longest if there is too much.
    pub fn drop_stale(&mut self, keep: Keep, now: u64) {
        let fresh = |seen: u64| now.saturating_sub(seen) <= keep.unused_secs;
        self.steps.retain(|line| fresh(line.seen));
        self.mounts.retain(|line| fresh(line.seen));
        let Some(max) = keep.max_bytes else {
            return;
        };
        self.steps.sort_by_key(|line| std::cmp::Reverse(line.seen));
        self.mounts.sort_by_key(|line| std::cmp::Reverse(line.seen));
        let mut room = Room {
            max,
            bytes: 0,
            counted: BTreeSet::new(),
        };
        // Of what was used at the same time steps go first: they save more than what they were made with.
        let mut steps = std::mem::take(&mut self.steps).into_iter().peekable();
        let mut mounts = std::mem::take(&mut self.mounts).into_iter().peekable();
        loop {
            let is_step = match (steps.peek(), mounts.peek()) {
                (Some(step), Some(mount)) => step.seen >= mount.seen,
                (step, _) => step.is_some(),
            };
            let step = if is_step { steps.next() } else { None };
            let mount = if is_step { None } else { mounts.next() };
            if step.is_none() && mount.is_none() {
                return;
            }
            let step = step.filter(|line| room.takes(line.entry.blobs()));
            self.steps.extend(step);
            let mount = mount.filter(|line| room.takes(line.entry.blobs()));
            self.mounts.extend(mount);
        }
    }

    /// All blobs that it names, without repetition.
    pub fn blobs(&self) -> Vec<BlobRef> {
        let blobs = self.steps.iter().flat_map(|line| line.entry.blobs());
        let blobs = blobs.chain(self.mounts.iter().flat_map(|line| line.entry.blobs()));
        let all: BTreeMap<_, _> = blobs.map(|blob| (blob.digest.clone(), blob)).collect();
        all.into_values().collect()
    }

    /// Whether entries of `own` got lost: neither they are here, nor newer ones in their place.
    pub fn lacks(&self, own: &Index) -> bool {
        lacks(&self.steps, &own.steps) || lacks(&self.mounts, &own.mounts)
    }
}

/// Blobs that are kept, as long as there is room for them.
struct Room {
    max: u64,
    bytes: u64,
    counted: BTreeSet<Digest>,
}

impl Room {
    /// Keeps the blobs of an entry if they fit beside those that are kept.
    fn takes(&mut self, blobs: Vec<BlobRef>) -> bool {
        let new = blobs.into_iter();
        let new = new.filter(|blob| !self.counted.contains(&blob.digest));
        let new: BTreeMap<Digest, u64> = new.map(|blob| (blob.digest, blob.size)).collect();
        let sum = new.values().copied().fold(self.bytes, u64::saturating_add);
        let fits = sum <= self.max;
        if fits {
            self.bytes = sum;
            self.counted.extend(new.into_keys());
        }
        fits
    }
}

/// Whether one of `own` is not among `all`, and no newer one in its place.
fn lacks<T: Entry>(all: &[Signed<T>], own: &[Signed<T>]) -> bool {
    let mut times = BTreeMap::new();
    for line in all {
        for slot in slots(line) {
            let time = times.entry(slot).or_insert(0);
            *time = line.entry.created().max(*time);
        }
    }
    let is_here = |line: &Signed<T>| {
        let mut slots = slots(line).into_iter();
        slots.all(|slot| times.get(&slot) >= Some(&line.entry.created()))
    };
    !own.iter().all(is_here)
}

/// Of entries of one signer, scope and name the newest; in a fixed order.
fn newest<T: Entry + PartialEq>(mut lines: Vec<Signed<T>>) -> Vec<Signed<T>> {
    lines.sort_by_key(|line| std::cmp::Reverse((line.entry.created(), line.seen)));
    let mut taken: BTreeMap<Slot, usize> = BTreeMap::new();
    let mut kept: Vec<Signed<T>> = Vec::new();
    for line in lines {
        let slots = slots(&line);
        let owners: Vec<usize> = slots
            .iter()
            .filter_map(|slot| taken.get(slot))
            .copied()
            .collect();
        if owners.len() == slots.len() {
            // The same entry may have been used since by another build.
            for owner in owners {
                if let Some(own) = kept.get_mut(owner).filter(|own| own.entry == line.entry) {
                    own.seen = own.seen.max(line.seen);
                }
            }
            continue;
        }
        for slot in slots {
            taken.entry(slot).or_insert(kept.len());
        }
        kept.push(line);
    }
    kept
}

/// Who says it for whom, and what it stands for.
type Slot = (Option<String>, String, String);

/// What of an index a line fills, and no other line of its signer and scope may.
fn slots<T: Entry>(line: &Signed<T>) -> Vec<Slot> {
    let scope = line.entry.scope();
    let signer = line
        .signature
        .as_ref()
        .map(|signature| signature.key.clone());
    let names = line.entry.names().into_iter();
    names
        .map(|name| (signer.clone(), scope.to_owned(), name))
        .collect()
}

/// Whether an entry says what entries say: names are as stores make them.
fn is_sound(entry: &StepEntry) -> bool {
    const MAX_NAME: usize = 256;
    let names = &entry.keys;
    (1..=2).contains(&names.len())
        && names.iter().all(|name| name.len() <= MAX_NAME)
        // One for an input at most.
        && entry.lists.len() <= entry.inputs.inputs.len()
}

fn is_sound_mount(entry: &MountEntry) -> bool {
    const MAX_NAME: usize = 4096;
    const MAX_PACKS: usize = 10_000;
    entry.name.len() <= MAX_NAME && entry.packs.len() <= MAX_PACKS
}

#[cfg(test)]
mod tests;
