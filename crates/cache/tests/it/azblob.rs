//! The backend for Azure Blob Storage against a container in memory: the contract, making the container, troubles.

use std::sync::Arc;

use rbuild_cache::azblob::open;
use rbuild_cache::{Backend, Error};
use rbuild_progress::CancelToken;

use crate::container::{Container, KEY, place};
use crate::contract::{self, Habits, Local, noise};
use crate::s3::client;

fn backend(container: &Container) -> Arc<dyn Backend> {
    open(container.place(&[]), &client()).unwrap()
}

/// What reading the indexes fails with; checked not to hold the key.
fn told(backend: &dyn Backend) -> String {
    let failed = backend.read_indexes(&CancelToken::new()).unwrap_err();
    let said = std::error::Error::source(&failed).unwrap().to_string();
    assert!(!format!("{said}{failed:?}").contains(KEY), "{failed:?}");
    said
}

#[test]
fn it_keeps_the_contract() {
    let container = Container::start();
    let backend = backend(&container);
    assert_eq!(backend.name(), "azblob rbuildtest/builds/team/cache/rbuild");
    contract::holds(&*backend, Habits::ALL);
    let from = Local::new();
    let large = from.put(&noise(1, 20 << 20));
    let blocks = container.count("comp=block&");
    let sent = backend.send(&large, &from.store, &CancelToken::new());
    sent.unwrap();
    assert_eq!(container.count("comp=block&") - blocks, 3);
    assert!(contract::fetch(&*backend, &large).unwrap() == noise(1, 20 << 20));
}

#[test]
fn the_container_is_made_by_whoever_writes_first() {
    let container = Container::start();
    let from = Local::new();
    let (first, blob) = (backend(&container), from.put(b"x"));
    assert!(contract::contents(&*first).is_empty());
    assert!(contract::present(&*first, std::slice::from_ref(&blob)).is_empty());
    assert!(container.state().objects.is_none(), "reading makes nothing");
    let failed = contract::fetch(&*first, &blob).unwrap_err();
    assert!(
        matches!(failed, Error::Gone { .. } | Error::Place { .. }),
        "{failed:?}"
    );
    // Two that both saw nothing, and one that has not looked.
    let second = backend(&container);
    assert!(contract::contents(&*second).is_empty());
    for backend in [&first, &second] {
        backend
            .send(&blob, &from.store, &CancelToken::new())
            .unwrap();
    }
    let third = backend(&container);
    third
        .send(&from.put(b"y"), &from.store, &CancelToken::new())
        .unwrap();
    assert_eq!(
        container.count("restype=container") - container.count("comp=list"),
        2
    );
    assert_eq!(contract::fetch(&*third, &blob).unwrap(), b"x");
}

#[test]
fn a_container_that_cannot_be_made_is_told() {
    let container = Container::start();
    container.state().habits = vec![("PUT /rbuildtest/builds?", 403, "AuthorizationFailure")];
    let from = Local::new();
    let failed = backend(&container)
        .send(&from.put(b"x"), &from.store, &CancelToken::new())
        .unwrap_err();
    let said = std::error::Error::source(&failed).unwrap().to_string();
    let expected = "there is no container builds, and it cannot be made: access denied to the container \
                    builds (the service says: because of AuthorizationFailure)";
    assert_eq!(said, expected);
}

#[test]
fn who_may_not_delete_can_still_write() {
    let container = Container::start();
    container.state().habits = vec![("DELETE", 403, "AuthorizationPermissionMismatch")];
    let backend = backend(&container);
    contract::write(&*backend, b"first", &[], &[]);
    let seen = contract::indexes(&*backend)[0].name.clone();
    contract::write(&*backend, b"second", &[], &[seen]);
    let mut both = contract::contents(&*backend);
    both.sort();
    assert_eq!(both, [b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn errors_say_what_to_do() {
    for (status, code, expected) in [
        (
            403,
            "AuthenticationFailed",
            "the credentials are not accepted",
        ),
        (
            403,
            "AuthorizationFailure",
            "access denied to the container builds",
        ),
        (
            409,
            "ContainerBeingDeleted",
            "the container builds is being deleted",
        ),
        (
            400,
            "SomethingElse",
            "SomethingElse for the container builds",
        ),
    ] {
        let container = Container::start();
        container.state().habits = vec![("", status, code)];
        let said = told(&*backend(&container));
        assert!(said.starts_with(expected), "{said}");
    }
    let nobody = open(place("http://127.0.0.1:9/x", &[]), &client()).unwrap();
    let said = told(&*nobody);
    assert!(
        said.starts_with("cannot reach http://127.0.0.1:9/x: "),
        "{said}"
    );
}
