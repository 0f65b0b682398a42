//! The documents that keep a cache together in a registry.
//!
//! An image manifest whose first layer is the index and whose other layers are the blobs that the index
//! names. Its config is a JSON document of a few bytes: some registries read configs, whatever their type.
//! More blobs than one manifest should hold are spread over several, under an OCI index.

use std::collections::BTreeMap;

use rbuild_oci::media_type::{DOCKER_INDEX, OCI_INDEX, OCI_MANIFEST};
use rbuild_oci::{Descriptor, Index, Manifest};

use super::Form;
use crate::backend::{INDEX_TYPE, NewIndex};

/// Media type of the config of a manifest that is a cache.
pub(super) const CONFIG_TYPE: &str = "application/vnd.rbuild.cache.config.v1+json";

/// The config.
const CONFIG: &[u8] = br#"{"rbuild.cache":1}"#;

/// Annotation of an index whose manifests are the parts of one cache; its value is their number.
pub(super) const PARTS: &str = "io.rbuild.cache.parts";

/// Most blobs of one manifest. Registries limit layers (ECR: 4200) and bytes (4 MiB, mostly).
const MAX_BLOBS: usize = 4000;

/// Largest manifest that is written, in bytes.
const MAX_BYTES: usize = 3 << 20;

/// A document and what it is called.
pub(super) type Document = (Descriptor, Vec<u8>);

/// What is stored, in this order.
pub(super) struct Documents {
    /// As blobs.
    pub blobs: Vec<Document>,
    /// As manifests, by digest.
    pub parts: Vec<Document>,
    /// As the manifest under the tag.
    pub tagged: Document,
}

/// The documents over an index. Errors: more blobs than can be named.
pub(super) fn documents(form: Form, new: &NewIndex<'_>) -> Result<Documents, String> {
    let index = Descriptor::of(INDEX_TYPE, new.bytes);
    let mut blobs = vec![(index.clone(), new.bytes.to_vec())];
    let named: Vec<Descriptor> = std::iter::once(index)
        .chain(new.blobs.iter().cloned())
        .collect();
    let (mut parts, tagged) = match form {
        Form::OciIndex => (Vec::new(), over(OCI_INDEX, named, BTreeMap::new())?),
        Form::DockerIndex => (Vec::new(), over(DOCKER_INDEX, named, BTreeMap::new())?),
        Form::Manifest => {
            blobs.push((config(), CONFIG.to_vec()));
            in_parts(&named)?
        }
    };
    if tagged.1.len() > MAX_BYTES {
        return Err(format!("{} blobs are too many", new.blobs.len()));
    }
    if parts.len() == 1 {
        parts.clear();
    }
    Ok(Documents {
        blobs,
        parts,
        tagged,
    })
}

fn config() -> Descriptor {
    Descriptor::of(CONFIG_TYPE, CONFIG)
}

/// One manifest, or several and an index over them.
fn in_parts(named: &[Descriptor]) -> Result<(Vec<Document>, Document), String> {
    let mut parts = Vec::new();
    let mut rest = named;
    while !rest.is_empty() {
        let mut count = rest.len().min(MAX_BLOBS);
        let (part, bytes) = loop {
            let (layers, _) = rest.split_at(count);
            let manifest = Manifest::new(OCI_MANIFEST, config(), layers.to_vec());
            let bytes = serde_json::to_vec(&manifest).map_err(|e| e.to_string())?;
            match bytes.len() <= MAX_BYTES || count == 1 {
                true => break (Descriptor::of(OCI_MANIFEST, &bytes), bytes),
                false => count /= 2,
            }
        };
        parts.push((part, bytes));
        rest = rest.split_at(count).1;
    }
    match parts.as_slice() {
        [one] => {
            let tagged = one.clone();
            Ok((parts, tagged))
        }
        several => {
            let marks = BTreeMap::from([(PARTS.to_owned(), several.len().to_string())]);
            let named = several.iter().map(|(part, _)| part.clone()).collect();
            let tagged = over(OCI_INDEX, named, marks)?;
            Ok((parts, tagged))
        }
    }
}

fn over(
    media_type: &str,
    named: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
) -> Result<Document, String> {
    let mut index = Index::new(media_type, named);
    index.annotations = annotations;
    let bytes = serde_json::to_vec(&index).map_err(|e| e.to_string())?;
    Ok((Descriptor::of(media_type, &bytes), bytes))
}

#[cfg(test)]
mod tests {
    use rbuild_oci::{Digest, MediaType};

    use super::super::root::{self, Failure, Root};
    use super::*;

    fn blobs(count: u32) -> Vec<Descriptor> {
        let blob = |number: u32| {
            Descriptor::new("x", Digest::sha256_of(&number.to_le_bytes()), number.into())
        };
        (0..count).map(blob).collect()
    }

    fn written(form: Form, blobs: &[Descriptor]) -> Documents {
        let index = NewIndex {
            bytes: b"index",
            blobs,
            merged: &[],
        };
        documents(form, &index).unwrap()
    }

    fn read(documents: &Documents) -> Result<Root, Failure> {
        let (tagged, bytes) = &documents.tagged;
        root::read(bytes, MediaType::of(&tagged.media_type), |wanted| {
            let mut parts = documents.parts.iter();
            let part = parts.find(|(part, _)| part == wanted);
            Ok(part.map(|(_, bytes)| bytes.clone()).unwrap_or_default())
        })
    }

    #[test]
    fn what_is_written_is_read() {
        for form in [Form::Manifest, Form::OciIndex, Form::DockerIndex] {
            for count in [0, 1, 3999, 4000, 9000] {
                let blobs = blobs(count);
                let documents = written(form, &blobs);
                let parts = match form {
                    Form::Manifest if count == 9000 => 3,
                    Form::Manifest if count == 4000 => 2,
                    _ => 0,
                };
                assert_eq!(documents.parts.len(), parts, "{form:?} {count}");
                let index = Box::new(Descriptor::of(INDEX_TYPE, b"index"));
                assert_eq!(read(&documents).unwrap(), Root::Cache { index, blobs });
            }
        }
    }

    #[test]
    fn equal_caches_are_equal_documents() {
        let both = [
            written(Form::Manifest, &blobs(5)),
            written(Form::Manifest, &blobs(5)),
        ];
        assert_eq!(both[0].tagged, both[1].tagged);
    }

    #[test]
    fn more_than_an_index_can_name_is_told() {
        let blobs = blobs(40_000);
        let index = NewIndex {
            bytes: b"index",
            blobs: &blobs,
            merged: &[],
        };
        assert!(documents(Form::OciIndex, &index).is_err());
        assert!(documents(Form::Manifest, &index).is_ok());
    }

    #[test]
    fn a_cache_without_an_index_or_with_two_is_broken() {
        for count in [0, 2] {
            let layers = vec![Descriptor::of(INDEX_TYPE, b"index"); count];
            let bytes = Manifest::new(OCI_MANIFEST, config(), layers).to_bytes();
            let read = root::read(&bytes, MediaType::Manifest, |_| unreachable!());
            assert!(matches!(read, Err(Failure::Document(_))), "{count}");
        }
        let many = over(
            OCI_INDEX,
            vec![Descriptor::of(OCI_MANIFEST, b"m"); 257],
            BTreeMap::from([(PARTS.to_owned(), "257".to_owned())]),
        );
        let read = root::read(&many.unwrap().1, MediaType::Index, |_| unreachable!());
        assert!(matches!(read, Err(Failure::Document(_))));
    }
}
