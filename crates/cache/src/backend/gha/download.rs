//! An entry's bytes on their way here: resumed where a connection breaks, asked for anew where an address expired.

use rbuild_oci::Descriptor;
use rbuild_store::Store;
use reqwest::header::{CONTENT_RANGE, HeaderMap};
use reqwest::{Method, Response, StatusCode};

use super::failure::{Fault, host};
use super::requests::Ask;
use super::service::Entry;
use super::{Gha, keys};
use crate::backend::IndexDocument;
use crate::backend::content::{Arrival, Refused};
use crate::{Error, Result};

const BLOB: &str = "read a blob";
const INDEX: &str = "read the indexes";
/// Signed addresses that may turn out to be expired.
const ADDRESSES: u32 = 3;

/// Why a body was not read to its end.
enum Broken {
    /// There is no body.
    Answer(Fault),
    /// The connection broke.
    Connection(Fault),
    /// The blob is not wanted.
    Refused(Refused),
}

impl From<Refused> for Broken {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Gha {
    /// Brings a blob into the store.
    pub(super) async fn bring(
        &self,
        blob: &Descriptor,
        store: &Store,
        progress: &dyn Fn(u64),
    ) -> Result<()> {
        let failed = self.failed(BLOB);
        let mut arrival = Arrival::new(blob, store, progress)?;
        let mut entry = self.blob_entry(blob).await?;
        let (mut fruitless, mut addresses) = (0, 1);
        loop {
            let before = arrival.position();
            let fault = match self.one_body(&entry, &mut arrival).await {
                Ok(()) => break,
                Err(Broken::Refused(refused)) => return Err(refused.at(&self.name, blob)),
                // The address has expired, or the entry has gone since.
                Err(Broken::Answer(fault)) if is_stale(&fault) && addresses < ADDRESSES => {
                    addresses += 1;
                    entry = self.blob_entry(blob).await?;
                    continue;
                }
                Err(Broken::Answer(fault)) if fault.is_missing() => return Err(self.gone(blob)),
                Err(Broken::Answer(fault)) => return Err(failed(fault)),
                Err(Broken::Connection(fault)) => fault,
            };
            let brought = arrival.position() > before;
            fruitless = if brought { 1 } else { fruitless + 1 };
            match self.requests.next_body(fruitless) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(failed(fault)),
            }
        }
        let finished = arrival.finish();
        finished.map_err(|refused| refused.at(&self.name, blob))
    }

    async fn blob_entry(&self, blob: &Descriptor) -> Result<Entry> {
        let key = keys::blob(&blob.digest);
        let found = self.look_up(&key).await.map_err(self.failed(BLOB))?;
        found
            .filter(|entry| entry.key == key)
            .ok_or_else(|| self.gone(blob))
    }

    fn gone(&self, blob: &Descriptor) -> Error {
        self.seen().insert(blob.digest.clone(), false);
        Error::Gone {
            place: self.name.clone(),
            digest: blob.digest.clone(),
        }
    }

    /// One answer with its body, from where the last one ended.
    async fn one_body(&self, entry: &Entry, arrival: &mut Arrival<'_>) -> Result<(), Broken> {
        let position = arrival.position();
        let (ask, mut response) = self
            .body_of(entry, position)
            .await
            .map_err(Broken::Answer)?;
        let mut skip = match response.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(response.headers(), position) => 0,
            StatusCode::PARTIAL_CONTENT => {
                let fault = Fault::said(format!("{} sent another range", host(&ask.url)));
                return Err(Broken::Answer(fault));
            }
            // The range was not understood: what we have comes again.
            _ => position,
        };
        if let Some(length) = response.content_length().filter(|_| skip == position) {
            arrival.check_size(length)?;
        }
        loop {
            let piece = response.chunk().await;
            let piece =
                piece.map_err(|error| Broken::Connection(self.requests.broken(&ask, error)))?;
            let Some(mut piece) = piece else {
                return Ok(());
            };
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
            skip -= known as u64;
            arrival.take(&piece.split_off(known))?;
        }
    }

    async fn body_of(&self, entry: &Entry, position: u64) -> Result<(Ask, Response), Fault> {
        let mut ask = Ask::new(Method::GET, self.requests.signed(&entry.url)?);
        if position > 0 {
            ask = ask.header("range", &format!("bytes={position}-"));
        }
        let response = self.requests.ask(&ask).await?;
        Ok((ask, response))
    }

    /// The bytes of an index; `None` if it is gone by now.
    pub(super) async fn download_index(&self, entry: &Entry) -> Result<Option<Vec<u8>>> {
        let failed = self.failed(INDEX);
        let mut failures = 0;
        loop {
            match self.one_index(entry).await {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(Short::TooLarge) => {
                    return Err(Error::TooLarge {
                        place: self.name.clone(),
                        what: "index",
                        limit: IndexDocument::MAX_BYTES,
                    });
                }
                Err(Short::Answer(fault)) if fault.is_missing() => return Ok(None),
                Err(Short::Answer(fault)) => return Err(failed(fault)),
                Err(Short::Connection(fault)) => {
                    failures += 1;
                    match self.requests.next_body(failures) {
                        Some(pause) => tokio::time::sleep(pause).await,
                        None => return Err(failed(fault)),
                    }
                }
            }
        }
    }

    async fn one_index(&self, entry: &Entry) -> Result<Vec<u8>, Short> {
        let (ask, mut response) = self.body_of(entry, 0).await.map_err(Short::Answer)?;
        let mut bytes = Vec::new();
        loop {
            let piece = response.chunk().await;
            match piece.map_err(|error| Short::Connection(self.requests.broken(&ask, error)))? {
                None => return Ok(bytes),
                Some(piece) => bytes.extend_from_slice(&piece),
            }
            if bytes.len() as u64 > IndexDocument::MAX_BYTES {
                return Err(Short::TooLarge);
            }
        }
    }
}

/// Why an index was not read to its end.
enum Short {
    Answer(Fault),
    Connection(Fault),
    TooLarge,
}

/// Whether another address might do.
fn is_stale(fault: &Fault) -> bool {
    matches!(
        fault.status,
        Some(StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND)
    )
}

/// Whether the answer's range begins where ours does.
fn starts_at(headers: &HeaderMap, position: u64) -> bool {
    let text = headers
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok());
    let start = text.and_then(|text| text.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
    start == Some(position)
}
