//! Layers that came as compressed blobs.

use rbuild_layer::{Compression, Error, FileView, PulledLayer};
use rbuild_oci::{Descriptor, DiffId, Digest};
use rbuild_testkit::{Listing, Privilege, granted};

use crate::bench::*;

const WAYS: [Way; 2] = [Way::InPlace, Way::Forked];
const FORMS: [Compression; 3] = [Compression::None, Compression::GZIP, Compression::ZSTD];

fn base() -> Vec<u8> {
    TarMaker::default()
        .dir("./")
        .dir("./tmp/")
        .owned(0o1777, 0, 0)
        .file("./etc/passwd", "root:x:0:0::/:/bin/sh\n")
        .file("./bin/sh", "#!")
        .hardlink("./bin/bash", "bin/sh")
        .symlink("./bin/ash", "sh")
        .finish()
}

#[test]
fn a_layer_is_registered_once_and_nothing_is_read() {
    let bench = Bench::new(Way::InPlace);
    let layer = PulledLayer {
        parent: None,
        diff_id: DiffId(Digest::sha256_of(b"x")),
        descriptor: Descriptor::new(Compression::GZIP.media_type(), Digest::sha256_of(b"y"), 1),
        origin: "one".to_owned(),
    };
    let id = bench.layers.pulled(&layer, &bench.cancel).unwrap();
    let elsewhere = PulledLayer {
        origin: "two".to_owned(),
        ..layer.clone()
    };
    assert_eq!(bench.layers.pulled(&elsewhere, &bench.cancel).unwrap(), id);
    let original = bench.layers.original(&id).unwrap().unwrap();
    assert_eq!(original.origin, "two");
    assert_eq!(bench.layers.by_chain(&layer.chain()).unwrap(), None);
    let error = bench.layers.index(&id, &bench.cancel).unwrap_err();
    assert!(matches!(error, Error::Fetch { .. }), "{error}");
}

#[test]
fn files_are_read_without_a_tree() {
    for form in FORMS {
        let bench = Bench::new(Way::Forked);
        let layer = bench.pull(None, &base(), form).id;
        let expected = "bin 0755 0:0 d\nbin/ash 0644 0:0 l=sh\nbin/bash 0644 0:0 f=#!\n\
                        bin/sh 0644 0:0 f=#!\netc 0755 0:0 d\n\
                        etc/passwd 0644 0:0 f=root:x:0:0::/:/bin/sh\n\ntmp 1777 0:0 d\n";
        assert_eq!(list_view(&bench.view(&[layer])), expected);
        let info = bench.layers.info(&layer).unwrap();
        assert!(info.trees.is_empty() && info.pack.is_some());
    }
}

#[test]
fn users_are_looked_up_in_the_index() {
    let bench = Bench::new(Way::InPlace);
    let layer = bench.pull(None, &base(), Compression::GZIP).id;
    let mut text = String::new();
    let mut passwd = bench.view(&[layer]).open(b"etc/passwd").unwrap();
    std::io::Read::read_to_string(&mut passwd, &mut text).unwrap();
    assert!(text.starts_with("root:"));
    assert_eq!(bench.layers.info(&layer).unwrap().pack, None);
}

#[test]
fn the_tree_is_the_archive() {
    if !granted(Privilege::Root) {
        return;
    }
    for way in WAYS {
        for form in FORMS {
            let bench = Bench::new(way);
            let layer = bench.pull(None, &base(), form).id;
            let lowers = bench.layers.lowers(&[layer], &bench.cancel).unwrap();
            let [tree] = &lowers[..] else {
                panic!("one layer has one tree");
            };
            let plain = bench.dir.path().join("plain");
            std::fs::create_dir(&plain).unwrap();
            let tar = base();
            let mut archive = tar::Archive::new(&*tar);
            archive.set_preserve_permissions(true);
            archive.unpack(&plain).unwrap();
            let (made, expected) = (Listing::of(tree), Listing::of(&plain));
            for path in ["tmp", "etc/passwd", "bin/sh", "bin/bash", "bin/ash"] {
                assert_eq!(made.get(path), expected.get(path), "{path}");
            }
            assert_eq!(made.paths().count(), 7);
            // Once more: the same tree, and the view reads it.
            assert_eq!(
                bench.layers.lowers(&[layer], &bench.cancel).unwrap(),
                lowers
            );
            assert!(list_view(&bench.view(&[layer])).contains("bin/bash 0644 0:0 f=#!"));
        }
    }
}

#[test]
fn bytes_with_another_diff_id_never_become_a_layer() {
    let bench = Bench::new(Way::InPlace);
    let blob = bench.layers.store().put_blob(&gzip(&base())).unwrap();
    let layer = PulledLayer {
        parent: None,
        diff_id: DiffId(Digest::sha256_of(b"something else")),
        descriptor: Descriptor::new(
            Compression::GZIP.media_type(),
            blob,
            gzip(&base()).len() as u64,
        ),
        origin: String::new(),
    };
    let id = bench.layers.pulled(&layer, &bench.cancel).unwrap();
    let index = bench.layers.index(&id, &bench.cancel);
    assert!(matches!(index, Err(Error::DiffId { .. })));
    if !granted(Privilege::Root) {
        return;
    }
    let lowers = bench.layers.lowers(&[id], &bench.cancel);
    assert!(matches!(lowers, Err(Error::DiffId { .. })));
    assert_eq!(bench.layers.store().trees().unwrap(), [""; 0]);
}

/// A layer of an image that claims `diff_id` for these bytes, which are in the store.
fn claim(bench: &Bench, diff_id: &Digest, tar: &[u8]) -> PulledLayer {
    let blob = gzip(tar);
    let digest = bench.layers.store().put_blob(&blob).unwrap();
    PulledLayer {
        parent: None,
        diff_id: DiffId(diff_id.clone()),
        descriptor: Descriptor::new(Compression::GZIP.media_type(), digest, blob.len() as u64),
        origin: String::new(),
    }
}

#[test]
fn a_false_image_never_stands_for_the_true_chain() {
    let bench = Bench::new(Way::InPlace);
    let evil = TarMaker::default().file("bin/sh", "evil").finish();
    let trusted = Digest::sha256_of(&base());
    let pulled = |layer: &PulledLayer| bench.layers.pulled(layer, &bench.cancel).unwrap();
    let (lie, truth) = (
        claim(&bench, &trusted, &evil),
        claim(&bench, &trusted, &base()),
    );
    assert_eq!(lie.chain(), truth.chain());
    let false_layer = pulled(&lie);
    let layer = pulled(&truth);
    assert_ne!(layer, false_layer);
    // Whoever of the two is looked into first.
    let index = bench.layers.index(&false_layer, &bench.cancel);
    assert!(matches!(index, Err(Error::DiffId { .. })), "{index:?}");
    assert_eq!(bench.layers.by_chain(&truth.chain()).unwrap(), None);
    bench.layers.index(&layer, &bench.cancel).unwrap();
    assert_eq!(bench.layers.by_chain(&truth.chain()).unwrap(), Some(layer));
    assert!(bench.layers.index(&false_layer, &bench.cancel).is_err());
    assert_eq!(bench.layers.by_chain(&truth.chain()).unwrap(), Some(layer));
    assert_eq!(pulled(&truth), layer);
}

#[test]
fn verified_layers_are_shared_by_images_that_compress_them_otherwise() {
    let bench = Bench::new(Way::InPlace);
    let first = bench.pull(None, &base(), Compression::GZIP).id;
    let second = bench.pull(None, &base(), Compression::ZSTD).id;
    assert_ne!(first, second, "nobody has seen that they are the same");
    bench.layers.index(&first, &bench.cancel).unwrap();
    assert_eq!(bench.pull(None, &base(), Compression::ZSTD).id, first);
    assert_eq!(bench.pull(None, &base(), Compression::None).id, first);
}

#[test]
fn a_layer_without_its_bytes_does_not_take_those_of_another_blob() {
    let bench = Bench::new(Way::InPlace);
    let truth = claim(&bench, &Digest::sha256_of(&base()), &base());
    let layer = bench.layers.pulled(&truth, &bench.cancel).unwrap();
    bench.layers.index(&layer, &bench.cancel).unwrap();
    let store = bench.layers.store();
    std::fs::remove_file(store.blob_path(&truth.descriptor.digest)).unwrap();
    let evil = TarMaker::default().file("bin/sh", "evil").finish();
    let lie = claim(&bench, &truth.diff_id.0, &evil);
    let false_layer = bench.layers.pulled(&lie, &bench.cancel).unwrap();
    assert_ne!(false_layer, layer);
    let original = bench.layers.original(&layer).unwrap().unwrap();
    assert_eq!(original.descriptor, truth.descriptor);
    // The same blob from another place is another matter.
    let elsewhere = PulledLayer {
        origin: "mirror".to_owned(),
        ..truth
    };
    let again = bench.layers.pulled(&elsewhere, &bench.cancel).unwrap();
    assert_eq!(again, layer);
    let original = bench.layers.original(&layer).unwrap().unwrap();
    assert_eq!(original.origin, "mirror");
}

#[test]
fn a_blob_of_another_size_than_announced_is_refused() {
    let bench = Bench::new(Way::InPlace);
    let mut layer = claim(&bench, &Digest::sha256_of(&base()), &base());
    layer.descriptor.size += 1;
    let id = bench.layers.pulled(&layer, &bench.cancel).unwrap();
    let fetched = bench.layers.fetch_original(&id, &bench.cancel);
    assert!(matches!(fetched, Err(Error::Fetch { .. })), "{fetched:?}");
}

#[test]
fn the_original_is_what_is_exported() {
    let bench = Bench::new(Way::InPlace);
    let layer = bench.pull(None, &base(), Compression::GZIP).id;
    let original = bench.layers.original(&layer).unwrap().unwrap().descriptor;
    let exported = bench
        .layers
        .compressed(&layer, Compression::ZSTD, &bench.cancel);
    assert_eq!(exported.unwrap(), original);
    let anew = bench
        .layers
        .recompressed(&layer, Compression::ZSTD, &bench.cancel);
    let blob = bench
        .layers
        .store()
        .read_blob(&anew.unwrap().digest, 1 << 20)
        .unwrap();
    assert!(zstd::decode_all(&*blob).unwrap() == base());
    assert!(bench.tar(&layer) == base());
    assert_eq!(bench.layers.verify(&layer, &bench.cancel).unwrap(), []);
}

#[test]
fn implied_parents_and_links_take_from_below() {
    if !granted(Privilege::Root) {
        return;
    }
    for way in WAYS {
        let bench = Bench::new(way);
        let low = bench.pull(None, &base(), Compression::GZIP);
        let upper = TarMaker::default()
            .file("tmp/x", "x")
            .file("new/deep/y", "y")
            .hardlink("usr/sh", "bin/sh")
            .finish();
        let top = bench.pull(Some(low.chain), &upper, Compression::GZIP);
        let stack = [low.id, top.id];
        let lowers = bench.layers.lowers(&stack, &bench.cancel).unwrap();
        let tree = Listing::of(&lowers[0]);
        let lower = Listing::of(&lowers[1]);
        assert_eq!(tree.get("tmp"), lower.get("tmp"));
        assert_eq!(std::fs::read(lowers[0].join("usr/sh")).unwrap(), b"#!");
        assert!(list_view(&bench.view(&stack)).contains("usr/sh 0644 0:0 f=#!\n"));
        assert!(list_view(&bench.view(&stack)).contains("tmp 1777 0:0 d\n"));
    }
}

#[test]
fn links_to_nothing_are_errors() {
    if !granted(Privilege::Root) {
        return;
    }
    let bench = Bench::new(Way::InPlace);
    let tar = TarMaker::default().hardlink("h", "nowhere").finish();
    let layer = bench.pull(None, &tar, Compression::None).id;
    let lowers = bench.layers.lowers(&[layer], &bench.cancel);
    assert!(matches!(lowers, Err(Error::NotFound { .. })), "{lowers:?}");
    assert_eq!(bench.layers.store().trees().unwrap(), [""; 0]);
}

#[test]
fn a_link_with_other_metadata_changes_its_file() {
    if !granted(Privilege::Root) {
        return;
    }
    let tar = TarMaker::default()
        .file("a", "")
        .owned(0o4755, 1, 2)
        .hardlink("z", "a")
        .owned(0o640, 3, 4)
        .symlink("l", "a")
        .hardlink("m", "l")
        .owned(0o600, 5, 6)
        .hardlink("b", "z")
        .owned(0o2711, 7, 8)
        .finish();
    for way in WAYS {
        let bench = Bench::new(way);
        let pulled = bench.pull(None, &tar, Compression::GZIP);
        let lowers = bench.layers.lowers(&[pulled.id], &bench.cancel).unwrap();
        let tree = Listing::of(&lowers[0]);
        let view = list_view(&bench.view(&[pulled.id]));
        for name in ["a", "b", "z"] {
            let line = tree.get(name).unwrap();
            assert!(line.contains("2711 7:8"), "{tree}");
            assert!(view.contains(&format!("{name} 2711 7:8 f=\n")), "{view}");
        }
        assert!(tree.get("m").unwrap().contains("5:6"), "{tree}");
        assert!(view.contains("l 0644 5:6 l=a\n"), "{view}");
    }
}
