//! The solver's cache index: the store's, and behind it the caches elsewhere.
//!
//! A result that only a cache elsewhere knows is written into the store as if it had been made here, with a
//! layer that is fetched when somebody needs it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use rbuild_layer::{ImportedLayer, LayerId, LayerStore};
use rbuild_oci::Digest;
use rbuild_progress::CancelToken;
use rbuild_solver::{CacheError, CacheIndex, CacheKey, KeyInputs, Record};

use crate::entry::BlobRef;
use crate::imports::{Imports, Known};
use crate::{Error, Result};

/// First word of the origin of a layer that lies in a cache; the place's text follows.
pub(crate) const ORIGIN: &str = "cache ";

/// A cache index that looks further than the store, and remembers what a build used.
pub struct RemoteIndex<'a> {
    local: &'a dyn CacheIndex,
    layers: &'a LayerStore,
    imports: &'a Imports<'a>,
    /// What goes before every key.
    rung: &'a str,
    cancel: &'a CancelToken,
    used: Mutex<BTreeMap<CacheKey, Used>>,
}

/// A result that a build used or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// What the record holds.
    pub record: Vec<u8>,
    /// What its key was made of, if it was made in this build.
    pub inputs: Option<KeyInputs>,
}

impl<'a> RemoteIndex<'a> {
    /// Looks into `local` first, then into `imports`.
    pub fn new(
        local: &'a dyn CacheIndex,
        (layers, rung): (&'a LayerStore, &'a str),
        (imports, cancel): (&'a Imports<'a>, &'a CancelToken),
    ) -> Self {
        Self {
            local,
            layers,
            imports,
            rung,
            cancel,
            used: Mutex::default(),
        }
    }

    /// What was used and made so far, by key.
    pub fn used(&self) -> BTreeMap<CacheKey, Used> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<CacheKey, Used>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, key: &CacheKey, record: &[u8], inputs: Option<&KeyInputs>) {
        let used = Used {
            record: record.to_vec(),
            inputs: inputs.cloned(),
        };
        self.lock().insert(key.clone(), used);
    }

    /// Whether what a record of the store leads to can be used.
    fn is_usable(&self, record: &[u8]) -> bool {
        let record = Record::decode(record);
        let layer = record.and_then(|record| layer_of(&record.saved));
        layer.is_some_and(|layer| self.layers.is_usable(&layer).unwrap_or(false))
    }

    /// The layer of a result that lies elsewhere; nothing of it is fetched.
    fn layer(&self, known: &Known) -> Result<LayerId> {
        let layer = &known.line.entry.layer;
        Ok(self.layers.imported(
            &ImportedLayer {
                diff_id: layer.diff_id.clone(),
                descriptor: layer.blob.descriptor(),
                index: layer.index.as_ref().map(BlobRef::descriptor),
                origin: format!("{ORIGIN}{}", known.place),
                created: UNIX_EPOCH + Duration::from_nanos(layer.made_ns),
            },
            self.cancel,
        )?)
    }

    /// Takes over a result from elsewhere; the record that stands for it here.
    fn take_over(&self, key: &CacheKey, known: &Known, layer: LayerId) -> Result<Vec<u8>> {
        let entry = &known.line.entry;
        if entry.cost_ms > 0 {
            let cost = Duration::from_millis(entry.cost_ms);
            self.layers.store().note_made(&layer.to_string(), cost);
        }
        let record = Record {
            identity: entry.identity.clone(),
            saved: layer.to_string().into_bytes(),
        };
        let record = record.encode();
        // Its other key as well, unless the store knows better: a later build may ask for that one, and what
        // this machine writes elsewhere names both.
        let others = entry.keys.iter();
        let others = others.filter_map(|name| CacheKey::parse(name.strip_prefix(self.rung)?));
        let others =
            others.filter(|other| other != key && matches!(self.local.lookup(other), Ok(None)));
        let keys: Vec<CacheKey> = std::iter::once(key.clone()).chain(others).collect();
        let recorded = self.local.record(&keys, &record, &entry.inputs);
        recorded.map_err(|error| match error {
            CacheError::Cancelled => Error::Cancelled,
            other => Error::place("of this machine", "record", other),
        })?;
        Ok(record)
    }

    fn elsewhere(&self, key: &CacheKey) -> Result<Option<Vec<u8>>> {
        let name = format!("{}{key}", self.rung);
        while let Some(known) = self.imports.find(&name, self.cancel)? {
            let layer = self.layer(&known)?;
            if self.imports.must_see(&known)
                && let Err(error) = self.layers.index(&layer, self.cancel)
            {
                self.cancel.check()?;
                // Where one thing is not true, or cannot be had, nothing is taken for granted any more.
                self.imports.give_up_place(&known.place);
                self.imports.warn(&format!(
                    "{}; what it holds is made again",
                    Error::Layer(error).chain()
                ));
                continue;
            }
            return self.take_over(key, &known, layer).map(Some);
        }
        Ok(None)
    }
}

impl CacheIndex for RemoteIndex<'_> {
    fn lookup(&self, key: &CacheKey) -> Result<Option<Vec<u8>>, CacheError> {
        let local = self.local.lookup(key)?;
        if let Some(record) = &local
            && (self.imports.is_empty() || self.is_usable(record))
        {
            self.note(key, record, None);
            return Ok(local);
        }
        match self.elsewhere(key) {
            Ok(None) => Ok(local),
            Ok(Some(record)) => {
                self.note(key, &record, None);
                Ok(Some(record))
            }
            Err(Error::Cancelled) => Err(CacheError::Cancelled),
            Err(error) => Err(CacheError::Index {
                action: "look up",
                source: Box::new(error),
            }),
        }
    }

    fn record(
        &self,
        keys: &[CacheKey],
        bytes: &[u8],
        inputs: &KeyInputs,
    ) -> Result<(), CacheError> {
        self.local.record(keys, bytes, inputs)?;
        for key in keys {
            self.note(key, bytes, Some(inputs));
        }
        Ok(())
    }

    fn may_have_alone(&self, op: &Digest) -> bool {
        self.imports.knows_op(op)
    }

    fn lock(&self, key: &CacheKey, cancel: &CancelToken) -> Result<Box<dyn Send>, CacheError> {
        self.local.lock(key, cancel)
    }
}

/// The layer that a worker keeps of a result.
pub(crate) fn layer_of(saved: &[u8]) -> Option<LayerId> {
    std::str::from_utf8(saved).ok()?.parse().ok()
}
