//! Logging in to a registry, and out of it. Needs no store.

use std::path::PathBuf;

use rbuild_progress::CancelToken;
use rbuild_registry::{
    Client, CredentialFiles, CredentialSource, CredentialStore, Kept, LoginCheck, Secret,
};

use crate::engine::client_config;
use crate::{BuildError, EngineConfig, ErrorKind, Result, remedy};

/// A login to be checked and kept.
#[derive(Debug, Clone)]
pub struct Login {
    /// The registry as references name it, see [`registry_name`].
    pub registry: String,
    /// User name.
    pub username: String,
    /// Password or access token.
    pub password: Secret,
    /// Credential file that keeps it, or names the helper that does.
    pub file: PathBuf,
}

/// How a login came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// What the registry said.
    pub check: LoginCheck,
    /// Where the password is kept.
    pub kept: Kept,
    /// Another place with a credential for the registry, which wins over the one that was kept.
    pub shadowed_by: Option<String>,
}

/// How logging out came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedOut {
    /// Whether there was a login in the file.
    pub was_logged_in: bool,
    /// Another place that still has a credential for the registry.
    pub left_in: Option<String>,
}

/// The name that a registry has in references: without scheme and API version; `docker.io` for all of
/// Docker's own names. `None` if no reference can name it.
pub fn registry_name(text: &str) -> Option<String> {
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let bare = bare.trim_end_matches('/');
    let bare = ["/v1", "/v2"]
        .iter()
        .find_map(|end| bare.strip_suffix(end))
        .unwrap_or(bare);
    let name = match bare {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
        other => other,
    };
    let reference = rbuild_oci::Reference::parse(&format!("{name}/x")).ok()?;
    (reference.domain() == name).then(|| name.to_owned())
}

/// Asks the registry whether it takes a login, and keeps it if so.
///
/// Errors: the registry refuses it, with its words; it cannot be reached; it cannot be kept.
pub fn login(config: &EngineConfig, login: &Login, cancel: &CancelToken) -> Result<LoggedIn> {
    let settings = client_config(config)?;
    let client = Client::new(settings);
    let pair = (login.username.as_str(), &login.password);
    let check = client.check_login(&login.registry, pair, cancel)?;
    let store = CredentialStore::new(&login.file, config.helper_limit);
    let kept = store.keep(&login.registry, pair, cancel)?;
    let file = login.file.display().to_string();
    let found = located(config, &login.registry, cancel)?;
    Ok(LoggedIn {
        check,
        kept,
        shadowed_by: found.filter(|origin| !origin.contains(&file)),
    })
}

/// Forgets what `file`, or the helper that it names, keeps for a registry.
///
/// Errors: the file cannot be read or written, the helper fails.
pub fn logout(
    config: &EngineConfig,
    (registry, file): (&str, PathBuf),
    cancel: &CancelToken,
) -> Result<LoggedOut> {
    let had = located(config, registry, cancel)?;
    let shown = file.display().to_string();
    let store = CredentialStore::new(file, config.helper_limit);
    let had_entry = store.forget(registry, cancel)?;
    Ok(LoggedOut {
        was_logged_in: had_entry || had.is_some_and(|origin| origin.contains(&shown)),
        left_in: located(config, registry, cancel)?,
    })
}

/// Where the credential for a registry comes from.
fn located(config: &EngineConfig, registry: &str, cancel: &CancelToken) -> Result<Option<String>> {
    let files = CredentialFiles::load(&config.credentials, config.helper_limit)?;
    let found = files.locate(registry, "", cancel)?;
    Ok(found.map(|(_, origin)| origin))
}

impl From<rbuild_registry::CredentialError> for BuildError {
    fn from(error: rbuild_registry::CredentialError) -> Self {
        use rbuild_registry::CredentialError as E;
        match error {
            E::Cancelled(_) => BuildError::cancelled(),
            other => {
                let remedy = remedy::of_credentials(&other);
                BuildError::caused(ErrorKind::Build, other).helps(remedy)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_have_one_name_each() {
        for (given, wanted) in [
            ("docker.io", Some("docker.io")),
            ("https://index.docker.io/v1/", Some("docker.io")),
            ("r.example:5000", Some("r.example:5000")),
            ("https://r.example/v2/", Some("r.example")),
            ("localhost", Some("localhost")),
            ("r.example/team", None),
            ("plain", None),
            ("", None),
            ("a b.c", None),
        ] {
            assert_eq!(registry_name(given).as_deref(), wanted, "{given}");
        }
    }
}
