//! The requests' way to the service: the connections, proxies and authorities of the registry client.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use rbuild_registry::{Client, Flow};
use reqwest::{StatusCode, Url};

use super::Fault;

/// The longest time for one request with all its attempts: a signature is not valid for much longer.
pub(super) const LONGEST: Duration = Duration::from_secs(240);
/// The slowest network that a body is sent over, in bytes a second.
const SLOWEST: u64 = 64 * 1024;
/// Length in bytes of a body that is sent in no time, so that silence means trouble.
const SHORT: u64 = 64 * 1024;
/// Most of an answer to such a request that is read, in bytes.
const ANSWER: u64 = 64 * 1024;
/// How long the machine's metadata service may take.
const METADATA: Duration = Duration::from_secs(2);

/// Sends requests over the registry client's connections.
pub(crate) struct Wire(Client);

impl Wire {
    pub(crate) fn new(client: &Client) -> Self {
        Self(client.clone())
    }

    /// Sends a request that is none of `object_store`'s, once; the status of the answer and the beginning of its
    /// body.
    pub(crate) async fn exchange(
        &self,
        request: HttpRequest,
    ) -> Result<(StatusCode, String), Fault> {
        let answer = self.send(request).await?;
        let status = answer.status();
        let mut pieces = answer.into_body().bytes_stream();
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece?);
            if bytes.len() as u64 > ANSWER {
                break;
            }
        }
        Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let url = Url::parse(&request.uri().to_string());
        let url = url.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let length = request.body().content_length() as u64;
        let flow = match length <= SHORT {
            true => Flow::Down,
            false => Flow::Up,
        };
        if is_metadata(&url) {
            return self.ask_metadata(&url, request).await;
        }
        let http = self.0.http(&url, flow).map_err(unknown)?;
        let sent = HttpService::call(&http, request);
        if flow == Flow::Down {
            return sent.await;
        }
        let limit = self.0.read_timeout() + Duration::from_secs(length / SLOWEST);
        let sent = tokio::time::timeout(limit.min(LONGEST), sent).await;
        sent.unwrap_or_else(|late| Err(HttpError::new(HttpErrorKind::Timeout, late)))
    }

    /// Asks once: where there is no such service nobody answers, and that takes its time.
    async fn ask_metadata(
        &self,
        url: &Url,
        request: HttpRequest,
    ) -> Result<HttpResponse, HttpError> {
        let http = self.0.direct_http(url, METADATA).map_err(unknown)?;
        let answer = HttpService::call(&http, request).await;
        answer.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))
    }
}

fn unknown(error: rbuild_registry::Error) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, error)
}

/// Whether this is the machine's own metadata service, which is never behind a proxy.
fn is_metadata(url: &Url) -> bool {
    let host = url.host_str().and_then(|host| host.parse().ok());
    matches!(host, Some(IpAddr::V4(ip)) if ip.is_link_local())
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Wire {
    // As `async_trait` writes it.
    fn call<'s, 'a>(&'s self, request: HttpRequest) -> Answer<'a>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(self.send(request))
    }
}

impl HttpConnector for Wire {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Self(self.0.clone())))
    }
}
