//! The backend for Azure Blob Storage against `azurite`, Microsoft's own stand-in, which checks every signature.

use std::process::Command;

use rbuild_cache::azblob::{AzblobPlace, open};
use rbuild_oci::Descriptor;
use rbuild_progress::CancelToken;
use rbuild_testkit::{Served, TempDir};

use crate::container::{ACCOUNT, KEY, place};
use crate::contract::{self, Habits, Local, noise};
use crate::s3::client;

/// `another one hunter2`.
const OTHER_KEY: &str = "YW5vdGhlciBvbmUgaHVudGVyMg==";

/// A running server, and where it keeps what it is sent.
struct Server {
    served: Served,
    _dir: TempDir,
}

impl Server {
    /// Starts the one that `RBUILD_AZURITE` names, without a container.
    fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("RBUILD_AZURITE") else {
            eprintln!("skipped: name azurite-blob in RBUILD_AZURITE (npm install azurite)");
            return None;
        };
        let dir = TempDir::new();
        let served = Served::start(|port| {
            let mut command = Command::new(program);
            command
                .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
                .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"])
                .arg("--location")
                .arg(dir.path())
                .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}"));
            command
        });
        Some(Self { served, _dir: dir })
    }

    fn place(&self, more: &[(&str, &str)]) -> AzblobPlace {
        place(&format!("{}/{ACCOUNT}", self.served.url()), more)
    }
}

#[test]
fn it_keeps_the_contract_where_signatures_are_checked() {
    let Some(server) = Server::start() else {
        return;
    };
    let backend = open(server.place(&[]), &client()).unwrap();
    assert_eq!(backend.name(), "azblob rbuildtest/builds/team/cache/rbuild");
    contract::holds(&*backend, Habits::ALL);
    // Blocks as well, and pages of a list.
    let from = Local::new();
    let large = from.put(&noise(1, 20 << 20));
    let blobs: Vec<Descriptor> = (2..32).map(|seed| from.put(&noise(seed, 100))).collect();
    for blob in blobs.iter().chain([&large]) {
        backend
            .send(blob, &from.store, &CancelToken::new())
            .unwrap();
    }
    let fresh = open(server.place(&[]), &client()).unwrap();
    assert!(contract::fetch(&*fresh, &large).unwrap() == noise(1, 20 << 20));
    assert_eq!(contract::present(&*fresh, &blobs).len(), 30);
}

#[test]
fn prefixes_may_have_any_character_that_paths_may_have() {
    let Some(server) = Server::start() else {
        return;
    };
    let place = server.place(&[("prefix", "a+b=c@d,(e)!/f"), ("name", "x+y")]);
    let backend = open(place, &client()).unwrap();
    contract::holds(&*backend, Habits::ALL);
}

#[test]
fn several_writers_make_the_container_and_lose_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    let backends: Vec<_> = (0..4)
        .map(|_| open(server.place(&[("container", "of-many")]), &client()).unwrap())
        .collect();
    std::thread::scope(|scope| {
        for (at, backend) in backends.iter().enumerate() {
            scope.spawn(move || {
                contract::write(&**backend, format!("of {at}").as_bytes(), &[], &[]);
            });
        }
    });
    assert_eq!(contract::contents(&*backends[0]).len(), 4);
}

#[test]
fn what_is_wrong_is_told_and_no_key_with_it() {
    let Some(server) = Server::start() else {
        return;
    };
    let place = server.place(&[("secret_access_key", OTHER_KEY)]);
    let failed = open(place, &client())
        .unwrap()
        .read_indexes(&CancelToken::new())
        .unwrap_err();
    let said = std::error::Error::source(&failed).unwrap().to_string();
    // Azure itself has another code for it.
    assert!(said.contains("failed to authenticate"), "{said}");
    assert!(!format!("{failed:?}").contains(OTHER_KEY), "{failed:?}");
}
