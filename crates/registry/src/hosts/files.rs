//! Where the files are, and reading them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Most bytes of a settings file or certificate.
const LIMIT: u64 = 1024 * 1024;

/// Where the machine's settings for registries are; empty lists mean that none are read.
///
/// Files and directories that are not there are passed over, as are those that this user may not
/// read: they are the business of a daemon that may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFiles {
    /// Podman's files, and those of its kin.
    pub podman: PodmanFiles,
    /// Directories with a folder for each registry that holds a `hosts.toml` or certificates
    /// (containerd's `config_path`).
    pub containerd: Vec<PathBuf>,
    /// Docker's files.
    pub docker: DockerFiles,
}

/// Podman's files. Source: containers-registries.conf(5), containers-certs.d(5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodmanFiles {
    /// Candidates for `registries.conf`; the first that is there counts alone.
    pub registries: Vec<PathBuf>,
    /// Directories whose `*.conf` files are read behind it, in this order.
    pub drop_ins: Vec<PathBuf>,
    /// Directories with a folder of certificates for each registry.
    pub certificates: Vec<PathBuf>,
}

/// Docker's files. Source: docs.docker.com, "Daemon configuration file" and "Verify repository client
/// with certificates".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DockerFiles {
    /// Candidates for `daemon.json`; the first that is there counts alone.
    pub daemon: Vec<PathBuf>,
    /// Directories with a folder of certificates for each registry.
    pub certificates: Vec<PathBuf>,
}

/// Reads a file; `None` if it is not there, or may not be read by us.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let bytes = File::open(path).and_then(|file| {
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        file.take(LIMIT + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > LIMIT {
            true => Err(io::Error::other("it is larger than 1 MiB")),
            false => Ok(bytes),
        }
    });
    match bytes {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) => absent(path, error).map(|()| None),
    }
}

/// Reads a file of text.
pub(super) fn read_text(path: &Path) -> Result<Option<String>> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes);
    text.map(Some)
        .map_err(|_| broken(path, "it is no UTF-8 text"))
}

/// The names in a directory, sorted; empty if it is not there, or may not be listed by us.
pub(super) fn list(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return absent(dir, error).map(|()| Vec::new()),
    };
    // Names that are no text have no ending that means anything here.
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

fn absent(path: &Path, error: io::Error) -> Result<()> {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::NotFound | Kind::NotADirectory => Ok(()),
        Kind::PermissionDenied => {
            tracing::debug!(?path, "registry settings that this user may not read");
            Ok(())
        }
        _ => Err(broken(path, error.to_string())),
    }
}

/// The error of a file that makes no sense.
pub(super) fn broken(path: &Path, reason: impl Into<String>) -> Error {
    Error::HostFile {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

/// The error of a TOML text; says where, and shows nothing of the file, which may hold secrets.
pub(super) fn broken_toml(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let place = error.span().map(|span| {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("line {line}, column {column}: ")
    });
    let reason = format!("{}{}", place.unwrap_or_default(), error.message());
    broken(path, reason)
}
