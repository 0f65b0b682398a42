//! What other protocols over HTTP share with registries: proxies, authorities, time limits, waiting.
//!
//! Whoever uses this speaks the protocol, counts attempts and follows redirects on their own.

use std::error::Error as StdError;
use std::future::Future;

use rbuild_progress::CancelToken;
use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url};
use std::time::Duration;

use crate::client::Client;
use crate::config::RetryPolicy;
use crate::hosts::Tls;
use crate::network::told;
use crate::retry::{asks_for_patience, retry_after};
use crate::transport::Direction;
use crate::{Error, Result};

/// Which way most of a request's bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// From the server: the connection may be silent only for the configured time.
    Down,
    /// To the server: there is no time limit, which would run while a long body is being sent; whoever
    /// sends keeps one.
    Up,
}

impl Client {
    /// An HTTP client for an address, connected as the settings say. It follows no redirects, reads no
    /// environment and tries nothing twice. Kept, so that asking again costs nothing.
    ///
    /// Errors: [`Error::Offline`], [`Error::Proxy`], [`Error::Setup`].
    pub fn http(&self, url: &Url, flow: Flow) -> Result<reqwest::Client> {
        let direction = match flow {
            Flow::Down => Direction::Asking,
            Flow::Up => Direction::Sending,
        };
        self.inner.transport.client(url, direction, &Tls::default())
    }

    /// An HTTP client for a service of this machine or its host: without proxies and TLS, and with little
    /// patience.
    ///
    /// Errors: [`Error::Offline`], [`Error::Setup`].
    pub fn direct_http(&self, url: &Url, limit: Duration) -> Result<reqwest::Client> {
        // The same checks; and the TLS stack is told which cryptography it has, without which none is built.
        self.http(url, Flow::Down)?;
        let builder = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .timeout(limit);
        builder.build().map_err(|source| Error::Setup {
            reason: "a connection without TLS",
            source: Box::new(source),
        })
    }

    /// Runs `work` on the client's network thread's runtime and waits for it on this one.
    ///
    /// Errors: [`Error::Cancelled`] as soon as `cancel` is set, [`Error::Setup`].
    pub fn run<T>(&self, cancel: &CancelToken, work: impl Future<Output = T>) -> Result<T> {
        self.wait(cancel, async { Ok(work.await) })
    }

    /// Says why an address could not be reached, without the address's path and query.
    pub fn no_connection(&self, url: &Url, error: reqwest::Error) -> Error {
        self.inner.transport.no_connection(url, error)
    }

    /// When to try again.
    pub fn retry_policy(&self) -> &RetryPolicy {
        &self.inner.config.retry
    }

    /// How long a connection may be silent.
    pub fn read_timeout(&self) -> Duration {
        self.inner.config.read_timeout
    }
}

impl RetryPolicy {
    /// How long to wait before the next attempt after the `failures`th answer (from 1), or `None` if the
    /// answer asks for no patience, attempts are used up, or it asks for more patience than there is.
    pub fn next(&self, failures: u32, status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
        let asked = retry_after(headers);
        let is_over = failures >= self.attempts || self.is_too_long(asked);
        (asks_for_patience(status) && !is_over).then(|| self.pause(failures, asked))
    }

    /// How long to wait after the `failures`th failed connection (from 1), or `None` if it was the last.
    pub fn next_connection(&self, failures: u32) -> Option<Duration> {
        (failures < self.connect_attempts).then(|| self.pause(failures, None))
    }
}

/// The cause of a failed exchange in one line, without the layers of the HTTP stack that passed it on.
pub fn network_reason(error: &(dyn StdError + 'static)) -> String {
    told(error)
}
