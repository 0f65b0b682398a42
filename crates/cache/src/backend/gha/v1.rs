//! The first version of the protocol: `_apis/artifactcache`.
//!
//! GitHub itself speaks only the second; runners and servers of others speak this one.

use bytes::Bytes;
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};

use super::GhaPlace;
use super::failure::Fault;
use super::requests::{Ask, Requests};
use super::service::{Entry, FORMAT, Slot};

const ACCEPT: &str = "application/json;api-version=6.0-preview.1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    #[serde(default)]
    cache_key: String,
    #[serde(default)]
    archive_location: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reserve<'a> {
    key: &'a str,
    version: &'a str,
    cache_size: u64,
}

#[derive(Deserialize)]
struct ReservedAs {
    #[serde(rename = "cacheId", alias = "cacheID")]
    cache_id: u64,
}

#[derive(Serialize)]
struct Commit {
    size: u64,
}

fn url(place: &GhaPlace, path: &str) -> Result<Url, Fault> {
    let url = place.url.join(&format!("_apis/artifactcache/{path}"));
    url.map_err(|error| Fault::said(error.to_string()))
}

fn ask(place: &GhaPlace, method: Method, url: Url) -> Ask {
    let mut ask = Ask::new(method, url).header("accept", ACCEPT);
    ask.token = Some(place.token.clone());
    ask
}

fn with_json(ask: Ask, body: &impl Serialize) -> Result<Ask, Fault> {
    let body = serde_json::to_vec(body).map_err(|error| Fault::said(error.to_string()))?;
    let mut ask = ask.header("content-type", "application/json");
    ask.body = body.into();
    Ok(ask)
}

/// Looks a key up, or the newest that begins with it.
pub(super) async fn look_up(
    requests: &Requests,
    place: &GhaPlace,
    key: &str,
) -> Result<Option<Entry>, Fault> {
    let mut url = url(place, "cache")?;
    url.query_pairs_mut()
        .append_pair("keys", key)
        .append_pair("version", FORMAT);
    let found: Option<Found> = requests.json(&ask(place, Method::GET, url)).await?;
    let found = found.filter(|found| !found.cache_key.is_empty());
    Ok(found.map(|found| Entry {
        key: found.cache_key,
        url: found.archive_location,
    }))
}

/// Reserves a key.
pub(super) async fn reserve(
    requests: &Requests,
    place: &GhaPlace,
    (key, length): (&str, u64),
) -> Result<Slot, Fault> {
    let body = Reserve {
        key,
        version: FORMAT,
        cache_size: length,
    };
    let ask = with_json(ask(place, Method::POST, url(place, "caches")?), &body)?;
    let reserved: Option<ReservedAs> = requests.json(&ask).await?;
    match reserved {
        Some(reserved) => Ok(Slot::V1(reserved.cache_id)),
        None => Err(Fault::said("the service reserves nothing")),
    }
}

/// Sends one chunk.
pub(super) async fn send_chunk(
    requests: &Requests,
    place: &GhaPlace,
    (number, offset): (u64, u64),
    chunk: Bytes,
) -> Result<(), Fault> {
    let end = offset + (chunk.len() as u64).saturating_sub(1);
    let url = url(place, &format!("caches/{number}"))?;
    let mut ask = ask(place, Method::PATCH, url)
        .header("content-type", "application/octet-stream")
        .header("content-range", &format!("bytes {offset}-{end}/*"));
    ask.body = chunk;
    requests.ask(&ask).await.map(drop)
}

/// Makes the entry visible.
pub(super) async fn commit(
    requests: &Requests,
    place: &GhaPlace,
    (number, length): (u64, u64),
) -> Result<(), Fault> {
    let url = url(place, &format!("caches/{number}"))?;
    let ask = with_json(ask(place, Method::POST, url), &Commit { size: length })?;
    requests.ask(&ask).await.map(drop)
}
