//! The service, whichever version of its protocol it speaks: look up, reserve, finalize.

use super::failure::Fault;
use super::place::Version;
use super::{Gha, v1, v2};

/// Tells our entries from those that other tools have under the same keys: the sha256 of `rbuild cache 1`.
pub(super) const FORMAT: &str = "dd59e801670154fd5371dbe6a3f58f2e6850aa9168b1c70369536c4cd81fd5d3";

/// An entry that was found.
pub(super) struct Entry {
    pub(super) key: String,
    /// Where its bytes are; signed.
    pub(super) url: String,
}

/// A place for a new entry's bytes.
pub(super) enum Slot {
    /// The number of a reservation.
    V1(u64),
    /// Where its bytes go; signed.
    V2(String),
}

/// Whose a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reserved {
    /// Ours, and the entry is made.
    Now,
    /// Somebody's who came before.
    Before,
}

impl Gha {
    /// The entry of this key, or else the newest whose key begins with it.
    pub(super) async fn look_up(&self, key: &str) -> Result<Option<Entry>, Fault> {
        let found = match self.place.version {
            Version::V1 => v1::look_up(&self.requests, &self.place, key).await,
            Version::V2 => v2::look_up(&self.requests, &self.place, key).await,
        };
        match found {
            Err(fault) if fault.is_missing() => Ok(None),
            other => other,
        }
    }

    /// Reserves a key; `None` if it is taken.
    pub(super) async fn reserve(&self, key: &str, length: u64) -> Result<Option<Slot>, Fault> {
        let reserved = match self.place.version {
            Version::V1 => v1::reserve(&self.requests, &self.place, (key, length)).await,
            Version::V2 => v2::reserve(&self.requests, &self.place, key).await,
        };
        match reserved {
            Err(fault) if fault.is_taken => Ok(None),
            other => other.map(Some),
        }
    }

    /// Makes the entry visible.
    pub(super) async fn finalize(&self, key: &str, slot: &Slot, length: u64) -> Result<(), Fault> {
        match slot {
            Slot::V1(number) => v1::commit(&self.requests, &self.place, (*number, length)).await,
            Slot::V2(_) => v2::finalize(&self.requests, &self.place, (key, length)).await,
        }
    }
}
