//! What a credential is, and who knows them.

use std::path::PathBuf;
use std::time::Duration;

use rbuild_progress::{CancelToken, Cancelled};

use crate::Secret;

/// A way to prove who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// User name and password.
    Password {
        /// User name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// A refresh token, to be exchanged for access tokens.
    IdentityToken(Secret),
    /// An access token, used as it is.
    RegistryToken(Secret),
}

/// Who knows credentials.
pub trait CredentialSource: Send + Sync {
    /// Looks up the credential for a repository.
    ///
    /// `host` is the registry as references name it, `repository` the path within. May block (it is
    /// called where that is fine) but must come back soon after `cancel` is set. `None` means that
    /// there is none, which is no error: most pulls are anonymous.
    fn lookup(
        &self,
        host: &str,
        repository: &str,
        cancel: &CancelToken,
    ) -> Result<Option<Credential>, CredentialError>;

    /// As [`CredentialSource::lookup`], together with where the credential comes from, in words.
    fn locate(
        &self,
        host: &str,
        repository: &str,
        cancel: &CancelToken,
    ) -> Result<Option<(Credential, String)>, CredentialError> {
        let found = self.lookup(host, repository, cancel)?;
        Ok(found.map(|credential| (credential, "the program that calls".to_owned())))
    }
}

/// Knows no credentials.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl CredentialSource for Anonymous {
    fn lookup(
        &self,
        _: &str,
        _: &str,
        _: &CancelToken,
    ) -> Result<Option<Credential>, CredentialError> {
        Ok(None)
    }
}

/// Why credentials could not be looked up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not the JSON document it should be.
    #[error("{}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong and where; nothing of the content.
        reason: String,
    },
    /// The file cannot be written.
    #[error("write {path:?}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// An `auth` entry is not base64 of `user:password`.
    #[error("the entry for {key:?} in {path:?} is not base64 of user:password")]
    Entry {
        /// The file.
        path: PathBuf,
        /// Key of the entry.
        key: String,
    },
    /// A helper program cannot be started, or its output not be read.
    #[error("run credential helper {program:?}")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A helper program failed.
    #[error("credential helper {program:?} failed: {message}")]
    Helper {
        /// The program.
        program: String,
        /// What it said, shortened; never its success output.
        message: String,
    },
    /// A helper program did not answer in time and was stopped.
    #[error("credential helper {program:?} did not answer within {} s", .limit.as_secs())]
    Slow {
        /// The program.
        program: String,
        /// The time it had.
        limit: Duration,
    },
    /// The build was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}
