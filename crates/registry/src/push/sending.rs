//! The bytes of one blob on their way, through broken connections.
//!
//! A blob is sent in one request first (POST, then PUT): every registry can do that, and it costs no
//! waiting between pieces. Only when that breaks, and the blob is worth it, the registry is asked how
//! much it has, and the rest goes in chunks (PATCH): a registry keeps what came in requests that
//! ended, so that smaller ones lose less when the connection breaks again. Chunks are also the way around
//! proxies that refuse large requests (413).

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};

use super::session::{Session, received};
use super::upload::{Question, Upload};
use crate::client::Place;
use crate::outgoing::Part;
use crate::retry::{asks_for_patience, retry_after};
use crate::transport::{Attempts, Call, Payload};
use crate::{Error, Result};

/// Length of a chunk, in bytes: what is lost at most when a connection breaks.
const CHUNK: u64 = 16 << 20;
/// Shortest chunk that is tried where a registry finds requests too large, in bytes.
const SMALL_CHUNK: u64 = 512 << 10;
/// Times that an upload may begin anew because the registry lost it.
const NEW_STARTS: u32 = 3;

/// How one request with content ended, if not well.
enum Trouble {
    /// Broken off or put off; what came before may be there.
    Broken {
        cause: Error,
        asked: Option<Duration>,
    },
    /// The registry does not know the upload any more, or what it has of it is wrong.
    Lost(Error),
    /// Too large for the registry, or what stands before it.
    TooLarge(Error),
    /// It knows no chunks.
    NoChunks(Error),
    /// Nothing helps.
    Fatal(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::Unreachable { .. } | Error::Stalled { .. } => Self::Broken {
                cause: error,
                asked: None,
            },
            other => Self::Fatal(other),
        }
    }
}

/// How a blob is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Whole,
    /// The registry does not know chunks.
    OnlyWhole,
    /// Chunks of this length, in bytes.
    Chunks(u64),
}

/// Where an upload stands.
pub(super) struct Progress {
    pub session: Option<Session>,
    way: Way,
    /// Bytes that the registry has.
    sent: u64,
    failures: u32,
    new_starts: u32,
}

impl Progress {
    /// Nothing is begun.
    pub fn new() -> Self {
        Self {
            session: None,
            way: Way::Whole,
            sent: 0,
            failures: 0,
            new_starts: 0,
        }
    }
}

impl Upload {
    /// Goes on with an earlier upload, if the registry still knows it.
    pub(super) async fn take_up(&self, place: &Place<'_>, progress: &mut Progress) -> Result<bool> {
        let Some(location) = self.remembered.clone() else {
            return Ok(false);
        };
        // Begun under other settings, perhaps without TLS: not a place to go on to, nor to fail at.
        if !place.endpoint.is_origin_of(&location) {
            self.tell(Question::Forget);
            return Ok(false);
        }
        let session = Session {
            location,
            shortest_chunk: 0,
        };
        progress.session = Some(session);
        let known = self.ask_status(place, progress).await?;
        if !known || progress.sent == 0 {
            progress.session = None;
            self.tell(Question::Forget);
            return Ok(false);
        }
        progress.way = Way::Chunks(CHUNK);
        Ok(true)
    }

    /// Sends the blob.
    pub(super) async fn send(&self, place: &Place<'_>, progress: &mut Progress) -> Result<()> {
        loop {
            let Err(trouble) = self.attempt(place, progress).await else {
                return Ok(());
            };
            if self.go_on_after(trouble, place, progress).await? {
                return Ok(());
            }
        }
    }

    /// Sends everything that is left, in one request or in chunks.
    async fn attempt(&self, place: &Place<'_>, progress: &mut Progress) -> Result<(), Trouble> {
        let mut session = match progress.session.take() {
            Some(session) => session,
            None => self.begin(place).await?,
        };
        let outcome = match progress.way {
            Way::Whole | Way::OnlyWhole => {
                self.put(place, &session, Some(self.part(0, self.size())))
                    .await
            }
            Way::Chunks(length) => {
                self.chunks(place, &mut session, length, &mut progress.sent)
                    .await
            }
        };
        progress.session = Some(session);
        outcome
    }

    async fn begin(&self, place: &Place<'_>) -> Result<Session> {
        let response = self.post(place, self.uploads(place.endpoint)?).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(self.failed(response).await);
        }
        let session = Session::begun(&response, place.endpoint)?;
        self.remember(place, &session);
        Ok(session)
    }

    /// Keeps where the upload goes on. Not an address elsewhere: that would be a key to other people's
    /// storage, lying about in the store.
    fn remember(&self, place: &Place<'_>, session: &Session) {
        if self.is_resumable() && place.endpoint.is_origin_of(&session.location) {
            self.tell(Question::Remember(session.location.to_string()));
        }
    }

    fn part(&self, offset: u64, length: u64) -> Part<'_> {
        Part {
            asks: self,
            offset,
            length,
        }
    }

    async fn chunks(
        &self,
        place: &Place<'_>,
        session: &mut Session,
        length: u64,
        sent: &mut u64,
    ) -> Result<(), Trouble> {
        while *sent < self.size() {
            let length = length.max(session.shortest_chunk).min(self.size() - *sent);
            let end = *sent + length;
            let response = self.patch(place, session, self.part(*sent, length)).await?;
            session.follow(&response, place.endpoint)?;
            let there = received(response.headers()).unwrap_or(end);
            if there <= *sent || there > end {
                let reason = format!("of a blob's bytes {sent} to {end} it says it has {there}");
                return Err(Trouble::Lost(self.nonsense(place, reason)));
            }
            *sent = there;
            self.remember(place, session);
        }
        self.put(place, session, None).await
    }

    async fn patch(
        &self,
        place: &Place<'_>,
        session: &Session,
        part: Part<'_>,
    ) -> Result<Response, Trouble> {
        let range = format!("{}-{}", part.offset, part.offset + part.length - 1);
        let range = HeaderValue::try_from(range)
            .map_err(|_| self.nonsense(place, "a range cannot be said".to_owned()))?;
        let mut headers = octets();
        headers.insert(CONTENT_RANGE, range);
        let call = Call {
            method: Method::PATCH,
            headers,
            payload: Payload::Part(part),
            attempts: Attempts::One,
            ..Call::get(place.endpoint, session.location.clone())
        };
        let response = self.inner.call(place, call).await?;
        match response.status().as_u16() {
            200..=299 => Ok(response),
            405 | 501 => Err(Trouble::NoChunks(self.failed(response).await)),
            _ => Err(self.trouble(response).await),
        }
    }

    /// Ends an upload, with all of the blob or with nothing if it is there in chunks.
    async fn put(
        &self,
        place: &Place<'_>,
        session: &Session,
        part: Option<Part<'_>>,
    ) -> Result<(), Trouble> {
        let payload = match part {
            // An empty blob has nothing to read.
            Some(part) if part.length > 0 => Payload::Part(part),
            _ => Payload::Bytes(Bytes::new()),
        };
        let call = Call {
            method: Method::PUT,
            headers: octets(),
            payload,
            attempts: Attempts::One,
            ..Call::get(place.endpoint, session.end(self.digest().as_str()))
        };
        let response = self.inner.call(place, call).await?;
        if !response.status().is_success() {
            return Err(self.trouble(response).await);
        }
        Ok(self.check_digest(&response)?)
    }

    /// What an answer without success means for the upload.
    async fn trouble(&self, response: Response) -> Trouble {
        let status = response.status();
        let asked = retry_after(response.headers());
        let cause = self.failed(response).await;
        match status.as_u16() {
            _ if asks_for_patience(status) => Trouble::Broken { cause, asked },
            413 => Trouble::TooLarge(cause),
            400 | 404 | 409 | 416 => Trouble::Lost(cause),
            _ => Trouble::Fatal(cause),
        }
    }

    /// Decides how to go on; returns whether the blob is there after all.
    async fn go_on_after(
        &self,
        trouble: Trouble,
        place: &Place<'_>,
        progress: &mut Progress,
    ) -> Result<bool> {
        let (cause, asked) = match trouble {
            Trouble::Fatal(cause) => return Err(cause),
            Trouble::TooLarge(cause) => {
                progress.way = smaller(progress, self.size()).ok_or(cause)?;
                // What was refused at the door left the session as it was; asked to be sure.
                return self.is_kept_or_there(place, progress).await;
            }
            Trouble::NoChunks(cause) => {
                progress.way = Way::OnlyWhole;
                (self.lose(progress, cause)?, None)
            }
            Trouble::Lost(cause) => (self.lose(progress, cause)?, None),
            Trouble::Broken { cause, asked } => (cause, asked),
        };
        self.wait_and_see((cause, asked), place, progress).await
    }

    /// Waits, and finds out where the upload stands; returns whether the blob is there after all.
    async fn wait_and_see(
        &self,
        (mut cause, mut asked): (Error, Option<Duration>),
        place: &Place<'_>,
        progress: &mut Progress,
    ) -> Result<bool> {
        let policy = &self.inner.config.retry;
        let before = progress.sent;
        loop {
            progress.failures += 1;
            if progress.failures >= policy.attempts {
                return Err(self.unsent(progress.sent, cause));
            }
            tracing::debug!(digest = %self.digest(), %cause, "going on with an upload");
            tokio::time::sleep(policy.pause(progress.failures, asked.take())).await;
            match self.is_kept_or_there(place, progress).await {
                Err(error @ (Error::Unreachable { .. } | Error::Stalled { .. })) => cause = error,
                Err(error) => return Err(error),
                Ok(there) => {
                    if progress.sent > before {
                        // A connection that brought something makes up for those that did not.
                        progress.failures = 1;
                    } else if progress.failures > 1
                        && self.is_resumable()
                        && matches!(cause, Error::Unreachable { .. } | Error::Stalled { .. })
                    {
                        // Whoever closes the door on large requests may do so without a word.
                        progress.way = smaller(progress, self.size()).unwrap_or(progress.way);
                    }
                    return Ok(there);
                }
            }
        }
    }

    /// The session is of no use any more. Errors: that happened too often.
    fn lose(&self, progress: &mut Progress, cause: Error) -> Result<Error> {
        progress.session = None;
        progress.new_starts += 1;
        match progress.new_starts > NEW_STARTS {
            true => Err(cause),
            false => Ok(cause),
        }
    }

    /// Finds out what the registry has: all of the blob (true), or some of it in the session, or
    /// nothing, which needs a new one.
    async fn is_kept_or_there(&self, place: &Place<'_>, progress: &mut Progress) -> Result<bool> {
        let resumes = self.is_resumable() && progress.way != Way::OnlyWhole;
        if resumes && self.ask_status(place, progress).await? {
            // Nothing came of it so far: then one request is as good as many, unless that was refused.
            if progress.way == Way::Whole && progress.sent > 0 {
                progress.way = Way::Chunks(CHUNK);
            }
            return Ok(false);
        }
        progress.session = None;
        progress.sent = 0;
        // The answer to the last request may be all that was lost.
        self.is_there(place).await
    }

    /// Asks how much of the session is there; false if it is not known any more.
    async fn ask_status(&self, place: &Place<'_>, progress: &mut Progress) -> Result<bool> {
        let Some(session) = &mut progress.session else {
            return Ok(false);
        };
        let call = Call::get(place.endpoint, session.location.clone());
        let response = self.inner.call(place, call).await?;
        let has = received(response.headers()).unwrap_or(0);
        if !response.status().is_success() || has > self.size() {
            return Ok(false);
        }
        session.follow(&response, place.endpoint)?;
        progress.sent = has;
        Ok(true)
    }

    fn unsent(&self, sent: u64, cause: Error) -> Error {
        Error::Unsent {
            name: self.reference.name(),
            digest: self.digest().clone(),
            expected: self.size(),
            sent,
            source: Box::new(cause),
        }
    }
}

/// The next smaller way, if there is one.
fn smaller(progress: &Progress, size: u64) -> Option<Way> {
    let shortest = progress
        .session
        .as_ref()
        .map_or(0, |session| session.shortest_chunk);
    let next = match progress.way {
        Way::OnlyWhole => return None,
        Way::Whole => CHUNK.min(size / 2),
        Way::Chunks(length) => length / 4,
    };
    (next >= SMALL_CHUNK.max(shortest)).then_some(Way::Chunks(next))
}

fn octets() -> HeaderMap {
    let value = HeaderValue::from_static("application/octet-stream");
    [(CONTENT_TYPE, value)].into_iter().collect()
}
