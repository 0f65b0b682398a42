//! One HTTP exchange: redirects, attempts, bodies, connection errors. Knows nothing of registries.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
};
use reqwest::{Certificate, Identity, Method, Proxy, Response, StatusCode, Url};

use crate::config::{ClientConfig, Reach};
use crate::endpoint::{Endpoint, authority};
use crate::hosts::{Rules, Tls, Verify};
use crate::network::{inner, reason};
use crate::outgoing::{Part, Watch};
use crate::places::LazyRules;
use crate::retry::{STALLS, asks_for_patience, retry_after};
use crate::{Error, Result, without_credentials};

/// Redirects followed before we call it a loop.
pub(crate) const REDIRECTS: usize = 10;
/// How much longer than for the next piece of an answer to wait for the answer to a body: registries
/// hash what came, and some copy it to another place, before they say a word.
const ANSWER_FACTOR: u32 = 5;

/// What to ask, and on whose behalf.
pub(crate) struct Call<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// Sent to the URL's own origin only, never along with a redirect to another.
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) payload: Payload<'a>,
    pub(crate) attempts: Attempts,
}

/// What a request carries.
pub(crate) enum Payload<'a> {
    /// Nothing; the length is stated all the same where a body is usual.
    Nothing,
    /// A form; such calls are not redirected, since the form holds a secret.
    Form(String),
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes that another thread reads.
    Part(Part<'a>),
}

/// Whether answers that ask for patience, and refused connections, are met with another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempts {
    /// As often as the configuration says.
    Several,
    /// No: the caller knows better how to go on.
    One,
}

impl<'a> Call<'a> {
    /// A GET without further ado.
    pub(crate) fn get(endpoint: &'a Endpoint, url: Url) -> Self {
        Self {
            endpoint,
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            authorization: None,
            payload: Payload::Nothing,
            attempts: Attempts::Several,
        }
    }
}

/// HTTP clients, made when first needed.
pub(crate) struct Transport {
    config: Arc<ClientConfig>,
    rules: Arc<LazyRules>,
    /// By scheme, direction, proxy and way of speaking TLS; a handful.
    clients: Mutex<BTreeMap<ClientKey, reqwest::Client>>,
}

/// What tells one HTTP client from another: scheme, direction, proxy, TLS.
type ClientKey = (String, Direction, Option<String>, Tls);

/// Which way most of the bytes go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    Asking,
    /// Has no time limit of its own, which would run while a long body is still being sent.
    Sending,
}

impl Transport {
    pub(crate) fn new(config: Arc<ClientConfig>, rules: Arc<LazyRules>) -> Self {
        Self {
            config,
            rules,
            clients: Mutex::default(),
        }
    }

    /// Asks until there is an answer that is not a plea for patience, or attempts run out.
    ///
    /// The answer may have any other status. Errors: [`Error::Unreachable`], [`Error::Tls`],
    /// [`Error::PlainHttp`], [`Error::Protocol`] for redirects that lead nowhere.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Response> {
        let policy = &self.config.retry;
        let mut failures = 0;
        loop {
            let outcome = self.follow(call).await;
            failures += 1;
            let (limit, asked) = match &outcome {
                Ok(response) if asks_for_patience(response.status()) => {
                    (policy.attempts, retry_after(response.headers()))
                }
                Err(Error::Unreachable { .. }) => (policy.connect_attempts, None),
                Err(Error::Stalled { .. }) => (policy.connect_attempts.min(STALLS), None),
                _ => return outcome,
            };
            let is_over = failures >= limit || policy.is_too_long(asked);
            if is_over || call.attempts == Attempts::One {
                return outcome;
            }
            let pause = policy.pause(failures, asked);
            tracing::debug!(host = authority(&call.url), ?pause, "trying again");
            tokio::time::sleep(pause).await;
        }
    }

    /// One attempt, through redirects.
    async fn follow(&self, call: &Call<'_>) -> Result<Response> {
        let mut url = call.url.clone();
        for _ in 0..=REDIRECTS {
            let tls = self.checked(call, &url).await?;
            let response = self.exchange(call, &url, &tls).await?;
            match redirect(&response, &url)? {
                Some(next) if !matches!(call.payload, Payload::Form(_)) => url = next,
                _ => return Ok(response),
            }
        }
        let reason = format!("more than {REDIRECTS} redirects");
        Err(Error::Protocol {
            host: authority(&call.url),
            reason,
        })
    }

    async fn exchange(&self, call: &Call<'_>, url: &Url, tls: &Tls) -> Result<Response> {
        let direction = match call.payload {
            Payload::Part(_) => Direction::Sending,
            _ => Direction::Asking,
        };
        let client = self.client(url, direction, tls)?;
        let mut request = client.request(call.method.clone(), url.clone());
        request = request.headers(call.headers.clone());
        if call.endpoint.is_origin_of(url) {
            let mut headers = call.endpoint.headers.clone();
            if call.authorization.is_some() {
                headers.remove(AUTHORIZATION);
            }
            request = request.headers(headers);
        }
        // To the storage behind a registry the header would be a leak, and often an error besides.
        if let Some(value) = call
            .authorization
            .clone()
            .filter(|_| call.url.origin() == url.origin())
        {
            request = request.header(AUTHORIZATION, value);
        }
        let failed = |error| self.no_connection(url, error);
        match &call.payload {
            Payload::Nothing if call.method == Method::GET || call.method == Method::HEAD => {
                request.send().await.map_err(failed)
            }
            Payload::Nothing => {
                let request = request.header(CONTENT_LENGTH, 0);
                request.send().await.map_err(failed)
            }
            Payload::Form(form) => {
                let request = request
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.clone());
                request.send().await.map_err(failed)
            }
            Payload::Bytes(bytes) => request.body(bytes.clone()).send().await.map_err(failed),
            Payload::Part(part) => {
                let (body, watch) = part.open();
                let request = request.header(CONTENT_LENGTH, part.length).body(body);
                self.watched(request, &watch, url).await
            }
        }
    }

    /// Sends a body of any length; gives up when nothing moves any more.
    async fn watched(
        &self,
        request: reqwest::RequestBuilder,
        watch: &Watch,
        url: &Url,
    ) -> Result<Response> {
        let mut sending = std::pin::pin!(request.send());
        let mut seen = watch.taken();
        loop {
            let limit = match watch.is_complete() {
                true => self.config.read_timeout.saturating_mul(ANSWER_FACTOR),
                false => self.config.read_timeout,
            };
            tokio::select! {
                outcome = &mut sending => return outcome.map_err(|error| self.no_connection(url, error)),
                () = tokio::time::sleep(limit) => {
                    let taken = watch.taken();
                    if taken == seen {
                        return Err(Error::Unreachable {
                            host: authority(url),
                            source: format!("it took nothing for {} seconds", limit.as_secs()).into(),
                        });
                    }
                    seen = taken;
                }
            }
        }
    }

    /// One request without anything of a registry.
    pub(crate) async fn bare(
        &self,
        (method, headers): (Method, HeaderMap),
        url: &Url,
    ) -> Result<Response> {
        let client = self.client(url, Direction::Asking, &Tls::default())?;
        let request = client.request(method, url.clone());
        let sent = request.headers(headers).send().await;
        sent.map_err(|error| self.no_connection(url, error))
    }

    /// How TLS is spoken with an address that a call leads to.
    ///
    /// Errors: [`Error::PlainHttp`] if that is not allowed, [`Error::HostFile`].
    async fn checked(&self, call: &Call<'_>, url: &Url) -> Result<Tls> {
        let is_secure = url.scheme() == "https";
        if call.endpoint.is_origin_of(url) {
            return Ok(match is_secure {
                true => Tls::clone(&call.endpoint.tls),
                false => Tls::default(),
            });
        }
        let (endpoint, url) = (call.endpoint.clone(), url.clone());
        let find = move |rules: &Rules| {
            endpoint.check(rules, &url)?;
            if !is_secure {
                return Ok(Tls::default());
            }
            // What the registry's authority vouches for may be its storage or its token service; a
            // client certificate, or leave to do without a proof, is for the named host alone.
            let mut tls = rules.foreign_tls(&authority(&url))?;
            tls.add(endpoint.tls.authorities());
            Ok(tls)
        };
        self.rules.ask(find).await
    }

    /// A client for an address, made when first needed.
    pub(crate) fn client(
        &self,
        url: &Url,
        direction: Direction,
        tls: &Tls,
    ) -> Result<reqwest::Client> {
        if self.config.reach == Reach::Offline {
            return Err(Error::Offline {
                host: authority(url),
            });
        }
        let proxy = self.config.proxy.of_url(url);
        let key = (url.scheme().to_owned(), direction, proxy, tls.clone());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let (scheme, address) = (key.0.as_str(), key.2.as_deref());
        let proxy = address.map(|address| proxy_at(address, scheme));
        let built = self.build((scheme, address), (direction, tls), proxy.transpose()?);
        let built = built.map_err(|source| Error::Setup {
            reason: "TLS roots or certificates",
            source: Box::new(source),
        })?;
        clients.insert(key, built.clone());
        Ok(built)
    }

    /// Tells a TLS failure from the rest, and names the proxy in between.
    pub(crate) fn no_connection(&self, url: &Url, error: reqwest::Error) -> Error {
        let mut host = authority(url);
        if let Some(proxy) = self.config.proxy.of_url(url) {
            host = format!("{host} through the proxy {}", without_credentials(&proxy));
        }
        if error.is_timeout() && !error.is_connect() {
            let limit = self.config.read_timeout;
            return Error::Stalled { host, limit };
        }
        let is_tls = mentions_tls(&error);
        let source = reason(error);
        match is_tls {
            true => Error::Tls { host, source },
            false => Error::Unreachable { host, source },
        }
    }

    fn build(
        &self,
        (scheme, address): (&str, Option<&str>),
        (direction, tls): (Direction, &Tls),
        proxy: Option<Proxy>,
    ) -> reqwest::Result<reqwest::Client> {
        let is_secure_proxy = address.is_some_and(|address| address.starts_with("https:"));
        // Fails if a provider is installed already, which is as good.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let config = &self.config;
        let mut builder = reqwest::Client::builder()
            .user_agent(&config.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            // Attempts are counted here, and the environment is not ours to read.
            .retry(reqwest::retry::never())
            .no_proxy()
            .connect_timeout(config.connect_timeout);
        if direction == Direction::Asking {
            builder = builder.read_timeout(config.read_timeout);
        }
        // A machine without a trust store can still speak plain HTTP.
        builder = match scheme {
            "https" => builder
                .tls_certs_merge(self.roots(tls)?)
                .tls_danger_accept_invalid_certs(tls.verify == Verify::No)
                .https_only(true),
            _ if is_secure_proxy => builder.tls_certs_merge(self.roots(tls)?),
            _ => builder.tls_certs_only([]),
        };
        if let Some(identity) = &tls.identity {
            builder = builder.identity(Identity::from_pem(&identity.pem)?);
        }
        if let Some(proxy) = proxy {
            builder = builder.proxy(proxy);
        }
        builder.build()
    }

    fn roots(&self, tls: &Tls) -> reqwest::Result<Vec<Certificate>> {
        let mut roots = Vec::new();
        for pem in self.config.extra_roots.iter().chain(&tls.roots) {
            roots.extend(Certificate::from_pem_bundle(pem)?);
        }
        Ok(roots)
    }
}

/// Where a redirect leads.
pub(crate) fn redirect(response: &Response, from: &Url) -> Result<Option<Url>> {
    let is_redirect = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    if !is_redirect {
        return Ok(None);
    }
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok());
    match location.and_then(|location| from.join(location).ok()) {
        Some(url) => Ok(Some(url)),
        None => Err(Error::Protocol {
            host: authority(from),
            reason: "a redirect without a usable address".to_owned(),
        }),
    }
}

/// The kinds of proxies that there are.
const PROXY_SCHEMES: [&str; 5] = ["http", "https", "socks4", "socks5", "socks5h"];

/// `scheme` is that of the addresses that it is for. The address is never part of an error: it may hold a
/// password.
fn proxy_at(address: &str, scheme: &str) -> Result<Proxy> {
    let known = |url: &Url| PROXY_SCHEMES.contains(&url.scheme()) && url.has_host();
    let proxy = Url::parse(address).ok().filter(known);
    let proxy = proxy.and_then(|url| Proxy::all(url).ok());
    proxy.ok_or_else(|| Error::Proxy {
        scheme: scheme.to_owned(),
    })
}

fn mentions_tls(error: &(dyn StdError + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    inner(error).is_some_and(mentions_tls)
}
