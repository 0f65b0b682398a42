//! The contract itself: a place in memory keeps it, and one with a flaw is found out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use rbuild_cache::{Backend, Error, IndexDocument, NewIndex, Result};
use rbuild_oci::{Descriptor, Digest};
use rbuild_progress::CancelToken;
use rbuild_store::Store;

use crate::contract::{self, Habits};

/// What such a place does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// There is one index, and whoever has not merged it is told.
    One,
    /// Every index takes the place of all others.
    Overwrites,
    /// Merged indexes stay.
    Keeps,
    /// The oldest comes first.
    Order,
    /// A missing blob is reported in another way.
    Vague,
    /// Sizes are not looked at.
    Sizes,
    /// Nothing is said on the way.
    Silent,
    /// Says that every blob is there.
    Boasts,
    /// Does not look at the token.
    Deaf,
}

struct Memory {
    flaw: Flaw,
    blobs: Mutex<BTreeMap<Digest, Vec<u8>>>,
    indexes: Mutex<BTreeMap<u64, Vec<u8>>>,
}

impl Memory {
    fn with(flaw: Flaw) -> Self {
        Self {
            flaw,
            blobs: Mutex::default(),
            indexes: Mutex::default(),
        }
    }

    fn check(&self, cancel: &CancelToken) -> Result<()> {
        if self.flaw != Flaw::Deaf {
            cancel.check()?;
        }
        Ok(())
    }
}

impl Backend for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    fn read_indexes(&self, cancel: &CancelToken) -> Result<Vec<IndexDocument>> {
        self.check(cancel)?;
        let indexes = self.indexes.lock().unwrap();
        let all = indexes.iter().map(|(number, bytes)| IndexDocument {
            name: number.to_string(),
            bytes: bytes.clone(),
        });
        Ok(match self.flaw {
            Flaw::Order => all.collect(),
            _ => all.rev().collect(),
        })
    }

    fn write_index(&self, index: &NewIndex<'_>, cancel: &CancelToken) -> Result<()> {
        self.check(cancel)?;
        let mut indexes = self.indexes.lock().unwrap();
        let next = indexes.keys().next_back().map_or(0, |last| last + 1);
        if self.flaw == Flaw::One {
            let unseen = |number: &u64| !index.merged.contains(&number.to_string());
            if indexes.keys().any(unseen) {
                return Err(Error::Moved {
                    place: self.name().to_owned(),
                });
            }
        }
        if self.flaw == Flaw::Overwrites {
            indexes.clear();
        }
        indexes.insert(next, index.bytes.to_vec());
        if self.flaw != Flaw::Keeps {
            indexes.retain(|number, _| !index.merged.contains(&number.to_string()));
        }
        Ok(())
    }

    fn present(&self, blobs: &[Descriptor], cancel: &CancelToken) -> Result<BTreeSet<Digest>> {
        self.check(cancel)?;
        let kept = self.blobs.lock().unwrap();
        let all = blobs.iter().map(|blob| blob.digest.clone());
        Ok(all
            .filter(|digest| self.flaw == Flaw::Boasts || kept.contains_key(digest))
            .collect())
    }

    fn fetch(
        &self,
        blob: &Descriptor,
        store: &Store,
        progress: &dyn Fn(u64),
        cancel: &CancelToken,
    ) -> Result<()> {
        self.check(cancel)?;
        let found = self.blobs.lock().unwrap().get(&blob.digest).cloned();
        let (place, digest) = (self.name().to_owned(), blob.digest.clone());
        let Some(bytes) = found else {
            return Err(match self.flaw {
                Flaw::Vague => Error::place("memory", "read a blob", "nothing there"),
                _ => Error::Gone { place, digest },
            });
        };
        if bytes.len() as u64 != blob.size && self.flaw != Flaw::Sizes {
            return Err(Error::Corrupt {
                place,
                digest,
                reason: "another size".to_owned(),
            });
        }
        let mut ingest = store.ingest()?;
        ingest.write_all(&bytes).unwrap();
        ingest.commit(Some(&digest))?;
        if self.flaw != Flaw::Silent {
            progress(bytes.len() as u64);
        }
        Ok(())
    }

    fn send(&self, blob: &Descriptor, store: &Store, cancel: &CancelToken) -> Result<()> {
        self.check(cancel)?;
        let mut bytes = Vec::new();
        let mut file = store.open_blob(&blob.digest)?;
        file.read_to_end(&mut bytes).unwrap();
        let mut blobs = self.blobs.lock().unwrap();
        blobs.insert(blob.digest.clone(), bytes);
        Ok(())
    }
}

#[test]
fn a_place_in_memory_keeps_the_contract() {
    contract::holds(&Memory::with(Flaw::None), Habits::ALL);
}

#[test]
fn places_that_can_do_less_keep_the_rest_of_it() {
    let keeps_foreign = Habits {
        keeps_foreign: false,
        ..Habits::ALL
    };
    contract::holds(&Memory::with(Flaw::One), keeps_foreign);
    let removes_merged = Habits {
        removes_merged: false,
        ..Habits::ALL
    };
    contract::holds(&Memory::with(Flaw::Keeps), removes_merged);
}

#[test]
fn every_flaw_is_found_out() {
    for flaw in [
        Flaw::Overwrites,
        Flaw::Keeps,
        Flaw::Order,
        Flaw::Vague,
        Flaw::Sizes,
        Flaw::Silent,
        Flaw::Boasts,
        Flaw::Deaf,
    ] {
        let memory = Memory::with(flaw);
        let holds = catch_unwind(AssertUnwindSafe(|| contract::holds(&memory, Habits::ALL)));
        assert!(holds.is_err(), "{flaw:?} was not noticed");
    }
}
