//! The second version of the protocol: calls of `CacheService` as JSON (twirp), bytes in blob storage.

use bytes::Bytes;
use reqwest::{Method, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::GhaPlace;
use super::failure::Fault;
use super::requests::{Ask, Requests};
use super::service::{Entry, FORMAT, Slot};

const SERVICE: &str = "twirp/github.actions.results.api.v1.CacheService/";

#[derive(Serialize)]
struct LookUp<'a> {
    key: &'a str,
    restore_keys: [&'a str; 1],
    version: &'a str,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Found {
    ok: bool,
    #[serde(alias = "signedDownloadUrl")]
    signed_download_url: String,
    #[serde(alias = "matchedKey")]
    matched_key: String,
}

#[derive(Serialize)]
struct Create<'a> {
    key: &'a str,
    version: &'a str,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Created {
    ok: bool,
    #[serde(alias = "signedUploadUrl")]
    signed_upload_url: String,
    message: String,
}

#[derive(Serialize)]
struct Finalize<'a> {
    key: &'a str,
    version: &'a str,
    /// A text, as protobuf's JSON writes large numbers.
    size_bytes: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Finalized {
    ok: bool,
    message: String,
}

async fn call<T: DeserializeOwned + Default>(
    requests: &Requests,
    place: &GhaPlace,
    method: &str,
    body: &impl Serialize,
) -> Result<T, Fault> {
    let url = place.url.join(&format!("{SERVICE}{method}"));
    let url = url.map_err(|error| Fault::said(error.to_string()))?;
    let body = serde_json::to_vec(body).map_err(|error| Fault::said(error.to_string()))?;
    let mut ask = Ask::new(Method::POST, url).header("content-type", "application/json");
    ask.token = Some(place.token.clone());
    ask.body = body.into();
    Ok(requests.json(&ask).await?.unwrap_or_default())
}

/// Looks a key up, or the newest that begins with it.
pub(super) async fn look_up(
    requests: &Requests,
    place: &GhaPlace,
    key: &str,
) -> Result<Option<Entry>, Fault> {
    let body = LookUp {
        key,
        restore_keys: [key],
        version: FORMAT,
    };
    let found: Found = call(requests, place, "GetCacheEntryDownloadURL", &body).await?;
    Ok(found.ok.then_some(Entry {
        key: found.matched_key,
        url: found.signed_download_url,
    }))
}

/// Reserves a key.
pub(super) async fn reserve(
    requests: &Requests,
    place: &GhaPlace,
    key: &str,
) -> Result<Slot, Fault> {
    let body = Create {
        key,
        version: FORMAT,
    };
    let created: Created = call(requests, place, "CreateCacheEntry", &body).await?;
    match created.ok {
        true => Ok(Slot::V2(created.signed_upload_url)),
        false => Err(refused("reserves nothing", &created.message)),
    }
}

/// Makes the entry visible.
pub(super) async fn finalize(
    requests: &Requests,
    place: &GhaPlace,
    (key, length): (&str, u64),
) -> Result<(), Fault> {
    let body = Finalize {
        key,
        version: FORMAT,
        size_bytes: length.to_string(),
    };
    let done: Finalized = call(requests, place, "FinalizeCacheEntryUpload", &body).await?;
    match done.ok {
        true => Ok(()),
        false => Err(refused("does not keep the entry", &done.message)),
    }
}

fn refused(what: &str, message: &str) -> Fault {
    let message = crate::backend::content::one_line(message);
    let mut fault = match message.is_empty() {
        true => Fault::said(format!("the service {what}")),
        false => Fault::said(format!("the service {what} (it says: {message})")),
    };
    fault.is_taken = message.contains("already exists");
    fault
}

/// Sends all of a small entry. Source: Azure Storage, "Put Blob".
pub(super) async fn put_whole(requests: &Requests, url: &str, bytes: Bytes) -> Result<(), Fault> {
    let ask = Ask::new(Method::PUT, requests.signed(url)?);
    let mut ask = ask.header("x-ms-blob-type", "BlockBlob");
    ask.body = bytes;
    requests.ask(&ask).await.map(drop)
}

/// Sends a block; it is nowhere to be seen before the list names it. Source: Azure Storage, "Put Block".
pub(super) async fn put_block(
    requests: &Requests,
    url: &str,
    (number, bytes): (u64, Bytes),
) -> Result<(), Fault> {
    let mut url = requests.signed(url)?;
    url.query_pairs_mut()
        .append_pair("comp", "block")
        .append_pair("blockid", &block_id(number));
    let mut ask = Ask::new(Method::PUT, url);
    ask.body = bytes;
    requests.ask(&ask).await.map(drop)
}

/// Makes a blob of the first `count` blocks. Source: Azure Storage, "Put Block List".
pub(super) async fn put_list(requests: &Requests, url: &str, count: u64) -> Result<(), Fault> {
    let mut url: Url = requests.signed(url)?;
    url.query_pairs_mut().append_pair("comp", "blocklist");
    let blocks = (0..count).map(|number| format!("<Latest>{}</Latest>", block_id(number)));
    let list = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{}</BlockList>",
        blocks.collect::<String>()
    );
    let mut ask = Ask::new(Method::PUT, url).header("content-type", "application/xml");
    ask.body = list.into();
    requests.ask(&ask).await.map(drop)
}

/// Names of a blob's blocks must be equally long.
fn block_id(number: u64) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(format!("block-{number:08}"))
}
