//! Cache keys: how they are made, and what they were made of.
//!
//! A key is SHA-256 over length-prefixed parts, so that no two lists of parts give the same bytes.

use std::fmt;

use rbuild_graph::{Op, Vertex, op_key};
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

/// What a key was made of; kept beside the record so that a later miss can be explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInputs {
    /// The step as shown to people.
    pub name: String,
    /// Key of the op without its inputs.
    pub op: Digest,
    /// Fields of the op that count, by name, as JSON text; a long one as its digest.
    pub fields: Vec<(String, String)>,
    /// The inputs in the op's order.
    pub inputs: Vec<InputNote>,
}

/// What one input put into a key, and what the input is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputNote {
    /// The input's step as shown to people.
    pub label: String,
    /// What it put in.
    pub part: Part,
}

/// Length from which a field of an op is kept as its digest only.
const LONG_FIELD: usize = 4096;

/// Returns the key of an op over the parts of its inputs.
pub(crate) fn key_of(op: &Digest, parts: &[Part]) -> CacheKey {
    let printed = op.to_string();
    let texts: Vec<String> = parts.iter().map(part_text).collect();
    let pieces = std::iter::once(printed.as_bytes()).chain(texts.iter().map(String::as_bytes));
    hash("op", pieces)
}

/// Notes what the content key of `vertex` was made of; `labels` name its inputs.
pub(crate) fn note(vertex: &Vertex, name: &str, labels: &[&str], parts: &[Part]) -> KeyInputs {
    KeyInputs {
        name: name.to_owned(),
        op: op_key(&vertex.op),
        fields: fields(&vertex.op),
        inputs: labels
            .iter()
            .zip(parts)
            .map(|(label, part)| InputNote {
                label: (*label).to_owned(),
                part: part.clone(),
            })
            .collect(),
    }
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

fn fields(op: &Op) -> Vec<(String, String)> {
    let Ok(serde_json::Value::Object(map)) = serde_json::to_value(op) else {
        return Vec::new();
    };
    let mut fields: Vec<(String, String)> = map
        .into_iter()
        // Proxies are in no key, and their addresses may hold passwords.
        .filter(|(name, _)| name != "proxy_env")
        .map(|(name, value)| (name, short(value.to_string())))
        .collect();
    fields.sort();
    fields
}

fn short(text: String) -> String {
    if text.len() < LONG_FIELD {
        text
    } else {
        Digest::sha256_of(text.as_bytes()).to_string()
    }
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
