//! Tags that hold something else: caches of BuildKit, images with records, images without.

use rbuild_cache::{Backend, Error, Form, Index, inline};
use rbuild_oci::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST};
use rbuild_oci::{Descriptor, Digest, Manifest, Platform, Reference};
use rbuild_progress::CancelToken;
use rbuild_registry::Client;
use rbuild_testkit::Registry;
use serde_json::{Value, json};

use crate::registry::{backend, config, put};

const BUILDKIT: &str = "application/vnd.buildkit.cacheconfig.v0";

struct Hub {
    registry: Registry,
    client: Client,
}

impl Hub {
    fn new() -> Self {
        Self {
            registry: Registry::start(),
            client: Client::new(config()),
        }
    }

    fn reference(&self, tag: &str) -> Reference {
        Reference::parse(&format!("{}/c:{tag}", self.registry.host())).unwrap()
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let blob = Descriptor::of(media_type, bytes);
        let pushed =
            self.client
                .push_bytes(&self.reference("x"), (&blob, bytes), &CancelToken::new());
        pushed.unwrap();
        blob
    }

    fn document(&self, tag: &str, media_type: &str, document: &Value) -> Descriptor {
        let bytes = document.to_string().into_bytes();
        let root = Descriptor::of(media_type, &bytes);
        let name = match tag {
            "" => self.reference("x").with_digest(root.digest.clone()),
            tag => self.reference(tag),
        };
        let pushed = self
            .client
            .push_manifest(&name, &root, &bytes, &CancelToken::new());
        pushed.unwrap();
        root
    }

    fn layers(&self) -> Vec<Descriptor> {
        let bytes: [&[u8]; 2] = [b"layer 0", b"layer 1"];
        bytes.map(|bytes| self.blob(OCI_LAYER_GZIP, bytes)).into()
    }

    /// An image whose config has more keys.
    fn image(&self, tag: &str, more: &[(&str, Value)]) -> Descriptor {
        let diff_ids = [Digest::sha256_of(b"0"), Digest::sha256_of(b"1")];
        let mut document = json!({
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [
                {"created": "2026-01-01T00:00:00Z", "created_by": "COPY a"},
                {"created_by": "ENV b", "empty_layer": true},
                {"created": "2026-01-01T00:00:01Z", "created_by": "RUN c"},
            ],
        });
        for (key, value) in more {
            document[*key] = value.clone();
        }
        let config = self.blob(OCI_CONFIG, document.to_string().as_bytes());
        let manifest = Manifest::new(OCI_MANIFEST, config, self.layers());
        let manifest = serde_json::to_value(manifest).unwrap();
        self.document(tag, OCI_MANIFEST, &manifest)
    }

    fn read(&self, tag: &str) -> Result<Vec<Index>, Error> {
        let cache = backend(&self.registry.host(), &format!("c:{tag}"), Form::Manifest);
        let read = cache.read_indexes(&CancelToken::new())?;
        let read = read.iter().map(|one| Index::decode(&one.bytes, "it"));
        Ok(read.map(Result::unwrap).collect())
    }

    fn describe(&self, tag: &str) -> String {
        let cache = backend(&self.registry.host(), &format!("c:{tag}"), Form::Manifest);
        cache.describe(&CancelToken::new()).unwrap()
    }

    /// Reading says `wanted`, and writing changes nothing.
    fn is_foreign(&self, tag: &str, wanted: &str) {
        let read = self.read(tag).unwrap_err();
        assert!(matches!(read, Error::Foreign { .. }), "{read:?}");
        assert!(read.to_string().contains(wanted), "{read}");
        let cache = backend(&self.registry.host(), &format!("c:{tag}"), Form::Manifest);
        let written = put(&cache, b"index", &[], &[]).unwrap_err();
        assert!(
            written.to_string().contains("a tag of its own"),
            "{written}"
        );
        assert!(self.describe(tag).contains(wanted));
    }
}

/// As BuildKit 0.25 writes them, but for the digests.
fn buildkit_records() -> Value {
    let digest = |text: &str| Digest::sha256_of(text.as_bytes());
    json!([
        {"layers": [{"layer": 0, "createdAt": "2026-11-28T13:55:21.501079035Z"}], "digest": digest("copy"), "inputs": [[{"link": 1}]]},
        {"digest": digest("file")},
        {"layers": [{"layer": 1, "createdAt": "2026-11-28T13:55:22.262309673Z"}], "digest": digest("run"),
         "inputs": [[{"selector": digest("all"), "link": 0}]]},
    ])
}

#[test]
fn caches_of_buildkit_are_recognised_and_left_alone() {
    let hub = Hub::new();
    let layers = hub.layers();
    let document = json!({
        "layers": [
            {"blob": layers[0].digest, "parent": -1},
            {"blob": layers[1].digest, "parent": 0},
        ],
        "records": buildkit_records(),
    });
    let config = hub.blob(BUILDKIT, document.to_string().as_bytes());
    let manifest = Manifest::new(OCI_MANIFEST, config.clone(), layers.clone());
    hub.document(
        "image",
        OCI_MANIFEST,
        &serde_json::to_value(manifest).unwrap(),
    );
    let mut all = layers;
    all.push(config);
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": all});
    hub.document("index", OCI_INDEX, &index);
    for tag in ["image", "index"] {
        hub.is_foreign(
            tag,
            "a cache of BuildKit with 3 records, 2 results and 2 layers",
        );
    }
}

#[test]
fn a_damaged_cache_of_buildkit_is_told() {
    let hub = Hub::new();
    for (tag, document) in [
        ("text", json!("cache")),
        (
            "loop",
            json!({"layers": [], "records": [{"digest": Digest::sha256_of(b"x"), "inputs": [[{"link": 7}]]}]}),
        ),
    ] {
        let config = hub.blob(BUILDKIT, document.to_string().as_bytes());
        let manifest = Manifest::new(OCI_MANIFEST, config, hub.layers());
        hub.document(tag, OCI_MANIFEST, &serde_json::to_value(manifest).unwrap());
        let read = hub.read(tag);
        assert!(matches!(read, Err(Error::Document { .. })), "{read:?}");
    }
}

#[test]
fn images_of_buildkit_with_records_and_images_without_are_told_apart() {
    let hub = Hub::new();
    hub.image("plain", &[]);
    hub.is_foreign("plain", "an image without records");
    let records = base64(buildkit_records().to_string().as_bytes());
    hub.image("inline", &[("moby.buildkit.cache.v0", json!(records))]);
    hub.is_foreign("inline", "a cache of BuildKit with 3 records");
    assert_eq!(hub.describe("nothing"), "nothing yet");
    assert!(hub.read("nothing").unwrap().is_empty());
}

fn base64(bytes: &[u8]) -> String {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut child = Command::new("base64")
        .arg("-w0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

fn own(layer: usize, key: &str) -> Value {
    let digest = Digest::sha256_of(key.as_bytes());
    json!({"steps": [{"layer": layer, "keys": [key], "identity": digest, "op": digest}]})
}

#[test]
fn records_in_images_are_entries_like_others() {
    let hub = Hub::new();
    hub.image("one", &[(inline::KEY, own(1, "k"))]);
    let read = hub.read("one").unwrap();
    let entry = &read[0].steps[0].entry;
    assert_eq!(entry.keys, ["k"]);
    assert_eq!(entry.layer.diff_id.0, Digest::sha256_of(b"1"));
    assert_eq!(entry.layer.blob.digest, Digest::sha256_of(b"layer 1"));
    assert_eq!(
        (entry.layer.index.clone(), entry.inputs.name.as_str()),
        (None, "RUN c")
    );
    // An image stays one.
    let cache = backend(&hub.registry.host(), "c:one", Form::Manifest);
    let written = put(&cache, b"index", &[], &[]);
    assert!(matches!(written, Err(Error::Foreign { .. })), "{written:?}");
    assert!(hub.describe("one").contains("records of 1 results"));
}

#[test]
fn several_platforms_are_read_and_what_is_said_about_them_is_not() {
    let hub = Hub::new();
    let platform = |name: &str, image: Descriptor| Descriptor {
        platform: Some(Platform::parse(name).unwrap()),
        ..image
    };
    let mut attestation = hub.image("", &[(inline::KEY, own(0, "attestation"))]);
    let kind = ("vnd.docker.reference.type", "attestation-manifest");
    attestation.annotations.insert(kind.0.into(), kind.1.into());
    let entries = [
        platform(
            "linux/amd64",
            hub.image("", &[(inline::KEY, own(0, "amd"))]),
        ),
        platform(
            "linux/arm64",
            hub.image("", &[(inline::KEY, own(1, "arm"))]),
        ),
        platform("linux/s390x", hub.image("", &[])),
        attestation,
    ];
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    hub.document("several", OCI_INDEX, &index);
    let read = hub.read("several").unwrap();
    let keys: Vec<_> = read[0]
        .steps
        .iter()
        .map(|line| &line.entry.keys[0])
        .collect();
    assert_eq!(keys, ["amd", "arm"]);
}

#[test]
fn records_that_make_no_sense_are_told() {
    let hub = Hub::new();
    for (tag, records) in [
        ("far", own(2, "k")),
        ("text", json!("records")),
        ("none", json!({"steps": [{}]})),
    ] {
        hub.image(tag, &[(inline::KEY, records)]);
        let read = hub.read(tag).unwrap_err();
        assert!(matches!(read, Error::Document { .. }), "{read:?}");
        assert!(
            read.to_string().contains("its records make no sense"),
            "{read}"
        );
    }
}
