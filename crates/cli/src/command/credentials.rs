//! Where credentials for registries are, in the order in which they count.

use std::path::PathBuf;
use std::time::Duration;

use rbuild::{CredentialPlace, Secret};

use super::{CommandError, directory, docker_config};

/// A variable with the text of a credential file.
const TEXT: &str = "DOCKER_AUTH_CONFIG";
/// A variable that names a credential file.
const FILE: &str = "REGISTRY_AUTH_FILE";
/// A variable with the seconds that a credential helper may take.
const LIMIT: &str = "RBUILD_HELPER_TIMEOUT";

/// The variables first, then Docker's file, then Podman's.
pub fn places() -> Vec<CredentialPlace> {
    let text = std::env::var(TEXT).ok().filter(|text| !text.is_empty());
    let text = text.map(|text| CredentialPlace::Text {
        name: format!("the variable {TEXT}"),
        text: Secret::new(text),
    });
    let runtime = directory("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
    let config = directory("XDG_CONFIG_HOME")
        .or_else(|| directory("HOME").map(|home| home.join(".config")))
        .map(|dir| dir.join("containers/auth.json"));
    let files = [named_file(), docker_file(), runtime, config];
    let files = files.into_iter().flatten().map(CredentialPlace::File);
    text.into_iter().chain(files).collect()
}

/// The file that a login goes to: the one that counts before all others.
pub fn file_to_keep() -> Result<PathBuf, CommandError> {
    named_file().or_else(docker_file).ok_or_else(|| {
        let message = format!(
            "no place to keep a login: neither HOME, DOCKER_CONFIG nor {FILE} is set to an absolute path"
        );
        CommandError::Usage(message)
    })
}

/// How long a credential helper may take to answer.
pub fn helper_limit() -> Result<Duration, CommandError> {
    let text = std::env::var(LIMIT).ok().filter(|text| !text.is_empty());
    let Some(text) = text else {
        return Ok(Duration::from_secs(30));
    };
    let secs = text.trim_end_matches('s').parse::<u64>().ok();
    let secs = secs.filter(|secs| (1..=3600).contains(secs));
    secs.map(Duration::from_secs).ok_or_else(|| {
        CommandError::Usage(format!(
            "{LIMIT} is {text:?}, not a number of seconds from 1 to 3600"
        ))
    })
}

fn named_file() -> Option<PathBuf> {
    let file = std::env::var_os(FILE).filter(|file| !file.is_empty())?;
    std::path::absolute(file).ok()
}

fn docker_file() -> Option<PathBuf> {
    docker_config().map(|dir| dir.join("config.json"))
}
