//! Whether a registry takes a user's password.

use rbuild_progress::CancelToken;
use reqwest::header::HeaderValue;
use reqwest::{Response, StatusCode, Url};

use crate::auth::{basic, read_token};
use crate::challenge::Challenge;
use crate::client::{Client, Inner};
use crate::endpoint::Endpoint;
use crate::failure::words_of;
use crate::hosts::Wanted;
use crate::secret::Secret;
use crate::transport::Call;
use crate::{Error, Result};

/// What a registry says to a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginCheck {
    /// It takes it.
    Accepted,
    /// It asks for none, so that nothing is known of the password.
    NotAsked,
}

impl Client {
    /// Asks a registry whether it takes a user's password. Nothing is kept.
    ///
    /// `host` is the registry as references name it. Mirrors are not asked.
    ///
    /// Errors: [`Error::LoginRefused`] with the registry's words; those of the connection,
    /// [`Error::Cancelled`].
    pub fn check_login(
        &self,
        host: &str,
        (username, password): (&str, &Secret),
        cancel: &CancelToken,
    ) -> Result<LoginCheck> {
        self.wait(cancel, async {
            let endpoints = self
                .inner
                .endpoints_of((host, ""), Wanted::Registry)
                .await?;
            let mut turns = self.inner.turns(&endpoints);
            while let Some(endpoint) = turns.next() {
                let outcome = self.inner.check_login(endpoint, (username, password)).await;
                if let Some(outcome) = turns.settle(endpoint, outcome) {
                    return outcome;
                }
            }
            Err(turns.failure())
        })
    }
}

impl Inner {
    pub(crate) async fn check_login(
        &self,
        endpoint: &Endpoint,
        (username, password): (&str, &Secret),
    ) -> Result<LoginCheck> {
        let url = endpoint.url("")?;
        let first = self
            .transport
            .send(&Call::get(endpoint, url.clone()))
            .await?;
        if first.status().is_success() {
            return Ok(LoginCheck::NotAsked);
        }
        let challenge = Challenge::of(first.headers());
        let header = match challenge {
            Some(Challenge::Basic) if first.status() == StatusCode::UNAUTHORIZED => {
                basic(username, password)
            }
            Some(Challenge::Bearer { realm, service, .. })
                if first.status() == StatusCode::UNAUTHORIZED =>
            {
                let service = service.as_deref();
                let token = self.token(endpoint, (&realm, service), (username, password));
                token.await?.header("Bearer")
            }
            _ => return Err(refused(endpoint, first).await),
        };
        let header = header.ok_or_else(|| Error::LoginRefused {
            host: endpoint.host.clone(),
            message: "the user name or password cannot stand in a header".to_owned(),
        })?;
        let second = self.authorized(endpoint, url, header).await?;
        match second.status().is_success() {
            true => Ok(LoginCheck::Accepted),
            false => Err(refused(endpoint, second).await),
        }
    }

    /// A token for nothing in particular: whoever gets one is known to the service.
    async fn token(
        &self,
        endpoint: &Endpoint,
        (realm, service): (&str, Option<&str>),
        (username, password): (&str, &Secret),
    ) -> Result<Secret> {
        let mut url = Url::parse(realm).map_err(|source| Error::Protocol {
            host: endpoint.host.clone(),
            reason: format!("its token service {realm:?} is not an address: {source}"),
        })?;
        let realm = url.clone();
        let mut pairs = vec![("account", username)];
        pairs.extend(service.map(|service| ("service", service)));
        url.query_pairs_mut().extend_pairs(pairs);
        let Some(header) = basic(username, password) else {
            return Err(Error::LoginRefused {
                host: endpoint.host.clone(),
                message: "the user name or password cannot stand in a header".to_owned(),
            });
        };
        let mut response = self.authorized(endpoint, url, header).await?;
        if !response.status().is_success() {
            return Err(refused(endpoint, response).await);
        }
        Ok(read_token(&mut response, &realm).await?.0)
    }

    async fn authorized(
        &self,
        endpoint: &Endpoint,
        url: Url,
        header: HeaderValue,
    ) -> Result<Response> {
        let mut call = Call::get(endpoint, url);
        call.authorization = Some(header);
        self.transport.send(&call).await
    }
}

async fn refused(endpoint: &Endpoint, response: Response) -> Error {
    let host = endpoint.host.clone();
    let status = response.status();
    let message = words_of(response).await;
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::LoginRefused { host, message },
        StatusCode::NOT_FOUND => Error::Protocol {
            host,
            reason: "it has no registry API under /v2/".to_owned(),
        },
        StatusCode::TOO_MANY_REQUESTS => Error::RateLimited {
            host,
            asked: None,
            message,
        },
        status => Error::Status {
            host,
            status: status.as_u16(),
            message,
        },
    }
}
