//! An ssh agent over key files: lists public keys and signs, and can do nothing else.
//!
//! For `--ssh ID=FILE`, where no agent runs. The keys stay in this process; a step sees their public
//! halves and signatures. Message numbers and layouts: draft-miller-ssh-agent.

mod der;
mod file;
mod key;
mod modulus;
mod wire;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::key::Key;
use self::wire::{Reader, put_bytes, put_u32};
use crate::{Error, Result};

pub(crate) const FAILURE: u8 = 5;
pub(crate) const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
pub(crate) const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// Largest key file: one of 16384 bits has about 12 KiB.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Who answers behind `RUN --mount=type=ssh`.
#[derive(Clone, Debug)]
pub enum SshAgent {
    /// The agent behind this socket.
    Socket(PathBuf),
    /// The engine itself.
    Keys(Arc<Keyring>),
}

impl SshAgent {
    /// Takes one socket, or files with keys.
    ///
    /// Errors: [`Error::SshKey`] for a socket beside other paths, for what is missing, and for keys that
    /// cannot be used.
    pub fn at(paths: &[PathBuf]) -> Result<Self> {
        let is_socket = |path: &PathBuf| {
            path.metadata()
                .is_ok_and(|meta| meta.file_type().is_socket())
        };
        match paths {
            [path] if is_socket(path) => Ok(Self::Socket(path.clone())),
            paths => match paths.iter().find(|path| is_socket(path)) {
                Some(socket) => Err(refuse(socket, "a socket stands alone, without other paths")),
                None => Ok(Self::Keys(Arc::new(Keyring::read(paths)?))),
            },
        }
    }
}

/// Private keys that can be used, not read.
pub struct Keyring {
    keys: Vec<Key>,
}

impl fmt::Debug for Keyring {
    /// Never shows a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} keys)", self.keys.len())
    }
}

impl Keyring {
    fn read(paths: &[PathBuf]) -> Result<Self> {
        let keys = paths.iter().map(|path| {
            let text = read(path)?;
            file::parse(&text).map_err(|reason| refuse(path, reason))
        });
        Ok(Self {
            keys: keys.collect::<Result<_>>()?,
        })
    }

    /// Answers one request of a client.
    pub(crate) fn answer(&self, request: &[u8]) -> Vec<u8> {
        let answer = match request.split_first() {
            Some((&REQUEST_IDENTITIES, _)) => Some(self.list()),
            Some((&SIGN_REQUEST, rest)) => self.sign(rest),
            _ => None,
        };
        answer.unwrap_or_else(|| vec![FAILURE])
    }

    fn list(&self) -> Vec<u8> {
        let mut answer = vec![IDENTITIES_ANSWER];
        put_u32(&mut answer, self.keys.len());
        for key in &self.keys {
            put_bytes(&mut answer, &key.public);
            put_bytes(&mut answer, key.comment.as_bytes());
        }
        answer
    }

    fn sign(&self, request: &[u8]) -> Option<Vec<u8>> {
        let mut request = Reader::new(request);
        let public = request.bytes()?;
        let (data, flags) = (request.bytes()?, request.u32()?);
        let key = self.keys.iter().find(|key| key.public == public)?;
        let mut answer = vec![SIGN_RESPONSE];
        put_bytes(&mut answer, &key.sign(data, flags)?);
        Some(answer)
    }
}

fn read(path: &Path) -> Result<String> {
    let io = |error: std::io::Error| refuse(path, error.to_string());
    let file = File::open(path).map_err(io)?;
    if !file.metadata().map_err(io)?.is_file() {
        return Err(refuse(path, "neither a socket nor a file"));
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|_| refuse(path, file::NO_KEY))?;
    match text.len() as u64 > MAX_FILE_BYTES {
        true => Err(refuse(path, file::NO_KEY)),
        false => Ok(text),
    }
}

fn refuse(path: &Path, reason: impl Into<String>) -> Error {
    Error::SshKey {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests;
