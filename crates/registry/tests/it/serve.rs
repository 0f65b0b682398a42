//! The loopback registry, asked as engines ask and as nobody should.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rbuild_oci::Digest;
use rbuild_oci::media_type::OCI_MANIFEST;
use rbuild_progress::CancelToken;
use rbuild_registry::{LoopbackRegistry, ServeLimits, ServedDocument, ServedImage, Traffic};
use rbuild_store::Store;

const MANIFEST: &[u8] = b"{\"schemaVersion\":2}";

/// A registry with a manifest and one layer of these bytes.
struct Fixture {
    registry: LoopbackRegistry,
    layer: Digest,
    store: Arc<Store>,
    _dir: tempfile::TempDir,
}

fn fixture(layer: &[u8], limits: ServeLimits) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path()).unwrap());
    let digest = store.put_blob(layer).unwrap();
    store.put_blob(b"another image's").unwrap();
    let top = Digest::sha256_of(MANIFEST);
    let document = ServedDocument {
        media_type: OCI_MANIFEST.to_owned(),
        bytes: MANIFEST.to_vec(),
    };
    let image = ServedImage {
        documents: BTreeMap::from([(top.clone(), document)]),
        top,
        blobs: BTreeMap::from([(digest.clone(), layer.len() as u64)]),
    };
    Fixture {
        registry: LoopbackRegistry::start(image, store.clone(), limits).unwrap(),
        layer: digest,
        store,
        _dir: dir,
    }
}

impl Fixture {
    fn host(&self) -> String {
        self.registry.name().split_once('/').unwrap().0.to_owned()
    }

    fn repository(&self) -> String {
        self.registry.name().split_once('/').unwrap().1.to_owned()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.host()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// Sends this text alone on a connection; returns all that comes back.
    fn say(&self, text: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// Whether a new connection is answered.
    fn is_served(&self) -> bool {
        let mut stream = self.connect();
        let asked = stream.write_all(b"GET /v2/ HTTP/1.1\r\n\r\n");
        asked.is_ok() && stream.read(&mut [0; 16]).is_ok_and(|got| got > 0)
    }

    /// Asks for something below the repository, with further header lines.
    fn ask(&self, method: &str, path: &str, headers: &str) -> String {
        let repository = self.repository();
        self.say(&format!(
            "{method} /v2/{repository}/{path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n"
        ))
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[track_caller]
fn has(answer: &str, fragments: &[&str]) {
    for fragment in fragments {
        assert!(answer.contains(fragment), "no {fragment:?} in {answer}");
    }
}

#[test]
fn manifests_are_found_by_tag_and_digest_and_blobs_by_digest() {
    let fixture = fixture(b"0123456789", ServeLimits::default());
    let top = fixture.registry.digest().to_string();
    has(&fixture.say("GET /v2/ HTTP/1.1\r\n\r\n"), &["200 OK"]);
    for reference in ["latest", &top] {
        let answer = fixture.ask("GET", &format!("manifests/{reference}"), "");
        has(
            &answer,
            &[
                "200 OK",
                OCI_MANIFEST,
                &format!("Docker-Content-Digest: {top}"),
            ],
        );
        assert_eq!(body(&answer).as_bytes(), MANIFEST);
    }
    let path = format!("blobs/{}", fixture.layer);
    let answer = fixture.ask("HEAD", &path, "");
    has(&answer, &["200 OK", "Content-Length: 10\r\n"]);
    assert_eq!(body(&answer), "");
    assert_eq!(body(&fixture.ask("GET", &path, "")), "0123456789");
    let expected = Traffic {
        requests: 4,
        document_bytes: 2 * MANIFEST.len() as u64,
        blob_bytes: 10,
    };
    assert_eq!(fixture.registry.traffic(), expected);
}

#[test]
fn parts_of_blobs_are_served_and_counted() {
    let fixture = fixture(b"0123456789", ServeLimits::default());
    let path = format!("blobs/{}", fixture.layer);
    let answer = fixture.ask("GET", &path, "Range: bytes=4-6\r\n");
    has(
        &answer,
        &[
            "206 Partial",
            "Content-Range: bytes 4-6/10\r\n",
            "\r\n\r\n456",
        ],
    );
    let answer = fixture.ask("GET", &path, "Range: bytes=10-\r\n");
    has(&answer, &["416 ", "Content-Range: bytes */10\r\n"]);
    assert_eq!(fixture.registry.traffic().blob_bytes, 3);
}

#[test]
fn whoever_does_not_know_the_name_learns_nothing() {
    let fixture = fixture(b"secret layer", ServeLimits::default());
    let repository = fixture.repository();
    assert_eq!(repository.len(), 32);
    let layer = &fixture.layer;
    let wrong = "0".repeat(32);
    for path in [
        "/v2/_catalog".to_owned(),
        "/v2//blobs/".to_owned(),
        format!("/v2/{wrong}/manifests/latest"),
        format!("/v2/{wrong}/blobs/{layer}"),
        format!("/v2/{}/blobs/{layer}", &repository[..31]),
        format!("/v2/{wrong}/../{repository}/blobs/{layer}"),
        format!("/v2/{repository}"),
        format!("/v2/{repository}/tags/list"),
        format!("/{repository}/blobs/{layer}"),
        "/etc/passwd".to_owned(),
    ] {
        let answer = fixture.say(&format!("GET {path} HTTP/1.1\r\n\r\n"));
        has(&answer, &["404 ", "NAME_UNKNOWN"]);
        assert!(!answer.contains("secret layer"), "{answer}");
    }
    assert_eq!(fixture.registry.traffic(), Traffic::default());
}

#[test]
fn only_this_image_is_served_out_of_the_store() {
    let fixture = fixture(b"layer", ServeLimits::default());
    let other = Digest::sha256_of(b"another image's");
    assert!(fixture.store.open_blob(&other).is_ok());
    for path in [
        format!("blobs/{other}"),
        "blobs/sha256:../../../../etc/passwd".to_owned(),
        "blobs/%2e%2e%2fpasswd".to_owned(),
        "blobs/..".to_owned(),
    ] {
        has(&fixture.ask("GET", &path, ""), &["404 "]);
    }
    for path in ["manifests/other", "manifests/../blobs"] {
        let answer = fixture.ask("GET", path, "");
        has(&answer, &["404 "]);
    }
    assert_eq!(fixture.registry.traffic().blob_bytes, 0);
}

#[test]
fn nothing_can_be_written_and_nonsense_is_refused() {
    let fixture = fixture(b"layer", ServeLimits::default());
    for method in ["PUT", "DELETE", "PATCH", "POST"] {
        let answer = fixture.ask(method, "manifests/latest", "");
        has(&answer, &["405 ", "Allow: GET, HEAD"]);
    }
    let answer = fixture.ask("PUT", "manifests/latest", "Content-Length: 5\r\n");
    has(&answer, &["400 "]);
    has(&fixture.say("\u{16}\u{3}\u{1}\u{2}"), &["400 "]);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20 << 10));
    has(&fixture.say(&long), &["400 "]);
}

#[test]
fn a_connection_serves_several_requests() {
    let fixture = fixture(b"layer", ServeLimits::default());
    let one = format!(
        "GET /v2/{}/blobs/{} HTTP/1.1\r\n\r\n",
        fixture.repository(),
        fixture.layer
    );
    let answer = fixture.say(&one.repeat(3));
    assert_eq!(answer.matches("200 OK").count(), 3, "{answer}");
}

#[test]
fn a_client_that_asks_slowly_is_cut_off() {
    let limits = ServeLimits {
        request: Duration::from_millis(100),
        ..ServeLimits::default()
    };
    let fixture = fixture(b"layer", limits);
    let mut stream = fixture.connect();
    stream.write_all(b"GET /v2/ HT").unwrap();
    let mut answer = Vec::new();
    assert_eq!(stream.read_to_end(&mut answer).unwrap(), 0);
}

#[test]
fn a_client_that_reads_nothing_is_cut_off() {
    let limits = ServeLimits {
        connections: 1,
        stall: Duration::from_millis(100),
        ..ServeLimits::default()
    };
    // More than the kernel keeps for a reader.
    let layer = vec![7; 64 << 20];
    let fixture = fixture(&layer, limits);
    let mut stream = fixture.connect();
    let ask = format!(
        "GET /v2/{}/blobs/{} HTTP/1.1\r\n\r\n",
        fixture.repository(),
        fixture.layer
    );
    stream.write_all(ask.as_bytes()).unwrap();
    // Its place is free for another once it is cut off.
    let begin = Instant::now();
    while !fixture.is_served() {
        assert!(begin.elapsed() < Duration::from_secs(20), "not cut off");
        CancelToken::new().wait(Duration::from_millis(20)).unwrap();
    }
    let sent = fixture.registry.traffic().blob_bytes;
    assert!(sent > 0 && sent < layer.len() as u64, "{sent}");
}

#[test]
fn connections_beyond_the_limit_are_closed_and_others_go_on() {
    let limits = ServeLimits {
        connections: 1,
        ..ServeLimits::default()
    };
    let fixture = fixture(b"layer", limits);
    let mut first = fixture.connect();
    first.write_all(b"GET /v2/ HTTP/1.1\r\n\r\n").unwrap();
    let mut piece = [0; 4096];
    assert!(first.read(&mut piece).unwrap() > 0);
    let mut answer = Vec::new();
    // Closed by the other side, which may look like a reset.
    let got = fixture.connect().read_to_end(&mut answer);
    assert!(matches!(got, Ok(0) | Err(_)));
    first.write_all(b"GET /v2/ HTTP/1.1\r\n\r\n").unwrap();
    assert!(first.read(&mut piece).unwrap() > 0);
}

#[test]
fn it_ends_with_its_value_even_in_the_middle_of_an_answer() {
    let layer = vec![7; 64 << 20];
    let fixture = fixture(&layer, ServeLimits::default());
    let host = fixture.host();
    let mut reading = fixture.connect();
    let ask = format!(
        "GET /v2/{}/blobs/{} HTTP/1.1\r\n\r\n",
        fixture.repository(),
        fixture.layer
    );
    reading.write_all(ask.as_bytes()).unwrap();
    assert!(reading.read(&mut [0; 100]).unwrap() > 0);
    let begin = Instant::now();
    drop(fixture.registry);
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(TcpStream::connect(host).is_err());
}

#[test]
fn a_blob_that_is_gone_ends_the_connection() {
    let fixture = fixture(b"layer", ServeLimits::default());
    let hex = fixture.layer.to_string();
    let hex = hex.strip_prefix("sha256:").unwrap();
    remove_file_named(fixture.store.root(), hex);
    let answer = fixture.ask("GET", &format!("blobs/{}", fixture.layer), "");
    assert_eq!(answer, "");
}

/// Removes the file that a blob lies in, wherever the store keeps it.
fn remove_file_named(dir: &std::path::Path, name: &str) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            remove_file_named(&path, name);
        } else if name.ends_with(&*entry.file_name().to_string_lossy()) {
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn two_pull_at_once_and_get_what_was_put_in() {
    let layer: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    let fixture = fixture(&layer, ServeLimits::default());
    let ask = format!(
        "GET /v2/{}/blobs/{} HTTP/1.1\r\nConnection: close\r\n\r\n",
        fixture.repository(),
        fixture.layer
    );
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut stream = fixture.connect();
                stream.write_all(ask.as_bytes()).unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                assert!(answer.ends_with(&layer));
            });
        }
    });
    assert_eq!(
        fixture.registry.traffic().blob_bytes,
        2 * layer.len() as u64
    );
}
