//! A stand-in for the cache service of GitHub Actions, both versions, with its storage and its API.
//!
//! It insists on what the real one insists on: tokens, keys that are taken once, chunks without gaps, blocks
//! that a list names, sizes that agree, addresses that expire.

#![expect(
    clippy::unwrap_used,
    reason = "what the service is asked in another way than it must be is a failed test"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::{WebAsked, WebLength, WebReply, WebServer};

/// What the service does instead of the right thing.
#[derive(Clone, Debug)]
pub enum ActionsFault {
    /// Answers with a status and a body.
    Status(u16, &'static str),
    /// Answers 429 and asks for so many seconds of patience.
    Wait(u64),
    /// States the whole length, sends this much, closes the connection.
    Break(usize),
    /// Sends other bytes of the same length.
    Tamper,
    /// Sends this much and says that this is all.
    Short(usize),
    /// Sends everything, whatever range is asked for.
    IgnoreRange,
    /// Waits before the body.
    Slow(Duration),
    /// Leads to another address.
    Redirect(String),
}

/// An entry, or what is to become one.
#[derive(Clone, Debug, Default)]
pub struct ActionsEntry {
    /// Its key.
    pub key: String,
    version: String,
    /// Its content, as far as it came.
    pub bytes: Vec<u8>,
    /// Whether it can be found.
    pub is_done: bool,
    chunks: BTreeMap<usize, Vec<u8>>,
    blocks: BTreeMap<String, Vec<u8>>,
}

/// What the service has, and how it misbehaves.
#[derive(Debug, Default)]
pub struct ActionsState {
    /// In the order in which keys were reserved.
    pub entries: Vec<ActionsEntry>,
    /// Requests that contain a text get what comes next; equal texts use theirs up in order.
    faults: Vec<(String, ActionsFault)>,
    /// Requests that contain a text get this each time.
    pub habits: Vec<(String, ActionsFault)>,
    /// `METHOD TARGET` of every request, to the service and to the storage.
    pub seen: Vec<String>,
    /// Part of addresses that are valid now.
    signature: u64,
    storage: String,
    /// Whether keys may be deleted by the API.
    pub may_delete: bool,
}

/// The token of a job.
pub const ACTIONS_TOKEN: &str = "hunter2.runtime.token";
/// A token for the API.
pub const ACTIONS_API_TOKEN: &str = "hunter2-api-token";
/// The repository that the API knows.
pub const ACTIONS_REPOSITORY: &str = "me/it";
const TWIRP: &str = "/results/twirp/github.actions.results.api.v1.CacheService/";
const FIRST: &str = "/first/abc/_apis/artifactcache/";

/// A running service; stops with the value.
pub struct Actions {
    state: Arc<Mutex<ActionsState>>,
    service: WebServer,
    _storage: WebServer,
}

impl Actions {
    /// Starts one without entries.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(ActionsState {
            may_delete: true,
            ..ActionsState::default()
        }));
        let shared = Arc::clone(&state);
        let service = WebServer::start(move |asked| serve(&shared, asked, service_answer));
        let shared = Arc::clone(&state);
        let storage = WebServer::start(move |asked| serve(&shared, asked, storage_answer));
        state.lock().unwrap_or_else(PoisonError::into_inner).storage = storage.url("");
        Self {
            state,
            service,
            _storage: storage,
        }
    }

    /// `http://127.0.0.1:PORT` with `path` behind it: `/results` is the second version, `/first/abc/` the first,
    /// `/api` the API.
    pub fn url(&self, path: &str) -> String {
        self.service.url(path)
    }

    /// Its state; requests wait while it is held.
    pub fn state(&self) -> MutexGuard<'_, ActionsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Arms a fault for the next request whose `METHOD TARGET` contains `text`.
    pub fn fault(&self, text: &str, fault: ActionsFault) {
        self.state().faults.push((text.to_owned(), fault));
    }

    /// How many requests contained `text` so far.
    pub fn count(&self, text: &str) -> usize {
        let state = self.state();
        state.seen.iter().filter(|seen| seen.contains(text)).count()
    }

    /// Makes all addresses that were given out invalid.
    pub fn expire(&self) {
        self.state().signature += 1;
    }
}

type Right = fn(&mut ActionsState, &WebAsked) -> WebReply;

fn serve(state: &Mutex<ActionsState>, asked: &WebAsked, right: Right) -> WebReply {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let what = format!("{} {}", asked.method, asked.target);
    state.seen.push(what.clone());
    let fault = match state
        .faults
        .iter()
        .position(|(text, _)| what.contains(text))
    {
        Some(at) => Some(state.faults.remove(at).1),
        None => {
            let mut habits = state.habits.iter();
            habits
                .find(|(text, _)| what.contains(text))
                .map(|(_, fault)| fault.clone())
        }
    };
    let mut changed = asked.clone();
    match fault {
        Some(ActionsFault::Status(status, body)) => {
            return WebReply {
                status,
                ..WebReply::of(body)
            };
        }
        Some(ActionsFault::Wait(secs)) => {
            return WebReply::status(429).header("Retry-After", &secs.to_string());
        }
        Some(ActionsFault::Redirect(to)) => return WebReply::status(307).header("Location", &to),
        Some(ActionsFault::IgnoreRange) => changed.headers.retain(|(name, _)| name != "range"),
        _ => {}
    }
    let mut reply = right(&mut state, &changed);
    match fault {
        Some(ActionsFault::Break(length)) => {
            reply.length = WebLength::Stated(reply.body.len());
            reply.body.truncate(length);
        }
        Some(ActionsFault::Short(length)) => reply.body.truncate(length),
        Some(ActionsFault::Tamper) => reply.body.iter_mut().for_each(|byte| *byte ^= 1),
        Some(ActionsFault::Slow(delay)) => reply.delay = delay,
        _ => {}
    }
    reply
}

fn said(status: u16, body: &Value) -> WebReply {
    let reply = WebReply::of(body.to_string()).header("Content-Type", "application/json");
    WebReply { status, ..reply }
}

fn service_answer(state: &mut ActionsState, asked: &WebAsked) -> WebReply {
    let bearer = asked.header("authorization").unwrap_or_default();
    if let Some(rest) = asked.target.strip_prefix("/api/repos/") {
        return match bearer == format!("Bearer {ACTIONS_API_TOKEN}") {
            true => api(state, asked, rest),
            false => said(401, &json!({"message": "Bad credentials"})),
        };
    }
    if bearer != format!("Bearer {ACTIONS_TOKEN}") {
        return said(
            401,
            &json!({"code": "unauthenticated", "msg": "invalid token"}),
        );
    }
    if let Some(method) = asked.target.strip_prefix(TWIRP) {
        let body: Value = json_of(asked);
        return second(state, method, &body);
    }
    match asked.target.strip_prefix(FIRST) {
        Some(rest) => first(state, asked, rest),
        None => said(404, &json!({"message": "no such route"})),
    }
}

fn json_of(asked: &WebAsked) -> Value {
    serde_json::from_slice(&asked.body).expect("a body of JSON")
}

fn number(text: &str) -> usize {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn text(body: &Value, key: &str) -> String {
    body[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} in {body}"))
        .to_owned()
}

/// An exact match, or else the newest entry whose key begins so.
fn find<'s>(
    state: &'s ActionsState,
    key: &str,
    version: &str,
) -> Option<(usize, &'s ActionsEntry)> {
    let mut found = state.entries.iter().enumerate().rev();
    let all = found
        .clone()
        .find(|(_, entry)| entry.is_done && entry.key == key);
    all.or_else(|| found.find(|(_, entry)| entry.is_done && entry.key.starts_with(key)))
        .filter(|(_, entry)| entry.version == version)
}

/// Reserves a key; `None` if it is taken.
fn reserve(state: &mut ActionsState, key: String, version: String) -> Option<usize> {
    assert!(key.len() <= 512 && !key.contains(','), "{key}");
    assert!(version.len() == 64, "{version}");
    if state.entries.iter().any(|entry| entry.key == key) {
        return None;
    }
    state.entries.push(ActionsEntry {
        key,
        version,
        ..ActionsEntry::default()
    });
    Some(state.entries.len() - 1)
}

fn signed(state: &ActionsState, number: usize, way: &str) -> String {
    format!(
        "{}/{way}/{number}?se=2026&sig=hunter2-signature-{}",
        state.storage, state.signature
    )
}

fn second(state: &mut ActionsState, method: &str, body: &Value) -> WebReply {
    let (key, version) = (text(body, "key"), text(body, "version"));
    match method {
        "GetCacheEntryDownloadURL" => match find(state, &key, &version) {
            None => said(
                200,
                &json!({"ok": false, "signed_download_url": "", "matched_key": ""}),
            ),
            Some((number, entry)) => {
                let url = signed(state, number, "down");
                let body =
                    json!({"ok": true, "signed_download_url": url, "matched_key": entry.key});
                said(200, &body)
            }
        },
        "CreateCacheEntry" => match reserve(state, key, version) {
            Some(number) => {
                let url = signed(state, number, "up");
                said(200, &json!({"ok": true, "signed_upload_url": url}))
            }
            None => said(
                409,
                &json!({"code": "already_exists", "msg": "cache entry exists"}),
            ),
        },
        "FinalizeCacheEntryUpload" => {
            let stated: usize = number(&text(body, "size_bytes"));
            let entry = state.entries.iter_mut().find(|entry| entry.key == key);
            match entry.filter(|entry| entry.bytes.len() == stated && !entry.is_done) {
                None => said(200, &json!({"ok": false, "message": "sizes differ"})),
                Some(entry) => {
                    entry.is_done = true;
                    said(200, &json!({"ok": true, "entry_id": "7"}))
                }
            }
        }
        _ => said(404, &json!({"code": "bad_route", "msg": "no such method"})),
    }
}

fn first(state: &mut ActionsState, asked: &WebAsked, rest: &str) -> WebReply {
    let accepts = asked.header("accept").unwrap_or_default();
    assert!(accepts.contains("api-version=6.0"), "{accepts}");
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let slot = || number(path.trim_start_matches("caches/")) - 100;
    match (asked.method.as_str(), path) {
        ("GET", "cache") => {
            let query = parameters(query);
            match find(state, &query["keys"], &query["version"]) {
                None => WebReply::status(204),
                Some((number, entry)) => {
                    let url = signed(state, number, "down");
                    said(
                        200,
                        &json!({"cacheKey": entry.key, "scope": "refs/heads/main", "archiveLocation": url}),
                    )
                }
            }
        }
        ("POST", "caches") => {
            let body: Value = json_of(asked);
            match reserve(state, text(&body, "key"), text(&body, "version")) {
                Some(number) => said(201, &json!({"cacheId": number + 100})),
                None => said(
                    409,
                    &json!({"typeKey": "ArtifactCacheItemAlreadyExistsException",
                    "message": "Cache already exists."}),
                ),
            }
        }
        ("PATCH", _) => {
            let range = asked
                .header("content-range")
                .unwrap()
                .strip_prefix("bytes ")
                .unwrap();
            let (start, end) = range.strip_suffix("/*").unwrap().split_once('-').unwrap();
            let (start, end): (usize, usize) = (number(start), number(end));
            assert_eq!(end + 1 - start, asked.body.len());
            state.entries[slot()]
                .chunks
                .insert(start, asked.body.clone());
            WebReply::status(204)
        }
        ("POST", _) => {
            let body: Value = json_of(asked);
            let entry = &mut state.entries[slot()];
            for (start, chunk) in std::mem::take(&mut entry.chunks) {
                assert_eq!(start, entry.bytes.len(), "a gap between chunks");
                entry.bytes.extend(chunk);
            }
            assert_eq!(body["size"].as_u64(), Some(entry.bytes.len() as u64));
            entry.is_done = true;
            WebReply::status(204)
        }
        _ => said(404, &json!({"message": "no such route"})),
    }
}

/// Azure's blob storage, as much of it as there is in signed addresses.
fn storage_answer(state: &mut ActionsState, asked: &WebAsked) -> WebReply {
    assert_eq!(
        asked.header("authorization"),
        None,
        "a token at the storage"
    );
    let (path, query) = asked.target.split_once('?').unwrap();
    let query = parameters(query);
    let is_valid = query["sig"] == format!("hunter2-signature-{}", state.signature);
    if !is_valid {
        return WebReply {
            status: 403,
            ..WebReply::of(
                "<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code></Error>",
            )
        };
    }
    let (way, number) = path.trim_start_matches('/').split_once('/').unwrap();
    let Some(entry) = state.entries.get_mut(number.parse::<usize>().unwrap()) else {
        return WebReply::status(404);
    };
    match (
        asked.method.as_str(),
        way,
        query.get("comp").map(String::as_str),
    ) {
        ("GET", "down", None) => part_of(&entry.bytes, asked.header("range")),
        ("PUT", "up", None) => {
            assert_eq!(asked.header("x-ms-blob-type"), Some("BlockBlob"));
            entry.bytes = asked.body.clone();
            WebReply::status(201)
        }
        ("PUT", "up", Some("block")) => {
            let id = query["blockid"].clone();
            let mut known = entry.blocks.keys();
            assert!(known.all(|other| other.len() == id.len()), "{id}");
            entry.blocks.insert(id, asked.body.clone());
            WebReply::status(201)
        }
        ("PUT", "up", Some("blocklist")) => {
            let list = String::from_utf8(asked.body.clone()).unwrap();
            let ids = list.split("<Latest>").skip(1);
            entry.bytes.clear();
            for id in ids.map(|rest| rest.split_once("</Latest>").unwrap().0) {
                entry.bytes.extend(entry.blocks[id].clone());
            }
            WebReply::status(201)
        }
        other => panic!("the storage is asked for {other:?}"),
    }
}

fn part_of(bytes: &[u8], range: Option<&str>) -> WebReply {
    let Some(start) = range.map(|range| {
        let start = range
            .strip_prefix("bytes=")
            .unwrap()
            .strip_suffix('-')
            .unwrap();
        start.parse::<usize>().unwrap()
    }) else {
        return WebReply::of(bytes);
    };
    let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
    WebReply {
        status: 206,
        ..WebReply::of(&bytes[start..])
    }
    .header("Content-Range", &range)
}

/// GitHub's REST API: lists and deletes.
fn api(state: &mut ActionsState, asked: &WebAsked, rest: &str) -> WebReply {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    assert_eq!(path, format!("{ACTIONS_REPOSITORY}/actions/caches"));
    let query = parameters(query);
    match asked.method.as_str() {
        "GET" => {
            let (size, page): (usize, usize) = (
                query["per_page"].parse().unwrap(),
                query["page"].parse().unwrap(),
            );
            let newest = state.entries.iter().rev();
            let all = newest.filter(|entry| entry.is_done && entry.key.starts_with(&query["key"]));
            let page: Vec<Value> = all
                .skip(size * (page - 1))
                .take(size)
                .map(|entry| json!({"id": 1, "key": entry.key, "size_in_bytes": entry.bytes.len()}))
                .collect();
            said(
                200,
                &json!({"total_count": page.len(), "actions_caches": page}),
            )
        }
        "DELETE" if !state.may_delete => said(
            403,
            &json!({"message": "Resource not accessible by integration"}),
        ),
        "DELETE" => {
            let Some(entry) = state
                .entries
                .iter_mut()
                .find(|entry| entry.key == query["key"])
            else {
                return said(404, &json!({"message": "Not Found"}));
            };
            // The number of every other entry stays.
            entry.is_done = false;
            said(200, &json!({"total_count": 1, "actions_caches": []}))
        }
        other => panic!("the API is asked for {other}"),
    }
}

fn parameters(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let read = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let hex = std::str::from_utf8(&tail[..2]).unwrap();
                    rest = &tail[2..];
                    u8::from_str_radix(hex, 16).unwrap()
                }
                other => other,
            });
        }
        String::from_utf8(bytes).unwrap()
    };
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (read(name), read(value)))
        .collect()
}
