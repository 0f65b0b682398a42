//! Several places with credentials, in order.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rbuild_progress::CancelToken;

use crate::credential::{Credential, CredentialError, CredentialSource};
use crate::docker_config::DockerConfig;
use crate::secret::Secret;

/// A place with credentials.
#[derive(Clone, Debug)]
pub enum CredentialPlace {
    /// Docker's `config.json` or Podman's `auth.json`; it need not be there.
    File(PathBuf),
    /// The text of such a file.
    Text {
        /// What messages call it.
        name: String,
        /// The text.
        text: Secret,
    },
}

/// Credentials from several places: the first that knows one for a repository wins.
#[derive(Clone, Debug, Default)]
pub struct CredentialFiles(Vec<DockerConfig>);

impl CredentialFiles {
    /// Reads the places. `helper_limit` is how long a helper program may take to answer.
    ///
    /// Errors: one of them is there and makes no sense.
    pub fn load(
        places: &[CredentialPlace],
        helper_limit: Duration,
    ) -> Result<Self, CredentialError> {
        let mut files = Vec::new();
        for place in places {
            let read = match place {
                CredentialPlace::File(path) => DockerConfig::load(path)?,
                CredentialPlace::Text { name, text } => {
                    DockerConfig::parse(text.expose().as_bytes(), Path::new(name))?
                }
            };
            files.push(read.with_helper_limit(helper_limit));
        }
        Ok(Self(files))
    }
}

impl CredentialSource for CredentialFiles {
    fn lookup(
        &self,
        host: &str,
        repository: &str,
        cancel: &CancelToken,
    ) -> Result<Option<Credential>, CredentialError> {
        let found = self.locate(host, repository, cancel)?;
        Ok(found.map(|(credential, _)| credential))
    }

    fn locate(
        &self,
        host: &str,
        repository: &str,
        cancel: &CancelToken,
    ) -> Result<Option<(Credential, String)>, CredentialError> {
        for file in &self.0 {
            if let Some(found) = file.locate(host, repository, cancel)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_that_knows_the_registry_wins() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("auth.json");
        let text = r#"{"auths":{"a.example":{"auth":"dTpw"},"b.example":{"auth":"dTpw"}}}"#;
        std::fs::write(&file, text).unwrap();
        let first = CredentialPlace::Text {
            name: "A_VARIABLE".to_owned(),
            text: Secret::new(r#"{"auths":{"a.example":{"auth":"djpw"}}}"#),
        };
        let places = [
            first,
            CredentialPlace::File(dir.path().join("none.json")),
            CredentialPlace::File(file.clone()),
        ];
        let files = CredentialFiles::load(&places, Duration::from_secs(1)).unwrap();
        let origin = |host: &str| {
            let found = files.locate(host, "x", &CancelToken::new()).unwrap();
            found.map(|(_, origin)| origin)
        };
        assert_eq!(origin("a.example").as_deref(), Some("A_VARIABLE"));
        assert_eq!(origin("b.example").as_deref(), file.to_str());
        assert_eq!(origin("c.example"), None);
        assert!(!format!("{places:?} {files:?}").contains("djpw"));
    }
}
