//! A run with all that explaining it takes, as one file that is carried to another machine.
//!
//! JSON: the run, what the keys of its steps were made of, and the lists of files that these name. It
//! holds names of files and the beginnings of their digests, no contents and no values of variables; names of
//! steps as the build shows them, with arguments filled in.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rbuild_oci::Digest;
use rbuild_solver::KeyInputs;
use rbuild_source::Listing;
use rbuild_store::{Store, Table};
use serde::{Deserialize, Serialize};

use super::nearest;
use super::run::{RUN_FORM, Run};
use crate::{BuildError, Result};

/// Most bytes of such a file: more is none of ours.
const MOST_BYTES: usize = 512 << 20;

/// A run and all that explaining it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedRun {
    /// The run.
    pub run: Run,
    /// What the keys of its steps were made of, by key.
    pub notes: BTreeMap<String, KeyInputs>,
    /// Lists of files by digest, compressed, in base64.
    pub listings: BTreeMap<String, String>,
}

impl CarriedRun {
    /// Gathers what belongs to a run. What the store has forgotten is left out.
    ///
    /// Errors: the store cannot be read.
    pub(super) fn gather(store: &Store, run: &Run) -> Result<CarriedRun> {
        let mut carried = CarriedRun {
            run: run.clone(),
            notes: BTreeMap::new(),
            listings: BTreeMap::new(),
        };
        for key in run.steps.iter().filter_map(|step| step.key.as_ref()) {
            let Some(note) = nearest::note(store, key) else {
                continue;
            };
            for name in note.inputs.iter().filter_map(|input| input.files.as_ref()) {
                if let Some(list) = store.get(Table::Listings, name.as_str())? {
                    let name = name.as_str().to_owned();
                    carried.listings.insert(name, STANDARD.encode(list));
                }
            }
            carried.notes.insert(key.clone(), note);
        }
        Ok(carried)
    }

    /// The file's bytes.
    ///
    /// Errors: it cannot be encoded.
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(BuildError::encode)
    }

    /// Reads such a file; `name` is what messages call it.
    ///
    /// Errors: it is none, or one of another version.
    pub fn decode(name: &str, bytes: &[u8]) -> Result<CarriedRun> {
        let none = |why: String| {
            BuildError::build(format!("{name} is no exported run: {why}"))
                .help("`rbuild explain --export FILE` writes one")
        };
        if bytes.len() > MOST_BYTES {
            return Err(none(format!("it has more than {MOST_BYTES} bytes")));
        }
        let carried: CarriedRun =
            serde_json::from_slice(bytes).map_err(|error| none(error.to_string()))?;
        match carried.run.form {
            RUN_FORM => Ok(carried),
            other => Err(none(format!("it is of form {other}, known is {RUN_FORM}"))),
        }
    }

    /// A list of files.
    pub(super) fn listing(&self, name: &Digest) -> Option<Listing> {
        let text = self.listings.get(name.as_str())?;
        Listing::decode(&STANDARD.decode(text).ok()?)
    }
}
