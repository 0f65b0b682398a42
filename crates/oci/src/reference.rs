//! Image names: parse, normalise, print.
//!
//! The grammar is that of the distribution project, the normal form that of Docker: a name
//! without a registry belongs to `docker.io`, one without a slash to its `library`, and one
//! without tag or digest means `latest`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, Error, Result};

/// The registry that names without one belong to.
const DEFAULT_DOMAIN: &str = "docker.io";
/// The repository folder of the default registry's names without one.
const OFFICIAL: &str = "library/";
/// Longest `domain/path`, in bytes.
const NAME_LIMIT: usize = 255;
/// Longest tag, in bytes.
const TAG_LIMIT: usize = 128;

/// An image name in normal form: registry, repository, and a tag or digest or both.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads an image name as people write it.
    ///
    /// Errors: [`Error::Reference`], naming the part that is wrong.
    ///
    /// Grammar: reference.ebnf#reference
    pub fn parse(text: &str) -> Result<Self> {
        parse(text).map_err(|reason| Error::Reference {
            text: text.to_owned(),
            reason,
        })
    }

    /// The registry's host and optional port: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/alpine`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag; absent only when there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, which wins over the tag when fetching.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository without tag and digest: `docker.io/library/alpine`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The same repository under another tag, without digest. Errors: [`Error::Reference`].
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        check_tag(tag).map_err(|reason| Error::Reference {
            text: tag.to_owned(),
            reason,
        })?;
        Ok(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// The same name pinned to a digest; the tag stays, for people to read.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The shortest text that means the same: `alpine:3.20`, with `:latest` written out.
    pub fn familiar(&self) -> String {
        let mut out = match (self.domain.as_str(), self.path.strip_prefix(OFFICIAL)) {
            (DEFAULT_DOMAIN, Some(short)) if !short.contains('/') => short.to_owned(),
            (DEFAULT_DOMAIN, _) => self.path.clone(),
            _ => self.name(),
        };
        self.push_suffix(&mut out);
        out
    }

    fn push_suffix(&self, out: &mut String) {
        for (mark, text) in [(':', self.tag()), ('@', self.digest().map(Digest::as_str))] {
            if let Some(text) = text {
                out.push(mark);
                out.push_str(text);
            }
        }
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err("64 hexadecimal digits are an image id, not a name".into());
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (
            rest,
            Some(Digest::parse(digest).map_err(|e| e.to_string())?),
        ),
        None => (text, None),
    };
    let (domain, rest) = split_domain(rest);
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    check_domain(domain)?;
    check_path(path)?;
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let official = domain == DEFAULT_DOMAIN && !path.contains('/');
    let path = if official {
        format!("{OFFICIAL}{path}")
    } else {
        path.to_owned()
    };
    if domain.len() + 1 + path.len() > NAME_LIMIT {
        return Err(format!("the name is longer than {NAME_LIMIT} bytes"));
    }
    let tag = tag.or(digest.is_none().then_some("latest"));
    Ok(Reference {
        domain: domain.to_owned(),
        path,
        tag: tag.map(str::to_owned),
        digest,
    })
}

/// Splits off the registry: a first component that cannot be part of a repository path.
///
/// Grammar: reference.ebnf#name
fn split_domain(text: &str) -> (&str, &str) {
    let Some((first, rest)) = text.split_once('/') else {
        return (DEFAULT_DOMAIN, text);
    };
    let is_domain = first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase());
    match is_domain {
        // The hub's API host is not a registry of its own.
        true if first == "index.docker.io" => (DEFAULT_DOMAIN, rest),
        true => (first, rest),
        false => (DEFAULT_DOMAIN, text),
    }
}

/// Checks `host`, `host:port`, `[ipv6]` or `[ipv6]:port`.
///
/// Grammar: reference.ebnf#domain
fn check_domain(domain: &str) -> Result<(), String> {
    let (host, port) = split_port(domain);
    if port.is_some_and(|port| port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit())) {
        return Err(format!("the registry {domain:?} has an invalid port"));
    }
    let fine = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').is_some_and(|address| {
            !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
        }),
        None => host.split('.').all(is_domain_component),
    };
    match fine {
        true => Ok(()),
        false => Err(format!("{domain:?} is not a registry's host name")),
    }
}

fn split_port(domain: &str) -> (&str, Option<&str>) {
    match domain.rsplit_once(':') {
        // In `[::1]` the last colon belongs to the address.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (domain, None),
    }
}

/// Grammar: reference.ebnf#domain-component
fn is_domain_component(part: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !part.is_empty() && !part.starts_with('-') && !part.ends_with('-') && part.bytes().all(inner)
}

/// Checks a repository path: components between slashes.
///
/// Grammar: reference.ebnf#path
fn check_path(path: &str) -> Result<(), String> {
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(format!("the repository name {path:?} must be lower case"));
    }
    match path.split('/').find(|part| !is_path_component(part)) {
        None => Ok(()),
        Some("") => Err("a part of the repository name is empty".into()),
        Some(part) => Err(format!("{part:?} cannot be part of a repository name")),
    }
}

/// Letters and digits with single separators (`.`, `_`, `__`, dashes) between them.
///
/// Grammar: reference.ebnf#path-component
fn is_path_component(part: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric);
    ends && bytes
        .split(alphanumeric)
        .all(|gap| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|&b| b == b'-'))
}

/// Grammar: reference.ebnf#tag
fn check_tag(tag: &str) -> Result<(), String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let fine = tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'));
    match fine && tag.len() <= TAG_LIMIT {
        true => Ok(()),
        false => Err(format!("{tag:?} is not a tag")),
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = self.name();
        self.push_suffix(&mut out);
        f.write_str(&out)
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
