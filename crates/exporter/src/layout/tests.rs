use rbuild_oci::Platform;

use super::*;
use crate::{AssembledImage, Document};

fn document(media_type: &str, bytes: &[u8]) -> Document {
    Document {
        descriptor: Descriptor::of(media_type, bytes),
        bytes: bytes.to_vec(),
    }
}

fn assembled() -> Assembled {
    let image = AssembledImage {
        platform: Platform::new("linux", "amd64"),
        config: document(media_type::OCI_CONFIG, b"config"),
        manifest: document(media_type::OCI_MANIFEST, b"manifest"),
        // Twice the same layer, as COPY of nothing twice makes it.
        layers: vec![Descriptor::of(media_type::OCI_LAYER_GZIP, b"layer"); 2],
    };
    let top = image.manifest.descriptor.clone();
    Assembled {
        images: vec![image],
        index: None,
        top,
        others: Vec::new(),
    }
}

/// The one image under these names.
fn under(names: Vec<Reference>) -> [Named; 1] {
    [Named {
        assembled: assembled(),
        names,
        tag: None,
    }]
}

fn text(files: &[LayoutFile], name: &str) -> String {
    let file = files.iter().find(|file| file.name == name).unwrap();
    let Content::Bytes(bytes) = &file.content else {
        panic!("{name} is no plain file")
    };
    String::from_utf8(bytes.clone()).unwrap()
}

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

#[test]
fn files_are_sorted_and_each_blob_is_there_once() {
    let files = files(&under(Vec::new()), Flavour::Docker);
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert!(names.is_sorted());
    assert_eq!(names.len(), 2 + 3 + 3);
    assert_eq!(names[..2], ["blobs/", "blobs/sha256/"]);
    assert_eq!(names[5..], ["index.json", "manifest.json", "oci-layout"]);
}

#[test]
fn docker_manifest_names_paths_and_short_names() {
    let layer = blob_name(&Digest::sha256_of(b"layer"));
    let config = blob_name(&Digest::sha256_of(b"config"));
    let names = vec![name("a/b"), name("localhost:5000/c:1")];
    let all = files(&under(names), Flavour::Docker);
    let expected = format!(
        "[{{\"Config\":\"{config}\",\"RepoTags\":[\"a/b:latest\",\"localhost:5000/c:1\"],\
         \"Layers\":[\"{layer}\",\"{layer}\"]}}]"
    );
    assert_eq!(text(&all, DOCKER_MANIFEST), expected);
    let nameless = files(&under(Vec::new()), Flavour::Docker);
    assert!(text(&nameless, DOCKER_MANIFEST).contains("\"RepoTags\":null"));
}

#[test]
fn index_has_an_entry_per_name() {
    let all = files(&under(vec![name("a"), name("b:2")]), Flavour::Oci);
    let index = Index::from_bytes(text(&all, INDEX).as_bytes()).unwrap();
    let names: Vec<(&str, &str)> = index
        .manifests
        .iter()
        .map(|entry| {
            (
                entry.annotations[IMAGE_NAME].as_str(),
                entry.annotations[REF_NAME].as_str(),
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            ("docker.io/library/a:latest", "latest"),
            ("docker.io/library/b:2", "2")
        ]
    );
    assert!(!all.iter().any(|file| file.name == DOCKER_MANIFEST));
}

#[test]
fn merging_replaces_the_same_name_only() {
    let entry = |bytes: &[u8], of: &[Reference]| {
        let mut image = under(of.to_vec())[0].clone();
        image.assembled.top = Descriptor::of(media_type::OCI_MANIFEST, bytes);
        entries(&image)
    };
    let (a, b) = ([name("x:a")], [name("x:b")]);
    let index = Index::new(
        media_type::OCI_INDEX,
        [entry(b"1", &a), entry(b"2", &b), entry(b"3", &[])].concat(),
    );
    let digests = |index: &Index| -> Vec<Digest> {
        index
            .manifests
            .iter()
            .map(|entry| entry.digest.clone())
            .collect()
    };
    let of = |bytes: &[u8]| Digest::sha256_of(bytes);
    let merged = merge(index, entry(b"4", &a));
    assert_eq!(digests(&merged), [of(b"2"), of(b"3"), of(b"4")]);
    let merged = merge(merged, entry(b"3", &[]));
    assert_eq!(digests(&merged), [of(b"2"), of(b"4"), of(b"3")]);
    let merged = merge(merged, entry(b"5", &[]));
    assert_eq!(digests(&merged), [of(b"2"), of(b"4"), of(b"3"), of(b"5")]);
}
