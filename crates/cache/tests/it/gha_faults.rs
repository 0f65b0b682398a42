//! The GitHub Actions backend against a service that misbehaves.

use std::time::{Duration, Instant};

use rbuild_cache::gha::open;
use rbuild_cache::{Backend, Error, NewIndex};
use rbuild_oci::Descriptor;
use rbuild_progress::CancelToken;
use rbuild_testkit::{Actions, ActionsFault as Fault, WebReply, WebServer};

use crate::contract::{self, Local, noise};
use crate::gha::{backend, place};
use crate::s3::client;

const LOOK_UP: &str = "GetCacheEntryDownloadURL";
const DOWN: &str = "GET /down/";

/// A service with one blob, and its bytes.
fn with_blob(length: usize) -> (Actions, Descriptor, Vec<u8>) {
    let actions = Actions::start();
    let from = Local::new();
    let bytes = noise(7, length);
    let blob = from.put(&bytes);
    let sent = backend(&actions, &[]).send(&blob, &from.store, &CancelToken::new());
    sent.unwrap();
    (actions, blob, bytes)
}

/// An error with its causes; checked not to hold anything that must not be shown.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    let all = format!("{text} {error:?}");
    assert!(!all.contains("hunter2") && !all.contains("sig="), "{all}");
    text
}

fn indexes(backend: &dyn Backend) -> String {
    told(&backend.read_indexes(&CancelToken::new()).unwrap_err())
}

#[test]
fn a_broken_body_is_resumed() {
    let (actions, blob, bytes) = with_blob(300_000);
    for length in [0, 1, 200_000] {
        actions.fault(DOWN, Fault::Break(length));
    }
    assert!(contract::fetch(&*backend(&actions, &[]), &blob).unwrap() == bytes);
    // A storage that knows no ranges sends what is here already once more.
    actions.fault(DOWN, Fault::Break(150_000));
    actions.fault(DOWN, Fault::IgnoreRange);
    assert!(contract::fetch(&*backend(&actions, &[]), &blob).unwrap() == bytes);
}

#[test]
fn a_body_that_breaks_each_time_is_given_up() {
    let (actions, blob, _) = with_blob(300_000);
    actions
        .state()
        .habits
        .push((DOWN.to_owned(), Fault::Break(0)));
    let failed = contract::fetch(&*backend(&actions, &[]), &blob).unwrap_err();
    assert!(told(&failed).starts_with("read a blob in the cache gha 127.0.0.1/rbuild: "));
    assert!(actions.count(DOWN) < 10);
}

#[test]
fn an_address_that_has_expired_is_asked_for_anew() {
    let (actions, blob, bytes) = with_blob(300_000);
    actions.fault(DOWN, Fault::Break(1000));
    actions.fault(
        DOWN,
        Fault::Status(403, "<Error><Code>AuthenticationFailed</Code></Error>"),
    );
    assert!(contract::fetch(&*backend(&actions, &[]), &blob).unwrap() == bytes);
    assert_eq!(actions.count(LOOK_UP), 2);
    let denied = Fault::Status(403, "<Error><Code>AuthorizationFailure</Code></Error>");
    actions.state().habits.push((DOWN.to_owned(), denied));
    let text = told(&contract::fetch(&*backend(&actions, &[]), &blob).unwrap_err());
    assert!(
        text.contains("denies access (the service says: AuthorizationFailure)"),
        "{text}"
    );
}

#[test]
fn an_upload_whose_address_expires_is_an_error() {
    let actions = Actions::start();
    let from = Local::new();
    let blob = from.put(&noise(1, 30 << 20));
    actions.fault(
        "comp=blocklist",
        Fault::Status(403, "<Error><Code>AuthenticationFailed</Code></Error>"),
    );
    let sent = backend(&actions, &[]).send(&blob, &from.store, &CancelToken::new());
    assert!(told(&sent.unwrap_err()).contains("AuthenticationFailed"));
    actions.expire();
    // Never to be seen.
    assert!(contract::present(&*backend(&actions, &[]), &[blob]).is_empty());
}

#[test]
fn a_blob_that_ends_early_or_was_swapped_is_corrupt() {
    let (actions, blob, _) = with_blob(300_000);
    let backend = backend(&actions, &[]);
    for fault in [Fault::Short(299_999), Fault::Short(0), Fault::Tamper] {
        actions.fault(DOWN, fault.clone());
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
fn a_blob_that_was_evicted_is_gone() {
    let (actions, blob, _) = with_blob(10);
    let backend = backend(&actions, &[]);
    // Between the lookup and the download.
    actions
        .state()
        .habits
        .push((DOWN.to_owned(), Fault::Status(404, "")));
    let failed = contract::fetch(&*backend, &blob).unwrap_err();
    assert!(matches!(failed, Error::Gone { .. }), "{failed:?}");
    actions.state().habits.clear();
    actions.state().entries.clear();
    let failed = contract::fetch(&*backend, &blob).unwrap_err();
    assert!(matches!(failed, Error::Gone { .. }), "{failed:?}");
}

#[test]
fn trouble_that_passes_is_waited_for() {
    for version in ["1", "2"] {
        let actions = Actions::start();
        let backend = backend(&actions, &[("version", version)]);
        let from = Local::new();
        let blob = from.put(&noise(1, 100_000));
        for text in [
            LOOK_UP,
            "/cache?",
            "Create",
            "POST /first",
            "PUT",
            "PATCH",
            "Finalize",
            DOWN,
        ] {
            for status in [500, 502, 503] {
                actions.fault(text, Fault::Status(status, "<html>Bad Gateway</html>"));
            }
        }
        assert!(contract::present(&*backend, std::slice::from_ref(&blob)).is_empty());
        backend
            .send(&blob, &from.store, &CancelToken::new())
            .unwrap();
        assert_eq!(contract::fetch(&*backend, &blob).unwrap().len(), 100_000);
    }
}

#[test]
fn a_limit_of_requests_is_kept() {
    let actions = Actions::start();
    let backend = backend(&actions, &[]);
    actions.fault(LOOK_UP, Fault::Wait(1));
    let started = Instant::now();
    assert!(contract::contents(&*backend).is_empty());
    assert!(started.elapsed() >= Duration::from_millis(950));
    // More than there is patience for.
    actions.fault(LOOK_UP, Fault::Wait(3600));
    let text = indexes(&*backend);
    assert!(
        text.contains("127.0.0.1:") && text.contains(" limits requests"),
        "{text}"
    );
}

#[test]
fn errors_say_what_to_do() {
    let actions = Actions::start();
    let check = |status, body, wanted: &str| {
        actions.fault(LOOK_UP, Fault::Status(status, body));
        let text = indexes(&*backend(&actions, &[]));
        assert!(
            text.starts_with("read the indexes in the cache gha 127.0.0.1/rbuild: "),
            "{text}"
        );
        assert!(text.contains(wanted), "{text}");
    };
    check(401, "{}", "does not accept the token, or it has expired");
    check(
        403,
        r#"{"code":"permission_denied","msg":"read only"}"#,
        "denies access (the service says: permission_denied: read only)",
    );
    check(418, "<html>teapot</html>", "status 418 from 127.0.0.1:");
    check(
        200,
        "<html>welcome</html>",
        "gives no answer of this protocol",
    );
    check(
        200,
        r#"{"ok":true,"matched_key":"index-rbuild-rbuild#1","signed_download_url":"file:///etc/passwd"}"#,
        "the service gives an address that is none, or without TLS",
    );
}

#[test]
fn a_full_or_read_only_cache_is_said_to_be_so() {
    let actions = Actions::start();
    let from = Local::new();
    for (what, status, body, wanted) in [
        (
            "Create",
            403,
            r#"{"code":"permission_denied","msg":"token can only read"}"#,
            "token can only read",
        ),
        ("PUT", 507, "", "takes no more"),
        (
            "PUT",
            413,
            "<Error><Code>RequestBodyTooLarge</Code></Error>",
            "RequestBodyTooLarge",
        ),
        (
            "Finalize",
            200,
            r#"{"ok":false,"message":"quota\nexceeded"}"#,
            "it says: quota exceeded",
        ),
    ] {
        for length in [100, 20 << 20] {
            let blob = from.put(&noise(u64::from(length as u32) + body.len() as u64, length));
            actions.state().habits = vec![(what.to_owned(), Fault::Status(status, body))];
            let backend = backend(&actions, &[]);
            let sent = backend.send(&blob, &from.store, &CancelToken::new());
            let text = told(&sent.unwrap_err());
            assert!(
                text.starts_with("send a blob in the cache") && text.contains(wanted),
                "{text}"
            );
            actions.state().habits.clear();
            assert!(contract::present(&*backend, &[blob]).is_empty());
        }
    }
    actions.state().habits = vec![("Create".to_owned(), Fault::Status(403, "{}"))];
    let index = NewIndex {
        bytes: b"index",
        blobs: &[],
        merged: &[],
    };
    let written = backend(&actions, &[]).write_index(&index, &CancelToken::new());
    assert!(told(&written.unwrap_err()).contains("denies access"));
}

#[test]
fn tokens_go_nowhere_else() {
    let (actions, blob, _) = with_blob(100);
    let elsewhere = WebServer::start(|_| WebReply::of("{}"));
    let backend = backend(&actions, &[]);
    // The storage's address is another one; it panics where a token comes.
    contract::fetch(&*backend, &blob).unwrap();
    actions.fault(LOOK_UP, Fault::Redirect(elsewhere.url("/")));
    let text = indexes(&*backend);
    assert!(text.contains("leads elsewhere"), "{text}");
    assert!(elsewhere.asked().is_empty());
}

#[test]
fn a_blob_whose_upload_broke_off_is_not_taken_for_sent() {
    let actions = Actions::start();
    let backend = backend(&actions, &[]);
    let from = Local::new();
    let blob = from.put(&noise(3, 1000));
    let send = || backend.send(&blob, &from.store, &CancelToken::new());
    actions.state().habits = vec![("PUT".to_owned(), Fault::Status(403, "<Error/>"))];
    assert!(send().is_err());
    actions.state().habits.clear();
    let text = told(&send().unwrap_err());
    assert!(
        text.contains("taken by an upload that was broken off"),
        "{text}"
    );
    // Where not even the key was to be had, somebody else may have sent it since.
    let other = from.put(&noise(4, 1000));
    actions.fault("CreateCacheEntry", Fault::Status(403, "{}"));
    let again = || backend.send(&other, &from.store, &CancelToken::new());
    assert!(again().is_err());
    let somebody = self::backend(&actions, &[]);
    let sent = somebody.send(&other, &from.store, &CancelToken::new());
    sent.unwrap();
    again().unwrap();
}

#[test]
fn a_service_that_goes_away_is_an_error_and_no_hang() {
    let (actions, blob, _) = with_blob(100);
    let backend = backend(&actions, &[]);
    drop(actions);
    let text = told(&contract::fetch(&*backend, &blob).unwrap_err());
    assert!(
        text.contains("cannot reach 127.0.0.1:") && text.contains("refused"),
        "{text}"
    );
}

#[test]
fn a_wrong_answer_to_a_prefix_is_not_believed() {
    let actions = Actions::start();
    let other = r#"{"ok":true,"matched_key":"other","signed_download_url":"http://127.0.0.1:1/"}"#;
    actions
        .state()
        .habits
        .push((LOOK_UP.to_owned(), Fault::Status(200, other)));
    let backend = backend(&actions, &[]);
    assert!(contract::contents(&*backend).is_empty());
    let failed = contract::fetch(&*backend, &Local::new().put(b"x")).unwrap_err();
    assert!(matches!(failed, Error::Gone { .. }), "{failed:?}");
}

#[test]
fn cancelling_ends_everything_within_a_second() {
    let (actions, blob, _) = with_blob(100);
    let from = Local::new();
    let other = from.put(&noise(9, 20 << 20));
    let slow = Fault::Slow(Duration::from_secs(4));
    actions.state().habits.push((String::new(), slow));
    let backend = backend(&actions, &[]);
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
fn what_takes_too_long_is_given_up() {
    let (actions, blob, _) = with_blob(100);
    let slow = Fault::Slow(Duration::from_secs(30));
    actions.state().habits.push((DOWN.to_owned(), slow));
    let backend = open(place(&actions, &[("timeout", "300ms")]), &client());
    let text = told(&contract::fetch(&*backend, &blob).unwrap_err());
    assert!(
        text.ends_with("it took longer than 0.3 s (timeout=)"),
        "{text}"
    );
}

#[test]
fn an_answer_that_ends_nowhere_is_given_up() {
    let actions = Actions::start();
    let slow = Fault::Slow(Duration::from_secs(30));
    actions.state().habits.push((LOOK_UP.to_owned(), slow));
    let hasty = rbuild_registry::Client::new(rbuild_registry::ClientConfig {
        read_timeout: Duration::from_millis(200),
        ..rbuild_registry::ClientConfig::default()
    });
    let started = Instant::now();
    let text = indexes(&*open(place(&actions, &[]), &hasty));
    assert!(text.contains("sent nothing for 0.2 s"), "{text}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn offline_asks_nobody() {
    let actions = Actions::start();
    let offline = rbuild_registry::Client::new(rbuild_registry::ClientConfig {
        reach: rbuild_registry::Reach::Offline,
        ..rbuild_registry::ClientConfig::default()
    });
    let backend = open(place(&actions, &[]), &offline);
    let text = indexes(&*backend);
    assert!(text.contains("offline"), "{text}");
    assert_eq!(actions.count(""), 0);
}
