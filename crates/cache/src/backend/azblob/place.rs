//! What `type=azblob` says: which container, where in it, and how to get there.

use std::fmt;

use rbuild_registry::Secret;
use reqwest::Url;

use super::AzureIdentity;
use crate::backend::address::address;
use crate::backend::objects::Folders;
use crate::{Attrs, Error, Result};

const CONTAINER: &str = "rbuild-cache";

/// What the environment of the command line says; this crate reads none itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AzblobEnv {
    /// `BUILDKIT_AZURE_STORAGE_ACCOUNT_URL`.
    pub account_url: Option<String>,
    /// `BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME`.
    pub account_name: Option<String>,
    /// `BUILDKIT_AZURE_STORAGE_CONTAINER`.
    pub container: Option<String>,
    /// `BUILDKIT_AZURE_STORAGE_PREFIX`.
    pub prefix: Option<String>,
    /// `AZURE_STORAGE_KEY`.
    pub key: Option<Secret>,
    /// Who this is, where there is no key.
    pub identity: AzureIdentity,
}

/// A place in a container.
#[derive(Clone, PartialEq, Eq)]
pub struct AzblobPlace {
    /// Of the account; without a slash at its end.
    url: String,
    pub(super) account: String,
    pub(super) container: String,
    pub(super) folders: Folders,
    /// Of the account.
    pub(super) key: Option<Secret>,
    pub(super) identity: AzureIdentity,
}

impl fmt::Debug for AzblobPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzblobPlace")
            .field("url", &self.url)
            .field("account", &self.account)
            .field("container", &self.container)
            .field("folders", &self.folders)
            .finish_non_exhaustive()
    }
}

impl AzblobPlace {
    /// Takes the attributes of `type=azblob`: those of BuildKit, with the same meaning.
    ///
    /// What is not given comes from `env`. Errors: [`Error::Spec`], which never holds a key.
    pub fn parse(attrs: &mut Attrs, env: &AzblobEnv) -> Result<Self> {
        let mut given = |key: &'static str, env: &Option<String>| {
            let given = attrs.take(key).or_else(|| env.clone());
            given.filter(|text| !text.is_empty())
        };
        let url = given("account_url", &env.account_url);
        let url = url.ok_or_else(|| {
            spec("type=azblob needs account_url= (or BUILDKIT_AZURE_STORAGE_ACCOUNT_URL)")
        })?;
        let url = address("account_url", &url)?;
        let account = account(given("account_name", &env.account_name), &url)?;
        let authority = env.identity.authority_host.as_deref();
        if !authority.is_none_or(|host| host.starts_with("https://")) {
            return Err(spec("AZURE_AUTHORITY_HOST must begin with https://"));
        }
        let container = given("container", &env.container);
        let container = checked_container(container.unwrap_or_else(|| CONTAINER.to_owned()))?;
        Ok(Self {
            url: url.as_str().trim_end_matches('/').to_owned(),
            account,
            container,
            folders: Folders::parse(attrs, env.prefix.as_deref())?,
            key: key(attrs, env)?,
            identity: env.identity.clone(),
        })
    }

    /// What people call it, without credentials.
    pub fn name(&self) -> String {
        let container = format!("azblob {}/{}", self.account, self.container);
        self.folders.named(&container)
    }

    /// What may come from the environment and tells this place from others, as attributes; no key.
    pub(crate) fn settled(&self) -> Vec<(&'static str, String)> {
        vec![
            ("account_url", self.url.clone()),
            ("account_name", self.account.clone()),
            ("container", self.container.clone()),
            ("prefix", self.folders.prefix.clone()),
        ]
    }

    /// The address of the account.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Whether the user asks for connections without TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.url.starts_with("http:")
    }
}

fn spec(text: impl Into<String>) -> Error {
    Error::Spec(text.into())
}

/// The account's name, which is the first part of its host unless somebody says otherwise.
fn account(given: Option<String>, url: &Url) -> Result<String> {
    let host = url.domain().filter(|host| host.contains('.'));
    let first = host.and_then(|host| host.split('.').next());
    let account = given.or_else(|| first.map(str::to_owned)).ok_or_else(|| {
        spec("account_url= does not begin with the account's name: give account_name=, too")
    })?;
    match is_name(&account, 1..=24) {
        true => Ok(account),
        false => Err(spec(format!(
            "account_name={account}: it must be an account's name, of small letters and digits"
        ))),
    }
}

fn checked_container(container: String) -> Result<String> {
    match is_name(&container, 3..=63) {
        true => Ok(container),
        false => Err(spec(format!(
            "container={container}: it must be a container's name, of 3 to 63 small letters, digits and `-`"
        ))),
    }
}

fn is_name(text: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    length.contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-')
}

/// A key that can sign: what is no base64 is not sent anywhere, nor repeated.
fn key(attrs: &mut Attrs, env: &AzblobEnv) -> Result<Option<Secret>> {
    use base64::Engine;
    let given = attrs.take("secret_access_key").map(Secret::new);
    let Some(key) = given.or_else(|| env.key.clone()) else {
        return Ok(None);
    };
    let decoded = base64::engine::general_purpose::STANDARD.decode(key.expose());
    match decoded.is_ok_and(|bytes| !bytes.is_empty()) {
        true => Ok(Some(key)),
        false => Err(spec(
            "secret_access_key= (or AZURE_STORAGE_KEY) must be a key of the account, which is base64",
        )),
    }
}

#[cfg(test)]
mod tests;
