//! Which tag a cache lies under, and how it is written.

use rbuild_oci::{Digest, Reference};

use crate::backend::Direction;
use crate::option::DEFAULT_SCOPE;
use crate::{Attrs, Error, Result};

/// Longest tag, in bytes. Source: distribution-spec, "Pulling manifests".
const TAG_LIMIT: usize = 128;

/// A tag of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryPlace {
    /// Repository and tag; a digest as well where an old state is read.
    pub reference: Reference,
    /// How it is written; whatever is there is read.
    pub form: Form,
    /// Whether the registry need not prove who it is, nor speak TLS.
    pub insecure: bool,
}

/// Which document stands under the tag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// An image manifest, with the blobs as layers: what registries understand best.
    #[default]
    Manifest,
    /// An OCI index over the blobs, for registries that refuse manifests without an image's config.
    OciIndex,
    /// A manifest list of Docker over the blobs, for registries that know nothing of OCI.
    DockerIndex,
}

impl RegistryPlace {
    /// Takes `ref`, `registry.insecure` and, where it is written, `image-manifest` and `oci-mediatypes`.
    ///
    /// A scope that is given, and not the default one, has a tag of its own: `TAG.SCOPE`.
    pub fn parse(attrs: &mut Attrs, direction: Direction) -> Result<Self> {
        let text = attrs.require("ref")?;
        let reference = Reference::parse(&text).map_err(|e| Error::Spec(format!("ref={e}")))?;
        let insecure = attrs.switch("registry.insecure", false)?;
        let form = match direction {
            Direction::From => Form::default(),
            Direction::To => form(attrs)?,
        };
        let scope = attrs.given().remove("scope").unwrap_or_default();
        let reference = match (reference.digest(), direction) {
            (Some(_), Direction::To) => {
                return Err(Error::Spec(format!(
                    "ref={text}: a cache is written to a tag, not to a digest"
                )));
            }
            (Some(_), Direction::From) => reference,
            (None, _) => scoped(reference, &scope)?,
        };
        Ok(Self {
            reference,
            form,
            insecure,
        })
    }
}

fn form(attrs: &mut Attrs) -> Result<Form> {
    let oci = attrs.switch("oci-mediatypes", true)?;
    match (oci, attrs.switch("image-manifest", oci)?) {
        (true, true) => Ok(Form::Manifest),
        (true, false) => Ok(Form::OciIndex),
        (false, false) => Ok(Form::DockerIndex),
        (false, true) => Err(Error::Spec(
            "image-manifest=true needs oci-mediatypes=true: Docker's manifests hold no cache"
                .to_owned(),
        )),
    }
}

fn scoped(reference: Reference, scope: &str) -> Result<Reference> {
    if scope.is_empty() || scope == DEFAULT_SCOPE {
        return Ok(reference);
    }
    let tag = format!("{}.{scope}", reference.tag().unwrap_or("latest"));
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let mut plain: String = tag.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    if plain != tag || plain.len() > TAG_LIMIT {
        // Two scopes must not meet in one tag.
        let digest = Digest::sha256_of(tag.as_bytes());
        let mark: String = digest.hex().chars().take(8).collect();
        plain.truncate(TAG_LIMIT - mark.len() - 1);
        plain = format!("{plain}.{mark}");
    }
    reference
        .with_tag(&plain)
        .map_err(|e| Error::Spec(format!("scope={scope}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)], direction: Direction) -> Result<RegistryPlace> {
        let pairs = pairs.iter();
        let pairs = pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        RegistryPlace::parse(&mut Attrs::new("registry", pairs)?, direction)
    }

    #[test]
    fn tags_follow_scopes() {
        let tag = |reference: &str, scope: &str| {
            let pairs = [("ref", reference), ("scope", scope)];
            let place = parse(&pairs, Direction::From).unwrap();
            place.reference.familiar()
        };
        assert_eq!(tag("h.io/c", ""), "h.io/c:latest");
        assert_eq!(tag("h.io/c:t", DEFAULT_SCOPE), "h.io/c:t");
        assert_eq!(tag("h.io/c:t", "pr-7"), "h.io/c:t.pr-7");
        let slashed = tag("h.io/c:t", "a/b");
        assert!(slashed.starts_with("h.io/c:t.a-b."), "{slashed}");
        assert_ne!(slashed, tag("h.io/c:t", "a-b"));
        let long = tag("h.io/c:t", &"x".repeat(128));
        assert_eq!(long.len(), "h.io/c:".len() + TAG_LIMIT);
        assert_ne!(long, tag("h.io/c:t", &"x".repeat(127)));
    }

    #[test]
    fn forms_are_as_asked_for() {
        let form = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = [("ref", "h.io/c")].iter().chain(pairs).copied().collect();
            parse(&pairs, Direction::To).map(|place| place.form)
        };
        assert_eq!(form(&[]).unwrap(), Form::Manifest);
        assert_eq!(
            form(&[("image-manifest", "false")]).unwrap(),
            Form::OciIndex
        );
        let docker = [("oci-mediatypes", "false")];
        assert_eq!(form(&docker).unwrap(), Form::DockerIndex);
        let both = form(&[("oci-mediatypes", "0"), ("image-manifest", "1")]);
        assert!(
            both.unwrap_err()
                .to_string()
                .contains("needs oci-mediatypes")
        );
    }

    #[test]
    fn a_digest_is_read_and_never_written() {
        let pinned = format!("h.io/c@{}", Digest::sha256_of(b"x"));
        let read = parse(&[("ref", &pinned)], Direction::From).unwrap();
        assert!(read.reference.digest().is_some());
        let written = parse(&[("ref", &pinned)], Direction::To).unwrap_err();
        assert!(written.to_string().contains("not to a digest"));
        let wrong = parse(&[("ref", "H!")], Direction::To).unwrap_err();
        assert!(wrong.to_string().starts_with("ref="), "{wrong}");
        assert!(parse(&[], Direction::From).is_err());
    }
}
