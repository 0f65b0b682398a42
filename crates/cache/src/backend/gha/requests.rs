//! Requests and how often they are made: tokens for their own host, patience where it is asked for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rbuild_registry::{Client, Flow, Secret};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::GhaPlace;
use super::failure::{Fault, host};

/// Most of an answer that is read, in bytes.
const ANSWER: usize = 4 << 20;
/// The slowest network that a body is sent over, in bytes a second.
const SLOWEST: u64 = 64 * 1024;

/// Length in bytes of a body that is sent in no time, so that silence means trouble.
const SHORT: u64 = 64 * 1024;

/// A request.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Sent as a bearer's; only with addresses below the one that it is for.
    pub(super) token: Option<Secret>,
}

impl Ask {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            token: None,
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

/// Makes requests.
#[derive(Clone)]
pub(super) struct Requests {
    client: Client,
    /// Whether storage may be spoken to without TLS: the service itself is.
    plain: bool,
    /// Until when the service wants to be left alone.
    quiet: Arc<Mutex<Option<Instant>>>,
}

impl Requests {
    pub(super) fn new(place: &GhaPlace, client: &Client) -> Self {
        Self {
            client: client.clone(),
            plain: place.url.scheme() == "http",
            quiet: Arc::default(),
        }
    }

    /// An address that the service has given us, signed: nothing of it may be shown.
    pub(super) fn signed(&self, text: &str) -> Result<Url, Fault> {
        let url = Url::parse(text).ok().filter(|url| {
            let is_web = url.scheme() == "https" || (url.scheme() == "http" && self.plain);
            is_web && url.has_host()
        });
        url.ok_or_else(|| Fault::said("the service gives an address that is none, or without TLS"))
    }

    /// Asks until there is a success, or an answer that asks for no patience.
    pub(super) async fn ask(&self, ask: &Ask) -> Result<Response, Fault> {
        let policy = self.client.retry_policy();
        let mut failures = 0;
        loop {
            self.wait_until_allowed().await;
            let outcome = self.once(ask).await;
            failures += 1;
            let pause = match outcome {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let (status, headers) = (response.status(), response.headers());
                    match policy.next(failures, status, headers) {
                        None => return Err(Fault::of(response).await),
                        Some(pause) => {
                            if status == StatusCode::TOO_MANY_REQUESTS {
                                self.leave_alone(pause);
                            }
                            pause
                        }
                    }
                }
                Err(fault) => match policy.next_connection(failures) {
                    None => return Err(fault),
                    Some(pause) => pause,
                },
            };
            tracing::debug!(host = host(&ask.url), ?pause, "trying again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks, and reads the answer as JSON.
    pub(super) async fn json<T: DeserializeOwned>(&self, ask: &Ask) -> Result<Option<T>, Fault> {
        let mut response = self.ask(ask).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|error| self.broken(ask, error))?
        {
            bytes.extend_from_slice(&piece);
            if bytes.len() > ANSWER {
                return Err(Fault::said(format!("{} says too much", host(&ask.url))));
            }
        }
        if response.status() == StatusCode::NO_CONTENT || bytes.is_empty() {
            return Ok(None);
        }
        let read = serde_json::from_slice(&bytes);
        // The answer is not shown: it may hold a signed address.
        let read = read.map_err(|_| {
            Fault::said(format!(
                "{} gives no answer of this protocol",
                host(&ask.url)
            ))
        });
        read.map(Some)
    }

    async fn once(&self, ask: &Ask) -> Result<Response, Fault> {
        let length = ask.body.len() as u64;
        let flow = match length <= SHORT {
            true => Flow::Down,
            false => Flow::Up,
        };
        let http = self.client.http(&ask.url, flow);
        let http = http.map_err(|error| Fault::said(chain(&error)))?;
        let mut request = http
            .request(ask.method.clone(), ask.url.clone())
            .headers(ask.headers.clone());
        if let Some(token) = &ask.token {
            request = request.header(AUTHORIZATION, bearer(token)?);
        }
        if length > 0 || ask.method != Method::GET {
            request = request
                .header(CONTENT_LENGTH, length)
                .body(ask.body.clone());
        }
        let limit = self.client.read_timeout() + Duration::from_secs(length / SLOWEST);
        match tokio::time::timeout(limit, request.send()).await {
            Ok(sent) => sent.map_err(|error| self.broken(ask, error)),
            Err(_) => {
                let (host, secs) = (host(&ask.url), limit.as_secs_f32());
                Err(Fault::said(format!(
                    "{host} gave no answer within {secs} s"
                )))
            }
        }
    }

    /// What the network said.
    pub(super) fn broken(&self, ask: &Ask, error: reqwest::Error) -> Fault {
        Fault::said(chain(&self.client.no_connection(&ask.url, error)))
    }

    /// How long to wait after the `failures`th broken body in a row (from 1); `None` if it was the last.
    pub(super) fn next_body(&self, failures: u32) -> Option<Duration> {
        self.client.retry_policy().next_connection(failures)
    }

    fn leave_alone(&self, pause: Duration) {
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + pause;
        *quiet = Some(quiet.map_or(until, |known| known.max(until)));
    }

    async fn wait_until_allowed(&self) {
        let until = *self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = until {
            tokio::time::sleep_until(until.into()).await;
        }
    }
}

fn bearer(token: &Secret) -> Result<HeaderValue, Fault> {
    let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
    let mut value = value.map_err(|_| Fault::said("the token cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// An error with its causes, in one line.
fn chain(error: &rbuild_registry::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
