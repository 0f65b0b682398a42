use rbuild_oci::{DiffId, Digest};
use rbuild_solver::{CacheKey, KeyInputs};

use super::*;
use crate::entry::{BlobRef, LayerEntry, StepEntry};

fn key(dir: &tempfile::TempDir, name: &str) -> SigningKey {
    SigningKey::create(&dir.path().join(name)).unwrap()
}

fn entry(name: &str) -> StepEntry {
    let blob = BlobRef {
        media_type: "x".to_owned(),
        digest: Digest::sha256_of(b"blob"),
        size: 4,
    };
    StepEntry {
        keys: vec![name.to_owned()],
        identity: CacheKey::parse(&Digest::sha256_of(b"id").to_string()).unwrap(),
        layer: LayerEntry {
            diff_id: DiffId(Digest::sha256_of(b"diff")),
            blob: blob.clone(),
            index: Some(blob),
            made_ns: 7,
        },
        scope: "main".to_owned(),
        writer: "ci".to_owned(),
        created: 1000,
        cost_ms: 5,
        inputs: KeyInputs {
            name: "RUN x".to_owned(),
            op: Digest::sha256_of(b"op"),
            fields: Vec::new(),
            form: 0,
            inputs: Vec::new(),
        },
        lists: Vec::new(),
        inline: false,
    }
}

fn signed(key: &SigningKey, entry: StepEntry) -> Signed<StepEntry> {
    Signed {
        signature: key.sign(&entry),
        entry,
        seen: 1000,
    }
}

fn trusting(key: &SigningKey) -> Trust {
    Trust {
        keys: vec![key.public()],
        max_age: None,
    }
}

#[test]
fn key_files_come_back_and_are_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let made = SigningKey::create(&path).unwrap();
    let read = SigningKey::read(&path).unwrap();
    assert_eq!(made.public(), read.public());
    assert!(SigningKey::create(&path).is_err());
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        made.public().to_string().parse::<PublicKey>().unwrap(),
        made.public()
    );
    for bad in [
        "",
        "rbuild-cache-key-1",
        "rbuild-cache-key-1 AAAA",
        "other AAAA",
    ] {
        fs::write(&path, bad).unwrap();
        let error = SigningKey::read(&path).unwrap_err().to_string();
        assert!(error.contains("no signing key"), "{error}");
    }
    assert!("ed25519:AAAA".parse::<PublicKey>().is_err());
}

#[test]
fn only_what_a_trusted_key_signed_as_it_stands_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (main, other) = (key(&dir, "main"), key(&dir, "other"));
    let trust = trusting(&main);
    let good = signed(&main, entry("k"));
    assert_eq!(trust.doubt(&good, "main", 2000), None);
    assert!(trust.proves(&good));
    let stranger = signed(&other, entry("k"));
    assert_eq!(trust.doubt(&stranger, "main", 2000), Some(Doubt::Stranger));
    assert!(!trust.proves(&stranger));
    let unsigned = Signed {
        signature: None,
        ..good.clone()
    };
    assert_eq!(trust.doubt(&unsigned, "main", 2000), Some(Doubt::Unsigned));
    assert!(!trust.proves(&unsigned));
    // Under another key, for another layer, of another scope: the signature does not fit.
    let swaps: [fn(&mut StepEntry); 4] = [
        |entry| entry.keys = vec!["other".to_owned()],
        |entry| entry.layer.blob.digest = Digest::sha256_of(b"evil"),
        |entry| entry.scope = "pr".to_owned(),
        |entry| entry.created += 1,
    ];
    for swap in swaps {
        let mut forged = good.clone();
        swap(&mut forged.entry);
        assert!(!trust.proves(&forged));
    }
    // What a stranger signed does not become good with the name of another key on it.
    let mut renamed = stranger;
    renamed.signature.as_mut().unwrap().key = main.public().to_string();
    assert!(!trust.proves(&renamed));
}

#[test]
fn scope_and_age_count() {
    let dir = tempfile::tempdir().unwrap();
    let main = key(&dir, "main");
    let line = signed(&main, entry("k"));
    let anybody = Trust::default();
    assert_eq!(anybody.doubt(&line, "pr", 1000), Some(Doubt::Scope));
    let aged = Trust {
        max_age: Some(Duration::from_secs(60)),
        ..trusting(&main)
    };
    assert_eq!(aged.doubt(&line, "main", 1060), None);
    assert_eq!(aged.doubt(&line, "main", 1061), Some(Doubt::Age));
    let future = Signed {
        entry: StepEntry {
            created: 1000 + 2 * CLOCK_SKEW,
            ..line.entry
        },
        ..line
    };
    assert_eq!(aged.doubt(&future, "main", 1000), Some(Doubt::Age));
}
