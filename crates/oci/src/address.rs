//! Addresses of images: a bare name, or a transport and a place as skopeo writes them.
//!
//! Only the text is read; nothing is looked up.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::{Digest, Error, Reference, Result};

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// No transport: a name, an id or the beginning of an id; what it means is up to the command.
    Name(String),
    /// `docker://NAME`: in its registry.
    Registry(Reference),
    /// `oci:DIR[:TAG|@DIGEST]`: in an OCI image layout.
    Layout(Place),
    /// `oci-archive:FILE[:TAG|@DIGEST]`: in such a layout in a tar.
    OciArchive(Place),
    /// `docker-archive:FILE[:NAME]`: in what `docker save` writes.
    DockerArchive(Place),
}

/// A file or directory with images, and which of them is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The file or directory.
    pub path: PathBuf,
    /// The image in it; `None` where there is only one, or all are meant.
    pub pick: Option<Pick>,
}

/// Which image of several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pick {
    /// The tag or name it has there.
    Tag(String),
    /// Its manifest or index.
    Digest(Digest),
}

/// Transports that others have and rbuild lacks, with what to do instead.
const FOREIGN: [(&str, &str); 6] = [
    (
        "docker-daemon",
        "Docker's engine is not read or written directly; `docker save -o FILE NAME` and \
         docker-archive:FILE bring an image from there, `rbuild save NAME | docker load` takes one there",
    ),
    (
        "containers-storage",
        "Podman's store is not read or written directly; `podman save --format oci-archive -o FILE NAME` \
         and oci-archive:FILE bring an image from there, `rbuild save NAME | podman load` takes one there",
    ),
    (
        "dir",
        "plain directories of skopeo are not read or written; `skopeo copy dir:DIR oci:DIR` makes a layout \
         of one",
    ),
    ("ostree", "ostree repositories are not supported"),
    ("sif", "SIF images are not supported"),
    (
        "tarball",
        "`rbuild import NAME FILE` makes an image of a tar of files",
    ),
];

impl Address {
    /// Reads an address as people write it; what begins with no known transport is a name.
    ///
    /// Errors: [`Error::Address`], with the position of what is wrong.
    ///
    /// Grammar: address.ebnf#address
    pub fn parse(text: &str) -> Result<Self> {
        read(text).map_err(|Wrong { at, reason }| Error::Address {
            text: text.to_owned(),
            // Counted in characters, from 1.
            position: text.get(..at).unwrap_or(text).chars().count() + 1,
            reason,
        })
    }

    /// Whether it names a file or directory.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Name(_) | Self::Registry(_) => None,
            Self::Layout(place) | Self::OciArchive(place) | Self::DockerArchive(place) => {
                Some(place)
            }
        }
    }
}

/// What is wrong, and at which byte.
struct Wrong {
    at: usize,
    reason: String,
}

fn wrong(at: usize, reason: impl Into<String>) -> Wrong {
    Wrong {
        at,
        reason: reason.into(),
    }
}

fn read(text: &str) -> Result<Address, Wrong> {
    if text.is_empty() {
        return Err(wrong(0, "it is empty"));
    }
    let Some((transport, rest)) = text.split_once(':') else {
        return Ok(Address::Name(text.to_owned()));
    };
    let at = transport.len() + 1;
    match transport {
        "docker" if rest.starts_with("//") => registry(rest, at).map(Address::Registry),
        "docker-image" if rest.starts_with("//") => {
            let name = registry(rest, at)?;
            Ok(Address::Name(name.to_string()))
        }
        "oci-layout" if rest.starts_with("//") => oci_layout(rest, at).map(Address::Layout),
        "oci" => oci_place(rest, at).map(Address::Layout),
        "oci-archive" => oci_place(rest, at).map(Address::OciArchive),
        "docker-archive" => docker_place(rest, at).map(Address::DockerArchive),
        other => match FOREIGN.iter().find(|(name, _)| *name == other) {
            Some((_, instead)) => Err(wrong(0, *instead)),
            None => Ok(Address::Name(text.to_owned())),
        },
    }
}

/// Reads what stands behind `docker:` and `docker-image:`.
///
/// Grammar: address.ebnf#registry
fn registry(rest: &str, at: usize) -> Result<Reference, Wrong> {
    let name = rest.strip_prefix("//").unwrap_or(rest);
    Reference::parse(name).map_err(|error| match error {
        Error::Reference { reason, .. } => wrong(at + 2, reason),
        other => wrong(at + 2, other.to_string()),
    })
}

/// Reads what stands behind `oci:` and `oci-archive:`. As with skopeo, the first colon ends the path.
///
/// Grammar: address.ebnf#oci-place
fn oci_place(rest: &str, at: usize) -> Result<Place, Wrong> {
    if let Some((path, digest)) = split_digest(rest, at)? {
        return place(path, Some(Pick::Digest(digest)), at);
    }
    match rest.split_once(':') {
        None => place(rest, None, at),
        Some((path, tag)) => {
            let tag_at = at + path.len() + 1;
            if let Some(odd) = tag.find(|c: char| !is_tag_char(c)) {
                let reason = format!("{tag:?} is no tag; a path cannot have a colon");
                return Err(wrong(tag_at + odd, reason));
            }
            if !tag.starts_with(|c: char| c.is_ascii_alphanumeric()) {
                let reason = match tag {
                    "" => "the tag is empty".to_owned(),
                    _ => format!("the tag {tag:?} begins with neither letter nor digit"),
                };
                return Err(wrong(tag_at, reason));
            }
            place(path, Some(Pick::Tag(tag.to_owned())), at)
        }
    }
}

/// Reads what stands behind `oci-layout:`, by the rule of BuildKit's clients: a tag has no slash, so a
/// path may have colons.
///
/// Grammar: address.ebnf#oci-layout-place
fn oci_layout(rest: &str, at: usize) -> Result<Place, Wrong> {
    let (rest, at) = (rest.strip_prefix("//").unwrap_or(rest), at + 2);
    if let Some((path, digest)) = split_digest(rest, at)? {
        return place(path, Some(Pick::Digest(digest)), at);
    }
    match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') && !tag.is_empty() => {
            place(path, Some(Pick::Tag(tag.to_owned())), at)
        }
        _ => place(rest, None, at),
    }
}

/// Splits off a digest behind the last at sign; other text behind one belongs to the path.
///
/// Grammar: address.ebnf#at-digest
fn split_digest(rest: &str, at: usize) -> Result<Option<(&str, Digest)>, Wrong> {
    match rest.rsplit_once('@') {
        Some((path, digest)) if digest.starts_with("sha256:") || digest.starts_with("sha512:") => {
            let digest = Digest::parse(digest).map_err(|error| match error {
                Error::Digest { reason, .. } => wrong(at + path.len() + 1, reason),
                other => wrong(at + path.len() + 1, other.to_string()),
            })?;
            Ok(Some((path, digest)))
        }
        _ => Ok(None),
    }
}

/// Reads what stands behind `docker-archive:`. The first colon ends the path.
///
/// Grammar: address.ebnf#docker-place
fn docker_place(rest: &str, at: usize) -> Result<Place, Wrong> {
    let Some((path, name)) = rest.split_once(':') else {
        return place(rest, None, at);
    };
    let name_at = at + path.len() + 1;
    let reference = Reference::parse(name).map_err(|error| match error {
        Error::Reference { reason, .. } => wrong(name_at, reason),
        other => wrong(name_at, other.to_string()),
    })?;
    if reference.digest().is_some() {
        return Err(wrong(name_at, "an archive of Docker knows no digests"));
    }
    place(path, Some(Pick::Tag(name.to_owned())), at)
}

fn place(path: &str, pick: Option<Pick>, at: usize) -> Result<Place, Wrong> {
    match path {
        "" => Err(wrong(at, "the path is empty")),
        path => Ok(Place {
            path: path.into(),
            pick,
        }),
    }
}

/// Grammar: address.ebnf#oci-tag
fn is_tag_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._:@+/".contains(c)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Registry(reference) => write!(f, "docker://{reference}"),
            // The one form in which a path may have a colon.
            Self::Layout(place) if place.path.as_os_str().as_encoded_bytes().contains(&b':') => {
                write!(f, "oci-layout://{place}")
            }
            Self::Layout(place) => write!(f, "oci:{place}"),
            Self::OciArchive(place) => write!(f, "oci-archive:{place}"),
            Self::DockerArchive(place) => write!(f, "docker-archive:{place}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match &self.pick {
            None => Ok(()),
            Some(Pick::Tag(tag)) => write!(f, ":{tag}"),
            Some(Pick::Digest(digest)) => write!(f, "@{digest}"),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests;
