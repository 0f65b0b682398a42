//! Plain downloads: a file behind a URL, with validators, redirects and attempts.
//!
//! What came is handed on piece by piece; whoever takes it hashes and limits it.

use std::io;

use rbuild_progress::CancelToken;
use reqwest::header::{
    AUTHORIZATION, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{Method, Response, StatusCode, Url};

use crate::client::Client;
use crate::endpoint::authority;
use crate::network::reason;
use crate::retry::{asks_for_patience, retry_after};
use crate::transport::{REDIRECTS, redirect};
use crate::{Error, Result, Secret};

/// Attempts at most: a file is not asked for as stubbornly as a layer of a known digest.
const ATTEMPTS: u32 = 3;

/// What is asked of a server.
#[derive(Debug, Clone, Default)]
pub struct WebRequest {
    /// The address, `http:` or `https:`; user and password in it are sent as basic authorization.
    pub url: String,
    /// `If-None-Match`: entity tags of what is here already, as the server gave them.
    pub known_tag: Option<String>,
    /// `If-Modified-Since`: the time of what is here already, as the server gave it.
    pub known_time: Option<String>,
    /// Text of the `Authorization` header; sent to the URL's own origin only.
    pub authorization: Option<Secret>,
}

/// A server's answer, its body still to be read with [`Client::read_web`].
#[derive(Debug)]
pub struct WebAnswer {
    response: Response,
}

impl WebAnswer {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Whether what is here already is still current.
    pub fn is_not_modified(&self) -> bool {
        self.response.status() == StatusCode::NOT_MODIFIED
    }

    /// The entity tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        self.header(&ETAG)
    }

    /// When the content was last modified, as the server wrote it.
    pub fn last_modified(&self) -> Option<&str> {
        self.header(&LAST_MODIFIED)
    }

    /// The server's own time, as it wrote it.
    pub fn date(&self) -> Option<&str> {
        self.header(&DATE)
    }

    /// Length of the body in bytes, if it was stated.
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        let value = self.response.headers().get(name)?.to_str().ok()?;
        Some(value.trim()).filter(|text| !text.is_empty())
    }
}

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The connection broke, or ended before the stated length.
    #[error("the download broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Whoever takes the bytes refused them.
    #[error(transparent)]
    Refused(#[from] io::Error),
    /// Anything else: cancelled, mostly.
    #[error(transparent)]
    Client(#[from] Error),
}

impl Client {
    /// Asks for a file, through redirects; the answer may have any status.
    ///
    /// Pleas for patience and refused connections are answered with another attempt. Redirects may
    /// lead to `http:` and `https:` addresses only.
    ///
    /// Errors: [`Error::Unreachable`], [`Error::Tls`], [`Error::Protocol`] for addresses and redirects
    /// that lead nowhere, [`Error::Cancelled`].
    pub fn ask_web(&self, request: &WebRequest, cancel: &CancelToken) -> Result<WebAnswer> {
        let start = checked_url(&request.url)?;
        self.wait(cancel, self.attempts(request, &start))
    }

    /// Reads the body of an answer piece by piece.
    pub fn read_web(
        &self,
        answer: WebAnswer,
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        cancel: &CancelToken,
    ) -> Result<(), ReadError> {
        let mut response = answer.response;
        let mut outcome = Ok(());
        // The future runs on this thread: a slow disk holds up nobody else.
        self.wait(cancel, async {
            outcome = read(&mut response, take).await;
            Ok(())
        })?;
        outcome
    }

    async fn attempts(&self, request: &WebRequest, start: &Url) -> Result<WebAnswer> {
        let policy = &self.inner.config.retry;
        let mut failures = 0;
        loop {
            let outcome = self.follow(request, start).await;
            failures += 1;
            let asked = match &outcome {
                Ok(response) if asks_for_patience(response.status()) => {
                    retry_after(response.headers())
                }
                Err(Error::Unreachable { .. } | Error::Stalled { .. }) => None,
                _ => return outcome.map(|response| WebAnswer { response }),
            };
            if failures >= ATTEMPTS.min(policy.attempts) || policy.is_too_long(asked) {
                return outcome.map(|response| WebAnswer { response });
            }
            tokio::time::sleep(policy.pause(failures, asked)).await;
        }
    }

    async fn follow(&self, request: &WebRequest, start: &Url) -> Result<Response> {
        let mut url = start.clone();
        for _ in 0..=REDIRECTS {
            let headers = headers(request, start.origin() == url.origin())?;
            let call = (Method::GET, headers);
            let response = self.inner.transport.bare(call, &url).await?;
            match redirect(&response, &url)? {
                Some(next) => url = checked_redirect(&url, next)?,
                None => return Ok(response),
            }
        }
        Err(Error::Protocol {
            host: authority(start),
            reason: format!("more than {REDIRECTS} redirects"),
        })
    }
}

async fn read(
    response: &mut Response,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), ReadError> {
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => take(&piece)?,
            Ok(None) => return Ok(()),
            Err(error) => return Err(ReadError::Broken(reason(error))),
        }
    }
}

fn headers(request: &WebRequest, at_origin: bool) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let known = [
        (IF_NONE_MATCH, &request.known_tag),
        (IF_MODIFIED_SINCE, &request.known_time),
    ];
    for (name, value) in known {
        // What cannot stand in a header was never a validator.
        if let Some(value) = value.as_deref().and_then(|v| HeaderValue::try_from(v).ok()) {
            headers.insert(name, value);
        }
    }
    if let Some(secret) = request.authorization.as_ref().filter(|_| at_origin) {
        let mut value = HeaderValue::try_from(secret.expose()).map_err(|source| Error::Setup {
            reason: "the authorization cannot stand in a header",
            source: Box::new(source),
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

fn checked_url(text: &str) -> Result<Url> {
    let url = Url::parse(text).map_err(|source| Error::Protocol {
        host: without_credentials(text),
        reason: source.to_string(),
    })?;
    checked(url, || without_credentials(text))
}

fn checked_redirect(from: &Url, next: Url) -> Result<Url> {
    checked(next, || authority(from))
}

fn checked(url: Url, host: impl FnOnce() -> String) -> Result<Url> {
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        scheme => Err(Error::Protocol {
            host: host(),
            reason: format!("unsupported protocol scheme {scheme:?}"),
        }),
    }
}

/// An address as messages may show it: without user and password.
pub fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        let check = |url, shown| assert_eq!(without_credentials(url), shown);
        check("https://a:b@host:1/x@y", "https://host:1/x@y");
        check("https://host/x@y", "https://host/x@y");
        check("https://a:b@c@host", "https://host");
        check("git@host:x", "git@host:x");
    }

    #[test]
    fn only_http_addresses_are_followed() {
        for url in ["file:///etc/passwd", "ftp://host/x", "x", "data:,x"] {
            let error = checked_url(url).unwrap_err();
            assert!(matches!(error, Error::Protocol { .. }), "{url}: {error}");
        }
        assert!(checked_url("https://host/x").is_ok());
    }
}
