//! containerd's `hosts.toml`: which hosts serve a registry, and how each is spoken to.
//!
//! Source: containerd's docs/hosts.md.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::address::Address;
use super::files::{broken, broken_toml};
use super::tls::Identity;
use crate::Result;

/// The name of the folder for registries that have none of their own.
pub(super) const DEFAULT: &str = "_default";

/// A `hosts.toml`.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostsFile {
    /// The registry itself; `None` for the one that the folder is named after.
    pub(crate) server: Option<Host>,
    /// How the registry itself is spoken to if no server is named.
    pub(crate) own: Settings,
    /// Hosts to ask before it, in order.
    pub(crate) hosts: Vec<Host>,
    /// The file.
    pub(crate) file: PathBuf,
}

/// A host with its settings.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Where its API is, the version included.
    pub(crate) address: Address,
    /// How it is spoken to.
    pub(crate) settings: Settings,
}

/// How a host is spoken to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Files with authorities.
    pub(crate) roots: Vec<PathBuf>,
    /// Client certificates, each with its key if that is another file.
    pub(crate) clients: Vec<(PathBuf, Option<PathBuf>)>,
    /// Whether the host need not prove who it is; `None` if nothing is said.
    pub(crate) skip_verify: Option<bool>,
    /// Headers of every request to it. May hold secrets.
    pub(crate) headers: HeaderMap,
    /// What it is asked for.
    pub(crate) serves: Serves,
}

/// What a host is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Serves {
    /// What tags stand for.
    pub(crate) tags: bool,
    /// Content by digest.
    pub(crate) digests: bool,
}

impl Default for Serves {
    fn default() -> Self {
        Self {
            tags: true,
            digests: true,
        }
    }
}

#[derive(Deserialize)]
struct Document {
    server: Option<String>,
    #[serde(flatten)]
    own: Table,
    #[serde(default)]
    host: IndexMap<String, Table>,
}

#[derive(Deserialize)]
struct Table {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMore>,
    client: Option<Clients>,
    skip_verify: Option<bool>,
    override_path: Option<bool>,
    header: Option<IndexMap<String, OneOrMore>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a file, a list of files, or a list of pairs of files"
)]
enum Clients {
    One(String),
    More(Vec<OneOrMore>),
}

impl HostsFile {
    /// Reads the file's text; `file` is for messages, and relative paths begin at its folder.
    ///
    /// Errors: [`crate::Error::HostFile`] with the place of the mistake.
    pub(crate) fn parse(text: &str, file: &Path) -> Result<Self> {
        let document: Document =
            toml::from_str(text).map_err(|error| broken_toml(file, text, &error))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let wrong = |reason: String| broken(file, reason);
        let override_path = document.own.override_path.unwrap_or(false);
        let own = document.own.settings(folder).map_err(wrong)?;
        let server = match &document.server {
            Some(text) => Some(Host {
                address: api(text, override_path).map_err(wrong)?,
                settings: own.clone(),
            }),
            None => None,
        };
        let mut hosts = Vec::new();
        for (text, table) in document.host {
            let address = api(&text, table.override_path.unwrap_or(false)).map_err(wrong)?;
            let settings = table
                .settings(folder)
                .map_err(|reason| wrong(format!("host {text:?}: {reason}")))?;
            hosts.push(Host { address, settings });
        }
        Ok(Self {
            server,
            own,
            hosts,
            file: file.to_owned(),
        })
    }

    /// Whether it is for every registry that has none of its own.
    pub(crate) fn is_for_all(&self) -> bool {
        let folder = self.file.parent();
        folder.is_some_and(|folder| folder.ends_with(DEFAULT))
    }

    /// Whether a certificate of ours is one that it names.
    pub(crate) fn shows(&self, identity: &Identity) -> bool {
        let mut clients = self.own.clients.iter();
        clients.any(|(certificate, _)| *certificate == identity.file)
    }
}

/// An address, with the API's version behind it unless the path is meant as it is.
fn api(text: &str, override_path: bool) -> Result<Address, String> {
    let mut address = Address::parse(text)?;
    if !override_path && !address.path.ends_with("/v2") {
        address.path.push_str("/v2");
    }
    Ok(address)
}

impl Table {
    fn settings(self, folder: &Path) -> Result<Settings, String> {
        let files = |given: Option<OneOrMore>| {
            let texts = given.map(OneOrMore::texts).unwrap_or_default();
            texts.into_iter().map(|text| folder.join(text)).collect()
        };
        Ok(Settings {
            roots: files(self.ca),
            clients: clients(self.client, folder)?,
            skip_verify: self.skip_verify,
            headers: headers(self.header.unwrap_or_default())?,
            serves: self.capabilities.map_or(Ok(Serves::default()), serves)?,
        })
    }
}

impl OneOrMore {
    fn texts(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::More(texts) => texts,
        }
    }
}

fn clients(
    given: Option<Clients>,
    folder: &Path,
) -> Result<Vec<(PathBuf, Option<PathBuf>)>, String> {
    let entries = match given {
        None => return Ok(Vec::new()),
        Some(Clients::One(file)) => vec![OneOrMore::One(file)],
        Some(Clients::More(entries)) => entries,
    };
    let pair = |entry: OneOrMore| match entry.texts().as_slice() {
        [both] => Ok((folder.join(both), None)),
        [certificate, key] if key.is_empty() => Ok((folder.join(certificate), None)),
        [certificate, key] => Ok((folder.join(certificate), Some(folder.join(key)))),
        _ => Err("client: an entry is a file, or a certificate and its key".to_owned()),
    };
    entries.into_iter().map(pair).collect()
}

fn headers(given: IndexMap<String, OneOrMore>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, values) in given {
        let key = HeaderName::try_from(name.as_str())
            .map_err(|_| format!("{name:?} is no name of a header"))?;
        for value in values.texts() {
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| format!("the value of header {name:?} cannot stand in a header"))?;
            value.set_sensitive(true);
            headers.append(key.clone(), value);
        }
    }
    Ok(headers)
}

fn serves(capabilities: Vec<String>) -> Result<Serves, String> {
    let mut serves = Serves {
        tags: false,
        digests: false,
    };
    for capability in capabilities {
        match capability.to_ascii_lowercase().as_str() {
            "pull" => serves.digests = true,
            "resolve" => serves.tags = true,
            // Images are sent to the registry itself only.
            "push" => {}
            other => {
                return Err(format!(
                    "capability {other:?} is none of pull, resolve, push"
                ));
            }
        }
    }
    Ok(serves)
}

#[cfg(test)]
mod tests;
