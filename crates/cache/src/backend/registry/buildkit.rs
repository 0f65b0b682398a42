//! Caches of BuildKit: read, checked and counted.
//!
//! A record names a step by a digest over BuildKit's own form of it (the JSON of its protobuf messages, which
//! has changed from version to version), chained to the records of its inputs; files count by digests of
//! another scheme than ours. Steps here have no such form, so a record cannot be matched with one: an equal
//! text in a history is no proof that the inputs were equal. Source: BuildKit, cache/remotecache/v1/doc.go.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rbuild_oci::Digest;
use serde::Deserialize;
use serde_json::Value;

/// Media type of the document with the records.
pub(super) const CONFIG_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";

/// Largest such document that is read, in bytes; BuildKit itself reads 1 MiB.
pub(super) const MAX_BYTES: u64 = 16 << 20;

/// A cache of BuildKit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BuildKitCache {
    /// Steps that it knows.
    pub records: usize,
    /// Steps whose results it has.
    pub results: usize,
    /// Layers, the blobs of which lie in the repository.
    pub layers: usize,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    layers: Vec<Layer>,
    #[serde(default)]
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "blob")]
    _blob: Digest,
    /// Another layer; -1 for none.
    #[serde(default)]
    parent: i64,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "digest")]
    _digest: Digest,
    #[serde(default)]
    layers: Vec<Outcome>,
    #[serde(default)]
    chains: Vec<Chain>,
    #[serde(default)]
    inputs: Vec<Vec<Link>>,
}

#[derive(Deserialize)]
struct Outcome {
    layer: usize,
}

#[derive(Deserialize)]
struct Chain {
    layers: Vec<usize>,
}

#[derive(Deserialize)]
struct Link {
    link: usize,
}

impl BuildKitCache {
    /// Reads the document of a cache that stands by itself. Errors: what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let count = document.layers.len();
        for (at, layer) in document.layers.iter().enumerate() {
            let is_sound = usize::try_from(layer.parent)
                .map_or(layer.parent == -1, |parent| parent < count && parent != at);
            if !is_sound {
                return Err(format!("layer {at} stands on layer {}", layer.parent));
            }
        }
        counted(&document.records, count)
    }

    /// Reads the records in the config of an image with so many layers. Errors: what is wrong with them.
    pub fn parse_inline(value: &Value, layers: usize) -> Result<Self, String> {
        let text = value.as_str().ok_or("they are no text")?;
        let bytes = BASE64.decode(text).map_err(|e| e.to_string())?;
        let records: Vec<Record> = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
        counted(&records, layers)
    }

    /// Adds what another image of the same index holds.
    pub fn and(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            results: self.results + other.results,
            layers: self.layers + other.layers,
        }
    }
}

/// Checks that everything leads somewhere, and counts it.
fn counted(records: &[Record], layers: usize) -> Result<BuildKitCache, String> {
    let mut results = 0;
    for (at, record) in records.iter().enumerate() {
        let mut links = record.inputs.iter().flatten();
        if let Some(wrong) = links.find(|one| one.link >= records.len()) {
            return Err(format!("record {at} has record {} as input", wrong.link));
        }
        let chained = record.chains.iter().flat_map(|chain| &chain.layers);
        let mut named = record.layers.iter().map(|one| &one.layer).chain(chained);
        if let Some(wrong) = named.find(|layer| **layer >= layers) {
            return Err(format!("record {at} has layer {wrong}"));
        }
        results += usize::from(!record.layers.is_empty() || !record.chains.is_empty());
    }
    Ok(BuildKitCache {
        records: records.len(),
        results,
        layers,
    })
}

impl fmt::Display for BuildKitCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            records,
            results,
            layers,
        } = self;
        write!(
            f,
            "a cache of BuildKit with {records} records, {results} results and {layers} layers: its keys \
             stand for steps as BuildKit writes them down and cannot be matched with steps here"
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(inputs: &[usize], layers: &[usize]) -> Value {
        let links: Vec<_> = inputs.iter().map(|n| json!([{"link": n}])).collect();
        let layers: Vec<_> = layers.iter().map(|n| json!({"layer": n})).collect();
        let digest = Digest::sha256_of(b"x");
        json!({"digest": digest, "inputs": links, "layers": layers, "selector": "later"})
    }

    fn layer(parent: i64) -> Value {
        json!({"blob": Digest::sha256_of(b"l"), "parent": parent, "annotations": {"size": 1}})
    }

    fn parse(layers: &[Value], records: &[Value]) -> Result<BuildKitCache, String> {
        let document = json!({"layers": layers, "records": records});
        BuildKitCache::parse(document.to_string().as_bytes())
    }

    #[test]
    fn records_and_layers_are_counted() {
        let found = parse(
            &[layer(-1), layer(0)],
            &[record(&[], &[]), record(&[0], &[1, 0])],
        );
        let found = found.unwrap();
        assert_eq!((found.records, found.results, found.layers), (2, 1, 2));
        let text = found.and(parse(&[], &[]).unwrap()).to_string();
        assert!(text.starts_with("a cache of BuildKit with 2 records, 1 results and 2 layers"));
    }

    #[test]
    fn what_leads_nowhere_is_told() {
        let check = |found: Result<BuildKitCache, String>, wanted: &str| {
            let error = found.unwrap_err();
            assert!(error.contains(wanted), "{error}");
        };
        check(parse(&[layer(1)], &[]), "layer 0 stands on layer 1");
        check(parse(&[layer(0)], &[]), "layer 0 stands on layer 0");
        check(parse(&[layer(-2)], &[]), "layer 0 stands on layer -2");
        check(
            parse(&[], &[record(&[1], &[])]),
            "record 0 has record 1 as input",
        );
        check(
            parse(&[layer(-1)], &[record(&[], &[1])]),
            "record 0 has layer 1",
        );
        check(BuildKitCache::parse(b"[1]"), "invalid type");
        check(BuildKitCache::parse(b"{\"records\":[{}]}"), "missing field");
        check(BuildKitCache::parse_inline(&json!(1), 0), "no text");
        check(BuildKitCache::parse_inline(&json!("!"), 0), "Invalid");
        check(
            BuildKitCache::parse_inline(&json!("e30="), 0),
            "invalid type",
        );
    }

    #[test]
    fn inline_records_stand_for_the_layers_of_the_image() {
        let records = json!([record(&[], &[0]), record(&[0], &[2])]).to_string();
        let value = json!(BASE64.encode(records));
        let found = BuildKitCache::parse_inline(&value, 3).unwrap();
        assert_eq!((found.records, found.results, found.layers), (2, 2, 3));
        assert!(BuildKitCache::parse_inline(&value, 2).is_err());
    }
}
