//! Caches in a real registry, and in one that breaks on the way.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rbuild_cache::{
    Attrs, Backend, Direction, Error, Form, NewIndex, RegistryBackend, RegistryPlace,
};
use rbuild_oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use rbuild_oci::{Descriptor, Digest, Manifest, Reference};
use rbuild_progress::CancelToken;
use rbuild_registry::{Client, ClientConfig, LazyClient, RetryPolicy};
use rbuild_testkit::{Registry, find_tool, run};

use crate::contract::{self, Habits, Local, contents, indexes, noise, present, write};
use crate::faulty::{Door, Fault};

/// One tag, one index.
const HABITS: Habits = Habits {
    keeps_foreign: false,
    removes_merged: true,
};

pub fn config() -> ClientConfig {
    ClientConfig {
        retry: RetryPolicy {
            attempts: 4,
            connect_attempts: 4,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(20),
        },
        read_timeout: Duration::from_secs(5),
        ..ClientConfig::default()
    }
}

fn lazy() -> Arc<LazyClient> {
    LazyClient::new(|| Ok(config()))
}

pub fn backend(host: &str, name: &str, form: Form) -> RegistryBackend {
    let place = RegistryPlace {
        reference: Reference::parse(&format!("{host}/{name}")).unwrap(),
        form,
        insecure: false,
    };
    RegistryBackend::new(place, lazy())
}

fn opened(host: &str, name: &str) -> RegistryBackend {
    backend(host, name, Form::Manifest)
}

fn send(backend: &RegistryBackend, blob: &Descriptor, from: &Local) -> Result<(), Error> {
    backend.send(blob, &from.store, &CancelToken::new())
}

pub fn put(
    backend: &RegistryBackend,
    bytes: &[u8],
    blobs: &[Descriptor],
    merged: &[String],
) -> Result<(), Error> {
    let index = NewIndex {
        bytes,
        blobs,
        merged,
    };
    backend.write_index(&index, &CancelToken::new())
}

#[test]
fn every_form_keeps_the_contract() {
    let registry = Registry::start();
    for (name, form) in [
        ("team/cache:main", Form::Manifest),
        ("team/index:main", Form::OciIndex),
        ("team/docker:main", Form::DockerIndex),
    ] {
        contract::holds(&backend(&registry.host(), name, form), HABITS);
    }
}

#[test]
fn nothing_is_asked_before_there_is_a_question_and_few_things_then() {
    let registry = Registry::start();
    let from = Local::new();
    let first = opened(&registry.host(), "c:t");
    let blobs: Vec<Descriptor> = (0..30).map(|n| from.put(&noise(n, 100))).collect();
    for blob in &blobs {
        send(&first, blob, &from).unwrap();
    }
    write(&first, b"index", &blobs, &[]);
    let door = Door::to(&registry.host());
    let second = opened(&door.host(), "c:t");
    assert_eq!(door.log(), Vec::<String>::new());
    assert_eq!(contents(&second), [b"index".to_vec()]);
    assert_eq!(present(&second, &blobs).len(), 30);
    let asked = door.log();
    assert_eq!(asked.len(), 2, "{asked:?}");
    // Others than those that the tag names are asked for.
    let mut more = blobs.clone();
    more.push(Descriptor::of("x", b"not there"));
    assert_eq!(present(&second, &more).len(), 30);
    assert_eq!(door.log().len(), 1);
}

#[test]
fn a_writer_that_has_not_seen_the_last_index_is_told() {
    let registry = Registry::start();
    let (one, other) = (
        opened(&registry.host(), "c:t"),
        opened(&registry.host(), "c:t"),
    );
    put(&one, b"first", &[], &[]).unwrap();
    let moved = put(&other, b"second", &[], &[]);
    assert!(matches!(moved, Err(Error::Moved { .. })), "{moved:?}");
    let seen = [indexes(&other)[0].name.clone()];
    put(&other, b"both", &[], &seen).unwrap();
    let moved = put(&one, b"third", &[], &seen);
    assert!(matches!(moved, Err(Error::Moved { .. })), "{moved:?}");
    assert_eq!(contents(&one), [b"both".to_vec()]);
}

/// The last look finds nothing, and then somebody writes: nothing stops that, and reading again shows it.
#[test]
fn between_the_last_look_and_the_writing_another_may_be_lost_and_is_seen_to_be() {
    let registry = Registry::start();
    let door = Door::to(&registry.host());
    let slow = opened(&door.host(), "c:t");
    door.arm(
        ("PUT", "/manifests/"),
        1,
        Fault::Before(|door| {
            door.disarm();
            put(&opened(&door.host(), "c:t"), b"fast", &[], &[]).unwrap();
        }),
    );
    put(&slow, b"slow", &[], &[]).unwrap();
    assert_eq!(contents(&slow), [b"slow".to_vec()]);
    let fast = opened(&registry.host(), "c:t");
    assert_eq!(contents(&fast), [b"slow".to_vec()]);
}

#[test]
fn blobs_are_taken_over_from_where_they_were_pushed() {
    let registry = Registry::start();
    let from = Local::new();
    let blob = from.put(&noise(1, 50_000));
    let door = Door::to(&registry.host());
    send(&opened(&door.host(), "app:1"), &blob, &from).unwrap();
    door.log();
    let cache = opened(&door.host(), "cache:main");
    send(&cache, &blob, &from).unwrap();
    let asked = door.log();
    assert!(
        asked[0].starts_with("HEAD ") && asked[1].contains("mount="),
        "{asked:?}"
    );
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(contract::fetch(&cache, &blob).unwrap() == noise(1, 50_000));
    // Not from a registry that only has the same name for it.
    let other = Registry::start();
    let elsewhere = Door::to(&other.host());
    send(&opened(&elsewhere.host(), "cache:main"), &blob, &from).unwrap();
    assert!(!elsewhere.log().iter().any(|line| line.contains("mount=")));
}

/// Runs the registry's own collector.
fn collect(registry: &Registry, words: &[&str]) {
    let config = registry.data().parent().unwrap().join("config.yml");
    let mut command = Command::new(find_tool("docker-registry").unwrap());
    command.arg("garbage-collect").args(words).arg(config);
    run(&mut command, Duration::from_secs(60)).expect_success();
}

fn is_kept(data: &Path, digest: &Digest) -> bool {
    let hex = digest.hex();
    data.join(format!(
        "docker/registry/v2/blobs/sha256/{}/{hex}/data",
        &hex[..2]
    ))
    .exists()
}

#[test]
fn the_registrys_collector_takes_what_no_index_names_and_nothing_else() {
    for (form, words) in [
        (Form::Manifest, &[][..]),
        (Form::Manifest, &["-m"][..]),
        (Form::OciIndex, &["-m"][..]),
        (Form::DockerIndex, &["-m"][..]),
    ] {
        let registry = Registry::start();
        let from = Local::new();
        let (kept, dropped) = (from.put(&noise(1, 5000)), from.put(&noise(2, 5000)));
        let cache = backend(&registry.host(), "c:t", form);
        for blob in [&kept, &dropped] {
            send(&cache, blob, &from).unwrap();
        }
        write(&cache, b"first", &[kept.clone(), dropped.clone()], &[]);
        write(&cache, b"second", std::slice::from_ref(&kept), &[]);
        collect(&registry, words);
        assert!(
            is_kept(&registry.data(), &kept.digest),
            "{form:?} {words:?}"
        );
        // Without -m what the tag stood for before counts as named.
        assert_eq!(is_kept(&registry.data(), &dropped.digest), words.is_empty());
        let fresh = backend(&registry.host(), "c:t", form);
        assert_eq!(contents(&fresh), [b"second".to_vec()]);
        assert!(contract::fetch(&fresh, &kept).unwrap() == noise(1, 5000));
    }
}

#[test]
fn more_than_one_manifest_holds_is_spread_over_several() {
    let registry = Registry::start();
    let from = Local::new();
    let cache = opened(&registry.host(), "c:t");
    // Few with long names take as much room as thousands of usual ones.
    let blobs: Vec<Descriptor> = (0..60)
        .map(|n| Descriptor {
            media_type: "x".repeat(60_000),
            ..from.put(&noise(n, 10))
        })
        .collect();
    for blob in &blobs {
        send(&cache, blob, &from).unwrap();
    }
    write(&cache, b"index", &blobs, &[]);
    let client = Client::new(config());
    let reference = Reference::parse(&format!("{}/c:t", registry.host())).unwrap();
    let tagged = client.resolve(&reference, &CancelToken::new()).unwrap();
    assert_eq!(tagged.descriptor.media_type, OCI_INDEX);
    let door = Door::to(&registry.host());
    let fresh = opened(&door.host(), "c:t");
    assert_eq!(contents(&fresh), [b"index".to_vec()]);
    assert_eq!(present(&fresh, &blobs).len(), blobs.len());
    // The tag, two parts, the index.
    let asked = door.log();
    assert_eq!(asked.len(), 4, "{asked:?}");
    collect(&registry, &[]);
    assert!(
        blobs
            .iter()
            .all(|blob| is_kept(&registry.data(), &blob.digest))
    );
}

#[test]
fn what_is_no_cache_is_told_and_never_overwritten() {
    let registry = Registry::start();
    let client = Client::new(config());
    let cancel = CancelToken::new();
    let tagged = |tag: &str, config: &str| {
        let reference = Reference::parse(&format!("{}/c:{tag}", registry.host())).unwrap();
        let blob = Descriptor::of(config, b"{}");
        let pushed = client.push_bytes(&reference, (&blob, b"{}"), &cancel);
        pushed.unwrap();
        let manifest = Manifest::new(OCI_MANIFEST, blob, Vec::new()).to_bytes();
        let root = Descriptor::of(OCI_MANIFEST, &manifest);
        let pushed = client.push_manifest(&reference, &root, &manifest, &cancel);
        pushed.unwrap();
    };
    tagged("chart", "application/vnd.cncf.helm.config.v1+json");
    let cache = opened(&registry.host(), "c:chart");
    let read = cache.read_indexes(&cancel).unwrap_err();
    let words = "vnd.cncf.helm.config.v1+json";
    assert!(
        matches!(read, Error::Foreign { .. }) && read.to_string().contains(words),
        "{read}"
    );
    let written = put(&cache, b"index", &[], &[]);
    assert!(matches!(written, Err(Error::Foreign { .. })), "{written:?}");
}

#[test]
fn a_cache_that_lost_its_index_is_told_and_written_anew() {
    let registry = Registry::start();
    let cache = opened(&registry.host(), "c:t");
    put(&cache, b"first", &[], &[]).unwrap();
    let hex = Digest::sha256_of(b"first").hex().to_owned();
    let path = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    for bytes in [&b"evil!"[..], b"by", b"more bytes"] {
        std::fs::write(registry.data().join(&path), bytes).unwrap();
        let fresh = opened(&registry.host(), "c:t");
        let read = fresh.read_indexes(&CancelToken::new());
        assert!(matches!(read, Err(Error::Document { .. })), "{read:?}");
    }
    std::fs::remove_file(registry.data().join(&path)).unwrap();
    let fresh = opened(&registry.host(), "c:t");
    let read = fresh.read_indexes(&CancelToken::new());
    assert!(matches!(read, Err(Error::Document { .. })), "{read:?}");
    put(&fresh, b"second", &[], &[]).unwrap();
    assert_eq!(
        contents(&opened(&registry.host(), "c:t")),
        [b"second".to_vec()]
    );
}

#[test]
fn a_blob_that_is_named_and_gone_is_found_out_and_sent_again() {
    let registry = Registry::start();
    let from = Local::new();
    let blob = from.put(&noise(1, 1000));
    let cache = opened(&registry.host(), "c:t");
    send(&cache, &blob, &from).unwrap();
    write(&cache, b"first", std::slice::from_ref(&blob), &[]);
    let links = registry
        .data()
        .join("docker/registry/v2/repositories/c/_layers/sha256");
    std::fs::remove_dir_all(links.join(blob.digest.hex())).unwrap();
    let fresh = opened(&registry.host(), "c:t");
    let all = std::slice::from_ref(&blob);
    // The tag says so.
    assert_eq!(present(&fresh, all).len(), 1);
    let seen = [indexes(&fresh)[0].name.clone()];
    let written = put(&fresh, b"second", all, &seen);
    assert!(
        matches!(&written, Err(Error::Gone { digest, .. }) if *digest == blob.digest),
        "{written:?}"
    );
    assert!(present(&fresh, all).is_empty());
    send(&fresh, &blob, &from).unwrap();
    assert_eq!(present(&fresh, all).len(), 1);
    put(&fresh, b"second", all, &seen).unwrap();
}

#[test]
fn who_may_not_write_is_told_once() {
    let registry = Registry::start();
    let door = Door::to(&registry.host());
    let from = Local::new();
    let blob = from.put(&noise(1, 1000));
    let cache = opened(&door.host(), "c:t");
    let denied = r#"{"errors":[{"code":"DENIED","message":"read only"}]}"#;
    for method in ["POST", "PUT", "PATCH"] {
        door.arm((method, "/"), usize::MAX, Fault::Status(403, denied));
    }
    let first = send(&cache, &blob, &from).unwrap_err();
    assert!(
        first
            .to_string()
            .contains("write in the cache registry 127.0.0.1"),
        "{first}"
    );
    let cause = std::error::Error::source(&first).unwrap().to_string();
    assert!(
        cause.contains("push access denied") && cause.contains("read only"),
        "{cause}"
    );
    door.log();
    for outcome in [send(&cache, &blob, &from), put(&cache, b"index", &[], &[])] {
        let cause = outcome.unwrap_err();
        let cause = std::error::Error::source(&cause).unwrap().to_string();
        assert!(cause.contains("push access denied"), "{cause}");
    }
    assert_eq!(door.log(), Vec::<String>::new());
    assert_eq!(contents(&cache), Vec::<Vec<u8>>::new());
}

#[test]
fn troubles_on_the_way_pass() {
    let registry = Registry::start();
    let door = Door::to(&registry.host());
    let from = Local::new();
    let bytes = noise(1, 6 << 20);
    let blob = from.put(&bytes);
    let cache = opened(&door.host(), "c:t");
    for (step, fault) in [
        (("POST", "/uploads/"), Fault::Status(503, "")),
        (("PUT", "/uploads/"), Fault::Cut),
        (("PUT", "/uploads/"), Fault::LoseAnswer),
        (("PUT", "/manifests/"), Fault::Status(429, "")),
        (("PUT", "/manifests/"), Fault::LoseAnswer),
        (("GET", "/manifests/"), Fault::CutAnswer(700)),
        (("GET", "/blobs/"), Fault::CutAnswer(100_000)),
        (("HEAD", "/blobs/"), Fault::Status(500, "")),
    ] {
        door.arm(step, 1, fault);
    }
    send(&cache, &blob, &from).unwrap();
    write(&cache, &noise(2, 300_000), std::slice::from_ref(&blob), &[]);
    assert!(contents(&cache)[0] == noise(2, 300_000));
    assert!(contract::fetch(&cache, &blob).unwrap() == bytes);
}

#[test]
fn a_registry_that_stays_broken_is_an_error_and_no_empty_cache() {
    let registry = Registry::start();
    let door = Door::to(&registry.host());
    put(&opened(&door.host(), "c:t"), b"index", &[], &[]).unwrap();
    let faults = [
        Fault::Status(500, ""),
        Fault::Status(429, ""),
        Fault::Status(401, ""),
        Fault::Cut,
        Fault::Status(200, "<html>"),
    ];
    for fault in faults {
        for method in ["GET", "HEAD"] {
            door.arm((method, "/"), usize::MAX, fault.clone());
        }
        let cache = opened(&door.host(), "c:t");
        let read = cache.read_indexes(&CancelToken::new());
        assert!(
            matches!(read, Err(Error::Place { .. })),
            "{fault:?}: {read:?}"
        );
        // Nobody knows what is there: it stays.
        let written = put(&cache, b"other", &[], &[]);
        assert!(written.is_err(), "{fault:?}");
        door.disarm();
    }
    assert_eq!(contents(&opened(&door.host(), "c:t")), [b"index".to_vec()]);
}

#[test]
fn attributes_lead_to_a_place() {
    let pairs = [
        ("ref", "h.io/c:t"),
        ("registry.insecure", "true"),
        ("scope", "pr"),
    ];
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut attrs = Attrs::new("registry", pairs).unwrap();
    let place = RegistryPlace::parse(&mut attrs, Direction::From).unwrap();
    assert!(place.insecure);
    let backend = RegistryBackend::new(place, lazy());
    assert_eq!(backend.name(), "registry h.io/c:t.pr");
}
