//! Credentials from Docker's `config.json` and Podman's `auth.json`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rbuild_progress::CancelToken;
use serde::Deserialize;

use crate::credential::{Credential, CredentialError, CredentialSource};
use crate::credential_helper;
use crate::secret::Secret;

/// Name under which everybody keeps the credentials of Docker's own registry.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";
/// Time a helper program has to answer; some ask a person to unlock a key ring.
const HELPER_LIMIT: Duration = Duration::from_secs(30);

/// A credential file, read once.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    path: PathBuf,
    auths: BTreeMap<String, Credential>,
    stores: Stores,
    helper_limit: Duration,
}

#[derive(Clone, Debug, Default)]
struct Stores {
    by_host: BTreeMap<String, String>,
    default: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default, rename = "credHelpers")]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "credsStore")]
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

impl DockerConfig {
    /// Reads the file; one that does not exist holds nothing.
    ///
    /// Errors: [`CredentialError::Read`], [`CredentialError::Parse`], [`CredentialError::Entry`].
    pub fn load(path: &Path) -> Result<Self, CredentialError> {
        match std::fs::read(path) {
            Ok(bytes) => Self::parse(&bytes, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(CredentialError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Reads the file's bytes; `path` is for messages.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, CredentialError> {
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| unreadable(path, &error))?;
        let mut auths = BTreeMap::new();
        for (key, entry) in document.auths.unwrap_or_default() {
            let broken = || CredentialError::Entry {
                path: PathBuf::from(path),
                key: key.clone(),
            };
            if let Some(credential) = entry.credential().ok_or_else(broken)? {
                auths.insert(normalize(&key), credential);
            }
        }
        let helpers = document.cred_helpers.unwrap_or_default();
        let by_host = helpers
            .into_iter()
            .map(|(host, name)| (normalize(&host), name))
            .collect();
        let default = document.creds_store.filter(|name| !name.is_empty());
        Ok(Self {
            path: path.to_owned(),
            auths,
            stores: Stores { by_host, default },
            helper_limit: HELPER_LIMIT,
        })
    }

    /// Gives helper programs another time to answer than 30 seconds.
    pub fn with_helper_limit(mut self, limit: Duration) -> Self {
        self.helper_limit = limit;
        self
    }

    /// The helper program that keeps a registry's credential; `None` if the file itself does.
    pub(crate) fn helper(&self, host: &str) -> Option<&str> {
        let by_host = self.stores.by_host.get(&normalize(host));
        by_host.or(self.stores.default.as_ref()).map(String::as_str)
    }
}

/// The error of a document that is not what it should be. Says where, not what stands there.
pub(crate) fn unreadable(path: &Path, error: &serde_json::Error) -> CredentialError {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Io => "it cannot be read",
        Category::Eof => "it ends too early",
        Category::Syntax => "it is not JSON",
        Category::Data => "another kind of value is expected",
    };
    CredentialError::Parse {
        path: path.to_owned(),
        reason: format!("line {}, column {}: {what}", error.line(), error.column()),
    }
}

/// What helper programs know a registry by.
pub(crate) fn server_name(host: &str) -> &str {
    match normalize(host).as_str() {
        "docker.io" => HUB,
        _ => host,
    }
}

impl Entry {
    /// `None` if it is broken, `Some(None)` if it is empty (which `credsStore` leaves behind).
    fn credential(self) -> Option<Option<Credential>> {
        if !self.registrytoken.is_empty() {
            return Some(Some(Credential::RegistryToken(Secret::new(
                self.registrytoken,
            ))));
        }
        if !self.identitytoken.is_empty() {
            return Some(Some(Credential::IdentityToken(Secret::new(
                self.identitytoken,
            ))));
        }
        let (username, password) = match self.auth.trim() {
            "" => (self.username, self.password),
            auth => decode(auth)?,
        };
        let password = Secret::new(password);
        let empty = username.is_empty() && password.is_empty();
        Some((!empty).then_some(Credential::Password { username, password }))
    }
}

fn decode(auth: &str) -> Option<(String, String)> {
    // Some tools leave the padding out.
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&STANDARD, lenient).decode(auth).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    // Docker's tools end some passwords with a NUL.
    Some((
        username.to_owned(),
        password.trim_end_matches('\0').to_owned(),
    ))
}

/// The name that credentials are kept under: no scheme, no API version, one name for Docker's own.
pub(crate) fn normalize(key: &str) -> String {
    let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
    let bare = bare.trim_end_matches('/');
    let bare = ["/v1", "/v2"]
        .iter()
        .find_map(|end| bare.strip_suffix(end))
        .unwrap_or(bare);
    match bare {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

impl CredentialSource for DockerConfig {
    fn lookup(
        &self,
        host: &str,
        repository: &str,
        cancel: &CancelToken,
    ) -> Result<Option<Credential>, CredentialError> {
        let found = self.locate(host, repository, cancel)?;
        Ok(found.map(|(credential, _)| credential))
    }

    /// Asks the helper for the host, or the default one, and then the file's own entries, of which
    /// Podman's may be for a part of a registry: the longest that fits wins.
    fn locate(
        &self,
        host: &str,
        repository: &str,
        cancel: &CancelToken,
    ) -> Result<Option<(Credential, String)>, CredentialError> {
        if let Some(helper) = self.helper(host) {
            let asked = (server_name(host), self.helper_limit);
            if let Some(found) = credential_helper::get(helper, asked, cancel)? {
                let file = self.path.display();
                let origin = format!("docker-credential-{helper}, which {file} names");
                return Ok(Some((found, origin)));
            }
        }
        let mut key = format!("{}/{repository}", normalize(host));
        loop {
            if let Some(found) = self.auths.get(&key) {
                return Ok(Some((found.clone(), self.path.display().to_string())));
            }
            match key.rfind('/') {
                Some(at) => key.truncate(at),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests;
