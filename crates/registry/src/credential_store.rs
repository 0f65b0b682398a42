//! Keeping and forgetting credentials, where Docker's tools keep them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;
use rbuild_progress::CancelToken;
use serde_json::value::{RawValue, to_raw_value};

use crate::credential::CredentialError;
use crate::credential_helper::{erase, store};
use crate::docker_config::{DockerConfig, normalize, server_name, unreadable};
use crate::secret::Secret;

/// The members of an object, their texts untouched.
type Members = IndexMap<String, Box<RawValue>>;

/// A credential file, to be changed.
#[derive(Clone, Debug)]
pub struct CredentialStore {
    path: PathBuf,
    helper_limit: Duration,
}

/// Where a credential is kept now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Readable for whoever may read this file.
    File(PathBuf),
    /// By this helper program.
    Helper(String),
}

impl CredentialStore {
    /// The store in `path`, which is made with the first credential. Helper programs have
    /// `helper_limit` to answer.
    pub fn new(path: impl Into<PathBuf>, helper_limit: Duration) -> Self {
        Self {
            path: path.into(),
            helper_limit,
        }
    }

    /// Keeps a password, by the helper that the file names for the registry, or in the file itself.
    ///
    /// Everything else in the file stays as it is, byte by byte. Others see the old file or the new
    /// one, which only its owner may read.
    pub fn keep(
        &self,
        host: &str,
        (username, password): (&str, &Secret),
        cancel: &CancelToken,
    ) -> Result<Kept, CredentialError> {
        let config = DockerConfig::load(&self.path)?;
        let server = server_name(host);
        let (entry, kept) = match config.helper(host) {
            Some(helper) => {
                let pair = (server, username, password);
                store(helper, pair, self.helper_limit, cancel)?;
                // Docker's tools leave an empty entry, by which they know that there is a login.
                let entry = serde_json::json!({});
                (entry, Kept::Helper(format!("docker-credential-{helper}")))
            }
            None => {
                let pair = STANDARD.encode(format!("{username}:{}", password.expose()));
                let entry = serde_json::json!({ "auth": pair });
                (entry, Kept::File(self.path.clone()))
            }
        };
        self.change(|auths| {
            auths.retain(|key, _| !is_same(key, host));
            auths.insert(server.to_owned(), raw(&entry));
        })?;
        Ok(kept)
    }

    /// Forgets what is kept for a registry; false if there was nothing.
    pub fn forget(&self, host: &str, cancel: &CancelToken) -> Result<bool, CredentialError> {
        let config = DockerConfig::load(&self.path)?;
        let mut had_any = false;
        if let Some(helper) = config.helper(host) {
            erase(helper, server_name(host), self.helper_limit, cancel)?;
        }
        if self.path.exists() {
            self.change(|auths| {
                let before = auths.len();
                auths.retain(|key, _| !is_same(key, host));
                had_any = auths.len() < before;
            })?;
        }
        Ok(had_any)
    }

    /// Changes the `auths` of the file, and nothing else in it.
    fn change(&self, change: impl FnOnce(&mut Members)) -> Result<(), CredentialError> {
        // A link stays one: the file it leads to is replaced.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let mut document = self.members(&path)?;
        let mut auths: Members = match document.get("auths") {
            None => Members::new(),
            Some(text) if text.get() == "null" => Members::new(),
            Some(text) => {
                serde_json::from_str(text.get()).map_err(|error| unreadable(&self.path, &error))?
            }
        };
        change(&mut auths);
        let text = raw_text(&object(&auths, "\t"));
        document.insert("auths".to_owned(), text);
        let text = object(&document, "");
        replace(&path, text.as_bytes()).map_err(|source| CredentialError::Write {
            path: self.path.clone(),
            source,
        })
    }

    fn members(&self, path: &Path) -> Result<Members, CredentialError> {
        match fs::read(path) {
            // What a tool left that died while writing.
            Ok(bytes) if bytes.trim_ascii().is_empty() => Ok(Members::new()),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| unreadable(&self.path, &e)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Members::new()),
            Err(source) => Err(CredentialError::Read {
                path: self.path.clone(),
                source,
            }),
        }
    }
}

/// Whether a key is one of the registry itself, rather than of a part of it.
fn is_same(key: &str, host: &str) -> bool {
    normalize(key) == normalize(host)
}

fn raw(value: &serde_json::Value) -> Box<RawValue> {
    to_raw_value(value).expect("a JSON value has a text")
}

fn raw_text(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("made of JSON texts")
}

/// Writes an object with a member a line, as Docker's tools do.
fn object(members: &Members, indent: &str) -> String {
    if members.is_empty() {
        return "{}".to_owned();
    }
    let lines: Vec<String> = members
        .iter()
        .map(|(key, value)| {
            let key = serde_json::Value::from(key.as_str());
            format!("{indent}\t{key}: {}", value.get())
        })
        .collect();
    format!("{{\n{}\n{indent}}}", lines.join(",\n"))
}

/// Puts a file with these bytes, readable for its owner only, in the place of another.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if !folder.exists() {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let staged = folder.join(format!(".{name}.{}", std::process::id()));
    let written = write_new(&staged, bytes).and_then(|()| fs::rename(&staged, path));
    if written.is_err() {
        fs::remove_file(&staged).ok();
    }
    written
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What another process of this number may have left.
    fs::remove_file(path).ok();
    let mut file: File = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::credential::{Credential, CredentialSource};

    const LIMIT: Duration = Duration::from_secs(5);

    fn keep(path: &Path, host: &str, user: &str) -> Result<Kept, CredentialError> {
        let store = CredentialStore::new(path, LIMIT);
        store.keep(host, (user, &Secret::new("p:w")), &CancelToken::new())
    }

    fn user(path: &Path, host: &str) -> Option<String> {
        let config = DockerConfig::load(path).unwrap();
        match config.lookup(host, "x", &CancelToken::new()).unwrap()? {
            Credential::Password { username, .. } => Some(username),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_login_is_kept_found_replaced_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/config.json");
        assert_eq!(
            keep(&path, "r.example:5000", "a").unwrap(),
            Kept::File(path.clone())
        );
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        keep(&path, "docker.io", "hub").unwrap();
        keep(&path, "r.example:5000", "b").unwrap();
        assert_eq!(user(&path, "r.example:5000").as_deref(), Some("b"));
        assert_eq!(user(&path, "docker.io").as_deref(), Some("hub"));
        assert!(
            fs::read_to_string(&path)
                .unwrap()
                .contains("https://index.docker.io/v1/")
        );
        let store = CredentialStore::new(&path, LIMIT);
        assert!(store.forget("docker.io", &CancelToken::new()).unwrap());
        assert!(!store.forget("docker.io", &CancelToken::new()).unwrap());
        assert_eq!(user(&path, "docker.io"), None);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn all_else_in_the_file_stays_byte_by_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let odd = r#"{ "n": 1.50e3,  "u": "\u00e9" }"#;
        let part = r#"{"auth":   "dTpw"}"#;
        let text = format!(
            r#"{{"proxies": {odd}, "auths": {{"q.example/team": {part}}}, "detachKeys":"ctrl-e,e"}}"#
        );
        fs::write(&path, text).unwrap();
        let link = dir.path().join("link.json");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        keep(&link, "q.example", "a").unwrap();
        assert!(link.is_symlink());
        let after = fs::read_to_string(&path).unwrap();
        for kept in [odd, part, r#""ctrl-e,e""#] {
            assert!(after.contains(kept), "{after}");
        }
        let order = ["proxies", "auths", "detachKeys"].map(|key| after.find(key).unwrap());
        assert!(order.is_sorted());
        // A part of a registry has a login of its own.
        CredentialStore::new(&path, LIMIT)
            .forget("q.example", &CancelToken::new())
            .unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains(part));
    }

    #[test]
    fn a_broken_file_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, "{\"auths\":").unwrap();
        let error = keep(&path, "r.example", "a").unwrap_err();
        assert!(error.to_string().contains("ends too early"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"auths\":");
    }
}
