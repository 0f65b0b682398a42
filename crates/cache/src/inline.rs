//! Records of a cache in the config of an image: which step each of its layers is the result of.
//!
//! A key of our own at the top of the config, which registries and engines keep and nobody else reads:
//!
//! ```json
//! {"io.rbuild.cache.v1": {"steps": [{"layer": 0, "keys": ["..."], "identity": "sha256:...", "op": "sha256:..."}]}}
//! ```
//!
//! Nothing in it depends on when or where the image was built, but for the identities of steps that were
//! made in spite of a result (`--no-cache`), which are random. What keys were made of is left out: it would be
//! published with the image.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rbuild_layer::{LayerId, LayerStore};
use rbuild_oci::{Descriptor, DiffId, Digest, History, ImageConfig};
use rbuild_solver::{CacheKey, KeyInputs};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::entry::{BlobRef, LayerEntry, Signature, Signed, StepEntry};
use crate::export::{Results, wanted};
use crate::option::DEFAULT_SCOPE;
use crate::trust::SigningKey;
use crate::{Error, Result};

/// Key of the config.
pub const KEY: &str = "io.rbuild.cache.v1";

/// Key of the config under which BuildKit keeps its own.
pub const BUILDKIT_KEY: &str = "moby.buildkit.cache.v0";

/// Most steps that are read of one image.
const MAX_STEPS: usize = 4096;

/// What is said of the layers of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Records {
    steps: Vec<Step>,
}

/// A result of a step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Step {
    /// Position of its layer, lowest first.
    layer: usize,
    /// As in [`StepEntry::keys`].
    keys: Vec<String>,
    /// As in [`StepEntry::identity`].
    identity: CacheKey,
    /// Key of the op without its inputs.
    op: Digest,
    /// Who vouches for the entry that it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<Signature>,
}

/// The records of an image with this config and these layers, lowest first; `None` if none of them is the result
/// of a step. `key` vouches for them.
///
/// Errors: those of the store.
pub fn records(
    layers: &LayerStore,
    results: &Results<'_>,
    (config, stack): (&ImageConfig, &[LayerId]),
    key: Option<&SigningKey>,
) -> Result<Option<Value>> {
    let places: BTreeMap<&LayerId, usize> = stack.iter().zip(0..).collect();
    let mut steps = Vec::new();
    for one in wanted(layers, results)? {
        if let Some(layer) = places.get(&one.layer) {
            steps.push(Step {
                layer: *layer,
                keys: one.keys,
                identity: one.identity,
                op: one.inputs.op,
                signature: None,
            });
        }
    }
    if steps.is_empty() {
        return Ok(None);
    }
    // By layer: in an order that does not depend on how the build went.
    steps.sort_by(|one, other| (one.layer, &one.keys).cmp(&(other.layer, &other.keys)));
    if let Some(key) = key {
        vouch(&mut steps, config, key);
    }
    let value = serde_json::to_value(Records { steps });
    value.map(Some).map_err(|source| Error::Document {
        place: "of this image".to_owned(),
        what: "record",
        reason: source.to_string(),
    })
}

/// Signs the entries that the records stand for.
fn vouch(steps: &mut [Step], config: &ImageConfig, key: &SigningKey) {
    let layers = made(config);
    for step in steps {
        let layer = layers.get(step.layer);
        let entry = layer.map(|layer| entry(step, layer, BlobRef::unknown(layer.diff_id)));
        step.signature = entry.and_then(|entry| key.sign(&entry));
    }
}

/// The entries that an image's config holds, for layers with these blobs; `None` without any.
///
/// Errors: why they cannot be read.
pub(crate) fn entries(
    config: &ImageConfig,
    blobs: &[Descriptor],
) -> Result<Option<Vec<Signed<StepEntry>>>, String> {
    let Some(value) = config.other.get(KEY) else {
        return Ok(None);
    };
    let records = Records::deserialize(value).map_err(|error| error.to_string())?;
    if records.steps.len() > MAX_STEPS {
        return Err(format!("it has more than {MAX_STEPS} steps"));
    }
    let diff_ids = config.diff_ids();
    if diff_ids.len() != blobs.len() {
        let (layers, blobs) = (diff_ids.len(), blobs.len());
        return Err(format!("the image has {layers} layers and {blobs} blobs"));
    }
    let layers = made(config);
    let mut entries = Vec::new();
    for step in &records.steps {
        let (Some(layer), Some(blob)) = (layers.get(step.layer), blobs.get(step.layer)) else {
            return Err(format!("there is no layer {}", step.layer));
        };
        let entry = entry(step, layer, BlobRef::from(blob));
        entries.push(Signed {
            seen: entry.created,
            entry,
            signature: step.signature.clone(),
        });
    }
    Ok(Some(entries))
}

/// A layer as an image's config has it.
struct ConfigLayer<'a> {
    diff_id: &'a DiffId,
    /// Its line of the history, if every layer has one.
    line: Option<&'a History>,
}

/// The layers of a config, lowest first.
fn made(config: &ImageConfig) -> Vec<ConfigLayer<'_>> {
    let lines = config.history.iter().filter(|line| !line.empty_layer);
    let lines: Vec<&History> = lines.collect();
    let diff_ids = config.diff_ids();
    let has_lines = lines.len() == diff_ids.len();
    let layers = diff_ids.iter().enumerate();
    let layers = layers.map(|(at, diff_id)| ConfigLayer {
        diff_id,
        line: lines.get(at).copied().filter(|_| has_lines),
    });
    layers.collect()
}

/// The entry that a record of a layer stands for.
fn entry(step: &Step, layer: &ConfigLayer<'_>, blob: BlobRef) -> StepEntry {
    let made_ns = layer.line.map_or(0, made_ns);
    StepEntry {
        keys: step.keys.clone(),
        identity: step.identity.clone(),
        layer: LayerEntry {
            diff_id: layer.diff_id.clone(),
            blob,
            index: None,
            made_ns,
        },
        scope: DEFAULT_SCOPE.to_owned(),
        writer: String::new(),
        created: made_ns / 1_000_000_000,
        cost_ms: 0,
        inputs: KeyInputs {
            name: layer
                .line
                .map_or_else(String::new, |line| line.created_by.clone()),
            op: step.op.clone(),
            fields: Vec::new(),
            inputs: Vec::new(),
            // Nothing to compare with: what is said here is not all.
            form: 0,
        },
        lists: Vec::new(),
        inline: true,
    }
}

/// When a layer was made, in nanoseconds since 1970; zero if the history does not say.
fn made_ns(line: &History) -> u64 {
    let time = line.created.as_ref().and_then(|text| text.parse().ok());
    let time: Timestamp = time.unwrap_or(Timestamp::UNIX_EPOCH);
    u64::try_from(time.as_nanosecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use rbuild_oci::RootFs;
    use serde_json::json;

    use super::*;
    use crate::trust::Trust;

    fn digest(text: &str) -> Digest {
        Digest::sha256_of(text.as_bytes())
    }

    fn step(layer: usize) -> Value {
        json!({"layer": layer, "keys": ["k"], "identity": digest("i"), "op": digest("o")})
    }

    fn config(records: Value) -> ImageConfig {
        let line = |by: &str, empty_layer| History {
            created: Some("2026-01-02T03:04:05.000000006Z".to_owned()),
            created_by: by.to_owned(),
            empty_layer,
            ..History::default()
        };
        ImageConfig {
            rootfs: RootFs {
                diff_ids: Some(vec![DiffId(digest("a")), DiffId(digest("b"))]),
                ..RootFs::default()
            },
            history: vec![line("COPY", false), line("ENV", true), line("RUN", false)],
            other: [(KEY.to_owned(), records)].into(),
            ..ImageConfig::default()
        }
    }

    fn blobs() -> Vec<Descriptor> {
        ["blob a", "blob b"]
            .map(|text| Descriptor::of("x", text.as_bytes()))
            .into()
    }

    #[test]
    fn entries_take_the_rest_from_the_image() {
        let config = config(json!({"steps": [step(1)], "later": 1}));
        let config = ImageConfig::from_bytes(&config.to_bytes()).unwrap();
        let entries = entries(&config, &blobs()).unwrap().unwrap();
        let entry = &entries[0].entry;
        assert_eq!(entry.layer.diff_id, DiffId(digest("b")));
        assert_eq!(entry.layer.blob.digest, digest("blob b"));
        assert_eq!(entry.layer.made_ns % 1_000_000_000, 6);
        assert_eq!(entry.created, entry.layer.made_ns / 1_000_000_000);
        assert_eq!(entry.inputs.name, "RUN");
        assert!(
            super::entries(&ImageConfig::default(), &[])
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn records_that_contradict_the_image_are_told() {
        let check = |records: Value, blobs: &[Descriptor], wanted: &str| {
            let error = entries(&config(records), blobs).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        };
        check(json!({"steps": [step(2)]}), &blobs(), "no layer 2");
        check(
            json!({"steps": [step(0)]}),
            &blobs()[..1],
            "2 layers and 1 blobs",
        );
        check(
            json!({"steps": vec![step(0); 4097]}),
            &blobs(),
            "more than 4096",
        );
        check(json!({"steps": [{"layer": 0}]}), &blobs(), "missing field");
        check(json!("steps"), &blobs(), "invalid type");
        check(json!({"steps": [{"layer": -1}]}), &blobs(), "invalid value");
    }

    fn records_of(config: &mut ImageConfig) -> &mut Value {
        &mut config.other.get_mut(KEY).unwrap()["steps"]
    }

    #[test]
    fn who_vouches_for_a_record_means_this_layer_of_this_image() {
        let dir = tempfile::tempdir().unwrap();
        let key = SigningKey::create(&dir.path().join("key")).unwrap();
        let trust = Trust {
            keys: vec![key.public()],
            max_age: None,
        };
        let plain = config(json!({"steps": [step(1)]}));
        let mut records = Records::deserialize(&plain.other[KEY]).unwrap();
        vouch(&mut records.steps, &plain, &key);
        let signed = config(serde_json::to_value(records).unwrap());
        let proves = |config: &ImageConfig, blobs: &[Descriptor]| {
            let lines = entries(config, blobs).unwrap().unwrap();
            trust.proves(&lines[0])
        };
        assert!(!proves(&plain, &blobs()));
        // Whatever the layer's tar is compressed to.
        let other = Descriptor::of("y", b"other");
        assert!(proves(&signed, &blobs()) && proves(&signed, &[other.clone(), other]));
        let changes: [fn(&mut ImageConfig); 4] = [
            |config| config.rootfs.diff_ids = Some(vec![DiffId(digest("a")); 2]),
            |config| config.history[2].created = Some("2026-01-02T03:04:06Z".to_owned()),
            |config| records_of(config)[0]["keys"] = json!(["other"]),
            |config| records_of(config)[0]["identity"] = json!(digest("other")),
        ];
        for change in changes {
            let mut forged = signed.clone();
            change(&mut forged);
            assert!(!proves(&forged, &blobs()));
        }
        // One that lies in an index vouches for its blob.
        let mut lines = entries(&signed, &blobs()).unwrap().unwrap();
        lines[0].entry.inline = false;
        assert!(!trust.proves(&lines[0]));
    }
}
