//! From the digests of uncompressed layers to the digests of their stacks.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Digest of a layer's uncompressed tar.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

/// Digest that names a stack of layers, base first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub Digest);

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns the chain id of a stack of layers, or `None` for no layers.
///
/// `diffs` runs base first. Linear in `diffs.len()`; does no I/O.
/// Source: OCI image-spec, config.md, "Layer ChainID".
pub fn chain_id(diffs: &[DiffId]) -> Option<ChainId> {
    chain_ids(diffs).pop()
}

/// Returns the chain id of every prefix of a stack: item `i` names layers `0..=i`.
pub fn chain_ids(diffs: &[DiffId]) -> Vec<ChainId> {
    let mut chain: Vec<ChainId> = Vec::with_capacity(diffs.len());
    for DiffId(diff) in diffs {
        let next = match chain.last() {
            None => diff.clone(),
            Some(ChainId(below)) => Digest::sha256_of(format!("{below} {diff}").as_bytes()),
        };
        chain.push(ChainId(next));
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_of_none_one_and_three() {
        let diffs: Vec<DiffId> = [&b"a"[..], b"b", b"c"]
            .iter()
            .map(|bytes| DiffId(Digest::sha256_of(bytes)))
            .collect();
        assert_eq!(chain_id(&[]), None);
        assert_eq!(chain_id(&diffs[..1]), Some(ChainId(diffs[0].0.clone())));
        let two = Digest::sha256_of(format!("{} {}", diffs[0], diffs[1]).as_bytes());
        let three = Digest::sha256_of(format!("{two} {}", diffs[2]).as_bytes());
        assert_eq!(chain_ids(&diffs)[1], ChainId(two));
        assert_eq!(chain_id(&diffs), Some(ChainId(three)));
    }
}
