//! What caches elsewhere know: read with the first question, all of them side by side.

mod lists;
mod mounts;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use rbuild_oci::Digest;
use rbuild_progress::CancelToken;

use crate::backend::Backend;
use crate::entry::{Signed, StepEntry};
use crate::index::Index;
use crate::option::CacheFrom;
use crate::place::Places;
use crate::trust::{Doubt, Trust};
use crate::{Error, Result};

pub use mounts::KnownMount;

/// Hears how reading goes.
pub trait Told: Send + Sync {
    /// A place is read by `read`, which is called once; its error is a warning.
    fn reading(&self, place: &str, read: &mut dyn FnMut() -> Result<Summary>);

    /// Something that people should know.
    fn warn(&self, text: &str);
}

/// What reading a place came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Results that can be used.
    pub steps: usize,
    /// Why others cannot, and how many.
    pub doubts: BTreeMap<Doubt, usize>,
    /// Lines that make no sense here.
    pub unreadable: usize,
}

/// The caches that a build reads. Nothing is asked before the first question.
pub struct Imports<'a> {
    from: Vec<From>,
    trust: Trust,
    told: &'a dyn Told,
    known: OnceLock<AllKnown>,
    /// Blobs and places that turned out to be of no use.
    lost: Mutex<Lost>,
    patience: Mutex<lists::Patience>,
}

struct From {
    spec: CacheFrom,
    backend: Arc<dyn Backend>,
}

/// What all caches know that can be used, newest first.
#[derive(Default)]
struct AllKnown {
    steps: HashMap<String, Vec<Known>>,
    /// By the lists of files that they name.
    lists: HashMap<Digest, Vec<Known>>,
    mounts: HashMap<String, Vec<KnownMount>>,
}

#[derive(Default)]
struct Lost {
    blobs: BTreeSet<Digest>,
    places: BTreeSet<String>,
}

/// A result that a cache knows.
#[derive(Clone)]
pub struct Known {
    /// The line of the index.
    pub line: Arc<Signed<StepEntry>>,
    /// The text of the place that it lies in, as [`crate::Place::text`].
    pub place: Arc<str>,
}

impl<'a> Imports<'a> {
    /// The caches that `from` names. Errors: one cannot be opened.
    pub fn new(
        from: &[CacheFrom],
        places: &Places,
        trust: Trust,
        told: &'a dyn Told,
    ) -> Result<Self> {
        let from = from.iter().map(|spec| {
            let backend = places.open(&spec.place)?;
            Ok(From {
                spec: spec.clone(),
                backend,
            })
        });
        Ok(Self {
            from: from.collect::<Result<_>>()?,
            trust,
            told,
            known: OnceLock::new(),
            lost: Mutex::default(),
            patience: Mutex::default(),
        })
    }

    /// Whether there is anything to ask.
    pub fn is_empty(&self) -> bool {
        self.from.is_empty()
    }

    /// The result that stands under `name` (rung and cache key) in one of the caches: the newest whose
    /// writer is trusted.
    ///
    /// Errors: `Cancelled` only.
    pub fn find(&self, name: &str, cancel: &CancelToken) -> Result<Option<Known>> {
        if self.from.is_empty() {
            return Ok(None);
        }
        let known = self.known.get_or_init(|| self.read_all(cancel));
        cancel.check()?;
        let Some(candidates) = known.steps.get(name) else {
            return Ok(None);
        };
        let usable = candidates.iter().find(|known| {
            if self.is_lost(known) {
                return false;
            }
            let proven = self.trust.proves(&known.line);
            if !proven {
                let text = format!(
                    "the entry for {} is left out: it is {}",
                    known.line.entry.inputs.name,
                    Doubt::Forged.text()
                );
                self.told.warn(&text);
                self.give_up_blob(&known.line.entry.layer.blob.digest);
            }
            proven
        });
        Ok(usable.cloned())
    }

    /// Whether one of the caches has a result of this op. Reads none of them.
    pub fn knows_op(&self, op: &Digest) -> bool {
        let known = self
            .known
            .get()
            .into_iter()
            .flat_map(|known| known.steps.values());
        known
            .flatten()
            .any(|known| known.line.entry.inputs.op == *op)
    }

    /// Every result that is known, each under all its names; none if no cache was read yet.
    pub fn results(&self) -> Vec<Arc<Signed<StepEntry>>> {
        let known = self
            .known
            .get()
            .into_iter()
            .flat_map(|all| all.steps.iter());
        let own = known.flat_map(|(name, found)| {
            // Once, under the first of its names.
            let is_first = |known: &&Known| known.line.entry.keys.first() == Some(name);
            found.iter().filter(is_first)
        });
        own.map(|known| Arc::clone(&known.line)).collect()
    }

    /// Never offers a blob again: it is gone, or another one.
    pub fn give_up_blob(&self, digest: &Digest) {
        self.lost().blobs.insert(digest.clone());
    }

    /// The blobs that turned out to be of no use.
    pub fn lost_blobs(&self) -> BTreeSet<Digest> {
        self.lost().blobs.clone()
    }

    /// Never offers anything of a place again: it does not answer.
    pub fn give_up_place(&self, text: &str) {
        self.lost().places.insert(text.to_owned());
    }

    /// Whether a result is believed whose signature leaves out which bytes it means: those have to be looked at
    /// before they go anywhere.
    pub fn must_see(&self, known: &Known) -> bool {
        self.trust.is_strict() && known.line.entry.inline
    }

    /// Says something that people should know.
    pub fn warn(&self, text: &str) {
        self.told.warn(text);
    }

    fn is_lost(&self, known: &Known) -> bool {
        let lost = self.lost();
        let layer = &known.line.entry.layer;
        lost.blobs.contains(&layer.blob.digest) || lost.places.contains(&*known.place)
    }

    fn lost(&self) -> std::sync::MutexGuard<'_, Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_all(&self, cancel: &CancelToken) -> AllKnown {
        let all = thread::scope(|scope| {
            let readers = self
                .from
                .iter()
                .map(|from| scope.spawn(|| self.read(from, cancel)));
            let readers: Vec<_> = readers.collect();
            let read = readers.into_iter().map(thread::ScopedJoinHandle::join);
            read.map(|index| index.unwrap_or_default())
                .collect::<Vec<_>>()
        });
        let mut known = AllKnown::default();
        for (position, (from, index)) in self.from.iter().zip(all).enumerate() {
            let place: Arc<str> = from.spec.place.text().into();
            for line in index.steps {
                let step = Known {
                    line: Arc::new(line),
                    place: Arc::clone(&place),
                };
                for name in &step.line.entry.keys {
                    let steps = known.steps.entry(name.clone()).or_default();
                    steps.push(step.clone());
                }
                for list in &step.line.entry.lists {
                    let steps = known.lists.entry(list.digest.clone()).or_default();
                    steps.push(step.clone());
                }
            }
            for line in index.mounts {
                let mounts = known.mounts.entry(line.entry.name.clone()).or_default();
                mounts.push(KnownMount {
                    line,
                    from: position,
                });
            }
        }
        for candidates in known.steps.values_mut() {
            candidates.sort_by_key(|known| std::cmp::Reverse(known.line.entry.created));
        }
        for candidates in known.mounts.values_mut() {
            candidates.sort_by_key(|known| std::cmp::Reverse(known.line.entry.created));
        }
        known
    }

    /// What of a place is believed so far.
    fn read(&self, from: &From, cancel: &CancelToken) -> Index {
        let mut believed = Index::default();
        self.told.reading(from.backend.name(), &mut || {
            let index = read_merged(&*from.backend, cancel)?.index;
            let mut summary = Summary {
                unreadable: index.unreadable,
                ..Summary::default()
            };
            let now = now_secs();
            let scope = &from.spec.scope;
            for line in index.steps {
                match self.trust.doubt(&line, scope, now) {
                    None => believed.steps.push(line),
                    Some(doubt) => *summary.doubts.entry(doubt).or_default() += 1,
                }
            }
            for line in index.mounts {
                match self.trust.doubt(&line, scope, now) {
                    None => believed.mounts.push(line),
                    Some(doubt) => *summary.doubts.entry(doubt).or_default() += 1,
                }
            }
            summary.steps = believed.steps.len();
            Ok(summary)
        });
        believed
    }
}

/// All that is in a place.
pub(crate) struct Merged {
    /// What its indexes say together.
    pub index: Index,
    /// What they are called.
    pub names: Vec<String>,
}

/// Reads all indexes of a place. One that cannot be read is passed over if there are others.
pub(crate) fn read_merged(backend: &dyn Backend, cancel: &CancelToken) -> Result<Merged> {
    let documents = backend.read_indexes(cancel)?;
    let mut merged = Merged {
        index: Index::default(),
        names: Vec::new(),
    };
    let mut failure = None;
    let count = documents.len();
    for document in documents {
        cancel.check()?;
        match Index::decode(&document.bytes, backend.name()) {
            Ok(index) => merged.index.merge(index),
            Err(error) => failure = Some(error),
        }
        merged.names.push(document.name);
    }
    match failure {
        Some(error) if count == 1 => Err(error),
        _ => Ok(merged),
    }
}

pub(crate) fn now_secs() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl Error {
    /// Whether trying the same place again soon is of no use.
    pub fn is_of_place(&self) -> bool {
        matches!(self, Self::Place { .. } | Self::Io { .. })
    }
}
