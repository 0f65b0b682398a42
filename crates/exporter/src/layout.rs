//! An OCI image layout as a list of files: what is in it and in which order, wherever it is written.
//!
//! Source: OCI image-spec, image-layout.md; for `manifest.json`, what `docker load` reads.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_oci::{Descriptor, Digest, Index, Reference, json, media_type};
use serde::{Deserialize, Serialize};

use crate::{Assembled, AssembledImage};

/// Name of the file that marks a layout.
pub(crate) const MARKER: &str = "oci-layout";

/// Name of the file that says what is in it.
pub(crate) const INDEX: &str = "index.json";

/// Name of the file that Docker reads.
pub(crate) const DOCKER_MANIFEST: &str = "manifest.json";

/// Content of the marker.
pub(crate) const MARKER_CONTENT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";

/// Annotation key of an image's full name, which containerd and Docker read.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";

/// Annotation key of an image's tag.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// One file or directory of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayoutFile {
    /// Path below the top; a directory ends in a slash.
    pub(crate) name: String,
    pub(crate) mode: u32,
    pub(crate) content: Content,
}

/// What a file of a layout holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Directory,
    Bytes(Vec<u8>),
    /// A blob of the store.
    Blob {
        digest: Digest,
        size: u64,
    },
}

/// Whether a layout holds what Docker reads, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    Oci,
    Docker,
}

/// An image and its names in a layout.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) assembled: Assembled,
    /// Full names, each an entry of its own.
    pub(crate) names: Vec<Reference>,
    /// What it is called instead, whatever text that is.
    pub(crate) tag: Option<String>,
}

/// Lists the files of a layout of these images, sorted by name as containerd writes them.
pub(crate) fn files(images: &[Named], flavour: Flavour) -> Vec<LayoutFile> {
    let file = |name: &str, mode, bytes| LayoutFile {
        name: name.to_owned(),
        mode,
        content: Content::Bytes(bytes),
    };
    let index = Index::new(media_type::OCI_INDEX, all_entries(images));
    let mut files = vec![
        file(MARKER, 0o444, MARKER_CONTENT.to_vec()),
        file(INDEX, 0o644, index_bytes(&index)),
    ];
    if flavour == Flavour::Docker {
        files.push(file(DOCKER_MANIFEST, 0o644, docker_manifest(images)));
    }
    let mut dirs = BTreeSet::from(["blobs/".to_owned()]);
    let mut seen = BTreeSet::new();
    let blobs = images.iter().flat_map(|image| image.assembled.blobs());
    for blob in blobs.filter(|blob| seen.insert(&blob.digest)) {
        dirs.insert(format!("blobs/{}/", blob.digest.algorithm().as_str()));
        let content = Content::Blob {
            digest: blob.digest.clone(),
            size: blob.size,
        };
        files.push(LayoutFile {
            name: blob_name(&blob.digest),
            mode: 0o444,
            content,
        });
    }
    let dir = |name| LayoutFile {
        name,
        mode: 0o755,
        content: Content::Directory,
    };
    files.extend(dirs.into_iter().map(dir));
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

/// The index entries for images, in order.
pub(crate) fn all_entries(images: &[Named]) -> Vec<Descriptor> {
    let images = images.iter();
    images.flat_map(entries).collect()
}

/// Where a blob lies in a layout.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

/// The bytes of a layout's index.
pub(crate) fn index_bytes(index: &Index) -> Vec<u8> {
    json::compact(index).expect("an index has only text keys")
}

/// The index entries for an image: one per name, or one without a name.
fn entries(image: &Named) -> Vec<Descriptor> {
    let top = &image.assembled.top;
    if let Some(tag) = &image.tag {
        let mut entry = top.clone();
        entry.annotations.insert(REF_NAME.to_owned(), tag.clone());
        return vec![entry];
    }
    if image.names.is_empty() {
        return vec![top.clone()];
    }
    let named = image.names.iter().map(|name| {
        let mut entry = top.clone();
        entry
            .annotations
            .insert(IMAGE_NAME.to_owned(), name.to_string());
        if let Some(tag) = name.tag() {
            entry
                .annotations
                .insert(REF_NAME.to_owned(), tag.to_owned());
        }
        entry
    });
    named.collect()
}

/// Adds entries to the index of a layout that exists; an entry of the same name gives way.
pub(crate) fn merge(mut index: Index, new: Vec<Descriptor>) -> Index {
    let name = |entry: &Descriptor| -> BTreeMap<&str, String> {
        let keys = [IMAGE_NAME, REF_NAME];
        keys.into_iter()
            .filter_map(|key| Some((key, entry.annotations.get(key)?.clone())))
            .collect()
    };
    index.manifests.retain(|old| {
        let gives_way = |new: &Descriptor| {
            name(old) == name(new) && (!name(new).is_empty() || old.digest == new.digest)
        };
        !new.iter().any(gives_way)
    });
    index.manifests.extend(new);
    index
}

/// One image in `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerImage {
    /// Path of the config.
    pub(crate) config: String,
    /// Names as people write them; Go writes none as `null`.
    pub(crate) repo_tags: Option<Vec<String>>,
    /// Paths of the layers, base first.
    #[serde(default)]
    pub(crate) layers: Option<Vec<String>>,
}

fn docker_manifest(images: &[Named]) -> Vec<u8> {
    let one = |image: &AssembledImage, names: &[Reference]| DockerImage {
        config: blob_name(&image.config.descriptor.digest),
        repo_tags: (!names.is_empty()).then(|| names.iter().map(Reference::familiar).collect()),
        layers: Some(
            image
                .layers
                .iter()
                .map(|layer| blob_name(&layer.digest))
                .collect(),
        ),
    };
    let images = images.iter().flat_map(|named| {
        let images = named.assembled.images.iter();
        images.map(|image| one(image, &named.names))
    });
    let images: Vec<DockerImage> = images.collect();
    json::compact(&images).expect("a list of images has only text keys")
}

#[cfg(test)]
mod tests;
