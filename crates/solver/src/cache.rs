//! The trait that remembers results, and what a record holds.

use std::error::Error;

use rbuild_oci::Digest;
use rbuild_progress::CancelToken;

use crate::{CacheKey, KeyInputs};

/// Remembers results by key; shared by all processes that use a store.
pub trait CacheIndex: Send + Sync {
    /// Returns the bytes recorded under `key`, if any.
    fn lookup(&self, key: &CacheKey) -> Result<Option<Vec<u8>>, CacheError>;

    /// Records `bytes` (an encoded [`Record`]) under every one of `keys`, in place of what is there,
    /// and keeps `inputs` beside it, for explaining later misses.
    ///
    /// `keys` holds one or two keys without repetition, the content key last.
    fn record(&self, keys: &[CacheKey], bytes: &[u8], inputs: &KeyInputs)
    -> Result<(), CacheError>;

    /// Whether a result of this op may be known although those that it was made from are not, as in a cache
    /// that holds only part of a build. Cheap; asked when something was not found.
    fn may_have_alone(&self, _op: &Digest) -> bool {
        false
    }

    /// Waits until nobody else, in any process, does the work named by `key`, and keeps others from
    /// it until the guard is dropped.
    ///
    /// Fails with [`CacheError::Cancelled`] once `cancel` is set.
    fn lock(&self, key: &CacheKey, cancel: &CancelToken) -> Result<Box<dyn Send>, CacheError>;
}

/// Why the cache could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The wait for a lock was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The index failed.
    #[error("{action} in the cache index")]
    Index {
        /// What was tried: `look up`, `record`, `lock`.
        action: &'static str,
        /// The index's own error.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// What is kept of one result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What the result contributes to the keys of its consumers.
    pub identity: CacheKey,
    /// What the worker needs to find the result again.
    pub saved: Vec<u8>,
}

/// First line of an encoded record; the number changes with the encoding.
const MAGIC: &str = "rbuild-record 1";

impl Record {
    /// Returns the record as bytes: a line that names the encoding, the identity, a line end, and
    /// what the worker saved, unchanged.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = format!("{MAGIC}\n{}\n", self.identity).into_bytes();
        bytes.extend_from_slice(&self.saved);
        bytes
    }

    /// Reads an encoded record; `None` if it is not one, or one of another encoding.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut lines = bytes.splitn(3, |&byte| byte == b'\n');
        let (magic, identity, saved) = (lines.next()?, lines.next()?, lines.next()?);
        if magic != MAGIC.as_bytes() {
            return None;
        }
        Some(Self {
            identity: CacheKey::parse(std::str::from_utf8(identity).ok()?)?,
            saved: saved.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_survives_encoding() {
        let record = Record {
            identity: CacheKey::of_source(&Digest::sha256_of(b"x")),
            saved: b"a\nb\n\0".to_vec(),
        };
        assert_eq!(Record::decode(&record.encode()), Some(record));
    }

    #[test]
    fn other_bytes_are_no_record() {
        for bytes in [
            &b""[..],
            b"rbuild-record 1",
            b"rbuild-record 1\nsha256:00\nx",
            b"rbuild-record 2\n\n",
        ] {
            assert_eq!(Record::decode(bytes), None);
        }
    }
}
