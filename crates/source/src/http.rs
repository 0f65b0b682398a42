//! Files behind URLs: asked for with what is known of them, fetched into the store, verified.
//!
//! The store remembers of each address the validators that its server gave (`ETag`,
//! `Last-Modified`) and which blob came with them. The next build asks whether that is still current
//! and downloads nothing if it is. A file with a checksum that is here already is not even asked for.

mod date;
mod file;
mod pinned;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use rbuild_graph::HttpOp;
use rbuild_layer::ContentDigest;
use rbuild_oci::Digest;
use rbuild_progress::{CancelToken, Meter, Sink, VertexKey};
use rbuild_registry::{
    LazyClient, Reach, ReadError, Secret, WebAnswer, WebRequest, without_credentials,
};
use rbuild_store::{Lease, Object, Store, Table};
use serde::{Deserialize, Serialize};

pub use self::file::{RemoteFile, WebFile};
use crate::keyring::Keyring;
use crate::pins::Pins;
use crate::{Error, Result};

/// Downloads of one file at most, counting those that broke off.
const DOWNLOADS: u32 = 3;

/// Age in seconds from which a time of modification tells two versions apart: HTTP counts whole
/// seconds, and a file may change twice in one (RFC 9110, 8.8.2.2).
const STRONG_AFTER: i64 = 60;

/// What is taken from the network at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteLimits {
    /// Bytes of one downloaded file.
    pub file_bytes: u64,
    /// Bytes of all files of one unpacked archive, or of one checked out repository.
    pub unpacked_bytes: u64,
    /// Files and directories of one archive or repository.
    pub entries: u64,
}

impl Default for RemoteLimits {
    fn default() -> Self {
        Self {
            file_bytes: 64 << 30,
            unpacked_bytes: 256 << 30,
            entries: 16 << 20,
        }
    }
}

/// What fetching may use of the build that it is part of.
#[derive(Clone, Copy)]
pub struct RemoteContext<'a> {
    /// The build's secrets and agents, for servers that want a login.
    pub keyring: &'a dyn Keyring,
    /// Keeps what is found from collection.
    pub lease: &'a Lease,
    /// Hears of progress.
    pub sink: &'a dyn Sink,
    /// The step that progress belongs to.
    pub vertex: &'a VertexKey,
    /// Stops all waiting.
    pub cancel: &'a CancelToken,
}

/// Fetches files behind URLs into a store.
#[derive(Clone)]
pub struct HttpSource {
    store: Arc<Store>,
    client: Arc<LazyClient>,
    reach: Reach,
    limits: RemoteLimits,
    pins: Arc<Pins>,
}

/// What the store remembers of an address.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Memo {
    tag: Option<String>,
    modified: Option<String>,
    /// Whether `modified` is old enough to tell versions apart.
    modified_is_strong: bool,
    kept: Kept,
}

/// A file in the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    blob: Digest,
    size: u64,
    content: [u8; 32],
}

impl Kept {
    /// What its uses are noted under.
    fn use_name(&self) -> String {
        format!("blob {}", self.blob)
    }
}

/// The blob that a row leads to.
pub(crate) fn blob_of(row: &[u8]) -> Option<Digest> {
    Some(serde_json::from_slice::<Memo>(row).ok()?.kept.blob)
}

/// A file that was found, and when it was last modified.
struct Found {
    kept: Kept,
    /// Seconds since 1970.
    modified: Option<i64>,
}

impl HttpSource {
    /// Files go to `store`. What is offline answers with what was fetched before, however old.
    pub fn new(
        store: Arc<Store>,
        (client, reach): (Arc<LazyClient>, Reach),
        limits: RemoteLimits,
    ) -> HttpSource {
        HttpSource {
            store,
            client,
            reach,
            limits,
            pins: Arc::default(),
        }
    }

    /// The same for whom addresses stand for what `pins` say.
    pub fn pinned(&self, pins: Arc<Pins>) -> HttpSource {
        HttpSource {
            pins,
            ..self.clone()
        }
    }

    /// Says what file `op` means and what it counts for in keys.
    ///
    /// A file with a checksum counts by that and is fetched only when it is read. So is one with a pin, which
    /// counts as if its server had been asked when it was pinned. Any other is asked for now, and downloaded
    /// unless what is here is still current.
    ///
    /// Errors: [`Error::Web`], [`Error::WebStatus`], [`Error::Checksum`], [`Error::TooLarge`],
    /// [`Error::Unpinned`], [`Error::OtherBytes`], [`Error::Store`], [`Error::Cancelled`].
    pub fn supply(&self, op: &HttpOp, cx: &RemoteContext<'_>) -> Result<(WebFile, Digest)> {
        if let Some(pin) = self.pins.file(op)? {
            let key = asked_key(&pin.blob, op, pin.modified);
            return Ok((WebFile::pinned(op, pin, self.clone()), key));
        }
        let file = WebFile::new(op.clone(), self.clone());
        if let Some(checksum) = &op.checksum {
            let text = format!("pinned file {checksum} {:?}", op.name);
            return Ok((file, Digest::sha256_of(text.as_bytes())));
        }
        let ready = file.ready(cx)?;
        let key = asked_key(ready.blob(), op, ready.modified_secs());
        Ok((file, key))
    }

    /// Finds the file of `op` here or fetches it.
    fn find(&self, op: &HttpOp, cx: &RemoteContext<'_>) -> Result<Found> {
        let Some(url) = &op.url else {
            return self.handed_over(op, cx);
        };
        let (name, authorization) = authorization(url, cx.keyring);
        let key = memo_key(url, name.as_deref());
        // Whoever comes second finds what the first one fetched.
        let _lock = self.store.work_lock(&key, cx.cancel)?;
        let memo = self.remembered(&key, cx)?;
        if let Some(memo) = &memo {
            self.store.note_use(&memo.kept.use_name());
        }
        if let (Some(wanted), Some(memo)) = (&op.checksum, &memo)
            && memo.kept.blob == *wanted
        {
            return Ok(memo.found());
        }
        // What does not have the checksum is of no use, however current.
        let memo = memo.filter(|_| op.checksum.is_none());
        if self.reach == Reach::Offline {
            let what = without_credentials(url);
            return memo.map(|memo| memo.found()).ok_or(Error::Offline { what });
        }
        let request = WebRequest {
            url: url.clone(),
            known_tag: memo.as_ref().and_then(|memo| memo.tag.clone()),
            known_time: memo.as_ref().and_then(Memo::known_time),
            authorization,
        };
        let (known, begun) = (
            memo.as_ref().map(|memo| memo.kept.blob.clone()),
            Instant::now(),
        );
        let memo = self.ask(op, &request, memo, cx)?;
        if known.as_ref() != Some(&memo.kept.blob) {
            self.store.note_made(&memo.kept.use_name(), begun.elapsed());
        }
        if let Ok(bytes) = serde_json::to_vec(&memo) {
            self.store.put(Table::Remotes, &key, &bytes)?;
        }
        Ok(memo.found())
    }

    /// A file that was put into the store before the build.
    fn handed_over(&self, op: &HttpOp, cx: &RemoteContext<'_>) -> Result<Found> {
        let gone = || Error::HandedOver {
            name: op.name.clone(),
        };
        let blob = op.checksum.clone().ok_or_else(gone)?;
        if !cx.lease.add(&Object::Blob(blob.clone()))? {
            return Err(gone());
        }
        let kept = match self.read_through(blob, cx) {
            Err(Error::Keep { .. }) => return Err(gone()),
            other => other?,
        };
        Ok(Found {
            kept,
            modified: None,
        })
    }

    /// What a blob of the store counts for.
    fn read_through(&self, blob: Digest, cx: &RemoteContext<'_>) -> Result<Kept> {
        let mut file = self.store.open_blob(&blob)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 1 << 18];
        let mut size = 0;
        loop {
            cx.cancel.check()?;
            let n = file.read(&mut buffer).map_err(|source| Error::Keep {
                url: blob.to_string(),
                source,
            })?;
            let Some(bytes) = buffer.get(..n).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            hasher.update(bytes);
            size += bytes.len() as u64;
        }
        let content = hasher.finalize().into();
        Ok(Kept {
            blob,
            size,
            content,
        })
    }

    fn remembered(&self, key: &str, cx: &RemoteContext<'_>) -> Result<Option<Memo>> {
        let Some(bytes) = self.store.get(Table::Remotes, key)? else {
            return Ok(None);
        };
        let Ok(memo) = serde_json::from_slice::<Memo>(&bytes) else {
            return Ok(None);
        };
        let here = cx.lease.add(&Object::Blob(memo.kept.blob.clone()))?;
        Ok(here.then_some(memo))
    }

    fn ask(
        &self,
        op: &HttpOp,
        request: &WebRequest,
        memo: Option<Memo>,
        cx: &RemoteContext<'_>,
    ) -> Result<Memo> {
        let shown = without_credentials(&request.url);
        let client = self.client.get().map_err(Error::Credentials)?;
        let mut downloads = 0;
        loop {
            let answer = client
                .ask_web(request, cx.cancel)
                .map_err(|e| web_error(&shown, e))?;
            if let Some(memo) = memo.as_ref().filter(|memo| is_current(memo, &answer)) {
                return Ok(memo.clone());
            }
            let status = answer.status();
            if !(200..400).contains(&status) || answer.is_not_modified() {
                return Err(Error::WebStatus { url: shown, status });
            }
            let mut made = Memo::of(&answer);
            downloads += 1;
            match self.download(op, answer, (client, &shown), cx) {
                Err(Error::Broken { .. }) if downloads < DOWNLOADS => {}
                other => {
                    made.kept = other?;
                    return Ok(made);
                }
            }
        }
    }

    fn download(
        &self,
        op: &HttpOp,
        answer: WebAnswer,
        (client, shown): (&rbuild_registry::Client, &str),
        cx: &RemoteContext<'_>,
    ) -> Result<Kept> {
        let limit = self.limits.file_bytes;
        let too_large = || Error::TooLarge {
            what: shown.to_owned(),
            limit,
        };
        if answer.length().is_some_and(|stated| stated > limit) {
            return Err(too_large());
        }
        let mut ingest = self.store.ingest()?;
        let mut hasher = blake3::Hasher::new();
        let label = format!("downloading {}", op.name);
        let meter = Meter::new(cx.sink, cx.vertex, label, answer.length());
        let mut size = 0;
        let mut take = |piece: &[u8]| -> io::Result<()> {
            size += piece.len() as u64;
            if size > limit {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            ingest.write_all(piece)?;
            hasher.update(piece);
            meter.add(piece.len() as u64);
            Ok(())
        };
        match client.read_web(answer, &mut take, cx.cancel) {
            Ok(()) => {}
            Err(ReadError::Refused(e)) if e.kind() == io::ErrorKind::FileTooLarge => {
                return Err(too_large());
            }
            Err(ReadError::Refused(source)) => {
                return Err(Error::Keep {
                    url: shown.to_owned(),
                    source,
                });
            }
            Err(ReadError::Client(e)) => return Err(web_error(shown, e)),
            Err(other) => {
                return Err(Error::Broken {
                    url: shown.to_owned(),
                    source: Box::new(other),
                });
            }
        }
        let (blob, size) = match ingest.commit(op.checksum.as_ref()) {
            Err(rbuild_store::Error::DigestMismatch { expected, found }) => {
                return Err(Error::Checksum { found, expected });
            }
            other => other?,
        };
        let content = hasher.finalize().into();
        Ok(Kept {
            blob,
            size,
            content,
        })
    }
}

impl Memo {
    /// What an answer says of itself; its bytes are still to come.
    fn of(answer: &WebAnswer) -> Memo {
        let modified = answer.last_modified();
        let age = |modified| Some(date::seconds(answer.date()?)? - date::seconds(modified)?);
        Memo {
            tag: answer.tag().map(str::to_owned),
            modified: modified.map(str::to_owned),
            modified_is_strong: modified
                .and_then(age)
                .is_some_and(|age| age >= STRONG_AFTER),
            kept: Kept {
                blob: Digest::sha256_of(b""),
                size: 0,
                content: *ContentDigest::empty().as_bytes(),
            },
        }
    }

    /// What is known of a file without its server.
    fn without_validators(kept: Kept) -> Memo {
        Memo {
            tag: None,
            modified: None,
            modified_is_strong: false,
            kept,
        }
    }

    /// The time to ask with: only where there is no tag, which says more.
    fn known_time(&self) -> Option<String> {
        let usable = self.tag.is_none() && self.modified_is_strong;
        self.modified.clone().filter(|_| usable)
    }

    fn found(&self) -> Found {
        Found {
            kept: self.kept.clone(),
            modified: self.modified.as_deref().and_then(date::seconds),
        }
    }
}

/// What a file without a checksum counts for in keys.
fn asked_key(blob: &Digest, op: &HttpOp, modified: Option<i64>) -> Digest {
    let text = format!("file {blob} {:?} {modified:?}", op.name);
    Digest::sha256_of(text.as_bytes())
}

/// Whether an answer says that what is here is still current: in so many words, or by its tag.
fn is_current(memo: &Memo, answer: &WebAnswer) -> bool {
    let strong = |tag: &str| tag.trim_start_matches("W/").to_owned();
    let same_tag = match (memo.tag.as_deref(), answer.tag()) {
        (Some(known), Some(now)) => strong(known) == strong(now),
        _ => false,
    };
    answer.is_not_modified() || (answer.status() == 200 && same_tag)
}

/// The secret for a server, by the host's name, and the header that it makes.
fn authorization(url: &str, keyring: &dyn Keyring) -> (Option<String>, Option<Secret>) {
    let shown = without_credentials(url);
    let rest = shown.split_once("://").map_or("", |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    for (prefix, scheme) in [("HTTP_AUTH_HEADER_", ""), ("HTTP_AUTH_TOKEN_", "Bearer ")] {
        let name = format!("{prefix}{host}");
        if let Some(bytes) = keyring.secret(&name) {
            let text = String::from_utf8_lossy(&bytes);
            let header = Secret::new(format!("{scheme}{}", text.trim()));
            return (Some(name), Some(header));
        }
    }
    (None, None)
}

/// What an address is remembered by: not readable, for it may hold a password.
fn memo_key(url: &str, secret_name: Option<&str>) -> String {
    let text = format!("{url}\n{}", secret_name.unwrap_or_default());
    format!("file-{}", Digest::sha256_of(text.as_bytes()).hex())
}

fn web_error(url: &str, e: rbuild_registry::Error) -> Error {
    if e.is_cancelled() {
        return Error::Cancelled;
    }
    Error::Web {
        url: url.to_owned(),
        source: Box::new(e),
    }
}
