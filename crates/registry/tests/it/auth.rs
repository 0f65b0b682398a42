//! Logins: who gets which credential, and who does not.

use std::sync::Arc;

use rbuild_oci::Platform;
use rbuild_progress::CancelToken;
use rbuild_registry::{
    Client, ClientConfig, Credential, CredentialError, CredentialSource, Error, Secret,
};

use crate::server::{Fault, IDENTITY, Login, PASSWORD, Server, USER, client, config};

/// Knows one credential for everything.
struct Fixed(Credential);

impl CredentialSource for Fixed {
    fn lookup(
        &self,
        _: &str,
        _: &str,
        _: &CancelToken,
    ) -> Result<Option<Credential>, CredentialError> {
        Ok(Some(self.0.clone()))
    }
}

fn client_with(credential: Credential) -> Client {
    Client::new(ClientConfig {
        credentials: Arc::new(Fixed(credential)),
        ..config()
    })
}

fn password(text: &str) -> Credential {
    Credential::Password {
        username: USER.into(),
        password: Secret::new(text),
    }
}

fn bearer(anonymous: bool) -> Login {
    Login::Bearer {
        realm: None,
        anonymous,
    }
}

fn server(login: Login) -> Server {
    let server = Server::start();
    server.put_image("a/b", "1", "x");
    server.state().login = login;
    server
}

fn resolve(client: &Client, server: &Server) -> Result<(), Error> {
    client
        .resolve(&server.reference("a/b:1"), &CancelToken::new())
        .map(|_| ())
}

#[test]
fn anonymous_token_is_asked_once_and_kept() {
    let server = server(bearer(true));
    let client = client();
    resolve(&client, &server).unwrap();
    resolve(&client, &server).unwrap();
    let manifest = "GET /v2/a/b/manifests/1";
    assert_eq!(server.log(), [manifest, "GET /token", manifest, manifest]);
    let state = server.state();
    assert_eq!(state.seen[0].header("authorization"), None);
    assert_eq!(state.seen[1].header("authorization"), None);
    assert_eq!(
        state.seen[1].query,
        "scope=repository%3Aa%2Fb%3Apull&service=test"
    );
    assert_eq!(
        state.seen[3].header("authorization"),
        Some("Bearer token-1")
    );
}

#[test]
fn password_goes_to_the_token_service_only() {
    let server = server(bearer(false));
    resolve(&client_with(password(PASSWORD)), &server).unwrap();
    let state = server.state();
    assert!(
        state.seen[1]
            .header("authorization")
            .unwrap()
            .starts_with("Basic ")
    );
    assert!(state.seen[1].query.ends_with("&account=user"));
    assert_eq!(
        state.seen[2].header("authorization"),
        Some("Bearer token-1")
    );
}

#[test]
fn identity_tokens_are_exchanged_by_post() {
    let server = server(bearer(false));
    resolve(
        &client_with(Credential::IdentityToken(Secret::new(IDENTITY))),
        &server,
    )
    .unwrap();
    let state = server.state();
    assert_eq!(state.seen[1].method.as_str(), "POST");
    assert!(!state.seen[1].query.contains(IDENTITY));
}

#[test]
fn registry_tokens_are_used_as_they_are() {
    let server = server(bearer(false));
    resolve(
        &client_with(Credential::RegistryToken(Secret::new("token-1"))),
        &server,
    )
    .unwrap();
    assert!(!server.log().contains(&"GET /token".to_owned()));
}

#[test]
fn basic_challenges_get_the_password() {
    let server = server(Login::Basic);
    let client = client_with(password(PASSWORD));
    resolve(&client, &server).unwrap();
    resolve(&client, &server).unwrap();
    assert_eq!(server.state().seen.len(), 3);
}

#[test]
fn a_token_that_is_no_longer_good_is_replaced() {
    let server = server(bearer(true));
    let client = client();
    resolve(&client, &server).unwrap();
    server.state().token = "token-2".into();
    resolve(&client, &server).unwrap();
    let last = server.state().seen.last().cloned().unwrap();
    assert_eq!(last.header("authorization"), Some("Bearer token-2"));
}

#[test]
fn wrong_and_missing_credentials_are_denied_with_the_registrys_words() {
    let server = server(bearer(false));
    let error = resolve(&client_with(password("wrong")), &server).unwrap_err();
    assert!(
        matches!(&error, Error::Denied { message, .. } if message.contains("incorrect username"))
    );
    server.state().login = Login::Basic;
    let error = resolve(&client(), &server).unwrap_err();
    assert!(
        matches!(&error, Error::Denied { message, .. } if message.contains("authentication required"))
    );
    assert!(!format!("{error:?}").contains(PASSWORD));
}

#[test]
fn a_token_service_on_plain_http_elsewhere_gets_nothing() {
    let realm = Some("http://tokens.invalid/token".to_owned());
    let server = server(Login::Bearer {
        realm,
        anonymous: true,
    });
    let error = resolve(&client_with(password(PASSWORD)), &server).unwrap_err();
    assert!(
        matches!(&error, Error::PlainHttp { host } if host == "tokens.invalid"),
        "{error:?}"
    );
}

#[test]
fn redirects_to_another_host_lose_the_credentials() {
    let storage = Server::start();
    let server = server(bearer(false));
    let client = client_with(password(PASSWORD));
    let (reference, cancel) = (server.reference("a/b:1"), CancelToken::new());
    let image = client
        .manifest_for(&reference, &Platform::host(), &cancel)
        .unwrap();
    let config = image.manifest.config;
    let bytes = server.state().blobs[config.digest.as_str()].clone();
    storage.put_blob("x", &bytes);
    let to = format!("http://{}/blobs/{}", storage.host(), config.digest);
    server.fault("/blobs/", Fault::Redirect(to));
    assert_eq!(
        client.config_bytes(&reference, &config, &cancel).unwrap(),
        bytes
    );
    let asked = server.state().seen.last().cloned().unwrap();
    assert_eq!(asked.header("authorization"), Some("Bearer token-1"));
    let seen = storage.state().seen.clone();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), None);
}

#[test]
fn what_a_redirect_leads_to_cannot_ask_for_credentials() {
    let storage = server(bearer(true));
    let server = server(Login::Open);
    server.fault(
        "/manifests/",
        Fault::Redirect(format!("http://{}/v2/a/b/manifests/1", storage.host())),
    );
    let error = resolve(&client_with(password(PASSWORD)), &server).unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    assert_eq!(storage.log(), ["GET /v2/a/b/manifests/1"]);
}
