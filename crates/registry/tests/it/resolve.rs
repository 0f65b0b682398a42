//! From names to manifests, also where the registry has moods.

use rbuild_oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use rbuild_oci::{Descriptor, Digest, Index, Platform, Reference};
use rbuild_progress::CancelToken;
use rbuild_registry::{Client, ClientConfig, Error, HostConfig, Scheme};

use crate::server::{Fault, Server, client, config};

fn platform(text: &str) -> Platform {
    Platform::parse(text).unwrap()
}

fn resolve(server: &Server, rest: &str) -> Result<Descriptor, Error> {
    client()
        .resolve(&server.reference(rest), &CancelToken::new())
        .map(|found| found.descriptor)
}

#[test]
fn tag_and_digest_lead_to_the_same_document() {
    let server = Server::start();
    let put = server.put_image("a/b", "1", "x");
    let cancel = CancelToken::new();
    let found = client()
        .resolve(&server.reference("a/b:1"), &cancel)
        .unwrap();
    assert_eq!(found.descriptor, put);
    assert_eq!(Digest::sha256_of(&found.bytes), put.digest);
    assert_eq!(
        resolve(&server, &format!("a/b:other@{}", put.digest)).unwrap(),
        put
    );
}

#[test]
fn head_is_enough_for_a_descriptor() {
    let server = Server::start();
    let put = server.put_image("a/b", "1", "x");
    let (client, cancel) = (client(), CancelToken::new());
    let found = client
        .resolve_descriptor(&server.reference("a/b:1"), &cancel)
        .unwrap();
    assert_eq!(
        (found, server.log()),
        (put.clone(), vec!["HEAD /v2/a/b/manifests/1".to_owned()])
    );
    // Without a digest in the answer the document itself is asked for.
    server.fault("/manifests/", Fault::Bare);
    let found = client
        .resolve_descriptor(&server.reference("a/b:1"), &cancel)
        .unwrap();
    assert_eq!((found, server.log().len()), (put, 3));
}

#[test]
fn bytes_that_are_not_what_was_asked_for_are_refused() {
    let server = Server::start();
    let put = server.put_image("a/b", "1", "x");
    server.fault("/manifests/", Fault::Tamper);
    let error = resolve(&server, &format!("a/b@{}", put.digest)).unwrap_err();
    assert!(matches!(&error, Error::WrongDigest { expected, .. } if *expected == put.digest));
    server.fault(
        "/manifests/",
        Fault::DigestHeader(Digest::sha256_of(b"other")),
    );
    assert!(matches!(
        resolve(&server, "a/b:1"),
        Err(Error::WrongDigest { .. })
    ));
}

#[test]
fn the_index_entry_for_the_platform_is_taken() {
    let server = Server::start();
    let entries = server.put_index("a/b", "1", &["linux/amd64", "linux/arm/v6", "linux/arm64"]);
    let (client, cancel, reference) = (client(), CancelToken::new(), server.reference("a/b:1"));
    for (wanted, at) in [
        ("linux/arm64/v8", 2),
        ("linux/amd64", 0),
        ("linux/arm/v7", 1),
    ] {
        let found = client
            .manifest_for(&reference, &platform(wanted), &cancel)
            .unwrap();
        assert_eq!(found.descriptor, entries[at], "{wanted}");
        assert_eq!(found.root.media_type, OCI_INDEX);
        assert_eq!(found.manifest.layers.len(), 1);
    }
}

#[test]
fn what_the_index_offers_is_listed_when_nothing_fits() {
    let server = Server::start();
    server.put_index("a/b", "1", &["linux/amd64", "linux/arm64"]);
    let reference = server.reference("a/b:1");
    let error = client()
        .manifest_for(&reference, &platform("linux/s390x"), &CancelToken::new())
        .unwrap_err();
    let wanted =
        format!("{reference} has no image for linux/s390x; it offers linux/amd64, linux/arm64");
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn nested_indexes_end_somewhere() {
    let server = Server::start();
    let mut inner = server.put_image("a/b", "0", "x");
    for tag in ["1", "2", "3", "4", "5"] {
        inner.platform = Some(platform("linux/amd64"));
        let index = Index::new(OCI_INDEX, vec![inner]).to_bytes();
        inner = server.put_document("a/b", tag, OCI_INDEX, &index);
    }
    let get = |tag: &str| {
        let reference = server.reference(&format!("a/b:{tag}"));
        client().manifest_for(&reference, &platform("linux/amd64"), &CancelToken::new())
    };
    assert!(get("3").is_ok());
    assert!(matches!(get("5"), Err(Error::NotAnImage { .. })));
}

#[test]
fn a_single_manifest_serves_any_platform() {
    let server = Server::start();
    let put = server.put_image("a/b", "1", "x");
    let (reference, cancel) = (server.reference("a/b:1"), CancelToken::new());
    let found = client()
        .manifest_for(&reference, &platform("linux/s390x"), &cancel)
        .unwrap();
    assert_eq!((found.root, found.descriptor), (put.clone(), put));
}

#[test]
fn unknown_names_are_told_apart() {
    let server = Server::start();
    server.put_image("a/b", "1", "x");
    let error = resolve(&server, "a/b:2").unwrap_err();
    assert!(
        matches!(&error, Error::UnknownManifest { message, .. } if message.contains("never heard"))
    );
    let error = resolve(&server, "missing/b:1").unwrap_err();
    assert!(
        matches!(&error, Error::UnknownRepository { message, .. } if message.contains("no such"))
    );
}

#[test]
fn documents_with_two_meanings_are_refused() {
    let server = Server::start();
    server.put_document("a/b", "1", OCI_INDEX, br#"{"manifests":[],"layers":[]}"#);
    server.put_document(
        "a/b",
        "2",
        OCI_MANIFEST,
        br#"{"schemaVersion":1,"fsLayers":[]}"#,
    );
    assert!(matches!(
        resolve(&server, "a/b:1"),
        Err(Error::NotAnImage { .. })
    ));
    assert!(matches!(
        resolve(&server, "a/b:2"),
        Err(Error::NotAnImage { .. })
    ));
}

#[test]
fn patience_is_kept_as_long_as_the_policy_says() {
    let server = Server::start();
    server.put_image("a/b", "1", "x");
    server.fault("/manifests/", Fault::RetryAfter(429, "0"));
    server.fault("/manifests/", Fault::Status(503, ""));
    server.fault("/manifests/", Fault::Status(500, ""));
    assert!(resolve(&server, "a/b:1").is_ok());
    assert_eq!(server.log().len(), 4);
    for _ in 0..4 {
        server.fault("/manifests/", Fault::Status(502, "bad gateway"));
    }
    let error = resolve(&server, "a/b:1").unwrap_err();
    assert!(
        matches!(&error, Error::Status { status: 502, message, .. } if message == "bad gateway")
    );
    for _ in 0..4 {
        server.fault("/manifests/", Fault::RetryAfter(429, "3600"));
    }
    assert!(matches!(
        resolve(&server, "a/b:1"),
        Err(Error::RateLimited { .. })
    ));
}

#[test]
fn a_broken_manifest_body_is_asked_for_again() {
    let server = Server::start();
    server.put_image("a/b", "1", "x");
    server.fault("/manifests/", Fault::Break(10));
    assert!(resolve(&server, "a/b:1").is_ok());
    assert_eq!(server.log().len(), 2);
}

#[test]
fn a_registry_that_is_down_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let reference = Reference::parse(&format!("127.0.0.1:{port}/a:1")).unwrap();
    let error = client()
        .resolve(&reference, &CancelToken::new())
        .unwrap_err();
    assert!(matches!(&error, Error::Unreachable { host, .. } if host.ends_with(&port.to_string())));
    let mut chain = Vec::new();
    let mut next: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = next {
        chain.push(error.to_string());
        next = error.source();
    }
    // The host, then what the system says, and nothing in between.
    let [_, cause] = chain.as_slice() else {
        panic!("{chain:?}")
    };
    assert_eq!(cause, "Connection refused (os error 111)");
}

#[test]
fn large_manifests_are_not_read() {
    let server = Server::start();
    let large = vec![b' '; 4 * 1024 * 1024 + 1];
    server.put_document("a/b", "1", OCI_MANIFEST, &large);
    assert!(matches!(
        resolve(&server, "a/b:1"),
        Err(Error::TooLarge { .. })
    ));
    // Without a stated length it is found out on the way.
    server.fault("/manifests/", Fault::Bare);
    assert!(matches!(
        resolve(&server, "a/b:1"),
        Err(Error::TooLarge { .. })
    ));
}

#[test]
fn redirects_to_plain_http_elsewhere_are_refused() {
    let server = Server::start();
    server.fault(
        "/manifests/",
        Fault::Redirect("http://storage.invalid/x".into()),
    );
    let error = resolve(&server, "a/b:1").unwrap_err();
    assert!(matches!(&error, Error::PlainHttp { host } if host == "storage.invalid"));
}

#[test]
fn redirect_loops_end() {
    let server = Server::start();
    for _ in 0..20 {
        server.fault("/manifests/", Fault::Redirect("/v2/a/b/manifests/1".into()));
    }
    assert!(matches!(
        resolve(&server, "a/b:1"),
        Err(Error::Protocol { .. })
    ));
}

#[test]
fn mirrors_are_asked_first_and_passed_over() {
    let (mirror, origin) = (Server::start(), Server::start());
    mirror.put_image("a/b", "1", "x");
    let put = origin.put_image("a/b", "2", "y");
    let mirrors = vec![mirror.host()];
    let mut config: ClientConfig = config();
    config.hosts.insert(
        origin.host(),
        HostConfig {
            scheme: Scheme::Auto,
            mirrors,
        },
    );
    let client = Client::new(config);
    let cancel = CancelToken::new();
    client.resolve(&origin.reference("a/b:1"), &cancel).unwrap();
    assert!(origin.log().is_empty());
    assert_eq!(
        client
            .resolve(&origin.reference("a/b:2"), &cancel)
            .unwrap()
            .descriptor,
        put
    );
    assert_eq!((mirror.log().len(), origin.log().len()), (2, 1));
    let error = client
        .resolve(&origin.reference("a/b:3"), &cancel)
        .unwrap_err();
    assert!(matches!(error, Error::UnknownManifest { .. }));
}

/// A client that asks `mirror` for what is `origin`'s, as a file of Podman says.
fn client_with_mirror(mirror: &Server, origin: &Server, dir: &std::path::Path) -> Client {
    let file = dir.join("registries.conf");
    let text = format!(
        "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}/cache\"\n",
        origin.host(),
        mirror.host()
    );
    std::fs::write(&file, text).unwrap();
    let mut config: ClientConfig = config();
    config.host_files.podman.registries = vec![file];
    Client::new(config)
}

#[test]
fn a_mirror_from_a_file_is_asked_by_its_own_name() {
    let (mirror, origin) = (Server::start(), Server::start());
    let dir = tempfile::tempdir().unwrap();
    let put = mirror.put_image("cache/a/b", "1", "x");
    let client = client_with_mirror(&mirror, &origin, dir.path());
    let found = client.resolve(&origin.reference("a/b:1"), &CancelToken::new());
    assert_eq!(found.unwrap().descriptor, put);
    assert_eq!(mirror.log(), ["GET /v2/cache/a/b/manifests/1"]);
    assert!(origin.log().is_empty());
}

#[test]
fn what_a_mirror_falsifies_comes_from_the_registry() {
    let (mirror, origin) = (Server::start(), Server::start());
    let dir = tempfile::tempdir().unwrap();
    let put = origin.put_image("a/b", "1", "x");
    mirror.put_image("cache/a/b", "1", "x");
    let client = client_with_mirror(&mirror, &origin, dir.path());
    let cancel = CancelToken::new();
    let pinned = origin.reference(&format!("a/b@{}", put.digest));
    mirror.fault("/manifests/", Fault::Tamper);
    assert_eq!(client.resolve(&pinned, &cancel).unwrap().descriptor, put);
    let image = client
        .manifest_for(&pinned, &Platform::host(), &cancel)
        .unwrap();
    mirror.fault("/blobs/", Fault::Tamper);
    let config = client
        .config_bytes(&pinned, &image.manifest.config, &cancel)
        .unwrap();
    assert_eq!(Digest::sha256_of(&config), image.manifest.config.digest);
}

#[test]
fn a_set_token_ends_the_wait_for_an_answer() {
    let server = Server::start();
    server.put_image("a/b", "1", "x");
    server.fault("/manifests/", Fault::Hang);
    let cancel = CancelToken::new();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client().resolve(&server.reference("a/b:1"), &cancel));
        while server.log().is_empty() {
            std::thread::yield_now();
        }
        cancel.cancel();
        assert!(waiting.join().unwrap().unwrap_err().is_cancelled());
    });
}
