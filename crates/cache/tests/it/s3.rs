//! The S3 backend against a bucket in memory: the contract, few requests, ages, names.

use std::sync::Arc;
use std::time::Duration;

use rbuild_cache::s3::{S3Env, S3Place, open};
use rbuild_cache::{Attrs, Backend};
use rbuild_oci::Descriptor;
use rbuild_progress::CancelToken;
use rbuild_registry::{Client, ClientConfig, ProxyConfig, RetryPolicy};
use rbuild_testkit::ProxyServer;

use crate::bucket::{Bucket, KEY_ID, NAME, SECRET};
use crate::contract::{self, Habits, Local, MEDIA_TYPE, noise};

/// A client that does not wait long.
pub fn client() -> Client {
    Client::new(ClientConfig {
        retry: RetryPolicy {
            first_pause: Duration::from_millis(2),
            longest_pause: Duration::from_secs(2),
            ..RetryPolicy::default()
        },
        read_timeout: Duration::from_secs(5),
        ..ClientConfig::default()
    })
}

/// The place at a service, with these attributes more.
pub fn place(url: &str, more: &[(&str, &str)]) -> S3Place {
    let all = [
        ("bucket", NAME),
        ("endpoint_url", url),
        ("access_key_id", KEY_ID),
        ("secret_access_key", SECRET),
        ("prefix", "team/cache"),
    ];
    let pairs = all
        .iter()
        .filter(|(key, _)| !more.iter().any(|(other, _)| other == key));
    let pairs = pairs
        .chain(more)
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let mut attrs = Attrs::new("s3", pairs).unwrap();
    let place = S3Place::parse(&mut attrs, &S3Env::default()).unwrap();
    attrs.finish().unwrap();
    place
}

pub fn backend(bucket: &Bucket, more: &[(&str, &str)]) -> Arc<dyn Backend> {
    open(place(&bucket.url(), more), &client()).unwrap()
}

#[test]
fn it_keeps_the_contract() {
    let bucket = Bucket::start();
    let backend = backend(&bucket, &[]);
    assert_eq!(backend.name(), "s3 bucket/team/cache/rbuild");
    contract::holds(&*backend, Habits::ALL);
    assert_eq!(bucket.unfinished(), 0);
}

#[test]
fn it_opens_nothing_before_it_is_asked() {
    let bucket = Bucket::start();
    let _backend = backend(&bucket, &[]);
    assert_eq!(bucket.count(""), 0);
}

#[test]
fn a_bucket_is_reached_through_a_proxy() {
    let bucket = Bucket::start();
    let proxy = ProxyServer::start(&[("s3.test:80", bucket.address())]);
    let address = format!("http://user:hunter2@{}", proxy.address());
    let through = |address: String| {
        let client = Client::new(ClientConfig {
            proxy: ProxyConfig {
                http: Some(address),
                ..ProxyConfig::default()
            },
            ..ClientConfig::default()
        });
        let words = [("use_path_style", "true"), ("retry_max_attempts", "1")];
        open(place("http://s3.test", &words), &client).unwrap()
    };
    let backend = through(address);
    contract::write(&*backend, b"index", &[], &[]);
    assert_eq!(contract::contents(&*backend), [b"index".to_vec()]);
    assert!(
        proxy
            .asked()
            .iter()
            .any(|asked| asked.target.starts_with("http://s3.test/bucket"))
    );
    drop(proxy);
    let gone = through("http://user:hunter2@127.0.0.1:1".to_owned());
    let failed = gone.read_indexes(&CancelToken::new()).unwrap_err();
    let shown = format!("{failed} {failed:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn two_writers_at_once_lose_nothing() {
    let bucket = Bucket::start();
    let (one, two) = (backend(&bucket, &[]), backend(&bucket, &[]));
    std::thread::scope(|scope| {
        scope.spawn(|| contract::write(&*one, b"of one", &[], &[]));
        scope.spawn(|| contract::write(&*two, b"of two", &[], &[]));
    });
    let mut both = contract::contents(&*backend(&bucket, &[]));
    both.sort();
    assert_eq!(both, [b"of one".to_vec(), b"of two".to_vec()]);
}

#[test]
fn several_names_are_one_cache() {
    let bucket = Bucket::start();
    let both = backend(&bucket, &[("name", "main;branch")]);
    contract::write(&*both, b"first", &[], &[]);
    // Written twice, read once.
    assert_eq!(bucket.state().objects.len(), 2);
    let seen = contract::indexes(&*both);
    assert_eq!(seen.len(), 1);
    let main = backend(&bucket, &[("name", "main")]);
    assert_eq!(contract::contents(&*main), [b"first".to_vec()]);
    contract::write(&*both, b"second", &[], &[seen[0].name.clone()]);
    assert_eq!(bucket.state().objects.len(), 2);
    let branch = backend(&bucket, &[("name", "branch")]);
    assert_eq!(contract::contents(&*branch), [b"second".to_vec()]);
    assert!(contract::contents(&*backend(&bucket, &[])).is_empty());
}

#[test]
fn what_is_there_is_asked_for_in_few_requests() {
    let bucket = Bucket::start();
    let backend = backend(&bucket, &[]);
    let from = Local::new();
    let sent: Vec<Descriptor> = (0..60).map(|seed| from.put(&noise(seed, 20))).collect();
    let absent = (100..160).map(|seed| Descriptor::of(MEDIA_TYPE, &noise(seed, 20)));
    for blob in &sent {
        backend
            .send(blob, &from.store, &CancelToken::new())
            .unwrap();
    }
    let expected = sent.iter().map(|blob| blob.digest.clone()).collect();
    let asked: Vec<Descriptor> = sent.iter().cloned().chain(absent).collect();
    let check = |page, most| {
        bucket.state().page = page;
        bucket.forget();
        assert_eq!(contract::present(&*backend, &asked), expected);
        let asked = bucket.count("");
        assert!(asked <= most, "{asked} requests with pages of {page}");
    };
    // One page, several, and pages so small that looking at each is no more work.
    check(1000, 1);
    check(25, 4);
    check(1, 125);
    bucket.forget();
    // A few are looked at one by one, and what was sent is not looked at again.
    assert_eq!(contract::present(&*backend, &asked[58..61]).len(), 2);
    assert_eq!((bucket.count("HEAD"), bucket.count("list-type")), (3, 0));
    bucket.forget();
    backend
        .send(&sent[0], &from.store, &CancelToken::new())
        .unwrap();
    assert_eq!(bucket.count(""), 0);
}

#[test]
fn old_blobs_in_use_are_made_young() {
    let bucket = Bucket::start();
    let from = Local::new();
    let (old, young, unused) = (from.put(b"old"), from.put(b"young"), from.put(b"unused"));
    let all = [old.clone(), young.clone(), unused.clone()];
    let first = backend(&bucket, &[]);
    for blob in &all {
        first.send(blob, &from.store, &CancelToken::new()).unwrap();
    }
    let key = |blob: &Descriptor| format!("team/cache/blobs/sha256/{}", blob.digest.hex());
    let modified = |blob| bucket.state().objects[&key(blob)].modified;
    let long_ago = modified(&old) - 7200;
    for blob in [&old, &unused] {
        bucket.state().objects.get_mut(&key(blob)).unwrap().modified = long_ago;
    }
    let next = backend(&bucket, &[("touch_refresh", "1h")]);
    assert_eq!(contract::present(&*next, &all).len(), 3);
    contract::write(&*next, b"index", &[old.clone(), young], &[]);
    assert!(modified(&old) > long_ago);
    assert_eq!(modified(&unused), long_ago);
    assert_eq!(bucket.count("PUT /bucket/team/cache/blobs"), 4);
    assert_eq!(contract::fetch(&*next, &old).unwrap(), b"old");
}

#[test]
fn only_the_newest_indexes_are_read() {
    let bucket = Bucket::start();
    let backend = backend(&bucket, &[]);
    for number in 0..40 {
        contract::write(&*backend, format!("{number:02}").as_bytes(), &[], &[]);
    }
    let read = contract::contents(&*backend);
    assert_eq!(read.len(), 32);
    assert_eq!(
        (read[0].as_slice(), read[31].as_slice()),
        (&b"39"[..], &b"08"[..])
    );
    // What is no index is none, whoever put it there.
    let key = "team/cache/manifests/rbuild/readme.txt".to_owned();
    let object = bucket.state().objects.values().next().unwrap().clone();
    bucket.state().objects.insert(key, object);
    assert_eq!(contract::contents(&*backend).len(), 32);
}
