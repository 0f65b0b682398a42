//! Sources to one list: which manifests are in it, and the document over them. Looks nothing up.

use rbuild_exporter::{Annotation, AnnotationPlace};
use rbuild_oci::{Descriptor, Digest, Index, Platform, media_type};

use super::source::{Opened, Part};
use super::{IndexRequest, Single};
use crate::{BuildError, ErrorKind, Result};

/// Annotation of an attestation: the manifest that it is about.
const ABOUT: &str = "vnd.docker.reference.digest";

/// A document and what has to be where it goes.
#[derive(Debug, Clone)]
pub(super) struct List {
    pub document: Descriptor,
    pub bytes: Vec<u8>,
    pub parts: Vec<Part>,
}

/// Puts sources together, behind what stands already.
pub(super) fn combined(
    standing: Option<Opened>,
    mut sources: Vec<Opened>,
    request: &IndexRequest,
) -> Result<List> {
    check_places(&request.annotations)?;
    let untouched = request.platforms.is_empty() && request.annotations.is_empty();
    if let ([only], None, true) = (sources.as_mut_slice(), &standing, untouched)
        && (only.document.kind().is_index() || request.single == Single::Copied)
    {
        return Ok(List {
            document: only.document.clone(),
            bytes: std::mem::take(&mut only.bytes),
            parts: std::mem::take(&mut only.parts),
        });
    }
    let new = sources.into_iter().flat_map(|source| source.parts);
    let new = of_platforms(new.collect(), &request.platforms);
    let mut parts = match standing {
        Some(standing) => without_replaced(standing.parts, &new),
        None => Vec::new(),
    };
    for part in new {
        match parts
            .iter_mut()
            .find(|known| known.entry.digest == part.entry.digest)
        {
            Some(known) => known.entry.annotations.extend(part.entry.annotations),
            None => parts.push(part),
        }
    }
    if parts.is_empty() {
        let message = match request.platforms.is_empty() {
            true => "an index of nothing: no source is named",
            false => "an index of nothing: no source is for these platforms",
        };
        return Err(BuildError::new(ErrorKind::Usage, message));
    }
    Ok(document(parts, &request.annotations))
}

/// The index over these manifests.
fn document(mut parts: Vec<Part>, annotations: &[Annotation]) -> List {
    for part in &mut parts {
        let of_part = annotations.iter().filter(|annotation| {
            annotation.place == AnnotationPlace::ManifestDescriptor
                && is_for(annotation.platform.as_ref(), &part.entry)
        });
        let pairs: Vec<(String, String)> = of_part
            .map(|one| (one.key.clone(), one.value.clone()))
            .collect();
        part.entry.annotations.extend(pairs);
    }
    let of_index: Vec<&Annotation> = annotations
        .iter()
        .filter(|annotation| annotation.place == AnnotationPlace::Index)
        .collect();
    let is_docker = |part: &Part| part.entry.media_type == media_type::DOCKER_MANIFEST;
    // Docker's list knows no annotations.
    let media_type = match parts.iter().all(is_docker) && annotations.is_empty() {
        true => media_type::DOCKER_INDEX,
        false => media_type::OCI_INDEX,
    };
    let entries = parts.iter().map(|part| part.entry.clone());
    let mut index = Index::new(media_type, entries.collect());
    let pairs = of_index
        .iter()
        .map(|one| (one.key.clone(), one.value.clone()));
    index.annotations.extend(pairs);
    let bytes = index.to_bytes();
    List {
        document: Descriptor::of(media_type, &bytes),
        bytes,
        parts,
    }
}

fn is_for(wanted: Option<&Platform>, entry: &Descriptor) -> bool {
    match (wanted, &entry.platform) {
        (None, _) => !entry.annotations.contains_key(ABOUT),
        (Some(wanted), Some(platform)) => wanted.matches(platform),
        (Some(_), None) => false,
    }
}

/// Keeps what is for these platforms, with what is said about it.
fn of_platforms(parts: Vec<Part>, platforms: &[Platform]) -> Vec<Part> {
    if platforms.is_empty() {
        return parts;
    }
    let wanted = |part: &&Part| {
        platforms
            .iter()
            .any(|platform| is_for(Some(platform), &part.entry))
    };
    let kept: Vec<Digest> = parts
        .iter()
        .filter(wanted)
        .map(|part| part.entry.digest.clone())
        .collect();
    with_statements(parts, &kept)
}

/// What stands already, without what new images replace.
fn without_replaced(parts: Vec<Part>, new: &[Part]) -> Vec<Part> {
    let replaced = |part: &&Part| {
        let platform = part.entry.platform.as_ref();
        platform.is_some_and(|platform| new.iter().any(|new| is_for(Some(platform), &new.entry)))
    };
    let kept: Vec<Digest> = parts
        .iter()
        .filter(|part| !part.entry.annotations.contains_key(ABOUT) && !replaced(part))
        .map(|part| part.entry.digest.clone())
        .collect();
    with_statements(parts, &kept)
}

/// These manifests, and attestations about them.
fn with_statements(parts: Vec<Part>, kept: &[Digest]) -> Vec<Part> {
    let stays = |part: &Part| match part.entry.annotations.get(ABOUT) {
        Some(about) => kept.iter().any(|digest| digest.as_str() == about),
        None => kept.contains(&part.entry.digest),
    };
    parts.into_iter().filter(stays).collect()
}

/// What is written into a manifest would make another one of it.
fn check_places(annotations: &[Annotation]) -> Result<()> {
    let is_wrong = |place| {
        matches!(
            place,
            AnnotationPlace::Manifest | AnnotationPlace::IndexDescriptor
        )
    };
    match annotations.iter().find(|one| is_wrong(one.place)) {
        None => Ok(()),
        Some(wrong) => Err(BuildError::new(
            ErrorKind::Usage,
            format!(
                "annotation {} has no place in an index over images that exist",
                wrong.key
            ),
        )
        .help("places are index and manifest-descriptor")),
    }
}

#[cfg(test)]
mod tests {
    use rbuild_oci::Reference;

    use super::*;
    use crate::index::Standing;
    use crate::index::source::Origin;

    fn part(content: &str, platform: &str) -> Part {
        let mut entry = Descriptor::of(media_type::OCI_MANIFEST, content.as_bytes());
        entry.platform = Platform::parse(platform).ok();
        Part {
            entry,
            origin: Origin::Store,
        }
    }

    fn statement(content: &str, about: &Part) -> Part {
        let mut part = part(content, "");
        let pair = (ABOUT.to_owned(), about.entry.digest.to_string());
        part.entry.annotations.extend([pair]);
        part
    }

    fn opened(parts: Vec<Part>) -> Opened {
        let entries = parts.iter().map(|part| part.entry.clone()).collect();
        let bytes = Index::new(media_type::OCI_INDEX, entries).to_bytes();
        Opened {
            document: Descriptor::of(media_type::OCI_INDEX, &bytes),
            bytes,
            parts,
            lease: None,
        }
    }

    fn single(part: Part) -> Opened {
        Opened {
            document: part.entry.clone(),
            bytes: Vec::new(),
            parts: vec![part],
            lease: None,
        }
    }

    fn request() -> IndexRequest {
        IndexRequest {
            names: vec![Reference::parse("h.io/x").unwrap()],
            sources: Vec::new(),
            standing: Standing::Replaced,
            single: Single::Indexed,
            platforms: Vec::new(),
            annotations: Vec::new(),
        }
    }

    fn annotation(place: AnnotationPlace, platform: Option<&str>) -> Annotation {
        Annotation {
            place,
            platform: platform.and_then(|text| Platform::parse(text).ok()),
            key: "k".into(),
            value: "v".into(),
        }
    }

    #[test]
    fn sources_are_listed_in_order_and_once() {
        let (amd, arm) = (part("a", "linux/amd64"), part("b", "linux/arm64"));
        let said = statement("s", &amd);
        let first = opened(vec![amd.clone(), said.clone()]);
        let sources = vec![first, single(arm.clone()), single(amd.clone())];
        let list = combined(None, sources.clone(), &request()).unwrap();
        assert_eq!(list.parts, [amd, said, arm.clone()]);
        assert_eq!(list.document.media_type, media_type::OCI_INDEX);
        let mut only_arm = request();
        only_arm.platforms = vec![Platform::parse("linux/arm64").unwrap()];
        assert_eq!(
            combined(None, sources.clone(), &only_arm).unwrap().parts,
            [arm]
        );
        only_arm.platforms = vec![Platform::parse("linux/386").unwrap()];
        let error = combined(None, sources, &only_arm).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("no source is for these platforms")
        );
    }

    #[test]
    fn one_source_may_stay_what_it_is() {
        let index = opened(vec![part("a", "linux/amd64")]);
        let same = combined(None, vec![index.clone()], &request()).unwrap();
        assert_eq!((same.document, same.bytes), (index.document, index.bytes));
        let manifest = single(part("a", "linux/amd64"));
        let put = combined(None, vec![manifest.clone()], &request()).unwrap();
        assert!(put.document.kind().is_index());
        let mut copied = request();
        copied.single = Single::Copied;
        let copied = combined(None, vec![manifest.clone()], &copied).unwrap();
        assert_eq!(copied.document, manifest.document);
    }

    #[test]
    fn what_is_added_replaces_its_platform() {
        let (old, arm) = (part("old", "linux/amd64"), part("b", "linux/arm64"));
        let (said, new) = (statement("s", &old), part("new", "linux/amd64"));
        let standing = opened(vec![old, said, arm.clone()]);
        let list = combined(Some(standing), vec![single(new.clone())], &request()).unwrap();
        assert_eq!(list.parts, [arm, new]);
    }

    #[test]
    fn annotations_go_to_the_index_and_its_descriptors() {
        let mut request = request();
        request.annotations = vec![
            annotation(AnnotationPlace::Index, None),
            annotation(AnnotationPlace::ManifestDescriptor, Some("linux/arm64")),
        ];
        let docker = |content: &str, platform: &str| {
            let mut part = part(content, platform);
            part.entry.media_type = media_type::DOCKER_MANIFEST.to_owned();
            single(part)
        };
        let sources = || vec![docker("a", "linux/amd64"), docker("b", "linux/arm64")];
        let list = combined(None, sources(), &request).unwrap();
        let index = Index::from_bytes(&list.bytes).unwrap();
        assert_eq!(index.media_type, media_type::OCI_INDEX);
        assert_eq!(index.annotations["k"], "v");
        assert!(index.manifests[0].annotations.is_empty());
        assert_eq!(index.manifests[1].annotations["k"], "v");
        request.annotations.clear();
        let plain = combined(None, sources(), &request).unwrap();
        assert_eq!(plain.document.media_type, media_type::DOCKER_INDEX);
        request.annotations = vec![annotation(AnnotationPlace::Manifest, None)];
        assert!(combined(None, sources(), &request).is_err());
    }
}
