//! The GitHub Actions backend against a stand-in of the service: the contract, both versions, many entries.

use std::sync::Arc;
use std::time::Duration;

use rbuild_cache::gha::{GhaEnv, GhaPlace, open};
use rbuild_cache::{Attrs, Backend, Error, NewIndex};
use rbuild_oci::Descriptor;
use rbuild_progress::CancelToken;
use rbuild_registry::Secret;

use crate::contract::{self, Habits, Local, MEDIA_TYPE, noise};
use crate::s3::client;
use rbuild_testkit::{
    ACTIONS_API_TOKEN as API_TOKEN, ACTIONS_REPOSITORY as REPOSITORY, ACTIONS_TOKEN as TOKEN,
    Actions, ActionsFault as Fault,
};

/// The newest index is all that can be found, and nothing can be deleted.
const PLAIN: Habits = Habits {
    keeps_foreign: false,
    removes_merged: false,
};

pub fn place(actions: &Actions, more: &[(&str, &str)]) -> GhaPlace {
    let env = GhaEnv {
        cache_url: Some(actions.url("/first/abc/")),
        results_url: Some(actions.url("/results")),
        token: Some(Secret::new(TOKEN)),
        service_v2: Some("true".to_owned()),
        repository: None,
        api_url: Some(actions.url("/api")),
    };
    let pairs = more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let mut attrs = Attrs::new("gha", pairs).unwrap();
    let place = GhaPlace::parse(&mut attrs, &env).unwrap();
    attrs.take("scope");
    attrs.finish().unwrap();
    place
}

pub fn backend(actions: &Actions, more: &[(&str, &str)]) -> Arc<dyn Backend> {
    open(place(actions, more), &client())
}

const API: [(&str, &str); 2] = [("ghtoken", API_TOKEN), ("repository", REPOSITORY)];

#[test]
fn the_second_version_keeps_the_contract() {
    let actions = Actions::start();
    let backend = backend(&actions, &[]);
    assert_eq!(backend.name(), "gha 127.0.0.1/rbuild");
    contract::holds(&*backend, PLAIN);
    assert!(actions.count("comp=blocklist") > 0);
    assert_eq!(actions.count("_apis") + actions.count("/api/"), 0);
}

#[test]
fn the_first_version_keeps_the_contract() {
    let actions = Actions::start();
    contract::holds(&*backend(&actions, &[("version", "1")]), PLAIN);
    assert!(actions.count("PATCH") > 0);
    assert_eq!(actions.count("twirp") + actions.count("/api/"), 0);
}

#[test]
fn with_the_api_everything_can_be_done() {
    let actions = Actions::start();
    contract::holds(&*backend(&actions, &API), Habits::ALL);
    assert!(actions.count("DELETE") > 0);
    let first = Actions::start();
    let words = [API[0], API[1], ("version", "1")];
    contract::holds(&*backend(&first, &words), Habits::ALL);
}

#[test]
fn who_may_not_delete_can_still_write() {
    let actions = Actions::start();
    actions.state().may_delete = false;
    let backend = backend(&actions, &API);
    contract::write(&*backend, b"first", &[], &[]);
    let seen = contract::indexes(&*backend)[0].name.clone();
    contract::write(&*backend, b"second", &[], &[seen]);
    assert_eq!(
        contract::contents(&*backend),
        [b"second".to_vec(), b"first".to_vec()]
    );
}

#[test]
fn it_opens_nothing_before_it_is_asked() {
    let actions = Actions::start();
    let _backend = backend(&actions, &[]);
    assert_eq!(actions.count(""), 0);
}

#[test]
fn two_writers_at_once_are_both_found_in_a_list() {
    let actions = Actions::start();
    let (one, two) = (backend(&actions, &API), backend(&actions, &API));
    std::thread::scope(|scope| {
        scope.spawn(|| contract::write(&*one, b"of one", &[], &[]));
        scope.spawn(|| contract::write(&*two, b"of two", &[], &[]));
    });
    let mut both = contract::contents(&*backend(&actions, &API));
    both.sort();
    assert_eq!(both, [b"of one".to_vec(), b"of two".to_vec()]);
}

/// Reads, merges, writes and reads again, as whoever writes an index does.
fn merge_in(backend: &dyn Backend, own: &str) {
    for _ in 0..50 {
        let there = contract::indexes(backend);
        let lines = there
            .iter()
            .map(|one| String::from_utf8_lossy(&one.bytes).into_owned());
        let mut lines: Vec<String> = lines.collect();
        if lines.iter().any(|line| line.contains(own)) {
            return;
        }
        lines.push(own.to_owned());
        let merged: Vec<String> = there.into_iter().map(|one| one.name).collect();
        let bytes = lines.join(" ");
        let index = NewIndex {
            bytes: bytes.as_bytes(),
            blobs: &[],
            merged: &merged,
        };
        match backend.write_index(&index, &CancelToken::new()) {
            Ok(()) | Err(Error::Moved { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("{own} was lost again and again");
}

#[test]
fn many_writers_at_once_lose_nothing_where_only_the_newest_is_found() {
    let actions = Actions::start();
    std::thread::scope(|scope| {
        for own in ["one", "two", "three", "four"] {
            let backend = backend(&actions, &[]);
            scope.spawn(move || merge_in(&*backend, own));
        }
    });
    // Each has seen its own line; the last to write may have missed one that is seen by nobody any more, and
    // whoever comes next adds it again.
    let backend = backend(&actions, &[]);
    for own in ["one", "two", "three", "four"] {
        merge_in(&*backend, own);
    }
    let all = contract::contents(&*backend);
    let all = String::from_utf8(all.into_iter().next().unwrap()).unwrap();
    for own in ["one", "two", "three", "four"] {
        assert!(all.contains(own), "{all}");
    }
}

#[test]
fn scopes_are_apart() {
    let actions = Actions::start();
    let main = backend(&actions, &[("scope", "main")]);
    let other = backend(&actions, &[("scope", "main-2")]);
    contract::write(&*other, b"of main-2", &[], &[]);
    assert!(contract::contents(&*main).is_empty());
    contract::write(&*main, b"of main", &[], &[]);
    assert_eq!(contract::contents(&*other), [b"of main-2".to_vec()]);
}

#[test]
fn parts_may_come_in_any_order_and_are_put_together_in_theirs() {
    for version in ["1", "2"] {
        let actions = Actions::start();
        let backend = backend(&actions, &[("version", version)]);
        let from = Local::new();
        let bytes = noise(3, (50 << 20) + 17);
        let blob = from.put(&bytes);
        backend
            .send(&blob, &from.store, &CancelToken::new())
            .unwrap();
        assert!(actions.state().entries[0].bytes == bytes);
        let parts = actions.count("comp=block&") + actions.count("PATCH");
        assert_eq!(parts, 7);
    }
}

#[test]
fn what_somebody_else_has_sent_or_is_sending_is_not_sent() {
    let actions = Actions::start();
    let from = Local::new();
    let blob = from.put(&noise(1, 1000));
    backend(&actions, &[])
        .send(&blob, &from.store, &CancelToken::new())
        .unwrap();
    let other = backend(&actions, &[]);
    other.send(&blob, &from.store, &CancelToken::new()).unwrap();
    assert_eq!(actions.count("PUT"), 1);
    // Once known, it is not asked for again.
    other.send(&blob, &from.store, &CancelToken::new()).unwrap();
    assert_eq!(actions.count("CreateCacheEntry"), 2);
    // Reserved, but never finished: it is not there, and nothing can be done about it.
    actions.state().entries[0].is_done = false;
    assert!(contract::present(&*other, std::slice::from_ref(&blob)).is_empty());
    other.send(&blob, &from.store, &CancelToken::new()).unwrap();
    let failed = contract::fetch(&*other, &blob).unwrap_err();
    assert!(matches!(failed, Error::Gone { .. }), "{failed:?}");
}

#[test]
fn whoever_sends_what_another_thread_is_sending_waits_for_it() {
    for version in ["1", "2"] {
        let actions = Actions::start();
        let backend = backend(&actions, &[("version", version)]);
        let from = Local::new();
        let blob = from.put(&noise(1, 1000));
        for upload in ["PUT", "PATCH"] {
            actions.fault(upload, Fault::Slow(Duration::from_millis(300)));
        }
        let send_and_fetch = || {
            let sent = backend.send(&blob, &from.store, &CancelToken::new());
            sent.unwrap();
            contract::fetch(&*backend, &blob).unwrap()
        };
        let all: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(send_and_fetch)).collect();
            threads.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(all.iter().all(|bytes| *bytes == noise(1, 1000)));
        assert_eq!(actions.count("PUT") + actions.count("PATCH"), 1);
    }
}

#[test]
fn a_list_saves_lookups() {
    let actions = Actions::start();
    let backend = backend(&actions, &API);
    let from = Local::new();
    let blobs: Vec<Descriptor> = (0..120).map(|seed| from.put(&noise(seed, 20))).collect();
    for blob in &blobs[..110] {
        backend
            .send(blob, &from.store, &CancelToken::new())
            .unwrap();
    }
    let before = actions.count("");
    assert_eq!(contract::present(&*backend, &blobs).len(), 110);
    assert_eq!(actions.count("") - before, 2);
    // One is looked up.
    let absent = Descriptor::of(MEDIA_TYPE, b"absent");
    assert!(contract::present(&*backend, &[absent]).is_empty());
    assert_eq!(actions.count("GetCacheEntryDownloadURL"), 1);
}

#[test]
fn a_key_that_is_taken_is_no_place_for_an_index() {
    let actions = Actions::start();
    let taken = Fault::Status(409, "{\"code\":\"already_exists\"}");
    actions.fault("CreateCacheEntry", taken);
    let backend = backend(&actions, &[]);
    contract::write(&*backend, b"index", &[], &[]);
    assert_eq!(contract::contents(&*backend), [b"index".to_vec()]);
}
