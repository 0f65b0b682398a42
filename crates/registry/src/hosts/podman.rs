//! Podman's `registries.conf` and its drop-ins, in their second format and in their first.
//!
//! Source: containers-registries.conf(5). Names without a registry mean Docker's own, as in every
//! Dockerfile; `unqualified-search-registries` and short-name aliases are not used.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::files::{broken, broken_toml};
use crate::Result;

/// All `[[registry]]` tables, those of later files in the place of earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registries(Vec<Registry>);

/// One `[[registry]]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registry {
    /// What names begin with that it is about: `HOST[/PATH]` or `*.DOMAIN`.
    prefix: String,
    /// What stands there instead; empty for the same.
    location: String,
    /// Whether TLS may be left out; `None` if nothing is said.
    pub(crate) insecure: Option<bool>,
    /// Whether nothing may be pulled from it.
    pub(crate) blocked: bool,
    /// Places to ask first.
    pub(crate) mirrors: Vec<Mirror>,
    /// The file.
    pub(crate) file: PathBuf,
}

/// A mirror of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    /// `HOST[:PORT][/PATH]`.
    location: String,
    /// Whether TLS may be left out; `None` if nothing is said.
    pub(crate) insecure: Option<bool>,
    /// Whether it is asked for tags.
    pub(crate) tags: bool,
    /// Whether it is asked for digests.
    pub(crate) digests: bool,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    registry: Vec<Table>,
    registries: Option<First>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Table {
    prefix: Option<String>,
    location: Option<String>,
    insecure: Option<bool>,
    blocked: Option<bool>,
    mirror_by_digest_only: Option<bool>,
    #[serde(default)]
    mirror: Vec<MirrorTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorTable {
    location: String,
    insecure: Option<bool>,
    pull_from_mirror: Option<String>,
}

/// The first format, still to be met on old machines.
#[derive(Default, Deserialize)]
#[serde(default)]
struct First {
    insecure: FirstList,
    block: FirstList,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FirstList {
    registries: Vec<String>,
}

impl Registries {
    /// Reads one more file; its tables take the place of those with the same prefix.
    ///
    /// Errors: [`crate::Error::HostFile`] with the place of the mistake.
    pub(crate) fn add(&mut self, text: &str, file: &Path) -> Result<()> {
        let document: Document =
            toml::from_str(text).map_err(|error| broken_toml(file, text, &error))?;
        let first = document.registries.unwrap_or_default().tables();
        for table in document.registry.into_iter().chain(first) {
            let registry = table.check(file).map_err(|reason| broken(file, reason))?;
            self.0.retain(|known| known.prefix != registry.prefix);
            self.0.push(registry);
        }
        Ok(())
    }

    /// The table for a repository, given as `HOST/PATH` or `HOST`: the one with the longest prefix.
    pub(crate) fn find(&self, name: &str) -> Option<&Registry> {
        let fitting = self.0.iter().filter_map(|registry| {
            let length = matched(&registry.prefix, name)?;
            Some((length, registry))
        });
        fitting
            .max_by_key(|(length, _)| *length)
            .map(|(_, registry)| registry)
    }
}

impl First {
    fn tables(self) -> Vec<Table> {
        let table = |location: String, insecure, blocked| Table {
            prefix: None,
            location: Some(location),
            insecure,
            blocked,
            mirror_by_digest_only: None,
            mirror: Vec::new(),
        };
        let insecure = self.insecure.registries.into_iter();
        let blocked = self.block.registries.into_iter();
        insecure
            .map(|name| table(name, Some(true), None))
            .chain(blocked.map(|name| table(name, None, Some(true))))
            .collect()
    }
}

impl Table {
    fn check(self, file: &Path) -> Result<Registry, String> {
        let location = self.location.unwrap_or_default();
        let prefix = self.prefix.unwrap_or_default();
        let prefix = if prefix.is_empty() {
            &location
        } else {
            &prefix
        };
        let prefix = place(prefix)?;
        if prefix.is_empty() {
            return Err("a [[registry]] table has neither prefix nor location".to_owned());
        }
        let digest_only = self.mirror_by_digest_only.unwrap_or(false);
        let mirrors = self
            .mirror
            .into_iter()
            .map(|mirror| mirror.check(digest_only));
        Ok(Registry {
            mirrors: mirrors.collect::<Result<_, _>>()?,
            location: place(&location)?,
            insecure: self.insecure,
            blocked: self.blocked.unwrap_or(false),
            file: file.to_owned(),
            prefix,
        })
    }
}

impl MirrorTable {
    fn check(self, digest_only: bool) -> Result<Mirror, String> {
        let location = place(&self.location)?;
        if location.is_empty() {
            return Err("a [[registry.mirror]] table has no location".to_owned());
        }
        let (tags, digests) = match self.pull_from_mirror.as_deref() {
            Some(_) if digest_only => {
                return Err(
                    "pull-from-mirror and mirror-by-digest-only exclude each other".to_owned(),
                );
            }
            None => (!digest_only, true),
            Some("all") => (true, true),
            Some("digest-only") => (false, true),
            Some("tag-only") => (true, false),
            Some(other) => {
                return Err(format!(
                    "pull-from-mirror is {other:?}, which is none of all, digest-only, tag-only"
                ));
            }
        };
        Ok(Mirror {
            location,
            insecure: self.insecure,
            tags,
            digests,
        })
    }
}

impl Registry {
    /// Where a repository that the table is about really is, as (`HOST`, `PATH`).
    pub(crate) fn located(&self, name: &str) -> (String, String) {
        match self.location.is_empty() {
            true => split(name),
            false => self.moved(&self.location, name),
        }
    }

    /// Where a mirror has it.
    pub(crate) fn mirrored(&self, mirror: &Mirror, name: &str) -> (String, String) {
        self.moved(&mirror.location, name)
    }

    fn moved(&self, to: &str, name: &str) -> (String, String) {
        let rest = matched(&self.prefix, name).and_then(|length| name.get(length..));
        split(&format!("{to}{}", rest.unwrap_or_default()))
    }
}

fn split(name: &str) -> (String, String) {
    let (host, path) = name.split_once('/').unwrap_or((name, ""));
    (host.to_owned(), path.to_owned())
}

/// A prefix or location without slashes at its end.
fn place(text: &str) -> Result<String, String> {
    if text.contains("://") {
        return Err(format!(
            "{text:?}: a location or prefix is HOST[:PORT][/PATH], without a scheme"
        ));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// How much of a name a prefix covers, in bytes.
fn matched(prefix: &str, name: &str) -> Option<usize> {
    let end = match prefix.strip_prefix('*') {
        Some(domain) if domain.starts_with('.') => {
            let at = name.find(domain)?;
            // What the star stands for lies within the host.
            let within = at > 0 && !name[..at].contains('/');
            within.then_some(at + domain.len())?
        }
        _ => name.starts_with(prefix).then_some(prefix.len())?,
    };
    let rest = &name[end..];
    (rest.is_empty() || rest.starts_with('/')).then_some(end)
}

#[cfg(test)]
mod tests;
