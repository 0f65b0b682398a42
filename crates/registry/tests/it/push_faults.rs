//! Pushing to a registry that misbehaves: the table of faults, a test for each row.

use std::time::{Duration, Instant};

use rbuild_oci::media_type::OCI_MANIFEST;
use rbuild_oci::{Descriptor, Digest};
use rbuild_progress::CancelToken;
use rbuild_registry::{Client, ClientConfig, Error, Pushed};

use crate::push::{Here, bearer, logged_in, noise};
use crate::server::{Login, PASSWORD, Server, client, config};
use crate::uploads::UploadFault as Fault;

/// Large enough to be resumed, small enough for a test.
const LARGE: usize = 5 << 20;
const CHUNK: usize = 16 << 20;

/// Pushes noise of this length to a registry with these faults; returns its log.
#[track_caller]
fn through(length: usize, faults: &[(&'static str, Fault)]) -> Vec<String> {
    let (server, here) = (Server::start(), Here::new());
    let bytes = noise(length);
    server.state().uploads.faults = faults.to_vec();
    let pushed = here.push(&client(), &server.reference("a/b:1"), &[here.blob(&bytes)]);
    assert_eq!(pushed.unwrap(), [Pushed::Sent]);
    let state = server.state();
    assert!(state.uploads.has("a/b", &bytes), "{:?}", state.uploads.log);
    assert!(
        state.uploads.faults.is_empty(),
        "{:?}",
        state.uploads.faults
    );
    state.uploads.log.clone()
}

/// Pushes to a registry with these faults, which must fail; returns the error with its causes.
#[track_caller]
fn fails(length: usize, faults: &[(&'static str, Fault)]) -> String {
    let (server, here) = (Server::start(), Here::new());
    server.state().uploads.faults = faults.to_vec();
    let blob = here.blob(&noise(length));
    let error = here
        .push(&client(), &server.reference("a/b:1"), &[blob])
        .unwrap_err();
    assert!(server.state().uploads.manifests.is_empty());
    chain(&error).replace(&server.host(), "HOST")
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[test]
fn wrong_password_is_told_in_the_registrys_words() {
    let (server, here) = (Server::start(), Here::new());
    let blob = here.blob(b"x");
    for login in [Login::Basic, bearer()] {
        server.state().login = login.clone();
        let pushed = here.push(
            &logged_in("wrong"),
            &server.reference("a/b:1"),
            std::slice::from_ref(&blob),
        );
        let Err(Error::PushDenied { name, message }) = pushed else {
            panic!("{pushed:?}");
        };
        assert_eq!(name, format!("{}/a/b", server.host()));
        assert!(
            !message.is_empty() || matches!(login, Login::Basic),
            "{message}"
        );
    }
    assert!(server.state().uploads.log.is_empty());
}

#[test]
fn token_that_expires_in_the_middle_is_renewed() {
    for step in ["POST", "PUT"] {
        let (server, here) = (Server::start(), Here::new());
        server.state().login = bearer();
        server.state().uploads.next_token = Some((step, "token-2".into()));
        let bytes = noise(LARGE);
        let client = logged_in(PASSWORD);
        here.push(&client, &server.reference("a/b:1"), &[here.blob(&bytes)])
            .unwrap();
        let state = server.state();
        assert!(state.uploads.has("a/b", &bytes));
        let asked = state
            .seen
            .iter()
            .filter(|seen| seen.path == "/token")
            .count();
        assert_eq!(asked, 2, "{step}");
    }
}

#[test]
fn drop_at_ninety_percent_is_resumed_where_it_broke() {
    let cut = LARGE / 10 * 9;
    let log = through(LARGE, &[("PUT", Fault::DropAt(cut))]);
    let rest = LARGE - cut;
    let wanted = [
        "HEAD".to_owned(),
        "POST".to_owned(),
        format!("PUT {cut} broken"),
        "GET".to_owned(),
        format!("PATCH {rest}"),
        "PUT 0".to_owned(),
    ];
    assert_eq!(log, wanted);
}

#[test]
fn what_breaks_again_goes_on_in_chunks() {
    let faults = [
        ("PUT", Fault::DropAt(1000)),
        ("PATCH", Fault::DropAt(5000)),
        ("PATCH", Fault::Status(502, "")),
    ];
    let log = through(2 * CHUNK, &faults);
    let sent: Vec<&str> = log
        .iter()
        .map(String::as_str)
        .filter(|step| step.starts_with('P'))
        .collect();
    let whole = format!("PATCH {CHUNK}");
    let last = format!("PATCH {}", CHUNK - 6000);
    let wanted = [
        "POST",
        "PUT 1000 broken",
        "PATCH 5000 broken",
        &whole,
        &last,
        "PUT 0",
    ];
    assert_eq!(sent, wanted);
}

#[test]
fn a_small_blob_that_breaks_is_sent_again() {
    let log = through(1000, &[("PUT", Fault::DropAt(900))]);
    assert_eq!(
        log,
        ["HEAD", "POST", "PUT 900 broken", "HEAD", "POST", "PUT 1000"]
    );
}

#[test]
fn lost_session_begins_anew() {
    let log = through(LARGE, &[("PUT", Fault::DropAndForget(LARGE / 2))]);
    let wanted = [
        "HEAD".to_owned(),
        "POST".to_owned(),
        format!("PUT {} broken", LARGE / 2),
        "GET".to_owned(),
        "HEAD".to_owned(),
        "POST".to_owned(),
        format!("PUT {LARGE}"),
    ];
    assert_eq!(log, wanted);
}

#[test]
fn session_that_is_lost_every_time_is_an_error() {
    let lost = || {
        (
            "PUT",
            Fault::Status(404, r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#),
        )
    };
    let error = fails(10, &[lost(), lost(), lost(), lost()]);
    assert!(
        error.contains("status 404 (the registry says: BLOB_UPLOAD_UNKNOWN)"),
        "{error}"
    );
}

#[test]
fn lost_answer_is_found_to_be_done() {
    let log = through(1000, &[("PUT", Fault::DropAnswer)]);
    assert_eq!(log, ["HEAD", "POST", "PUT 1000", "HEAD"]);
    through(LARGE, &[("PUT", Fault::DropAnswer)]);
}

#[test]
fn three_times_500_then_well() {
    let bad = |step| (step, Fault::Status(500, "oops"));
    through(1000, &[bad("PUT"), bad("PUT"), bad("PUT")]);
    through(1000, &[bad("POST"), bad("POST"), bad("POST")]);
    through(LARGE, &[bad("PUT"), bad("PUT"), bad("PUT")]);
}

#[test]
fn five_hundred_without_end_is_an_error() {
    let all = std::array::from_fn::<_, 8, _>(|_| ("PUT", Fault::Status(503, "out of order")));
    let error = fails(1000, &all);
    assert!(
        error.starts_with("HOST/a/b took only 0 of 1000 bytes of sha256:"),
        "{error}"
    );
    assert!(
        error.ends_with("status 503 from HOST (the registry says: out of order)"),
        "{error}"
    );
}

#[test]
fn too_many_requests_wait_as_long_as_asked() {
    let begun = Instant::now();
    let (server, here) = (Server::start(), Here::new());
    server.state().uploads.faults = vec![("PUT", Fault::RetryAfter(429, "1"))];
    let mut patient = config();
    patient.retry.longest_pause = Duration::from_secs(5);
    let client = Client::new(patient);
    here.push(&client, &server.reference("a/b:1"), &[here.blob(b"x")])
        .unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_stall_is_noticed_and_resumed() {
    let (server, here) = (Server::start(), Here::new());
    server.state().uploads.faults = vec![("PUT", Fault::Stall(100_000))];
    let client = Client::new(ClientConfig {
        read_timeout: Duration::from_millis(300),
        ..config()
    });
    // More than the system's buffers take for the one who does not read.
    let bytes = noise(12 << 20);
    here.push(&client, &server.reference("a/b:1"), &[here.blob(&bytes)])
        .unwrap();
    let state = server.state();
    assert!(state.uploads.has("a/b", &bytes));
    assert!(state.uploads.log.contains(&"PUT 100000 broken".to_owned()));
}

#[test]
fn a_stall_can_be_cancelled_at_once() {
    let (server, here) = (Server::start(), Here::new());
    server.state().uploads.faults = vec![("PUT", Fault::Stall(100_000))];
    let blob = here.blob(&noise(12 << 20));
    let cancel = CancelToken::new();
    let reference = server.reference("a/b:1");
    std::thread::scope(|scope| {
        let client = client();
        let pushed = scope.spawn({
            let (here, cancel, reference) = (&here, &cancel, &reference);
            move || here.push_until(&client, reference, &[blob], cancel)
        });
        while !server
            .state()
            .uploads
            .log
            .iter()
            .any(|step| step.ends_with("broken"))
        {
            std::thread::yield_now();
        }
        let begun = Instant::now();
        cancel.cancel();
        let error = pushed.join().unwrap().unwrap_err();
        assert!(error.is_cancelled(), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn a_later_push_goes_on_with_what_an_earlier_one_left() {
    let (server, here) = (Server::start(), Here::new());
    let bytes = noise(LARGE);
    let (blob, cut) = ([here.blob(&bytes)], LARGE / 2);
    server.state().uploads.faults = vec![("PUT", Fault::Stall(cut))];
    let (reference, cancel) = (server.reference("a/b:1"), CancelToken::new());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| here.push_until(&client(), &reference, &blob, &cancel));
        while !server
            .state()
            .uploads
            .log
            .iter()
            .any(|step| step.ends_with("broken"))
        {
            std::thread::yield_now();
        }
        cancel.cancel();
        first.join().unwrap().unwrap_err();
    });
    server.state().uploads.log.clear();
    here.push(&client(), &reference, &blob).unwrap();
    let state = server.state();
    assert!(state.uploads.has("a/b", &bytes));
    let rest = format!("PATCH {}", LARGE - cut);
    assert_eq!(state.uploads.log, ["HEAD", "GET", &rest, "PUT 0"]);
}

#[test]
fn what_an_earlier_push_left_may_be_gone() {
    let (server, here) = (Server::start(), Here::new());
    let bytes = noise(LARGE);
    let key = format!("upload {}/a/b {}", server.host(), Digest::sha256_of(&bytes));
    let gone = format!("http://{}/v2/a/b/blobs/uploads/gone", server.host());
    let table = rbuild_store::Table::Remotes;
    here.store.put(table, &key, gone.as_bytes()).unwrap();
    here.push(&client(), &server.reference("a/b:1"), &[here.blob(&bytes)])
        .unwrap();
    let state = server.state();
    assert_eq!(
        state.uploads.log,
        ["HEAD", "GET", "POST", &format!("PUT {LARGE}")]
    );
    assert_eq!(here.store.get(table, &key).unwrap(), None);
}

#[test]
fn what_was_begun_elsewhere_is_forgotten_and_sent_anew() {
    let (server, here) = (Server::start(), Here::new());
    let bytes = noise(LARGE);
    let key = format!("upload {}/a/b {}", server.host(), Digest::sha256_of(&bytes));
    let table = rbuild_store::Table::Remotes;
    let push = || here.push(&client(), &server.reference("a/b:1"), &[here.blob(&bytes)]);
    // As after a change between plain HTTP and TLS.
    let other = format!("https://{}/v2/a/b/blobs/uploads/1", server.host());
    here.store.put(table, &key, other.as_bytes()).unwrap();
    assert_eq!(push().unwrap(), [Pushed::Sent]);
    let whole = format!("PUT {LARGE}");
    assert_eq!(server.state().uploads.log, ["HEAD", "POST", &whole]);
    assert_eq!(here.store.get(table, &key).unwrap(), None);
    // Nor is anything kept of an upload whose blob came there by other means.
    here.store.put(table, &key, other.as_bytes()).unwrap();
    assert_eq!(push().unwrap(), [Pushed::Present]);
    assert_eq!(here.store.get(table, &key).unwrap(), None);
}

#[test]
fn upload_elsewhere_gets_no_credential() {
    let (server, here) = (Server::start(), Here::new());
    let other = server.listen_elsewhere();
    server.state().login = Login::Basic;
    server.state().uploads.elsewhere = Some(other.clone());
    let bytes = noise(LARGE);
    let cut = LARGE / 2;
    server.state().uploads.faults = vec![("PUT", Fault::DropAt(cut))];
    here.push(
        &logged_in(PASSWORD),
        &server.reference("a/b:1"),
        &[here.blob(&bytes)],
    )
    .unwrap();
    let state = server.state();
    assert!(state.uploads.has("a/b", &bytes), "{:?}", state.uploads.log);
    let far = state
        .seen
        .iter()
        .filter(|seen| seen.header("host") == Some(&other));
    let far: Vec<_> = far.collect();
    assert_eq!(far.len(), 4, "{far:?}");
    for seen in far {
        assert_eq!(seen.header("authorization"), None, "{seen:?}");
    }
    // A key to other people's storage is not kept either.
    let key = format!("upload {}/a/b {}", server.host(), Digest::sha256_of(&bytes));
    let kept = here.store.get(rbuild_store::Table::Remotes, &key).unwrap();
    assert_eq!(kept, None);
}

#[test]
fn wrong_digest_in_the_answer_is_an_error() {
    let other = Digest::sha256_of(b"other").to_string();
    let error = fails(1000, &[("PUT", Fault::SayDigest(other.clone()))]);
    assert!(
        error.contains("was sent sha256:") && error.contains(&other),
        "{error}"
    );
    through(1000, &[("PUT", Fault::SayNothing)]);
}

#[test]
fn wrong_digest_for_a_manifest_is_an_error_and_none_is_looked_after() {
    let server = Server::start();
    let bytes = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;
    let descriptor = Descriptor::of(OCI_MANIFEST, bytes);
    let reference = server.reference("a/b:1");
    let put = || client().push_manifest(&reference, &descriptor, bytes, &CancelToken::new());
    let other = Digest::sha256_of(b"other");
    server.state().uploads.faults = vec![("MANIFEST", Fault::SayDigest(other.to_string()))];
    let error = put().unwrap_err();
    assert!(
        matches!(&error, Error::TookOther { found, .. } if *found == other),
        "{error}"
    );
    server.state().uploads.faults = vec![("MANIFEST", Fault::SayNothing)];
    server.put_document("a/b", "1", OCI_MANIFEST, b"{\"config\":{}}");
    let error = put().unwrap_err();
    assert!(matches!(error, Error::TookOther { .. }), "{error}");
    server.state().uploads.faults = vec![("MANIFEST", Fault::SayNothing)];
    server.put_document("a/b", "1", OCI_MANIFEST, bytes);
    put().unwrap();
}

#[test]
fn too_large_for_the_registry_is_told() {
    let (server, here) = (Server::start(), Here::new());
    server.state().uploads.limit = Some(1000);
    let error = here.push(
        &client(),
        &server.reference("a/b:1"),
        &[here.blob(&noise(LARGE))],
    );
    let error = error.unwrap_err();
    assert!(
        matches!(error, Error::Refused { status: 413, .. }),
        "{error}"
    );
}

#[test]
fn too_large_for_a_proxy_goes_in_chunks() {
    let (server, here) = (Server::start(), Here::new());
    server.state().uploads.limit = Some(1 << 20);
    let bytes = noise(LARGE);
    here.push(&client(), &server.reference("a/b:1"), &[here.blob(&bytes)])
        .unwrap();
    let state = server.state();
    assert!(state.uploads.has("a/b", &bytes));
    let chunks = state
        .uploads
        .log
        .iter()
        .filter(|step| step.starts_with("PATCH"));
    assert!(chunks.count() > 4, "{:?}", state.uploads.log);
}

#[test]
fn door_that_closes_without_a_word_gets_smaller_requests() {
    let closed = || ("PUT", Fault::DropAt(0));
    let log = through(LARGE, &[closed(), closed()]);
    assert!(log.contains(&format!("PATCH {}", LARGE / 2)), "{log:?}");
}

#[test]
fn registry_without_chunks_gets_it_whole() {
    let (server, here) = (Server::start(), Here::new());
    server.state().uploads.no_chunks = true;
    server.state().uploads.faults = vec![("PUT", Fault::DropAt(LARGE / 2))];
    let bytes = noise(LARGE);
    here.push(&client(), &server.reference("a/b:1"), &[here.blob(&bytes)])
        .unwrap();
    let state = server.state();
    assert!(state.uploads.has("a/b", &bytes));
    assert_eq!(state.uploads.log.last(), Some(&format!("PUT {LARGE}")));
}

#[test]
fn shortest_chunk_of_the_registry_is_kept() {
    let (server, here) = (Server::start(), Here::new());
    server.state().uploads.shortest_chunk = Some(20 << 20);
    server.state().uploads.faults = vec![("PUT", Fault::DropAt(10))];
    let bytes = noise(22 << 20);
    here.push(&client(), &server.reference("a/b:1"), &[here.blob(&bytes)])
        .unwrap();
    let first = server
        .state()
        .uploads
        .log
        .iter()
        .find(|step| step.starts_with("PATCH"))
        .cloned();
    assert_eq!(first, Some(format!("PATCH {}", 20 << 20)));
}

#[test]
fn unknown_repository_and_refusals_are_the_registrys_words() {
    let unknown = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"create it first"}]}"#;
    let error = fails(10, &[("POST", Fault::Status(404, unknown))]);
    assert_eq!(
        error,
        "repository HOST/a/b not found (the registry says: NAME_UNKNOWN: create it first)"
    );
    let denied = r#"{"errors":[{"code":"DENIED","message":"read only"}]}"#;
    let error = fails(10, &[("POST", Fault::Status(403, denied))]);
    assert!(
        error.starts_with("push access denied for HOST/a/b"),
        "{error}"
    );
    assert!(
        error.ends_with("(the registry says: DENIED: read only)"),
        "{error}"
    );
}

#[test]
fn a_blob_of_another_size_is_not_sent() {
    let (server, here) = (Server::start(), Here::new());
    let mut blob = here.blob(b"four");
    blob.descriptor.size = 5;
    let error = here
        .push(&client(), &server.reference("a/b:1"), &[blob])
        .unwrap_err();
    assert!(
        chain(&error).ends_with("it has 4 bytes, not 5"),
        "{}",
        chain(&error)
    );
    assert_eq!(server.state().uploads.received, 0);
}
