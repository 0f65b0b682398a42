//! Cache keys: how they are made.
//!
//! A key is SHA-256 over length-prefixed parts, so that no two lists of parts give the same bytes.

use std::fmt;

use rbuild_oci::Digest;
use serde::{Deserialize, Serialize};

/// Names a result: equal keys stand for results that may be used for each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CacheKey(Digest);

impl CacheKey {
    /// Returns the key as a digest.
    pub fn digest(&self) -> &Digest {
        &self.0
    }

    /// Reads a printed key; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        Digest::parse(text).ok().map(Self)
    }

    /// Returns the identity of a source that resolved to `source`.
    pub(crate) fn of_source(source: &Digest) -> Self {
        hash("source", [source.to_string().as_bytes()])
    }

    /// Returns the identity of a result that was made again although `self` might have a record.
    ///
    /// Derived from what the worker keeps of it, which differs from run to run.
    pub(crate) fn renewed(&self, saved: &[u8]) -> Self {
        hash("renewed", [self.to_string().as_bytes(), saved])
    }

    /// Returns the identity of a result whose layers are stacked over `base` without regard to it.
    pub(crate) fn stacked_over(&self, base: &CacheKey) -> Self {
        hash(
            "stacked",
            [self.to_string().as_bytes(), base.to_string().as_bytes()],
        )
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What one input puts into a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", content = "digest", rename_all = "snake_case")]
pub enum Part {
    /// The identity of its result.
    Identity(CacheKey),
    /// The digest of the files that are selected there.
    Content(Digest),
    /// Nothing.
    Nothing,
}

/// Returns the key of an op over the parts of its inputs.
pub(crate) fn key_of(op: &Digest, parts: &[Part]) -> CacheKey {
    let printed = op.to_string();
    let texts: Vec<String> = parts.iter().map(part_text).collect();
    let pieces = std::iter::once(printed.as_bytes()).chain(texts.iter().map(String::as_bytes));
    hash("op", pieces)
}

fn part_text(part: &Part) -> String {
    match part {
        Part::Identity(key) => format!("identity {key}"),
        Part::Content(digest) => format!("content {digest}"),
        Part::Nothing => "nothing".to_owned(),
    }
}

fn hash<'a>(kind: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> CacheKey {
    let mut bytes = format!("rbuild key {kind}\n").into_bytes();
    for piece in pieces {
        bytes.extend_from_slice(&(piece.len() as u64).to_be_bytes());
        bytes.extend_from_slice(piece);
    }
    CacheKey(Digest::sha256_of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let op = Digest::sha256_of(b"op");
        let a = CacheKey::of_source(&Digest::sha256_of(b"a"));
        let keys = [
            key_of(&op, &[]),
            key_of(&op, &[Part::Nothing]),
            key_of(&op, &[Part::Nothing, Part::Nothing]),
            key_of(&op, &[Part::Identity(a.clone())]),
            key_of(&op, &[Part::Content(a.digest().clone())]),
            a.stacked_over(&a),
            a.renewed(a.to_string().as_bytes()),
        ];
        for (i, left) in keys.iter().enumerate() {
            for right in &keys[i + 1..] {
                assert_ne!(left, right);
            }
        }
    }

    #[test]
    fn key_text_is_pinned() {
        let key = key_of(&Digest::sha256_of(b"op"), &[Part::Nothing]);
        assert_eq!(CacheKey::parse(&key.to_string()), Some(key));
        assert_eq!(CacheKey::parse("md5:00"), None);
    }
}
