//! Where an image goes: the repositories of its names, and how it is called there.

use std::collections::BTreeMap;

use rbuild_exporter::{Export, ExportSpec, ImageOutput};
use rbuild_oci::{Digest, Reference};
use rbuild_registry::Client;

use crate::engine::Engine;
use crate::{BuildError, BuildRequest, ErrorKind, Result};

/// Where an image goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The names, as asked for.
    pub names: Vec<Reference>,
    /// What is put last.
    pub called: Called,
    /// How registries may be spoken to.
    pub security: Security,
}

/// What an image is called at a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Called {
    /// By the tag of each name; a name with a digest has none.
    ByTag,
    /// By its digest alone.
    ByDigest,
}

/// How a registry may be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// As configured.
    Configured,
    /// Without a proof of who answers, or without TLS.
    Insecure,
}

impl Target {
    /// Where an output is pushed; `None` if it is not.
    ///
    /// Its own names count, else those of the build. A name made of the digest is left out: see
    /// [`Target::dangling`].
    pub fn of(request: &BuildRequest, spec: &ExportSpec) -> Option<Target> {
        let Export::Image(image) = &spec.export else {
            return None;
        };
        let names = match spec.image.names.as_slice() {
            [] => &request.tags,
            names => names,
        };
        image.push.then(|| Target {
            names: names.to_vec(),
            called: match image.push_by_digest {
                true => Called::ByDigest,
                false => Called::ByTag,
            },
            security: match image.insecure {
                true => Security::Insecure,
                false => Security::Configured,
            },
        })
    }

    /// The name that an output makes of the digest, if it asks for one.
    pub fn dangling<'a>(&self, image: &'a ImageOutput) -> Option<&'a Reference> {
        let dangling = image.dangling.as_ref()?;
        let is_wanted = self.names.is_empty() || !dangling.only_alone;
        is_wanted.then_some(&dangling.repository)
    }

    /// The repositories, each once, by its first name.
    pub fn repositories(&self) -> Vec<&Reference> {
        let mut seen = BTreeMap::new();
        let is_new = |name: &&Reference| seen.insert(name.name(), ()).is_none();
        self.names.iter().filter(is_new).collect()
    }

    /// The client for a name's registry.
    pub fn client(&self, engine: &Engine, name: &Reference) -> Result<Client> {
        match self.security {
            Security::Configured => engine.client().cloned(),
            Security::Insecure => engine.insecure_client(name.domain()),
        }
    }

    /// The reference that the image's own document is stored under.
    pub fn document(&self, name: &Reference, digest: &Digest) -> Result<Reference> {
        match (self.called, name.tag()) {
            (Called::ByTag, Some(tag)) if name.digest().is_none() => name
                .with_tag(tag)
                .map_err(|e| BuildError::caused(ErrorKind::Usage, e)),
            _ => Ok(name.with_digest(digest.clone())),
        }
    }
}

/// Refuses a push without a name, and one to a digest that the image will hardly have.
pub(crate) fn check(request: &BuildRequest) -> Result<()> {
    for spec in &request.outputs {
        let Some(target) = Target::of(request, spec) else {
            continue;
        };
        let has_dangling =
            matches!(&spec.export, Export::Image(image) if target.dangling(image).is_some());
        if target.names.is_empty() && !has_dangling {
            // BuildKit's client says it in these words.
            let message = "tag is needed when pushing to registry";
            return Err(BuildError::new(ErrorKind::Usage, message)
                .help("name the image with -t REGISTRY/NAME:TAG, or with name= in the output"));
        }
        if let Some(name) = target.names.iter().find(|name| name.digest().is_some()) {
            let message = format!("{name} names a digest, which only the build decides");
            return Err(BuildError::new(ErrorKind::Usage, message)
                .help("leave the digest out; push-by-digest=true pushes without a tag"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ContextInput;

    fn targets(tags: &[&str], outputs: &[&str]) -> BuildRequest {
        let mut request = BuildRequest::new(ContextInput::Empty);
        let tags = tags.iter().map(|tag| Reference::parse(tag).unwrap());
        request.tags = tags.collect();
        let outputs = outputs.iter().map(|text| Export::parse(text).unwrap());
        request.outputs = outputs.collect();
        request
    }

    #[test]
    fn names_of_the_output_come_before_those_of_the_build() {
        let request = targets(
            &["h.io/a:1", "h.io/a:2", "h.io/b"],
            &[
                "type=registry",
                "type=image,name=h.io/c,push=true",
                "type=image",
            ],
        );
        let names: Vec<Vec<String>> = request
            .outputs
            .iter()
            .filter_map(|spec| Target::of(&request, spec))
            .map(|target| {
                target
                    .repositories()
                    .iter()
                    .map(|name| name.to_string())
                    .collect()
            })
            .collect();
        assert_eq!(
            names,
            [vec!["h.io/a:1", "h.io/b:latest"], vec!["h.io/c:latest"]]
        );
        check(&request).unwrap();
    }

    #[test]
    fn a_push_needs_a_name_without_digest() {
        let refuse = |tags: &[&str], output: &str, message: &str| {
            let error = check(&targets(tags, &[output])).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        };
        refuse(
            &[],
            "type=registry",
            "tag is needed when pushing to registry",
        );
        let digest = Digest::sha256_of(b"x");
        refuse(&[&format!("a@{digest}")], "type=registry", "names a digest");
        check(&targets(&[], &["type=image"])).unwrap();
        check(&targets(
            &[],
            &["type=registry,dangling-name-prefix=h.io/a"],
        ))
        .unwrap();
    }

    #[test]
    fn documents_go_by_tag_or_digest() {
        let digest = Digest::sha256_of(b"x");
        let check = |output: &str, expected: String| {
            let request = targets(&["h.io/a:1"], &[output]);
            let target = Target::of(&request, &request.outputs[0]).unwrap();
            let document = target.document(&target.names[0], &digest).unwrap();
            assert_eq!(document.to_string(), expected);
        };
        check("type=registry", "h.io/a:1".to_owned());
        check(
            "type=registry,push-by-digest=true",
            format!("h.io/a:1@{digest}"),
        );
    }
}
