//! The S3 backend against `moto_server`, somebody else's idea of S3.

use rbuild_cache::s3::open;
use rbuild_oci::Descriptor;
use rbuild_progress::CancelToken;
use rbuild_testkit::Moto;

use crate::bucket::NAME;
use crate::contract::{self, Habits, Local, noise};
use crate::s3::{client, place};

#[test]
fn it_keeps_the_contract_at_moto() {
    let Some(moto) = Moto::start(NAME) else {
        return;
    };
    let backend = open(place(&moto.url(), &[]), &client()).unwrap();
    contract::holds(&*backend, Habits::ALL);
    assert!(
        moto.requests()
            .iter()
            .any(|asked| asked.contains("uploadId="))
    );
    let uploads = moto.ask("GET", &format!("/{NAME}?uploads")).unwrap();
    assert!(!uploads.contains("<UploadId>"), "{uploads}");
}

#[test]
fn pages_and_ages_at_moto() {
    let Some(moto) = Moto::start(NAME) else {
        return;
    };
    let from = Local::new();
    let backend = open(place(&moto.url(), &[("touch_refresh", "0")]), &client()).unwrap();
    let blobs: Vec<Descriptor> = (0..30).map(|seed| from.put(&noise(seed, 100))).collect();
    for blob in &blobs {
        backend
            .send(blob, &from.store, &CancelToken::new())
            .unwrap();
    }
    // The list says whole seconds at many services.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let before = moto.requests().len();
    assert_eq!(contract::present(&*backend, &blobs).len(), 30);
    assert_eq!(moto.requests().len() - before, 1);
    contract::write(&*backend, b"index", &blobs, &[]);
    let asked = moto.requests().split_off(before);
    let copies = asked
        .iter()
        .filter(|one| one.starts_with("PUT /bucket/team/cache/blobs/"));
    assert_eq!(copies.filter(|one| one.ends_with(" 200")).count(), 30);
    assert_eq!(
        contract::fetch(&*backend, &blobs[0]).unwrap(),
        noise(0, 100)
    );
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    let Some(moto) = Moto::start(NAME) else {
        return;
    };
    let place = place(&moto.url(), &[("bucket", "other")]);
    let backend = open(place, &client()).unwrap();
    let failed = backend.read_indexes(&CancelToken::new()).unwrap_err();
    let said = std::error::Error::source(&failed).unwrap().to_string();
    assert!(said.starts_with("there is no bucket other at "), "{said}");
}
