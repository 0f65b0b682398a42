//! What caches ask of a registry: which blobs are there, documents from memory, the tag as it is now.

use std::collections::BTreeSet;

use rbuild_oci::Descriptor;
use rbuild_progress::CancelToken;
use rbuild_registry::{Error, Pushed};

use crate::push::noise;
use crate::server::{Fault, Server, client};
use crate::uploads::UploadFault;

fn has(server: &Server, repository: &str, bytes: &[u8]) -> Descriptor {
    let blob = Descriptor::of("x", bytes);
    let key = (repository.to_owned(), blob.digest.to_string());
    server.state().uploads.blobs.insert(key, bytes.to_vec());
    blob
}

#[test]
fn many_blobs_are_asked_for_at_once_and_only_a_clear_yes_counts() {
    let server = Server::start();
    let reference = server.reference("a/b:t");
    let mut blobs: Vec<Descriptor> = (0..40)
        .map(|n| has(&server, "a/b", format!("{n}").as_bytes()))
        .collect();
    let there: BTreeSet<_> = blobs.iter().map(|blob| blob.digest.clone()).collect();
    blobs.push(Descriptor::of("x", b"absent"));
    // Another length than stated is another blob.
    blobs.push(Descriptor {
        size: 7,
        ..has(&server, "a/b", b"longer than seven")
    });
    let cancel = CancelToken::new();
    let found = client().present(&reference, &blobs, &cancel).unwrap();
    assert_eq!(found, there);
    let asked = server.log().len();
    assert_eq!(asked, blobs.len());
    let none = client().present(&reference, &[], &cancel).unwrap();
    assert!(none.is_empty() && server.log().len() == asked);
}

#[test]
fn a_registry_that_gives_no_answer_is_no_registry_without_the_blob() {
    let server = Server::start();
    let reference = server.reference("a/b:t");
    let blob = has(&server, "a/b", b"x");
    let ask = |faults: Vec<UploadFault>| {
        let faults = faults.into_iter().map(|fault| ("HEAD", fault));
        server.state().uploads.faults = faults.collect();
        client().present(&reference, std::slice::from_ref(&blob), &CancelToken::new())
    };
    let denied = ask(vec![UploadFault::Status(403, "")]);
    assert!(matches!(denied, Err(Error::Denied { .. })), "{denied:?}");
    let broken = ask(vec![UploadFault::Status(503, ""); 4]);
    assert!(
        matches!(broken, Err(Error::Status { status: 503, .. })),
        "{broken:?}"
    );
    let later = ask(vec![UploadFault::RetryAfter(429, "0"); 2]);
    assert_eq!(later.unwrap().len(), 1);
}

#[test]
fn a_document_from_memory_gets_through_broken_connections() {
    let server = Server::start();
    let reference = server.reference("a/b:t");
    let bytes = noise(300_000);
    let blob = Descriptor::of("x", &bytes);
    let push = || client().push_bytes(&reference, (&blob, &bytes), &CancelToken::new());
    server.state().uploads.faults = vec![
        ("PUT", UploadFault::DropAndForget(100_000)),
        ("PUT", UploadFault::Status(500, "")),
    ];
    assert_eq!(push().unwrap(), Pushed::Sent);
    assert!(server.state().uploads.has("a/b", &bytes));
    assert_eq!(push().unwrap(), Pushed::Present);
    server.state().uploads.blobs.clear();
    server.state().uploads.faults = vec![("POST", UploadFault::Status(403, ""))];
    let denied = push();
    assert!(
        matches!(denied, Err(Error::PushDenied { .. })),
        "{denied:?}"
    );
}

#[test]
fn the_tag_at_home_and_documents_within_a_limit() {
    let server = Server::start();
    let reference = server.reference("a/b:t");
    let cancel = CancelToken::new();
    let absent = client().resolve_at_home(&reference, &cancel);
    assert!(
        matches!(absent, Err(Error::UnknownManifest { .. })),
        "{absent:?}"
    );
    let image = server.put_image("a/b", "t", "text");
    let found = client().resolve_at_home(&reference, &cancel).unwrap();
    assert_eq!(found.descriptor, image);
    let blob = server.put_layer(b"document");
    let read = |limit| client().document_bytes((&reference, &blob), ("the index", limit), &cancel);
    assert_eq!(read(8).unwrap(), b"document");
    let large = read(7).unwrap_err();
    assert!(
        large.to_string().starts_with("the index of 127.0.0.1"),
        "{large}"
    );
    server.fault("/blobs/", Fault::Tamper);
    let other = read(8);
    assert!(matches!(other, Err(Error::WrongDigest { .. })), "{other:?}");
}
