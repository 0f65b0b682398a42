//! GitHub's own API beside the cache service: lists entries, which saves a lookup for each, and deletes them.
//!
//! Source: GitHub REST API, "GitHub Actions cache".

use std::collections::BTreeSet;

use rbuild_oci::Digest;
use reqwest::{Method, Url};
use serde::Deserialize;

use super::failure::Fault;
use super::place::Api;
use super::requests::Ask;
use super::{Gha, keys};

/// Entries on a page, the most there are.
const PAGE: usize = 100;
/// Pages that are read at most.
const MOST_PAGES: usize = 50;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    actions_caches: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    key: String,
}

impl Gha {
    /// Keys that begin so, newest first and without repetition, at most so many.
    pub(super) async fn list(&self, prefix: &str, most: usize) -> Result<Vec<String>, Fault> {
        let mut keys: Vec<String> = Vec::new();
        let Some(api) = &self.place.api else {
            return Ok(keys);
        };
        for number in 1..=MOST_PAGES {
            let page = self.page(api, prefix, number).await?;
            let count = page.len();
            for key in page {
                if key.starts_with(prefix) && !keys.contains(&key) {
                    keys.push(key);
                }
            }
            if count < PAGE || keys.len() >= most {
                break;
            }
        }
        keys.truncate(most);
        Ok(keys)
    }

    async fn page(&self, api: &Api, prefix: &str, number: usize) -> Result<Vec<String>, Fault> {
        let mut url = caches(api)?;
        url.query_pairs_mut()
            .append_pair("key", prefix)
            .append_pair("sort", "created_at")
            .append_pair("direction", "desc")
            .append_pair("per_page", &PAGE.to_string())
            .append_pair("page", &number.to_string());
        let page: Option<Page> = self.requests.json(&ask(api, Method::GET, url)).await?;
        let all = page.map(|page| page.actions_caches).unwrap_or_default();
        Ok(all.into_iter().map(|listed| listed.key).collect())
    }

    /// Those of the blobs that are listed.
    pub(super) async fn listed(
        &self,
        wanted: &BTreeSet<Digest>,
    ) -> Result<BTreeSet<Digest>, Fault> {
        let keys = self.list(keys::BLOBS, MOST_PAGES * PAGE).await?;
        let keys: BTreeSet<String> = keys.into_iter().collect();
        let is_there = |digest: &&Digest| keys.contains(&keys::blob(digest));
        Ok(wanted.iter().filter(is_there).cloned().collect())
    }

    /// Deletes indexes of this scope. What stays is read again and merged again.
    pub(super) async fn delete_merged(&self, merged: &[String]) {
        let Some(api) = &self.place.api else {
            return;
        };
        let prefix = keys::index_prefix(&self.place.scope);
        for key in merged.iter().filter(|key| key.starts_with(&prefix)) {
            let Ok(mut url) = caches(api) else {
                return;
            };
            url.query_pairs_mut().append_pair("key", key);
            if let Err(fault) = self.requests.ask(&ask(api, Method::DELETE, url)).await {
                tracing::debug!(key, %fault, "an index stays");
            }
        }
    }
}

fn caches(api: &Api) -> Result<Url, Fault> {
    let path = format!("repos/{}/actions/caches", api.repository);
    let url = api.url.join(&path);
    url.map_err(|error| Fault::said(error.to_string()))
}

fn ask(api: &Api, method: Method, url: Url) -> Ask {
    let mut ask = Ask::new(method, url)
        .header("accept", "application/vnd.github+json")
        .header("x-github-api-version", "2022-11-28");
    ask.token = Some(api.token.clone());
    ask
}
