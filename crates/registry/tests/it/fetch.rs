//! Blobs into the store, over connections of every kind.

use std::io::Read;
use std::sync::Arc;

use rbuild_oci::{Descriptor, Digest};
use rbuild_progress::{CancelToken, CollectSink, Event, VertexKey};
use rbuild_registry::{Error, FetchContext};
use rbuild_store::Store;
use tokio::sync::Barrier;

use crate::server::{Fault, Server, client};

/// A store and what else a fetch needs.
struct Bench {
    server: Server,
    store: Store,
    sink: CollectSink,
    vertex: VertexKey,
    cancel: CancelToken,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            server: Server::start(),
            store: Store::open(dir.path()).unwrap(),
            sink: CollectSink::new(),
            vertex: VertexKey::new("sha256:v"),
            cancel: CancelToken::new(),
            dir,
        }
    }

    fn fetch(&self, descriptors: &[Descriptor]) -> Result<(), Error> {
        let cx = FetchContext {
            store: &self.store,
            sink: &self.sink,
            vertex: &self.vertex,
            cancel: &self.cancel,
        };
        let reference = self.server.reference("a/b:1");
        match descriptors {
            [one] => client().fetch_blob(&reference, one, &cx),
            many => client().fetch_many(&reference, many, &cx),
        }
    }

    fn stored(&self, digest: &Digest) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.store
            .open_blob(digest)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    }

    /// Files below the store whose name or content could be what a failed fetch left.
    fn assert_nothing_left(&self, digest: &Digest) {
        assert!(!self.store.has_blob(digest));
        assert_eq!(self.store.blobs().unwrap(), []);
        let mut stack = vec![self.dir.path().to_path_buf()];
        while let Some(dir) = stack.pop() {
            for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
                let is_dir = entry.file_type().unwrap().is_dir();
                let name = entry.file_name().into_string().unwrap();
                assert!(!name.contains(digest.hex()), "{name}");
                if is_dir {
                    stack.push(entry.path());
                }
            }
        }
    }

    fn ranges(&self) -> Vec<Option<String>> {
        let state = self.server.state();
        state
            .seen
            .iter()
            .map(|seen| seen.header("range").map(str::to_owned))
            .collect()
    }
}

/// Bytes that do not repeat soon.
fn content(size: usize) -> Vec<u8> {
    (0..size as u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8)
        .collect()
}

#[test]
fn blob_is_stored_once_and_reported() {
    let bench = Bench::new();
    let bytes = content(300_000);
    let layer = bench.server.put_layer(&bytes);
    bench.fetch(std::slice::from_ref(&layer)).unwrap();
    assert_eq!(bench.stored(&layer.digest), bytes);
    let events = bench.sink.take();
    let Some(Event::Status(last)) = events.last() else {
        panic!("no status")
    };
    assert_eq!((last.current, last.total), (300_000, Some(300_000)));
    assert!(last.completed.is_some());
    bench.fetch(&[layer]).unwrap();
    assert_eq!(bench.server.log().len(), 1);
}

#[test]
fn broken_bodies_are_resumed_where_they_broke() {
    let bench = Bench::new();
    let bytes = content(200_000);
    let layer = bench.server.put_layer(&bytes);
    bench.server.fault("/blobs/", Fault::Break(50_000));
    bench.server.fault("/blobs/", Fault::Short(30_000));
    bench.fetch(std::slice::from_ref(&layer)).unwrap();
    assert_eq!(bench.stored(&layer.digest), bytes);
    let ranges = bench.ranges();
    assert_eq!(
        ranges,
        [
            None,
            Some("bytes=50000-".to_owned()),
            Some("bytes=80000-".to_owned())
        ]
    );
}

#[test]
fn servers_without_ranges_are_resumed_by_skipping() {
    let bench = Bench::new();
    let bytes = content(200_000);
    let layer = bench.server.put_layer(&bytes);
    bench.server.fault("/blobs/", Fault::Break(50_000));
    bench.server.fault("/blobs/", Fault::IgnoreRange);
    bench.fetch(std::slice::from_ref(&layer)).unwrap();
    assert_eq!(bench.stored(&layer.digest), bytes);
}

#[test]
fn another_range_than_asked_for_is_refused() {
    let bench = Bench::new();
    let layer = bench.server.put_layer(&content(1000));
    bench.server.fault("/blobs/", Fault::Break(500));
    bench.server.fault("/blobs/", Fault::WrongRange);
    let error = bench.fetch(std::slice::from_ref(&layer)).unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
}

#[test]
fn tampered_blobs_do_not_enter() {
    let bench = Bench::new();
    let layer = bench.server.put_layer(&content(100_000));
    bench.server.fault("/blobs/", Fault::Tamper);
    let error = bench.fetch(std::slice::from_ref(&layer)).unwrap_err();
    assert!(matches!(&error, Error::WrongDigest { expected, .. } if *expected == layer.digest));
    bench.assert_nothing_left(&layer.digest);
}

#[test]
fn blobs_longer_than_stated_do_not_enter() {
    let bench = Bench::new();
    let layer = bench.server.put_layer(&content(1000));
    bench.server.fault("/blobs/", Fault::Extra(1));
    let error = bench.fetch(std::slice::from_ref(&layer)).unwrap_err();
    assert!(
        matches!(error, Error::TooLong { expected: 1000, .. }),
        "{error:?}"
    );
    bench.assert_nothing_left(&layer.digest);
}

#[test]
fn blobs_that_stay_short_are_truncated() {
    let bench = Bench::new();
    let mut layer = bench.server.put_layer(&content(1000));
    // The descriptor promises more than there is: the rest cannot be had by any range.
    layer.size = 2000;
    let error = bench.fetch(std::slice::from_ref(&layer)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Truncated {
                expected: 2000,
                found: 1000,
                ..
            }
        ),
        "{error:?}"
    );
    bench.assert_nothing_left(&layer.digest);
}

#[test]
fn patience_and_unknown_blobs() {
    let bench = Bench::new();
    let layer = bench.server.put_layer(b"x");
    bench.server.fault("/blobs/", Fault::RetryAfter(429, "0"));
    bench.server.fault("/blobs/", Fault::Status(500, ""));
    bench.fetch(&[layer]).unwrap();
    let unknown = Descriptor::of("x", b"never stored");
    let error = bench.fetch(std::slice::from_ref(&unknown)).unwrap_err();
    assert!(
        matches!(&error, Error::UnknownBlob { message, .. } if message.contains("never heard"))
    );
}

#[test]
fn many_blobs_come_four_at_a_time() {
    let bench = Bench::new();
    let layers: Vec<Descriptor> = (0..8)
        .map(|n| bench.server.put_layer(&content(1000 + n)))
        .collect();
    // Each answer waits until four requests are there: fewer would never end, more are counted.
    bench.server.state().barrier = Some(Arc::new(Barrier::new(4)));
    bench.fetch(&layers).unwrap();
    assert!(
        layers
            .iter()
            .all(|layer| bench.store.has_blob(&layer.digest))
    );
    assert_eq!(bench.server.state().most_in_flight, 4);
}

#[test]
fn the_first_failure_ends_the_others() {
    let bench = Bench::new();
    let hanging = bench.server.put_layer(&content(1000));
    bench.server.fault(hanging.digest.as_str(), Fault::Hang);
    let unknown = Descriptor::of("x", b"never stored");
    let error = bench.fetch(&[hanging.clone(), unknown]).unwrap_err();
    assert!(matches!(error, Error::UnknownBlob { .. }), "{error:?}");
    bench.assert_nothing_left(&hanging.digest);
}

#[test]
fn a_set_token_ends_a_fetch_that_hangs() {
    let bench = Bench::new();
    let layer = bench.server.put_layer(&content(1000));
    bench.server.fault("/blobs/", Fault::Hang);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| bench.fetch(std::slice::from_ref(&layer)));
        while bench.server.log().is_empty() {
            std::thread::yield_now();
        }
        bench.cancel.cancel();
        assert!(waiting.join().unwrap().unwrap_err().is_cancelled());
    });
    bench.assert_nothing_left(&layer.digest);
}

#[test]
fn equal_blobs_wanted_at_once_are_fetched_once() {
    let bench = Bench::new();
    let layer = bench.server.put_layer(&content(100_000));
    bench
        .fetch(&[layer.clone(), layer.clone(), layer.clone()])
        .unwrap();
    assert_eq!(bench.server.log().len(), 1);
    assert!(bench.store.has_blob(&layer.digest));
}

#[test]
fn configs_are_verified_and_bounded() {
    let bench = Bench::new();
    let config = bench.server.put_blob("x", b"{}");
    let reference = bench.server.reference("a/b:1");
    assert_eq!(
        client()
            .config_bytes(&reference, &config, &bench.cancel)
            .unwrap(),
        b"{}"
    );
    bench.server.fault("/blobs/", Fault::Tamper);
    let error = client()
        .config_bytes(&reference, &config, &bench.cancel)
        .unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }));
    let large = Descriptor {
        size: 8 * 1024 * 1024 + 1,
        ..config
    };
    let error = client()
        .config_bytes(&reference, &large, &bench.cancel)
        .unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }));
}
