//! Images made to do harm. None may be imported, and nothing of them may be believed later.

use std::fs;

use rbuild_exporter::{Error, Selection, Source, import};
use rbuild_oci::{ChainId, Descriptor, Digest, Index, Manifest, media_type};

use crate::bench::{Bench, tar, write_tar};

/// Imports a layout of these blobs, the last of which is the manifest.
fn import_layout(bench: &Bench, blobs: &[(Digest, Vec<u8>)]) -> Result<(), Error> {
    let dir = bench.path("layout");
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    for (digest, bytes) in blobs {
        fs::write(dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    }
    let (digest, bytes) = blobs.last().unwrap();
    let entry = Descriptor::new(media_type::OCI_MANIFEST, digest.clone(), bytes.len() as u64);
    fs::write(
        dir.join("index.json"),
        Index::new(media_type::OCI_INDEX, vec![entry]).to_bytes(),
    )
    .unwrap();
    import(&Source::LayoutDir(dir), &Selection::one(None), &bench.cx()).map(drop)
}

fn named(bytes: &[u8]) -> (Digest, Vec<u8>) {
    (Digest::sha256_of(bytes), bytes.to_vec())
}

/// Config, layer and manifest of an image whose config claims `diff_id` for the layer.
fn parts(diff_id: &Digest, layer: &[u8]) -> Vec<(Digest, Vec<u8>)> {
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    );
    let manifest = Manifest::new(
        media_type::OCI_MANIFEST,
        Descriptor::of(media_type::OCI_CONFIG, config.as_bytes()),
        vec![Descriptor::of(media_type::OCI_LAYER_GZIP, layer)],
    );
    vec![
        named(config.as_bytes()),
        named(layer),
        named(&manifest.to_bytes()),
    ]
}

/// A small layer as a plain tar.
fn layer_tar(bench: &Bench) -> Vec<u8> {
    write_tar(&bench.path("layer.tar"), &[("a", b"a")], &[]);
    fs::read(bench.path("layer.tar")).unwrap()
}

#[test]
fn layer_under_a_false_diff_id_is_refused_and_not_registered() {
    let bench = Bench::new();
    let layer = layer_tar(&bench);
    let claimed = Digest::sha256_of(b"the layer of a trusted base image");
    let result = import_layout(&bench, &parts(&claimed, &layer));
    assert!(
        matches!(
            result,
            Err(Error::Layer(rbuild_layer::Error::DiffId { .. }))
        ),
        "{result:?}"
    );
    assert!(bench.layers.by_chain(&ChainId(claimed)).unwrap().is_none());
    import_layout(&bench, &parts(&Digest::sha256_of(&layer), &layer)).unwrap();
}

#[test]
fn blobs_that_are_not_what_they_are_named_are_refused() {
    let bench = Bench::new();
    let layer = layer_tar(&bench);
    let good = parts(&Digest::sha256_of(&layer), &layer);
    for at in 0..good.len() {
        let mut same_size = good.clone();
        same_size[at].1[0] ^= 1;
        let result = import_layout(&bench, &same_size);
        assert!(result.is_err(), "blob {at}");
        let mut longer = good.clone();
        longer[at].1.push(0);
        if at + 1 < good.len() {
            assert!(import_layout(&bench, &longer).is_err(), "longer blob {at}");
        }
        fs::remove_dir_all(bench.path("layout")).unwrap();
    }
    let missing = import_layout(&bench, &[good[0].clone(), good[2].clone()]);
    assert!(
        matches!(missing, Err(Error::MissingBlob { .. })),
        "{missing:?}"
    );
}

#[test]
fn config_and_manifest_must_agree() {
    let bench = Bench::new();
    let layer = layer_tar(&bench);
    let mut blobs = parts(&Digest::sha256_of(&layer), &layer);
    let manifest = Manifest::new(
        media_type::OCI_MANIFEST,
        Descriptor::of(media_type::OCI_CONFIG, &blobs[0].1),
        vec![Descriptor::of(media_type::OCI_LAYER, &layer); 2],
    );
    blobs[2] = named(&manifest.to_bytes());
    let error = import_layout(&bench, &blobs).unwrap_err().to_string();
    assert!(
        error.ends_with("its config names 1 layers, 2 came with it"),
        "{error}"
    );
}

#[test]
fn archives_cannot_reach_out() {
    let bench = Bench::new();
    fs::write(bench.path("secret"), "secret").unwrap();
    let manifest =
        |layer: &str| format!(r#"[{{"Config":"c.json","RepoTags":null,"Layers":["{layer}"]}}]"#);
    let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}"#;
    let path = bench.path("x.tar");
    for (layer, link) in [
        ("../secret", "unused"),
        ("link", "../secret"),
        ("link", "/etc/passwd"),
        ("link", "link"),
    ] {
        let text = manifest(layer);
        write_tar(
            &path,
            &[("manifest.json", text.as_bytes()), ("c.json", config)],
            &[("link", link)],
        );
        let result = import(&tar(&path), &Selection::all(), &bench.cx());
        assert!(
            matches!(result, Err(Error::Import { .. })),
            "{layer} {link}: {result:?}"
        );
    }
}

#[test]
fn broken_archives_are_told_so() {
    let bench = Bench::new();
    bench.export("type=oci,dest=@/x.tar", &bench.image());
    let whole = fs::read(bench.path("x.tar")).unwrap();
    // Cut inside the content of the last blob.
    fs::write(bench.path("cut.tar"), &whole[..1500]).unwrap();
    fs::write(bench.path("noise.tar"), vec![7; 4096]).unwrap();
    fs::write(bench.path("empty.tar"), "").unwrap();
    for name in ["cut.tar", "noise.tar", "missing.tar"] {
        let wanted = Selection::all();
        assert!(
            import(&tar(&bench.path(name)), &wanted, &bench.cx()).is_err(),
            "{name}"
        );
    }
}

#[test]
fn a_config_that_names_no_layers_for_a_layer_is_refused() {
    let bench = Bench::new();
    let layer = layer_tar(&bench);
    let mut blobs = parts(&Digest::sha256_of(&layer), &layer);
    let config =
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":null}}"#;
    let manifest = Manifest::new(
        media_type::OCI_MANIFEST,
        Descriptor::of(media_type::OCI_CONFIG, config),
        vec![Descriptor::of(media_type::OCI_LAYER, &layer)],
    );
    blobs[0] = named(config);
    blobs[2] = named(&manifest.to_bytes());
    assert!(matches!(
        import_layout(&bench, &blobs),
        Err(Error::Import { .. })
    ));
}
