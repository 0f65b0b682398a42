//! A blob's bytes from the network to whoever takes them, through broken connections.

use std::sync::Arc;

use bytes::Bytes;
use rbuild_oci::{Descriptor, Reference};
use rbuild_progress::{CancelToken, Cancelled};
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::mpsc;

use crate::auth::Access;
use crate::cancel::until;
use crate::client::{Inner, Place};
use crate::failure::{Subject, failure};
use crate::hosts::Wanted;
use crate::network::reason;
use crate::retry::STALLS;
use crate::{Error, Result};

/// One blob on its way. Runs on the network thread; bytes leave through `pieces`, in order and not
/// yet verified, and an error ends them.
pub(crate) struct Download {
    pub(crate) inner: Arc<Inner>,
    pub(crate) reference: Reference,
    pub(crate) descriptor: Descriptor,
    /// Any place, or the registry itself after a mirror has brought something else.
    pub(crate) wanted: Wanted,
    pub(crate) cancel: CancelToken,
    pub(crate) pieces: mpsc::Sender<Result<Bytes>>,
}

/// How a body ended.
enum End {
    /// The server sent all that it meant to send.
    Clean,
    /// Nothing came any more.
    Stalled,
    /// The connection broke.
    Broken(reqwest::Error),
}

impl Download {
    /// Sends all pieces, or those up to an error.
    pub(crate) async fn run(self) {
        let work = async {
            // Never closed, so this only fails if that changes; then there is nothing to wait for.
            let _permit = self
                .inner
                .transfers
                .acquire()
                .await
                .map_err(|_| Cancelled)?;
            self.fetch_anywhere().await
        };
        if let Err(error) = until(&self.cancel, work).await {
            // Fails if nobody listens any more, and then nobody wants to know.
            self.pieces.send(Err(error)).await.ok();
        }
    }

    async fn fetch_anywhere(&self) -> Result<()> {
        let endpoints = self.inner.endpoints(&self.reference, self.wanted).await?;
        let mut position = 0;
        let mut turns = self.inner.turns(&endpoints);
        // The next place goes on where the one before ended: the digest covers both.
        while let Some(endpoint) = turns.next() {
            let place = Place {
                endpoint,
                reference: &self.reference,
                access: Access::Pull,
                cancel: &self.cancel,
            };
            let outcome = self.fetch_from(&place, &mut position).await;
            if let Some(outcome) = turns.settle(endpoint, outcome) {
                return outcome;
            }
        }
        Err(turns.failure())
    }

    /// Sends what is left after `position`, resuming until it is complete or nothing moves.
    async fn fetch_from(&self, place: &Place<'_>, position: &mut u64) -> Result<()> {
        let policy = &self.inner.config.retry;
        let mut failures = 0;
        loop {
            let before = *position;
            let end = self.one_body(place, position).await?;
            if *position == self.descriptor.size {
                return Ok(());
            }
            // A connection that brought something makes up for those that did not.
            failures = if *position > before { 1 } else { failures + 1 };
            let limit = match end {
                End::Stalled => policy.attempts.min(STALLS),
                End::Clean | End::Broken(_) => policy.attempts,
            };
            if failures >= limit {
                return Err(self.truncated(*position, end));
            }
            tracing::debug!(digest = %self.descriptor.digest, position, "resuming");
            tokio::time::sleep(policy.pause(failures, None)).await;
        }
    }

    /// One request and its body.
    async fn one_body(&self, place: &Place<'_>, position: &mut u64) -> Result<End> {
        let digest = &self.descriptor.digest;
        let path = format!("blobs/{digest}");
        let headers = range(*position);
        let mut response = self
            .inner
            .request(place, Method::GET, &path, headers)
            .await?;
        let mut skip = match response.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(&response, *position) => 0,
            // The range was not understood: what we have comes again.
            StatusCode::OK => *position,
            StatusCode::RANGE_NOT_SATISFIABLE => return Ok(End::Clean),
            StatusCode::PARTIAL_CONTENT => {
                let reason = "it sent another range than asked for".to_owned();
                return Err(Error::Protocol {
                    host: place.endpoint.host.clone(),
                    reason,
                });
            }
            _ => return Err(failure(response, Subject::Blob(&self.reference, digest)).await),
        };
        loop {
            let mut piece = match response.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => return Ok(End::Clean),
                Err(error) if error.is_timeout() => return Ok(End::Stalled),
                Err(error) => return Ok(End::Broken(error.without_url())),
            };
            let known = skip.min(piece.len() as u64);
            skip -= known;
            // `known` is at most the piece's length.
            let fresh = piece.split_off(known as usize);
            self.pass_on(fresh, position).await?;
        }
    }

    async fn pass_on(&self, piece: Bytes, position: &mut u64) -> Result<()> {
        let expected = self.descriptor.size;
        let after = position.saturating_add(piece.len() as u64);
        if after > expected {
            let (name, digest) = (self.reference.name(), self.descriptor.digest.clone());
            return Err(Error::TooLong {
                name,
                digest,
                expected,
            });
        }
        if !piece.is_empty() {
            // Whoever took the pieces has given up, and has its own error to show.
            self.pieces.send(Ok(piece)).await.map_err(|_| Cancelled)?;
        }
        *position = after;
        Ok(())
    }

    fn truncated(&self, found: u64, end: End) -> Error {
        Error::Truncated {
            name: self.reference.name(),
            digest: self.descriptor.digest.clone(),
            expected: self.descriptor.size,
            found,
            source: match end {
                End::Clean => None,
                End::Stalled => {
                    let limit = self.inner.config.read_timeout.as_secs_f32();
                    Some(format!("it sent nothing for {limit} s").into())
                }
                End::Broken(source) => Some(reason(source)),
            },
        }
    }
}

/// Asks for the rest. Source: RFC 9110, 14.2; distribution-spec, "Pulling blobs".
fn range(position: u64) -> HeaderMap {
    let value = HeaderValue::try_from(format!("bytes={position}-"));
    let value = value.ok().filter(|_| position > 0);
    value.map(|value| (RANGE, value)).into_iter().collect()
}

/// Whether the answer's range begins where ours does.
fn starts_at(response: &Response, position: u64) -> bool {
    let text = response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok());
    let start = text.and_then(|text| text.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
    start == Some(position)
}
