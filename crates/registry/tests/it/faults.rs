//! What goes wrong with registries that are slow, flaky or false; `docs/registries.md` lists all of it.

use std::time::{Duration, Instant};

use rbuild_oci::Digest;
use rbuild_progress::{CancelToken, NullSink, VertexKey};
use rbuild_registry::{Client, ClientConfig, Error, FetchContext, Reach};
use rbuild_store::Store;

use crate::server::{Fault, Server, config};

/// A client that waits for a fifth of a second only.
fn impatient() -> Client {
    Client::new(ClientConfig {
        read_timeout: Duration::from_millis(200),
        ..config()
    })
}

#[test]
fn a_registry_that_stalls_is_given_up() {
    let server = Server::start();
    server.put_image("a/b", "1", "x");
    for _ in 0..4 {
        server.fault("/manifests/", Fault::Hang);
    }
    let begin = Instant::now();
    let error = impatient()
        .resolve(&server.reference("a/b:1"), &CancelToken::new())
        .unwrap_err();
    assert!(matches!(error, Error::Stalled { .. }), "{error:?}");
    assert!(
        error.to_string().ends_with("sent nothing for 0.2 s"),
        "{error}"
    );
    // Once more, and no more: each attempt costs the whole time.
    assert_eq!(server.log().len(), 2);
    assert!(begin.elapsed() < Duration::from_secs(5));
}

fn fetch(client: &Client, server: &Server, bytes: &[u8]) -> Result<(), Error> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let layer = server.put_layer(bytes);
    let vertex = VertexKey::new("sha256:v");
    let cx = FetchContext {
        store: &store,
        sink: &NullSink,
        vertex: &vertex,
        cancel: &CancelToken::new(),
    };
    let outcome = client.fetch_blob(&server.reference("a/b:1"), &layer, &cx);
    assert_eq!(store.has_blob(&layer.digest), outcome.is_ok());
    outcome
}

#[test]
fn a_blob_that_stalls_is_given_up() {
    let server = Server::start();
    for _ in 0..4 {
        server.fault("/blobs/", Fault::Hang);
    }
    let error = fetch(&impatient(), &server, &[7; 1000]).unwrap_err();
    let Error::Truncated {
        found: 0, source, ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(source.unwrap().to_string(), "it sent nothing for 0.2 s");
    assert_eq!(server.log().len(), 2);
}

#[test]
fn a_blob_that_drops_at_90_percent_is_resumed() {
    let server = Server::start();
    let bytes: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    server.fault("/blobs/", Fault::Break(bytes.len() / 10 * 9));
    fetch(&Client::new(config()), &server, &bytes).unwrap();
    let state = server.state();
    assert_eq!(state.seen.len(), 2);
    assert_eq!(state.seen[1].header("range"), Some("bytes=3600000-"));
}

#[test]
fn three_failures_of_the_registry_are_outlived() {
    let server = Server::start();
    let put = server.put_image("a/b", "1", "x");
    for _ in 0..3 {
        server.fault("/manifests/", Fault::Status(500, ""));
    }
    let found = Client::new(config()).resolve(&server.reference("a/b:1"), &CancelToken::new());
    assert_eq!(found.unwrap().descriptor, put);
    assert_eq!(server.log().len(), 4);
}

#[test]
fn a_registry_that_asks_for_an_hour_is_not_waited_for() {
    let server = Server::start();
    server.put_image("a/b", "1", "x");
    server.fault("/manifests/", Fault::RetryAfter(429, "3600"));
    let begin = Instant::now();
    let error = Client::new(config())
        .resolve(&server.reference("a/b:1"), &CancelToken::new())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("limits requests for 60 min more"),
        "{error}"
    );
    assert_eq!(server.log().len(), 1);
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn offline_not_a_packet_is_sent() {
    let server = Server::start();
    server.put_image("a/b", "1", "x");
    let client = Client::new(ClientConfig {
        reach: Reach::Offline,
        ..config()
    });
    let error = client
        .resolve(&server.reference("a/b:1"), &CancelToken::new())
        .unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error:?}");
    let error = fetch(&client, &server, b"layer").unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error:?}");
    assert!(server.log().is_empty());
    assert!(
        !error
            .to_string()
            .contains(Digest::sha256_of(b"layer").hex())
    );
}
