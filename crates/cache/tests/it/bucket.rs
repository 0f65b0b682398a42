//! A bucket in memory that speaks as much of S3 as is needed, and misbehaves on demand.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rbuild_oci::Digest;
use rbuild_testkit::{WebAsked, WebLength, WebReply, WebServer};

/// What the bucket does instead of the right thing.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers with a status and an error of this code.
    Status(u16, &'static str),
    /// States the whole length, sends this much, closes the connection.
    Break(usize),
    /// Sends other bytes of the same length.
    Tamper,
    /// Sends this much and says that this is all.
    Short(usize),
    /// Waits before the body.
    Slow(Duration),
}

#[derive(Default)]
pub struct State {
    pub objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    /// Requests that contain a text get what comes next; equal texts use theirs up in order.
    faults: Vec<(String, Fault)>,
    /// Requests that contain a text get this each time.
    pub habits: Vec<(String, Fault)>,
    /// Objects on a page of a list.
    pub page: usize,
    /// `METHOD TARGET` of every request.
    pub seen: Vec<String>,
    next: u64,
}

#[derive(Clone, Debug)]
pub struct Object {
    pub bytes: Vec<u8>,
    /// Seconds since 1970.
    pub modified: u64,
}

pub const NAME: &str = "bucket";
pub const KEY_ID: &str = "AKTEST";
pub const SECRET: &str = "hunter2-secret";

pub struct Bucket {
    state: Arc<Mutex<State>>,
    server: WebServer,
}

impl Bucket {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            page: 1000,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        let server = WebServer::start(move |asked| answer(&mut shared.lock().unwrap(), asked));
        Self { state, server }
    }

    pub fn url(&self) -> String {
        self.server.url("")
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Arms a fault for the next request whose `METHOD TARGET` contains `text`.
    pub fn fault(&self, text: &str, fault: Fault) {
        self.state().faults.push((text.to_owned(), fault));
    }

    /// How many requests contained `text` so far.
    pub fn count(&self, text: &str) -> usize {
        let state = self.state();
        state.seen.iter().filter(|seen| seen.contains(text)).count()
    }

    pub fn forget(&self) {
        self.state().seen.clear();
    }

    /// Uploads that were begun and neither completed nor given up.
    pub fn unfinished(&self) -> usize {
        self.state().uploads.len()
    }
}

fn answer(state: &mut State, asked: &WebAsked) -> WebReply {
    let what = format!("{} {}", asked.method, asked.target);
    state.seen.push(what.clone());
    let is_ours = asked
        .header("authorization")
        .is_some_and(|value| value.starts_with(&format!("AWS4-HMAC-SHA256 Credential={KEY_ID}/")));
    if !is_ours {
        return failure(403, "AccessDenied");
    }
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
    if let Some(Fault::Status(status, code)) = fault {
        return failure(status, code);
    }
    let mut reply = right_answer(state, asked);
    match fault {
        Some(Fault::Break(length)) => {
            reply.length = WebLength::Stated(reply.body.len());
            reply.body.truncate(length);
        }
        Some(Fault::Short(length)) => reply.body.truncate(length),
        Some(Fault::Tamper) => reply.body.iter_mut().for_each(|byte| *byte ^= 1),
        Some(Fault::Slow(delay)) => reply.delay = delay,
        _ => {}
    }
    reply
}

fn failure(status: u16, code: &str) -> WebReply {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>because of\n {code}</Message></Error>"
    );
    WebReply {
        status,
        ..WebReply::of(body)
    }
}

fn right_answer(state: &mut State, asked: &WebAsked) -> WebReply {
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let query = parameters(query);
    let Some(key) = path.strip_prefix(&format!("/{NAME}")) else {
        return failure(404, "NoSuchBucket");
    };
    let key = key.trim_start_matches('/').to_owned();
    let upload = query.get("uploadId").cloned();
    match (asked.method.as_str(), upload) {
        ("GET", _) if key.is_empty() => list(state, &query),
        ("GET" | "HEAD", _) => get(state, asked, &key),
        ("PUT", Some(upload)) => put_part(state, &upload, &query, asked),
        ("PUT", None) => put(state, &key, asked),
        ("POST", None) if query.contains_key("uploads") => {
            let id = format!("u{}", number(state));
            state.uploads.insert(id.clone(), BTreeMap::new());
            xml(&format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            ))
        }
        ("POST", Some(upload)) => complete(state, &key, &upload),
        ("DELETE", Some(upload)) => {
            state.uploads.remove(&upload);
            WebReply::status(204)
        }
        ("DELETE", None) => {
            state.objects.remove(&key);
            WebReply::status(204)
        }
        _ => failure(501, "NotImplemented"),
    }
}

fn number(state: &mut State) -> u64 {
    state.next += 1;
    state.next
}

fn xml(text: &str) -> WebReply {
    WebReply::of(format!("<?xml version=\"1.0\"?>{text}"))
}

fn parameters(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace("%2F", "/").replace("%3D", "=");
            (name.to_owned(), value)
        })
        .collect()
}

fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", Digest::sha256_of(bytes).short())
}

fn list(state: &State, query: &BTreeMap<String, String>) -> WebReply {
    let prefix = query.get("prefix").cloned().unwrap_or_default();
    let after = query.get("continuation-token").or(query.get("start-after"));
    let after = after.cloned().unwrap_or_default();
    let mut objects = state
        .objects
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix) && **key > after);
    let mut text = String::from("<ListBucketResult>");
    let mut last = "";
    for (key, object) in objects.by_ref().take(state.page) {
        let modified = iso(object.modified);
        let (size, tag) = (object.bytes.len(), tag(&object.bytes).replace('"', ""));
        write!(
            text,
            "<Contents><Key>{key}</Key><LastModified>{modified}</LastModified>\
             <ETag>{tag}</ETag><Size>{size}</Size></Contents>"
        )
        .unwrap();
        last = key;
    }
    if objects.next().is_some() {
        write!(
            text,
            "<NextContinuationToken>{last}</NextContinuationToken>"
        )
        .unwrap();
    }
    text.push_str("</ListBucketResult>");
    xml(&text)
}

fn get(state: &State, asked: &WebAsked, key: &str) -> WebReply {
    let Some(object) = state.objects.get(key) else {
        return match asked.method.as_str() {
            "HEAD" => WebReply::status(404),
            _ => failure(404, "NoSuchKey"),
        };
    };
    let all = object.bytes.len();
    let mut reply = WebReply::of(object.bytes.clone())
        .header("ETag", &tag(&object.bytes))
        .header("Last-Modified", &http_date(object.modified));
    let range = asked
        .header("range")
        .and_then(|range| range.strip_prefix("bytes="));
    if let Some((start, end)) = range.and_then(|range| range.split_once('-')) {
        let start: usize = start.parse().unwrap();
        let end = end.parse().map_or(all, |end: usize| end + 1);
        reply.body = object.bytes[start..end].to_vec();
        reply.status = 206;
        let range = format!("bytes {start}-{}/{all}", end - 1);
        reply = reply.header("Content-Range", &range);
    }
    if asked.method == "HEAD" {
        reply.length = WebLength::Stated(reply.body.len());
        reply.body.clear();
    }
    reply
}

fn put(state: &mut State, key: &str, asked: &WebAsked) -> WebReply {
    let bytes = match asked.header("x-amz-copy-source") {
        None => asked.body.clone(),
        Some(source) => {
            let itself = format!("{NAME}/{key}");
            // What Amazon's own service refuses.
            let replaces = asked.header("x-amz-metadata-directive") == Some("REPLACE");
            if source == itself && !replaces {
                return failure(400, "InvalidRequest");
            }
            state.objects[key].bytes.clone()
        }
    };
    let reply = xml("<CopyObjectResult/>").header("ETag", &tag(&bytes));
    keep(state, key, bytes);
    reply
}

fn keep(state: &mut State, key: &str, bytes: Vec<u8>) {
    let modified = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    state
        .objects
        .insert(key.to_owned(), Object { bytes, modified });
}

fn put_part(
    state: &mut State,
    upload: &str,
    query: &BTreeMap<String, String>,
    asked: &WebAsked,
) -> WebReply {
    let Some(parts) = state.uploads.get_mut(upload) else {
        return failure(404, "NoSuchUpload");
    };
    parts.insert(query["partNumber"].parse().unwrap(), asked.body.clone());
    WebReply::of("").header("ETag", &tag(&asked.body))
}

fn complete(state: &mut State, key: &str, upload: &str) -> WebReply {
    let Some(parts) = state.uploads.remove(upload) else {
        return failure(404, "NoSuchUpload");
    };
    let count = parts.len();
    let too_small = parts
        .values()
        .take(count - 1)
        .any(|part| part.len() < 5 << 20);
    if too_small {
        return failure(400, "EntityTooSmall");
    }
    let bytes: Vec<u8> = parts.into_values().flatten().collect();
    let tag = tag(&bytes).replace('"', "");
    keep(state, key, bytes);
    xml(&format!(
        "<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"
    ))
}

/// Year, month, day, hour, minute, second; for years from 1970 on.
fn civil(seconds: u64) -> (u64, u64, u64, u64, u64, u64) {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since the first of March of the year 0. Source: H. Hinnant, "chrono-compatible date algorithms".
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let in_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let in_month = in_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    (
        year,
        month,
        in_month,
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
    )
}

fn iso(seconds: u64) -> String {
    let (year, month, day, hour, minute, second) = civil(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z")
}

fn http_date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (year, month, day, hour, minute, second) = civil(seconds);
    let (name, month) = (
        DAYS[(seconds / 86_400 % 7) as usize],
        MONTHS[month as usize - 1],
    );
    format!("{name}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}
