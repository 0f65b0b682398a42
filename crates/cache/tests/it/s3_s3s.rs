//! The S3 backend against `s3s-fs`, which checks every signature.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rbuild_cache::s3::open;
use rbuild_progress::CancelToken;
use rbuild_testkit::{Served, TempDir};

use crate::bucket::{KEY_ID, NAME, SECRET};
use crate::contract::{self, Habits};
use crate::s3::{client, place};

/// A running server, and where it keeps what it is sent.
struct Server {
    served: Served,
    dir: TempDir,
}

impl Server {
    /// Starts the one that `RBUILD_S3S_FS` names, with an empty bucket.
    fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("RBUILD_S3S_FS") else {
            eprintln!(
                "skipped: name s3s-fs in RBUILD_S3S_FS (cargo install s3s-fs --features binary)"
            );
            return None;
        };
        let dir = TempDir::new();
        std::fs::create_dir(dir.join(NAME)).unwrap();
        let served = Served::start(|port| {
            let mut command = Command::new(program);
            command
                .args(["--host", "127.0.0.1", "--port", &port.to_string()])
                .args(["--access-key", KEY_ID, "--secret-key", SECRET])
                .arg(dir.path());
            command
        });
        Some(Self { served, dir })
    }

    /// The file that an object is.
    fn file(&self, key: &str) -> PathBuf {
        self.dir.join(NAME).join(key)
    }

    fn url(&self) -> String {
        self.served.url()
    }
}

#[test]
fn it_keeps_the_contract_where_signatures_are_checked() {
    let Some(server) = Server::start() else {
        return;
    };
    let backend = open(place(&server.url(), &[]), &client()).unwrap();
    contract::holds(&*backend, Habits::ALL);
}

#[test]
fn renewing_ages_harms_nothing_where_signatures_are_checked() {
    let Some(server) = Server::start() else {
        return;
    };
    for prefix in ["plain", "a+b=c@d,(e)!/f"] {
        let words = [("touch_refresh", "0"), ("prefix", prefix)];
        let backend = open(place(&server.url(), &words), &client()).unwrap();
        let from = contract::Local::new();
        let blob = from.put(b"old");
        backend
            .send(&blob, &from.store, &CancelToken::new())
            .unwrap();
        let file = server.file(&format!("{prefix}/blobs/sha256/{}", blob.digest.hex()));
        let long_ago = SystemTime::now() - Duration::from_secs(1000);
        let opened = File::options().write(true).open(&file).unwrap();
        opened.set_modified(long_ago).unwrap();
        let all = std::slice::from_ref(&blob);
        assert_eq!(contract::present(&*backend, all).len(), 1);
        contract::write(&*backend, b"index", all, &[]);
        assert!(file.metadata().unwrap().modified().unwrap() > long_ago);
        assert_eq!(contract::fetch(&*backend, &blob).unwrap(), b"old");
    }
}

#[test]
fn a_wrong_key_is_told() {
    let Some(server) = Server::start() else {
        return;
    };
    let place = place(&server.url(), &[("secret_access_key", "another")]);
    let backend = open(place, &client()).unwrap();
    let failed = backend.read_indexes(&CancelToken::new()).unwrap_err();
    let said = std::error::Error::source(&failed).unwrap().to_string();
    assert!(
        said.starts_with("the credentials are not accepted"),
        "{said}"
    );
    assert!(!format!("{failed:?}").contains("another"), "{failed:?}");
}
