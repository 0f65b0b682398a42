//! From a challenge to an `Authorization` header: tokens and passwords.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rbuild_progress::CancelToken;
use reqwest::header::HeaderValue;
use reqwest::{Method, Response, Url};
use serde::Deserialize;

use crate::body::read_limited;
use crate::challenge::Challenge;
use crate::client::Place;
use crate::credential::{Credential, CredentialSource};
use crate::endpoint::authority;
use crate::failure::{Subject, failure};
use crate::secret::Secret;
use crate::transport::{Call, Payload, Transport};
use crate::{Error, Result};

/// Life of a token whose service states none. Source: distribution, token authentication.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// Most of a token service's answer that is read, in bytes.
const ANSWER_LIMIT: u64 = 256 * 1024;
/// What we call ourselves towards token services.
const CLIENT_ID: &str = "rbuild";

/// Headers that were accepted, by registry and what they allow.
pub(crate) struct Authenticator {
    credentials: Arc<dyn CredentialSource>,
    accepted: Mutex<BTreeMap<(String, Vec<String>), Accepted>>,
}

/// What a request is about to do, as token services want to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access<'a> {
    /// Read.
    Pull,
    /// Read and write.
    Push,
    /// Read and write, and read what is taken over from another repository.
    Mount {
        /// The other repository.
        from: &'a str,
    },
}

impl Access<'_> {
    /// The scopes that a token must have. Source: distribution, token scopes.
    fn scopes(self, repository: &str) -> Vec<String> {
        let pull = |repository| format!("repository:{repository}:pull");
        let push = format!("repository:{repository}:pull,push");
        match self {
            Self::Pull => vec![pull(repository)],
            Self::Push => vec![push],
            Self::Mount { from } => vec![push, pull(from)],
        }
    }
}

struct Accepted {
    header: HeaderValue,
    until: Instant,
}

/// The part of a bearer challenge that a token is asked with.
struct Grant<'a> {
    realm: Url,
    service: Option<&'a str>,
    scopes: Vec<String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
}

impl Authenticator {
    pub(crate) fn new(credentials: Arc<dyn CredentialSource>) -> Self {
        Self {
            credentials,
            accepted: Mutex::default(),
        }
    }

    /// The header that was last accepted for the repository, unless it has expired.
    pub(crate) fn known(&self, place: &Place<'_>) -> Option<HeaderValue> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        let found = accepted
            .get(&key(place))
            .filter(|entry| entry.until > Instant::now());
        found.map(|entry| entry.header.clone())
    }

    /// Answers a challenge; `None` if there is nothing to answer it with.
    ///
    /// Errors: [`Error::Credentials`], [`Error::Denied`] when the token service refuses what we
    /// have, and what the exchange with it may bring.
    pub(crate) async fn answer(
        &self,
        transport: &Transport,
        place: &Place<'_>,
        challenge: &Challenge,
    ) -> Result<Option<HeaderValue>> {
        let credential = self.look_up(place).await?;
        let (header, life) = match (challenge, credential) {
            (_, Some(Credential::RegistryToken(token))) => (token.header("Bearer"), DEFAULT_LIFE),
            (Challenge::Basic, Some(Credential::Password { username, password })) => {
                (basic(&username, &password), DEFAULT_LIFE)
            }
            (Challenge::Basic, _) => return Ok(None),
            (
                Challenge::Bearer {
                    realm,
                    service,
                    scope,
                },
                credential,
            ) => {
                let grant = grant(place, realm, service.as_deref(), scope.as_deref())?;
                let (token, life) = fetch_token(transport, place, &grant, credential).await?;
                (token.header("Bearer"), life)
            }
        };
        let header = header.ok_or_else(|| Error::Protocol {
            host: place.endpoint.host.clone(),
            reason: "a credential or token that cannot stand in a header".to_owned(),
        })?;
        // Given up a little early: the clock runs while the request is on its way.
        let until = Instant::now() + life.mul_f32(0.9);
        let entry = Accepted {
            header: header.clone(),
            until,
        };
        self.accepted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key(place), entry);
        Ok(Some(header))
    }

    async fn look_up(&self, place: &Place<'_>) -> Result<Option<Credential>> {
        let source = self.credentials.clone();
        let host = place.endpoint.host.clone();
        let repository = place.repository().to_owned();
        let cancel: CancelToken = place.cancel.clone();
        // May run a program that waits for a person.
        let lookup =
            tokio::task::spawn_blocking(move || source.lookup(&host, &repository, &cancel));
        let host = place.endpoint.host.clone();
        match lookup.await {
            Ok(outcome) => outcome.map_err(|source| Error::Credentials { host, source }),
            Err(source) => Err(Error::Setup {
                reason: "look up credentials",
                source: Box::new(source),
            }),
        }
    }
}

/// What an accepted header is kept by.
fn key(place: &Place<'_>) -> (String, Vec<String>) {
    let scopes = place.access.scopes(place.repository());
    (place.endpoint.host.clone(), scopes)
}

pub(crate) fn basic(username: &str, password: &Secret) -> Option<HeaderValue> {
    let pair = format!("{username}:{}", password.expose());
    Secret::new(STANDARD.encode(pair)).header("Basic")
}

fn grant<'a>(
    place: &Place<'_>,
    realm: &str,
    service: Option<&'a str>,
    scope: Option<&str>,
) -> Result<Grant<'a>> {
    let realm = Url::parse(realm).map_err(|source| Error::Protocol {
        host: place.endpoint.host.clone(),
        reason: format!("its token service {realm:?} is not an address: {source}"),
    })?;
    Ok(Grant {
        realm,
        service,
        scopes: scopes(place.access, place.repository(), scope),
    })
}

/// The scopes to ask for: of reading those that the registry names, of writing all that is needed
/// and what else it names. Some name only what the request at hand needs, others nothing at all.
fn scopes(access: Access<'_>, repository: &str, named: Option<&str>) -> Vec<String> {
    let named: Vec<String> = named
        .into_iter()
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect();
    let mut scopes = access.scopes(repository);
    match access {
        Access::Pull if !named.is_empty() => named,
        Access::Pull => scopes,
        Access::Push | Access::Mount { .. } => {
            let resource = |scope: &str| scope.rsplit_once(':').map(|(name, _)| name.to_owned());
            let known: Vec<_> = scopes.iter().map(|scope| resource(scope)).collect();
            scopes.extend(
                named
                    .into_iter()
                    .filter(|scope| !known.contains(&resource(scope))),
            );
            scopes
        }
    }
}

/// Asks the token service. Source: distribution, token authentication and its OAuth 2 variant.
async fn fetch_token(
    transport: &Transport,
    place: &Place<'_>,
    grant: &Grant<'_>,
    credential: Option<Credential>,
) -> Result<(Secret, Duration)> {
    let mut call = Call::get(place.endpoint, grant.realm.clone());
    // A form holds one field with all of them, an address one for each.
    let joined = grant.scopes.join(" ");
    let is_exchange = matches!(credential, Some(Credential::IdentityToken(_)));
    let mut pairs = match is_exchange {
        true => vec![("scope", joined.as_str())],
        false => grant
            .scopes
            .iter()
            .map(|scope| ("scope", scope.as_str()))
            .collect(),
    };
    pairs.extend(grant.service.map(|service| ("service", service)));
    if let Some(Credential::IdentityToken(token)) = &credential {
        pairs.extend([("grant_type", "refresh_token"), ("client_id", CLIENT_ID)]);
        pairs.push(("refresh_token", token.expose()));
        call.method = Method::POST;
        call.payload = Payload::Form(encode(&pairs));
    } else {
        if let Some(Credential::Password { username, password }) = &credential {
            pairs.push(("account", username));
            call.authorization = basic(username, password);
        }
        call.url.query_pairs_mut().extend_pairs(pairs);
    }
    let mut response = transport.send(&call).await?;
    if !response.status().is_success() {
        let subject = match place.access {
            Access::Pull => Subject::Token(place.reference),
            Access::Push | Access::Mount { .. } => Subject::PushToken(place.reference),
        };
        return Err(failure(response, subject).await);
    }
    read_token(&mut response, &grant.realm).await
}

/// Reads a token and how long it is good for from the answer of the service at `realm`.
pub(crate) async fn read_token(response: &mut Response, realm: &Url) -> Result<(Secret, Duration)> {
    let nonsense = || Error::Protocol {
        host: authority(realm),
        reason: "the token service sent no token".to_owned(),
    };
    let bytes = read_limited(response, ANSWER_LIMIT)
        .await
        .map_err(|_| nonsense())?;
    let answer: TokenAnswer = serde_json::from_slice(&bytes).map_err(|_| nonsense())?;
    let token = if answer.token.is_empty() {
        answer.access_token
    } else {
        answer.token
    };
    if token.is_empty() {
        return Err(nonsense());
    }
    let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs);
    Ok((Secret::new(token), life.min(Duration::from_secs(24 * 3600))))
}

/// Encodes a form the way addresses encode their query.
fn encode(pairs: &[(&str, &str)]) -> String {
    let mut carrier = Url::parse("form:").expect("a fixed address");
    carrier.query_pairs_mut().extend_pairs(pairs);
    carrier.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_percent_encoded() {
        assert_eq!(
            encode(&[("scope", "repository:a/b:pull"), ("x", "&=+ é")]),
            "scope=repository%3Aa%2Fb%3Apull&x=%26%3D%2B+%C3%A9"
        );
    }

    #[test]
    fn scopes_cover_what_is_needed_and_what_the_registry_names() {
        let check = |access, named, wanted: &[&str]| {
            assert_eq!(scopes(access, "a/b", named), wanted, "{access:?} {named:?}");
        };
        let (push, mount) = (Access::Push, Access::Mount { from: "c" });
        check(Access::Pull, None, &["repository:a/b:pull"]);
        check(Access::Pull, Some("x:y:z"), &["x:y:z"]);
        check(push, None, &["repository:a/b:pull,push"]);
        check(
            push,
            Some("repository:a/b:pull"),
            &["repository:a/b:pull,push"],
        );
        check(
            mount,
            Some("repository:a/b:push registry:x:*"),
            &[
                "repository:a/b:pull,push",
                "repository:c:pull",
                "registry:x:*",
            ],
        );
    }

    #[test]
    fn basic_is_base64_of_the_pair_and_hidden() {
        let header = basic("u", &Secret::new("p:w")).unwrap();
        assert_eq!(header.to_str().unwrap(), "Basic dTpwOnc=");
        assert!(header.is_sensitive());
    }
}
