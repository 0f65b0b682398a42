//! The S3 backend against `moto_server`, somebody else's idea of S3.

use std::time::{Duration, Instant};

use rbuild_cache::s3::open;
use rbuild_oci::Descriptor;
use rbuild_progress::CancelToken;
use rbuild_registry::{Client, ClientConfig, Flow};
use rbuild_testkit::{Authority, Moto};
use reqwest::Url;
use reqwest::header::CONTENT_LENGTH;

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
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(contract::present(&*backend, &blobs).len(), 30);
    contract::write(&*backend, b"index", &blobs, &[]);
    // Its log comes when it comes.
    let is_copy = |asked: &&String| {
        asked.starts_with("PUT /bucket/team/cache/blobs/") && asked.ends_with(" 200")
    };
    let end = Instant::now() + Duration::from_secs(20);
    let asked = loop {
        let asked = moto.requests();
        if asked.iter().filter(is_copy).count() == 60 {
            break asked;
        }
        assert!(Instant::now() < end, "{asked:#?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let looks = |text: &str| asked.iter().filter(|one| one.starts_with(text)).count();
    assert_eq!((looks("GET /bucket?"), looks("HEAD")), (1, 0));
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

#[test]
fn an_authority_of_ones_own_is_trusted_if_it_is_named() {
    let authority = Authority::new();
    let (certificate, key) = authority.server();
    let Some(moto) = Moto::start_with_tls((&certificate, &key)) else {
        return;
    };
    let trusting = Client::new(ClientConfig {
        extra_roots: vec![std::fs::read(authority.certificate()).unwrap()],
        ..ClientConfig::default()
    });
    let url = Url::parse(&format!("{}/{NAME}", moto.url())).unwrap();
    let http = trusting.http(&url, Flow::Down).unwrap();
    let made = async { http.put(url).header(CONTENT_LENGTH, 0).send().await };
    let made = trusting.run(&CancelToken::new(), made).unwrap().unwrap();
    assert!(made.status().is_success());
    let words = [("retry_max_attempts", "1")];
    let backend = open(place(&moto.url(), &words), &trusting).unwrap();
    contract::write(&*backend, b"index", &[], &[]);
    assert_eq!(contract::contents(&*backend), [b"index".to_vec()]);
    let stranger = open(place(&moto.url(), &words), &client()).unwrap();
    let failed = stranger.read_indexes(&CancelToken::new()).unwrap_err();
    let said = std::error::Error::source(&failed).unwrap().to_string();
    assert!(said.contains("certificate"), "{said}");
}
