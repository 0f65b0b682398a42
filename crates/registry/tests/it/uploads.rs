//! The half of the in-process registry that takes blobs and manifests, with faults on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, Response};
use futures_util::StreamExt;
use rbuild_oci::Digest;

use crate::server::{Seen, State, refused, reply};

/// What the registry does instead of the right thing, once, to a step of an upload.
#[derive(Clone, Debug)]
pub enum UploadFault {
    /// Reads and answers this status.
    Status(u16, &'static str),
    /// As that, and asks for a pause of that many seconds.
    RetryAfter(u16, &'static str),
    /// Takes this many bytes, keeps them in the session, breaks the connection.
    DropAt(usize),
    /// As that, but without the session.
    DropAndForget(usize),
    /// Takes this many bytes and nothing more, ever.
    Stall(usize),
    /// Does everything, and breaks the connection instead of answering.
    DropAnswer,
    /// Names this digest in the answer.
    SayDigest(String),
    /// Names no digest in the answer.
    SayNothing,
}

impl UploadFault {
    /// The answer instead of the right one, if that is the fault.
    fn refusal(&self) -> Option<Response<Body>> {
        match self {
            Self::Status(status, body) => Some(reply(*status, body)),
            Self::RetryAfter(status, seconds) => {
                let mut response = reply(*status, "");
                let seconds = seconds.parse().unwrap();
                response.headers_mut().insert("retry-after", seconds);
                Some(response)
            }
            _ => None,
        }
    }
}

/// What has been pushed, and what was asked for.
#[derive(Default)]
pub struct Uploads {
    /// Blobs by repository and digest.
    pub blobs: BTreeMap<(String, String), Vec<u8>>,
    /// Manifests by repository and tag or digest, and in the order in which they came.
    pub manifests: Vec<(String, Vec<u8>)>,
    pub sessions: BTreeMap<String, Vec<u8>>,
    /// Faults by step: `HEAD`, `POST`, `PATCH`, `PUT`, `GET`, `DELETE` of blobs, or `MANIFEST`.
    pub faults: Vec<(&'static str, UploadFault)>,
    /// Steps with the bytes that came: `PUT 100`, `POST mount`.
    pub log: Vec<String>,
    /// Bytes of blobs that came, in whatever upload.
    pub received: u64,
    /// Another address to send uploads to.
    pub elsewhere: Option<String>,
    /// Whether addresses have no host.
    pub relative: bool,
    /// Whether mounts are answered with an upload.
    pub refuses_mounts: bool,
    /// Largest body taken.
    pub limit: Option<usize>,
    /// Whether chunks are unknown.
    pub no_chunks: bool,
    pub shortest_chunk: Option<u64>,
    /// The token to want from the next step of this name on.
    pub next_token: Option<(&'static str, String)>,
    next: u32,
}

impl Uploads {
    pub fn has(&self, repository: &str, bytes: &[u8]) -> bool {
        let digest = Digest::sha256_of(bytes).to_string();
        self.blobs.get(&(repository.to_owned(), digest)) == Some(&bytes.to_vec())
    }
}

/// Whether a request is for this half.
pub fn takes(parts: &Parts) -> bool {
    let path = parts.uri.path();
    path.contains("/blobs/uploads/")
        || (path.contains("/blobs/") && parts.method == Method::HEAD)
        || (path.contains("/manifests/") && parts.method == Method::PUT)
}

pub async fn handle(state: Arc<Mutex<State>>, parts: Parts, body: Body) -> Response<Body> {
    let seen = Seen {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: String::new(),
    };
    let step = step(&seen);
    let fault = match armed(&state, &seen, step) {
        Ok(fault) => fault,
        Err(response) => return *response,
    };
    if let Some(response) = fault.as_ref().and_then(UploadFault::refusal) {
        // As servers do: who is told too early, while still sending, does not hear it.
        read(body, usize::MAX).await;
        return response;
    }
    let limit = match &fault {
        Some(UploadFault::DropAt(at) | UploadFault::DropAndForget(at) | UploadFault::Stall(at)) => {
            *at
        }
        _ => usize::MAX,
    };
    let length = seen
        .header("content-length")
        .map_or(0, |text| text.parse().unwrap());
    if state
        .lock()
        .unwrap()
        .uploads
        .limit
        .is_some_and(|limit| length > limit)
    {
        read(body, usize::MAX).await;
        return reply(413, "<html>413 Request Entity Too Large</html>");
    }
    let (bytes, whole) = read(body, limit).await;
    if step != "MANIFEST" {
        state.lock().unwrap().uploads.received += bytes.len() as u64;
    }
    if !whole {
        let forgets = matches!(fault, Some(UploadFault::DropAndForget(_)));
        let session = seen.path.rsplit('/').next().unwrap();
        state
            .lock()
            .unwrap()
            .uploads
            .broken(step, session, &bytes, forgets);
        if matches!(fault, Some(UploadFault::Stall(_))) {
            return std::future::pending().await;
        }
        hang_up();
    }
    let mut response = state.lock().unwrap().uploads.answer(&seen, &bytes);
    match fault {
        Some(UploadFault::DropAnswer) => hang_up(),
        Some(UploadFault::SayDigest(digest)) => {
            let digest = digest.parse().unwrap();
            response
                .headers_mut()
                .insert("docker-content-digest", digest);
        }
        Some(UploadFault::SayNothing) => {
            response.headers_mut().remove("docker-content-digest");
        }
        _ => {}
    }
    response
}

/// What a request does, as faults name it.
fn step(seen: &Seen) -> &'static str {
    match seen.method {
        _ if seen.path.contains("/manifests/") => "MANIFEST",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::PUT => "PUT",
        Method::GET => "GET",
        _ => "DELETE",
    }
}

/// Notes the request; returns the fault for it, or the answer to one without the right token.
fn armed(
    state: &Mutex<State>,
    seen: &Seen,
    step: &str,
) -> Result<Option<UploadFault>, Box<Response<Body>>> {
    let mut state = state.lock().unwrap();
    state.seen.push(seen.clone());
    if let Some((at, token)) = state.uploads.next_token.clone()
        && at == step
    {
        state.token = token;
        state.uploads.next_token = None;
    }
    let at_home = !seen.path.starts_with("/storage");
    if let Some(response) = refused(&state, seen).filter(|_| at_home) {
        return Err(Box::new(response));
    }
    let faults = &mut state.uploads.faults;
    let at = faults.iter().position(|(at, _)| *at == step);
    Ok(at.map(|at| faults.remove(at).1))
}

/// Breaks the connection: it ends with its task.
fn hang_up() -> ! {
    std::panic::resume_unwind(Box::new("hang up"))
}

async fn read(body: Body, limit: usize) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else {
            return (bytes, false);
        };
        bytes.extend_from_slice(&piece);
        if bytes.len() >= limit {
            bytes.truncate(limit);
            return (bytes, false);
        }
    }
    (bytes, true)
}

impl Uploads {
    fn broken(&mut self, step: &str, session: &str, bytes: &[u8], forgets: bool) {
        self.log.push(format!("{step} {} broken", bytes.len()));
        if forgets {
            self.sessions.remove(session);
        } else {
            self.sessions
                .entry(session.to_owned())
                .or_default()
                .extend(bytes);
        }
    }

    fn answer(&mut self, seen: &Seen, bytes: &[u8]) -> Response<Body> {
        if let Some((repository, tag)) = seen.path.split_once("/manifests/") {
            return self.manifest(repository.trim_start_matches("/v2/"), tag, bytes);
        }
        let (repository, rest) = seen.path.split_once("/blobs/").unwrap();
        let repository = repository
            .trim_start_matches("/storage")
            .trim_start_matches("/v2/")
            .to_owned();
        let session = rest.trim_start_matches("uploads/").to_owned();
        match seen.method {
            Method::HEAD => self.head(&repository, rest),
            Method::POST => self.post(&repository, &seen.query),
            Method::PATCH if self.no_chunks => reply(405, ""),
            Method::PATCH => self.patch(&repository, &session, seen, bytes),
            Method::PUT => self.put(repository, &session, seen, bytes),
            Method::GET => {
                self.log.push("GET".into());
                match self.sessions.contains_key(&session) {
                    true => self.accepted(&repository, &session, 204),
                    false => unknown(),
                }
            }
            Method::DELETE => {
                self.log.push("DELETE".into());
                self.sessions.remove(&session);
                reply(204, "")
            }
            _ => reply(405, ""),
        }
    }

    fn head(&mut self, repository: &str, digest: &str) -> Response<Body> {
        self.log.push("HEAD".into());
        let key = (repository.to_owned(), digest.to_owned());
        match self.blobs.get(&key) {
            None => reply(404, ""),
            Some(blob) => Response::builder()
                .header("content-length", blob.len())
                .body(Body::empty())
                .unwrap(),
        }
    }

    fn post(&mut self, repository: &str, query: &str) -> Response<Body> {
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(key, _)| *key == name);
            found.map(|(_, value)| value.replace("%3A", ":").replace("%2F", "/"))
        };
        if let (Some(digest), Some(from)) = (value("mount"), value("from")) {
            self.log.push(format!("POST mount {from}"));
            let blob = self.blobs.get(&(from, digest.clone())).cloned();
            if let Some(blob) = blob.filter(|_| !self.refuses_mounts) {
                self.blobs
                    .insert((repository.to_owned(), digest.clone()), blob);
                return created(&digest);
            }
        } else {
            self.log.push("POST".into());
        }
        self.next += 1;
        let session = format!("session-{}", self.next);
        self.sessions.insert(session.clone(), Vec::new());
        self.accepted(repository, &session, 202)
    }

    fn accepted(&self, repository: &str, session: &str, status: u16) -> Response<Body> {
        let path = format!("/v2/{repository}/blobs/uploads/{session}?state=a%2Bb");
        let location = match (&self.elsewhere, self.relative) {
            (Some(host), _) => format!("http://{host}/storage{path}"),
            (None, true) => path,
            (None, false) => format!("http://{{host}}{path}"),
        };
        let last = self.sessions[session].len().saturating_sub(1);
        let mut response = reply(status, "");
        let headers = response.headers_mut();
        headers.insert("location", location.parse().unwrap());
        headers.insert("range", format!("0-{last}").parse().unwrap());
        if let Some(shortest) = self.shortest_chunk {
            headers.insert("oci-chunk-min-length", shortest.into());
        }
        response
    }

    fn patch(
        &mut self,
        repository: &str,
        session: &str,
        seen: &Seen,
        bytes: &[u8],
    ) -> Response<Body> {
        self.log.push(format!("PATCH {}", bytes.len()));
        let Some(so_far) = self.sessions.get_mut(session) else {
            return unknown();
        };
        let range = seen.header("content-range").unwrap();
        let end = so_far.len() + bytes.len() - 1;
        if range != format!("{}-{end}", so_far.len()) {
            return reply(416, "");
        }
        so_far.extend_from_slice(bytes);
        self.accepted(repository, session, 202)
    }

    fn put(
        &mut self,
        repository: String,
        session: &str,
        seen: &Seen,
        bytes: &[u8],
    ) -> Response<Body> {
        self.log.push(format!("PUT {}", bytes.len()));
        let Some(mut blob) = self.sessions.remove(session) else {
            return unknown();
        };
        blob.extend_from_slice(bytes);
        let digest = Digest::sha256_of(&blob).to_string();
        let wanted = format!("state=a%2Bb&digest={}", digest.replace(':', "%3A"));
        if seen.query != wanted {
            return reply(400, r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
        }
        self.blobs.insert((repository, digest.clone()), blob);
        created(&digest)
    }

    fn manifest(&mut self, repository: &str, tag: &str, bytes: &[u8]) -> Response<Body> {
        self.log.push(format!("MANIFEST {tag}"));
        let names = String::from_utf8(bytes.to_vec()).unwrap();
        let missing = names.split('"').find(|word| {
            let key = (repository.to_owned(), (*word).to_owned());
            word.starts_with("sha256:")
                && !self.blobs.contains_key(&key)
                && !self.manifests.iter().any(|(name, _)| name.ends_with(word))
        });
        if missing.is_some() {
            return reply(404, r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#);
        }
        self.manifests
            .push((format!("{repository}:{tag}"), bytes.to_vec()));
        created(Digest::sha256_of(bytes).as_str())
    }
}

fn created(digest: &str) -> Response<Body> {
    let mut response = reply(201, "");
    let digest = digest.parse().unwrap();
    response
        .headers_mut()
        .insert("docker-content-digest", digest);
    response
}

fn unknown() -> Response<Body> {
    reply(
        404,
        r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"upload unknown"}]}"#,
    )
}
