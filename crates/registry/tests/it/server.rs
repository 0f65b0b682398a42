//! An in-process registry on a loopback port: content, logins, faults, and a log of what was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use futures_util::{StreamExt, stream};
use rbuild_oci::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST};
use rbuild_oci::{Descriptor, Digest, Index, Manifest, Platform, Reference};
use rbuild_registry::{Client, ClientConfig, RetryPolicy};
use tokio::sync::Barrier;

use crate::uploads::{self, Uploads};

/// What the registry does instead of the right thing, once, to a path that contains a text.
#[derive(Clone, Debug)]
pub enum Fault {
    Status(u16, &'static str),
    RetryAfter(u16, &'static str),
    /// States the whole length, sends this much, breaks the connection.
    Break(usize),
    /// States and sends this much only.
    Short(usize),
    /// Sends other bytes of the same length.
    Tamper,
    /// Sends this after the content, without stating a length.
    Extra(usize),
    /// Sends nothing and never ends.
    Hang,
    Redirect(String),
    IgnoreRange,
    WrongRange,
    /// Replaces the digest header.
    DigestHeader(Digest),
    /// Sends the body without stating digest, length or type.
    Bare,
}

/// How the registry wants to be logged in to.
#[derive(Clone, Debug, Default)]
pub enum Login {
    #[default]
    Open,
    Basic,
    /// Tokens from `/token`; without a credential if `anonymous`.
    Bearer {
        realm: Option<String>,
        anonymous: bool,
    },
}

pub const USER: &str = "user";
pub const PASSWORD: &str = "pass:word";
pub const IDENTITY: &str = "identity-token";
/// base64 of USER:PASSWORD.
const BASIC: &str = "Basic dXNlcjpwYXNzOndvcmQ=";

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

#[derive(Default)]
pub struct State {
    pub blobs: BTreeMap<String, Vec<u8>>,
    pub manifests: BTreeMap<String, (String, Vec<u8>)>,
    pub faults: Vec<(String, Fault)>,
    pub login: Login,
    pub token: String,
    pub seen: Vec<Seen>,
    pub barrier: Option<Arc<Barrier>>,
    in_flight: usize,
    pub most_in_flight: usize,
    pub uploads: Uploads,
}

/// A running registry; stops with the value.
pub struct Server {
    state: Arc<Mutex<State>>,
    port: u16,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let state = Arc::new(Mutex::new(State {
            token: "token-1".into(),
            ..State::default()
        }));
        let port = listen(&runtime, &state);
        Self {
            state,
            port,
            runtime,
        }
    }

    /// A further address of the same registry: another origin.
    pub fn listen_elsewhere(&self) -> String {
        format!("127.0.0.1:{}", listen(&self.runtime, &self.state))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn reference(&self, rest: &str) -> Reference {
        Reference::parse(&format!("{}/{rest}", self.host())).unwrap()
    }

    /// Arms a fault; equal paths use theirs up in order.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.state().faults.push((path.to_owned(), fault));
    }

    pub fn put_blob(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        self.state()
            .blobs
            .insert(descriptor.digest.to_string(), bytes.to_vec());
        descriptor
    }

    pub fn put_layer(&self, bytes: &[u8]) -> Descriptor {
        self.put_blob(OCI_LAYER_GZIP, bytes)
    }

    /// Stores a document under its digest and a tag of repository `name`.
    pub fn put_document(
        &self,
        name: &str,
        tag: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        let entry = (media_type.to_owned(), bytes.to_vec());
        let mut state = self.state();
        for end in [tag, descriptor.digest.as_str()] {
            state
                .manifests
                .insert(format!("/v2/{name}/manifests/{end}"), entry.clone());
        }
        descriptor
    }

    /// An image with one layer; the text makes it differ from others.
    pub fn put_image(&self, name: &str, tag: &str, text: &str) -> Descriptor {
        let config = self.put_blob(OCI_CONFIG, format!("{{\"author\":\"{text}\"}}").as_bytes());
        let layer = self.put_layer(text.as_bytes());
        let manifest = Manifest::new(OCI_MANIFEST, config, vec![layer]);
        self.put_document(name, tag, OCI_MANIFEST, &manifest.to_bytes())
    }

    /// An index over one image for each platform.
    pub fn put_index(&self, name: &str, tag: &str, platforms: &[&str]) -> Vec<Descriptor> {
        let entries: Vec<Descriptor> = platforms
            .iter()
            .map(|platform| Descriptor {
                platform: Some(Platform::parse(platform).unwrap()),
                ..self.put_image(name, &platform.replace('/', "-"), platform)
            })
            .collect();
        let index = Index::new(OCI_INDEX, entries.clone());
        self.put_document(name, tag, OCI_INDEX, &index.to_bytes());
        entries
    }

    /// The requests so far, as `METHOD path`.
    pub fn log(&self) -> Vec<String> {
        self.state()
            .seen
            .iter()
            .map(|seen| format!("{} {}", seen.method, seen.path))
            .collect()
    }
}

fn listen(runtime: &tokio::runtime::Runtime, state: &Arc<Mutex<State>>) -> u16 {
    let bound = tokio::net::TcpListener::bind("127.0.0.1:0");
    let listener = runtime.block_on(bound).unwrap();
    let port = listener.local_addr().unwrap().port();
    let shared = state.clone();
    let app = Router::new().fallback(move |request| handle(shared.clone(), request));
    runtime.spawn(async move { axum::serve(listener, app).await });
    port
}

/// Settings with pauses that tests can afford.
pub fn config() -> ClientConfig {
    let retry = RetryPolicy {
        attempts: 4,
        connect_attempts: 2,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(20),
    };
    ClientConfig {
        retry,
        ..ClientConfig::default()
    }
}

pub fn client() -> Client {
    Client::new(config())
}

async fn handle(state: Arc<Mutex<State>>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if uploads::takes(&parts) {
        let host = parts.headers["host"].to_str().unwrap().to_owned();
        let mut response = uploads::handle(state, parts, body).await;
        // Absolute addresses name the host that was asked.
        if let Some(location) = response.headers_mut().get_mut("location") {
            let text = location.to_str().unwrap().replace("{host}", &host);
            *location = text.parse().unwrap();
        }
        return response;
    }
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let seen = Seen {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let barrier = {
        let mut state = state.lock().unwrap();
        state.seen.push(seen.clone());
        state.in_flight += 1;
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
        state
            .barrier
            .clone()
            .filter(|_| seen.path.contains("/blobs/"))
    };
    if let Some(barrier) = barrier {
        barrier.wait().await;
    }
    let mut state = state.lock().unwrap();
    state.in_flight -= 1;
    let at = state
        .faults
        .iter()
        .position(|(path, _)| seen.path.contains(path.as_str()));
    let fault = at.map(|at| state.faults.remove(at).1);
    match (&fault, seen.path.as_str()) {
        (Some(Fault::Status(status, body)), _) => reply(*status, body),
        (Some(Fault::RetryAfter(status, seconds)), _) => {
            let mut response = reply(*status, "");
            response
                .headers_mut()
                .insert("retry-after", seconds.parse().unwrap());
            response
        }
        (Some(Fault::Redirect(to)), _) => {
            let mut response = reply(307, "");
            response
                .headers_mut()
                .insert("location", to.parse().unwrap());
            response
        }
        (_, "/token") => token(&state, &seen),
        _ => match refused(&state, &seen) {
            Some(response) => response,
            None => content(&state, &seen, fault),
        },
    }
}

pub fn reply(status: u16, body: &str) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap();
    Response::builder()
        .status(status)
        .body(Body::from(body.to_owned()))
        .unwrap()
}

pub fn refused(state: &State, seen: &Seen) -> Option<Response<Body>> {
    let host: Uri = format!("http://{}/token", seen.header("host").unwrap())
        .parse()
        .unwrap();
    let (wanted, challenge) = match &state.login {
        Login::Open => return None,
        Login::Basic => (BASIC.to_owned(), "Basic realm=\"test\"".to_owned()),
        Login::Bearer { realm, .. } => {
            let realm = realm.clone().unwrap_or(host.to_string());
            let challenge =
                format!("Bearer realm=\"{realm}\",service=\"test\",scope=\"repository:a/b:pull\"");
            (format!("Bearer {}", state.token), challenge)
        }
    };
    if seen.header("authorization") == Some(&wanted) {
        return None;
    }
    let words = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    let mut response = reply(401, words);
    response
        .headers_mut()
        .insert("www-authenticate", challenge.parse().unwrap());
    Some(response)
}

fn token(state: &State, seen: &Seen) -> Response<Body> {
    let anonymous = matches!(
        state.login,
        Login::Bearer {
            anonymous: true,
            ..
        }
    );
    let by_password = seen.header("authorization") == Some(BASIC);
    let by_identity = seen.method == Method::POST
        && seen.body.contains(&format!("refresh_token={IDENTITY}"))
        && seen.body.contains("grant_type=refresh_token");
    let granted = match seen.header("authorization") {
        None => anonymous || by_identity,
        Some(_) => by_password,
    };
    match granted {
        true if by_identity => reply(200, &format!(r#"{{"access_token":"{}"}}"#, state.token)),
        true => reply(
            200,
            &format!(r#"{{"token":"{}","expires_in":300}}"#, state.token),
        ),
        false => reply(401, r#"{"details":"incorrect username or password"}"#),
    }
}

fn content(state: &State, seen: &Seen, fault: Option<Fault>) -> Response<Body> {
    if let Some((media_type, bytes)) = state.manifests.get(&seen.path) {
        let mut response = body(bytes, fault.clone());
        let digest = match &fault {
            Some(Fault::DigestHeader(digest)) => digest.to_string(),
            _ => Digest::sha256_of(bytes).to_string(),
        };
        if !matches!(fault, Some(Fault::Bare)) {
            response
                .headers_mut()
                .insert("content-type", media_type.parse().unwrap());
            response
                .headers_mut()
                .insert("docker-content-digest", digest.parse().unwrap());
        }
        return response;
    }
    let blob = seen
        .path
        .rsplit_once("/blobs/")
        .and_then(|(_, digest)| state.blobs.get(digest));
    if let Some(bytes) = blob {
        return ranged(bytes, seen.header("range"), fault);
    }
    if seen.path.contains("/missing/") {
        return reply(
            404,
            r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such repository"}]}"#,
        );
    }
    let code = if seen.path.contains("/blobs/") {
        "BLOB_UNKNOWN"
    } else {
        "MANIFEST_UNKNOWN"
    };
    reply(
        404,
        &format!(r#"{{"errors":[{{"code":"{code}","message":"never heard of it"}}]}}"#),
    )
}

fn ranged(bytes: &[u8], range: Option<&str>, fault: Option<Fault>) -> Response<Body> {
    let start = range.map(|range| range.trim_start_matches("bytes=").trim_end_matches('-'));
    let Some(start) = start.and_then(|start| start.parse::<usize>().ok()) else {
        return body(bytes, fault);
    };
    if matches!(fault, Some(Fault::IgnoreRange)) {
        return body(bytes, None);
    }
    if start >= bytes.len() {
        return reply(416, "");
    }
    let stated = if matches!(fault, Some(Fault::WrongRange)) {
        start + 1
    } else {
        start
    };
    let mut response = body(&bytes[start..], fault);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let value = format!("bytes {stated}-{}/{}", bytes.len() - 1, bytes.len());
    response
        .headers_mut()
        .insert("content-range", value.parse().unwrap());
    response
}

fn body(bytes: &[u8], fault: Option<Fault>) -> Response<Body> {
    let stated = |length: usize| Response::builder().header("content-length", length);
    let pieces =
        |parts: Vec<Result<Vec<u8>, std::io::Error>>| Body::from_stream(stream::iter(parts));
    match fault {
        Some(Fault::Break(at)) => {
            let cut = Err(std::io::Error::other("cut"));
            // hyper drops what it has not sent when a body fails; a body that is not ready makes it
            // send first.
            let parts = stream::iter([Ok(bytes[..at].to_vec()), cut]).then(async |part| {
                if part.is_err() {
                    tokio::task::yield_now().await;
                }
                part
            });
            stated(bytes.len()).body(Body::from_stream(parts)).unwrap()
        }
        Some(Fault::Short(length)) => stated(length)
            .body(Body::from(bytes[..length].to_vec()))
            .unwrap(),
        Some(Fault::Tamper) => {
            let other: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
            stated(other.len()).body(Body::from(other)).unwrap()
        }
        Some(Fault::Extra(extra)) => {
            Response::new(pieces(vec![Ok(bytes.to_vec()), Ok(vec![0; extra])]))
        }
        Some(Fault::Hang) => stated(bytes.len())
            .body(Body::from_stream(stream::pending::<
                Result<Vec<u8>, std::io::Error>,
            >()))
            .unwrap(),
        Some(Fault::Bare) => Response::new(pieces(vec![Ok(bytes.to_vec())])),
        _ => stated(bytes.len())
            .body(Body::from(bytes.to_vec()))
            .unwrap(),
    }
}
