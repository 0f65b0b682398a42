//! The S3 backend against a bucket that misbehaves.

use std::time::{Duration, Instant};

use rbuild_cache::s3::open;
use rbuild_cache::{Backend, Error, NewIndex};
use rbuild_oci::Descriptor;
use rbuild_progress::CancelToken;

use crate::bucket::{Bucket, Fault, SECRET};
use crate::contract::{self, Local, MEDIA_TYPE, noise};
use crate::s3::{backend, client, place};

const BLOBS: &str = "/bucket/team/cache/blobs";

/// A bucket with one blob, and its bytes.
fn with_blob(length: usize) -> (Bucket, Descriptor, Vec<u8>) {
    let bucket = Bucket::start();
    let from = Local::new();
    let bytes = noise(7, length);
    let blob = from.put(&bytes);
    let backend = backend(&bucket, &[]);
    backend
        .send(&blob, &from.store, &CancelToken::new())
        .unwrap();
    bucket.forget();
    (bucket, blob, bytes)
}

/// An error with its causes.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

fn indexes(backend: &dyn Backend) -> String {
    told(&backend.read_indexes(&CancelToken::new()).unwrap_err())
}

#[test]
fn a_broken_body_is_resumed() {
    let (bucket, blob, bytes) = with_blob(300_000);
    for length in [0, 1, 200_000] {
        bucket.fault(BLOBS, Fault::Break(length));
    }
    assert!(contract::fetch(&*backend(&bucket, &[]), &blob).unwrap() == bytes);
    assert_eq!(bucket.count("GET"), 4);
}

#[test]
fn a_body_that_breaks_each_time_is_given_up() {
    let (bucket, blob, _) = with_blob(300_000);
    bucket
        .state()
        .habits
        .push((BLOBS.to_owned(), Fault::Break(0)));
    let failed = contract::fetch(&*backend(&bucket, &[("retry_max_attempts", "2")]), &blob);
    let text = told(&failed.unwrap_err());
    assert!(
        text.starts_with("read a blob in the cache s3 bucket"),
        "{text}"
    );
    assert!(bucket.count("GET") < 20);
}

#[test]
fn a_blob_that_ends_early_or_was_swapped_is_corrupt() {
    let (bucket, blob, _) = with_blob(300_000);
    let backend = backend(&bucket, &[]);
    for fault in [Fault::Short(299_999), Fault::Short(0), Fault::Tamper] {
        bucket.fault(BLOBS, fault.clone());
        let to = Local::new();
        let failed = backend.fetch(&blob, &to.store, &|_| (), &CancelToken::new());
        let failed = failed.unwrap_err();
        assert!(
            matches!(failed, Error::Corrupt { .. }),
            "{fault:?}: {failed:?}"
        );
        assert!(!to.store.has_blob(&blob.digest));
    }
}

#[test]
fn a_blob_that_is_taken_away_is_gone() {
    let (bucket, blob, _) = with_blob(10);
    let backend = backend(&bucket, &[]);
    assert_eq!(
        contract::present(&*backend, std::slice::from_ref(&blob)).len(),
        1
    );
    bucket.state().objects.clear();
    let failed = contract::fetch(&*backend, &blob).unwrap_err();
    assert!(matches!(failed, Error::Gone { .. }), "{failed:?}");
    assert!(contract::present(&*backend, std::slice::from_ref(&blob)).is_empty());
}

#[test]
fn trouble_that_passes_is_waited_for() {
    let bucket = Bucket::start();
    let backend = backend(&bucket, &[]);
    let from = Local::new();
    let blob = from.put(&noise(1, 100_000));
    let absent = Descriptor::of(MEDIA_TYPE, b"absent");
    for text in ["HEAD", "PUT", "GET", "list-type"] {
        for _ in 0..3 {
            bucket.fault(text, Fault::Status(500, "InternalError"));
        }
        bucket.fault(text, Fault::Status(503, "SlowDown"));
    }
    assert!(contract::present(&*backend, &[absent]).is_empty());
    backend
        .send(&blob, &from.store, &CancelToken::new())
        .unwrap();
    assert_eq!(contract::fetch(&*backend, &blob).unwrap().len(), 100_000);
    contract::write(&*backend, b"index", &[], &[]);
    assert_eq!(contract::contents(&*backend), [b"index".to_vec()]);
}

#[test]
fn trouble_that_stays_is_an_error_after_so_many_attempts() {
    let bucket = Bucket::start();
    let habit = ("list-type".to_owned(), Fault::Status(500, "InternalError"));
    bucket.state().habits.push(habit);
    let text = indexes(&*backend(&bucket, &[("retry_max_attempts", "3")]));
    assert_eq!(
        text,
        "read the indexes in the cache s3 bucket/team/cache/rbuild: the service for the bucket bucket has \
         trouble (the service says: because of InternalError)"
    );
    assert_eq!(bucket.count(""), 3);
}

#[test]
fn errors_say_what_to_do() {
    let bucket = Bucket::start();
    let check = |status, code, wanted: &str| {
        bucket.fault("list-type", Fault::Status(status, code));
        let text = indexes(&*backend(&bucket, &[("retry_max_attempts", "1")]));
        assert!(text.contains(wanted), "{code}: {text}");
        assert!(!text.contains(SECRET), "{text}");
    };
    check(
        403,
        "AccessDenied",
        ": access denied to the bucket bucket (the service says: because of",
    );
    check(
        403,
        "SignatureDoesNotMatch",
        "the credentials are not accepted",
    );
    check(
        403,
        "InvalidAccessKeyId",
        "the credentials are not accepted",
    );
    check(
        403,
        "RequestTimeTooSkewed",
        "the clocks of this machine and of http://127.0.0.1:",
    );
    check(
        404,
        "NoSuchBucket",
        "there is no bucket bucket at http://127.0.0.1:",
    );
    check(
        301,
        "PermanentRedirect",
        "the bucket bucket is not in us-east-1: give its own region=",
    );
    check(400, "AuthorizationHeaderMalformed", "give its own region=");
    check(418, "Teapot", "Teapot for the bucket bucket in us-east-1");
}

#[test]
fn a_full_or_read_only_bucket_is_said_to_be_so() {
    let bucket = Bucket::start();
    let backend = backend(&bucket, &[("retry_max_attempts", "2")]);
    let from = Local::new();
    // In one request, and in parts.
    for length in [100, 20 << 20] {
        let blob = from.put(&noise(length as u64, length));
        for (status, code, wanted) in [
            (507, "InsufficientStorage", "takes no more"),
            (403, "QuotaExceeded", "takes no more"),
            (403, "AccessDenied", "access denied"),
        ] {
            let habit = ("PUT".to_owned(), Fault::Status(status, code));
            bucket.state().habits = vec![habit];
            let sent = backend.send(&blob, &from.store, &CancelToken::new());
            let text = told(&sent.unwrap_err());
            assert!(
                text.starts_with("send a blob in the cache") && text.contains(wanted),
                "{text}"
            );
        }
    }
    // Parts that came are given back.
    assert_eq!(bucket.unfinished(), 0);
    let index = NewIndex {
        bytes: b"index",
        blobs: &[],
        merged: &[],
    };
    let written = backend.write_index(&index, &CancelToken::new());
    assert!(told(&written.unwrap_err()).contains("access denied"));
    assert!(bucket.state().objects.is_empty());
}

#[test]
fn who_may_not_delete_or_list_can_still_write() {
    let (bucket, blob, bytes) = with_blob(100);
    let backend = backend(&bucket, &[]);
    contract::write(&*backend, b"first", &[], &[]);
    let seen = contract::indexes(&*backend)[0].name.clone();
    for text in ["DELETE", "list-type=2&prefix=team%2Fcache%2Fblobs"] {
        let habit = (text.to_owned(), Fault::Status(403, "AccessDenied"));
        bucket.state().habits.push(habit);
    }
    contract::write(&*backend, b"second", &[], &[seen]);
    assert_eq!(
        contract::contents(&*backend),
        [b"second".to_vec(), b"first".to_vec()]
    );
    let mut asked: Vec<_> = (0..20)
        .map(|n| Descriptor::of(MEDIA_TYPE, &noise(n, 9)))
        .collect();
    asked.push(blob.clone());
    assert_eq!(contract::present(&*backend, &asked).len(), 1);
    assert!(contract::fetch(&*backend, &blob).unwrap() == bytes);
}

#[test]
fn an_index_that_vanishes_while_it_is_read_is_left_out() {
    let bucket = Bucket::start();
    let backend = backend(&bucket, &[]);
    contract::write(&*backend, b"first", &[], &[]);
    contract::write(&*backend, b"second", &[], &[]);
    bucket.fault("GET /bucket/team", Fault::Status(404, "NoSuchKey"));
    assert_eq!(contract::contents(&*backend).len(), 1);
}

#[test]
fn a_service_that_goes_away_is_an_error_and_no_hang() {
    let (bucket, blob, _) = with_blob(100);
    let url = bucket.url();
    let backend = backend(&bucket, &[("retry_max_attempts", "2")]);
    drop(bucket);
    let text = told(&contract::fetch(&*backend, &blob).unwrap_err());
    assert!(text.contains(&format!("cannot reach {url}: ")), "{text}");
    assert!(text.contains("refused"), "{text}");
}

#[test]
fn a_tls_failure_is_told_as_one() {
    let bucket = Bucket::start();
    let url = bucket.url().replace("http:", "https:");
    let backend = open(place(&url, &[("retry_max_attempts", "1")]), &client()).unwrap();
    let text = indexes(&*backend);
    assert!(text.contains(&format!("cannot reach {url}: ")), "{text}");
}

#[test]
fn cancelling_ends_everything_within_a_second() {
    let (bucket, blob, _) = with_blob(100);
    let from = Local::new();
    let other = from.put(&noise(9, 20 << 20));
    let slow = Fault::Slow(Duration::from_secs(4));
    bucket.state().habits.push((String::new(), slow));
    let backend = backend(&bucket, &[]);
    let check = |work: &dyn Fn(&CancelToken) -> Result<(), Error>| {
        let cancel = CancelToken::new();
        let started = Instant::now();
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(100));
                cancel.cancel();
            });
            work(&cancel)
        });
        assert!(matches!(outcome, Err(Error::Cancelled)), "{outcome:?}");
        let took = started.elapsed();
        // A second, and what a busy machine adds; the answer would take four.
        assert!(took < Duration::from_secs(2), "{took:?}");
    };
    check(&|cancel| backend.read_indexes(cancel).map(drop));
    check(&|cancel| backend.fetch(&blob, &from.store, &|_| (), cancel));
    check(&|cancel| backend.send(&other, &from.store, cancel));
}

#[test]
fn a_connection_that_stays_silent_is_given_up() {
    let (bucket, blob, _) = with_blob(100);
    let slow = Fault::Slow(Duration::from_secs(30));
    bucket.state().habits.push((String::new(), slow));
    let hasty = rbuild_registry::Client::new(rbuild_registry::ClientConfig {
        read_timeout: Duration::from_millis(200),
        ..rbuild_registry::ClientConfig::default()
    });
    let place = place(&bucket.url(), &[("retry_max_attempts", "2")]);
    let backend = open(place, &hasty).unwrap();
    let started = Instant::now();
    contract::fetch(&*backend, &blob).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_upload_that_is_never_confirmed_is_given_up() {
    let bucket = Bucket::start();
    let from = Local::new();
    let blob = from.put(&noise(9, 20 << 20));
    let slow = Fault::Slow(Duration::from_secs(30));
    bucket.state().habits.push(("uploadId".to_owned(), slow));
    let hasty = rbuild_registry::Client::new(rbuild_registry::ClientConfig {
        read_timeout: Duration::from_millis(500),
        ..rbuild_registry::ClientConfig::default()
    });
    let place = place(&bucket.url(), &[("retry_max_attempts", "2")]);
    let backend = open(place, &hasty).unwrap();
    let started = Instant::now();
    let sent = backend.send(&blob, &from.store, &CancelToken::new());
    sent.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[test]
fn offline_asks_nobody() {
    let bucket = Bucket::start();
    let offline = rbuild_registry::Client::new(rbuild_registry::ClientConfig {
        reach: rbuild_registry::Reach::Offline,
        ..rbuild_registry::ClientConfig::default()
    });
    let backend = open(place(&bucket.url(), &[]), &offline).unwrap();
    let text = indexes(&*backend);
    assert!(text.contains("offline"), "{text}");
    assert_eq!(bucket.count(""), 0);
}
