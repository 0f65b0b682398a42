//! A container in memory that speaks as much of Azure Blob Storage as is needed, and misbehaves on demand.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard};

use rbuild_cache::Attrs;
use rbuild_cache::azblob::{AzblobEnv, AzblobPlace};
use rbuild_testkit::{WebAsked, WebLength, WebReply, WebServer};

pub const ACCOUNT: &str = "rbuildtest";
/// `secret of the account`.
pub const KEY: &str = "c2VjcmV0IG9mIHRoZSBhY2NvdW50";
/// When everything was written.
const TIME: &str = "Sat, 28 Nov 2026 12:00:00 GMT";

#[derive(Default)]
pub struct State {
    /// By name; none before the container is made.
    pub objects: Option<BTreeMap<String, Vec<u8>>>,
    blocks: BTreeMap<String, Vec<u8>>,
    /// Requests that contain a text get this status and code each time.
    pub habits: Vec<(&'static str, u16, &'static str)>,
    /// `METHOD TARGET` of every request.
    pub seen: Vec<String>,
}

pub struct Container {
    state: Arc<Mutex<State>>,
    server: WebServer,
}

impl Container {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = WebServer::start(move |asked| answer(&mut shared.lock().unwrap(), asked));
        Self { state, server }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// How many requests contained `text` so far.
    pub fn count(&self, text: &str) -> usize {
        let state = self.state();
        state.seen.iter().filter(|seen| seen.contains(text)).count()
    }

    pub fn place(&self, more: &[(&str, &str)]) -> AzblobPlace {
        place(&self.server.url(&format!("/{ACCOUNT}")), more)
    }
}

/// The place at a service, with these attributes more.
pub fn place(url: &str, more: &[(&str, &str)]) -> AzblobPlace {
    let all = [
        ("account_url", url),
        ("account_name", ACCOUNT),
        ("secret_access_key", KEY),
        ("container", "builds"),
        ("prefix", "team/cache"),
    ];
    let is_other = |key: &str| more.iter().any(|(other, _)| *other == key);
    let pairs = all.into_iter().filter(|(key, _)| !is_other(key));
    let pairs = pairs
        .chain(more.iter().copied())
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut attrs = Attrs::new("azblob", pairs).unwrap();
    let place = AzblobPlace::parse(&mut attrs, &AzblobEnv::default()).unwrap();
    attrs.finish().unwrap();
    place
}

fn answer(state: &mut State, asked: &WebAsked) -> WebReply {
    let what = format!("{} {}", asked.method, asked.target);
    state.seen.push(what.clone());
    let signer = format!("SharedKey {ACCOUNT}:");
    let is_signed = asked
        .header("authorization")
        .is_some_and(|value| value.starts_with(&signer));
    if !is_signed {
        return failure(403, "AuthenticationFailed");
    }
    let habit = state.habits.iter().find(|(text, _, _)| what.contains(text));
    if let Some((_, status, code)) = habit {
        return failure(*status, code);
    }
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let query: BTreeMap<&str, String> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            (
                name,
                value
                    .replace("%2F", "/")
                    .replace("%3D", "=")
                    .replace("%2B", "+"),
            )
        })
        .collect();
    let Some(name) = path.strip_prefix(&format!("/{ACCOUNT}/builds")) else {
        return failure(404, "ContainerNotFound");
    };
    let name = name.trim_start_matches('/');
    let component = query.get("comp").map(String::as_str);
    if name.is_empty() && asked.method == "PUT" {
        if state.objects.is_some() {
            return failure(409, "ContainerAlreadyExists");
        }
        state.objects = Some(BTreeMap::new());
        return WebReply::status(201);
    }
    let Some(objects) = &mut state.objects else {
        return failure(404, "ContainerNotFound");
    };
    let made = || {
        WebReply::status(201)
            .header("ETag", "\"1\"")
            .header("Last-Modified", TIME)
    };
    match (asked.method.as_str(), component) {
        ("GET", Some("list")) => list(objects, query.get("prefix").map_or("", String::as_str)),
        ("GET" | "HEAD", None) => get(objects, asked, name),
        ("PUT", Some("block")) => {
            state
                .blocks
                .insert(query["blockid"].clone(), asked.body.clone());
            made()
        }
        ("PUT", Some("blocklist")) => {
            let text = String::from_utf8_lossy(&asked.body).into_owned();
            let ids = text.split("<Uncommitted>").skip(1);
            let ids = ids.filter_map(|piece| Some(piece.split_once('<')?.0));
            let bytes = ids.flat_map(|id| state.blocks[id].clone()).collect();
            objects.insert(name.to_owned(), bytes);
            made()
        }
        ("PUT", None) => {
            objects.insert(name.to_owned(), asked.body.clone());
            made()
        }
        ("DELETE", None) => match objects.remove(name) {
            Some(_) => WebReply::status(202),
            None => failure(404, "BlobNotFound"),
        },
        _ => failure(400, "UnsupportedQueryParameter"),
    }
}

fn failure(status: u16, code: &str) -> WebReply {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>because of {code}</Message></Error>"
    );
    WebReply {
        status,
        ..WebReply::of(body)
    }
}

fn list(objects: &BTreeMap<String, Vec<u8>>, prefix: &str) -> WebReply {
    let mut text = String::from("<?xml version=\"1.0\"?><EnumerationResults><Blobs>");
    for (name, bytes) in objects.iter().filter(|(name, _)| name.starts_with(prefix)) {
        let size = bytes.len();
        write!(
            text,
            "<Blob><Name>{name}</Name><Properties><Last-Modified>{TIME}</Last-Modified><Etag>1</Etag>\
             <Content-Length>{size}</Content-Length><Content-Type>x</Content-Type></Properties></Blob>"
        )
        .unwrap();
    }
    text.push_str("</Blobs><NextMarker/></EnumerationResults>");
    WebReply::of(text)
}

fn get(objects: &BTreeMap<String, Vec<u8>>, asked: &WebAsked, name: &str) -> WebReply {
    let is_head = asked.method == "HEAD";
    let Some(bytes) = objects.get(name) else {
        return match is_head {
            true => WebReply::status(404),
            false => failure(404, "BlobNotFound"),
        };
    };
    let mut reply = WebReply::of(bytes.clone())
        .header("ETag", "\"1\"")
        .header("Last-Modified", TIME);
    if is_head {
        reply.length = WebLength::Stated(reply.body.len());
        reply.body.clear();
    }
    reply
}
