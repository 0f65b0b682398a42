//! Images from elsewhere.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use rbuild_exporter::{Imported, ImportedImage, Layout, Selection, Source, import};
use rbuild_layer::FileView;
use rbuild_oci::{Digest, ImageConfig, Pick, Platform, Reference};

use crate::bench::{Bench, dir, file, read_tar, tar, write_tar};

fn import_file(bench: &Bench, path: &Path) -> Imported {
    one(import(&tar(path), &Selection::one(None), &bench.cx()).unwrap())
}

fn one(mut all: Vec<Imported>) -> Imported {
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn tag(tag: &str) -> Pick {
    Pick::Tag(tag.to_owned())
}

fn content(bench: &Bench, image: &Imported, path: &str) -> String {
    content_of(bench, &image.images[0], path)
}

fn content_of(bench: &Bench, image: &ImportedImage, path: &str) -> String {
    let view = bench.layers.view(&image.layers, &bench.cancel);
    let mut text = String::new();
    view.open(path.as_bytes())
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    text
}

#[test]
fn archives_come_back_as_they_went() {
    let from = Bench::new();
    let image = from.image();
    for kind in ["oci", "docker"] {
        for compression in ["gzip", "zstd", "uncompressed"] {
            let to = Bench::new();
            from.export(
                &format!("type={kind},dest=@/x.tar,compression={compression}"),
                &image,
            );
            let back = import_file(&to, &from.path("x.tar"));
            assert_eq!(back.images[0].config, image.config);
            assert_eq!(back.names, [Reference::parse("example/app:1").unwrap()]);
            assert_eq!(content(&to, &back, "etc/motd"), "new");
            assert_eq!(content(&to, &back, "data2"), "shared content");
            let view = to.layers.view(&back.images[0].layers, &to.cancel);
            assert!(view.lstat(b"etc/gone").unwrap().is_none());
        }
    }
}

#[test]
fn importing_twice_gives_the_same_layers() {
    let from = Bench::new();
    from.export("type=oci,dest=@/x.tar", &from.image());
    let to = Bench::new();
    let (first, second) = (
        import_file(&to, &from.path("x.tar")),
        import_file(&to, &from.path("x.tar")),
    );
    assert_eq!(first, second);
}

#[test]
fn older_docker_archives_with_links_are_read() {
    let bench = Bench::new();
    let image = bench.image();
    bench.export(
        "type=docker,dest=@/new.tar,compression=uncompressed",
        &image,
    );
    let (files, _) = read_tar(&bench.path("new.tar"));
    let config: ImageConfig = ImageConfig::from_bytes(&image.config).unwrap();
    let diff_ids = config.diff_ids();
    let tar_of = |i: usize| files[&format!("blobs/sha256/{}", diff_ids[i].0.hex())].as_slice();
    let manifest =
        br#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["one/layer.tar","two/layer.tar"]}]"#;
    let path = bench.path("old.tar");
    let plain: [(&str, &[u8]); 4] = [
        ("manifest.json", manifest),
        ("c.json", &image.config),
        ("./one/layer.tar", tar_of(0)),
        ("real.tar", tar_of(1)),
    ];
    write_tar(&path, &plain, &[("two/layer.tar", "../real.tar")]);
    let to = Bench::new();
    let back = import_file(&to, &path);
    assert_eq!(content(&to, &back, "etc/motd"), "new");
    assert_eq!(back.names, [Reference::parse("a:1").unwrap()]);
    // What came as plain tars is compressed on its way out.
    to.export(
        "type=oci,dest=@/out.tar",
        &to.image_of(back.images[0].layers.clone()),
    );
    let (files, _) = read_tar(&to.path("out.tar"));
    assert_eq!(
        files
            .values()
            .filter(|bytes| bytes.starts_with(&[0x1f, 0x8b]))
            .count(),
        2
    );
}

#[test]
fn root_file_systems_become_one_layer() {
    let bench = Bench::new();
    let image = bench.image_of(vec![
        bench.layer(vec![dir("bin", 0o755), file("bin/sh", "shell", 0o755)]),
    ]);
    bench.export("type=tar,dest=@/root.tar", &image);
    let plain = fs::read(bench.path("root.tar")).unwrap();
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(&plain).unwrap();
    fs::write(bench.path("root.tar.xz"), encoder.finish().unwrap()).unwrap();
    for name in ["root.tar", "root.tar.xz"] {
        let to = Bench::new();
        let back = import_file(&to, &bench.path(name));
        assert_eq!(content(&to, &back, "bin/sh"), "shell");
        let config = ImageConfig::from_bytes(&back.images[0].config).unwrap();
        assert_eq!(config.diff_ids()[0].0, Digest::sha256_of(&plain));
        assert_eq!(config.history.len(), 1);
    }
}

#[test]
fn layouts_are_asked_by_tag_and_digest() {
    let bench = Bench::new();
    let first = bench.image();
    let second = bench.image_of(vec![bench.layer(vec![file("second", "2", 0o644)])]);
    let first_digest = bench
        .export("type=oci,tar=false,dest=@/l,name=x:one", &first)
        .manifest
        .unwrap();
    let digest = |pick: Option<&Pick>| {
        let layout = Layout::open(&bench.path("l")).unwrap();
        let found = layout.resolve(pick, &Platform::host());
        found.map(|image| image.manifest.digest)
    };
    // Alone, it need not be named.
    assert_eq!(digest(None).unwrap(), first_digest);
    let two = bench
        .export("type=oci,tar=false,dest=@/l,name=x:two", &second)
        .manifest
        .unwrap();
    assert_eq!(digest(Some(&tag("two"))).unwrap(), two);
    let full = tag("docker.io/library/x:one");
    assert_eq!(digest(Some(&full)).unwrap(), first_digest);
    assert_eq!(digest(Some(&Pick::Digest(two.clone()))).unwrap(), two);
    let error = digest(None).unwrap_err().to_string();
    assert!(
        error.ends_with("could not find \"latest\"; there is one, two"),
        "{error}"
    );

    let to = Bench::new();
    let source = Source::LayoutDir(bench.path("l"));
    let back = one(import(&source, &Selection::one(Some(tag("two"))), &to.cx()).unwrap());
    assert_eq!(content(&to, &back, "second"), "2");
    assert_eq!(back.images[0].manifest, Some(two));
}

#[test]
fn registered_layers_are_read_when_they_are_needed() {
    let from = Bench::new();
    from.export("type=oci,tar=false,dest=@/l", &from.image());
    let dir = from.path("l");
    let away = from.path("away");
    fs::create_dir(&away).unwrap();
    let layout = Layout::open(&dir).unwrap();
    let image = layout.resolve(None, &Platform::host()).unwrap();
    let blob = |layer: usize| {
        dir.join("blobs/sha256")
            .join(image.layers[layer].digest.hex())
    };
    let hidden = |layer: usize| away.join(layer.to_string());
    for layer in 0..2 {
        fs::rename(blob(layer), hidden(layer)).unwrap();
    }
    let to = Bench::fetching();
    let register = || {
        let layout = Layout::open(&dir).unwrap();
        layout.register(&image, (&to.layers, &to.cancel)).unwrap()
    };
    let layers = register();
    let missing = to.layers.index(&layers[0], &to.cancel).unwrap_err();
    assert!(
        matches!(missing, rbuild_layer::Error::Fetch { .. }),
        "{missing}"
    );
    // Another file of the same length is not taken for the layer.
    let size = fs::metadata(hidden(0)).unwrap().len();
    fs::write(blob(0), vec![0; usize::try_from(size).unwrap()]).unwrap();
    assert!(to.layers.index(&layers[0], &to.cancel).is_err());
    fs::rename(hidden(0), blob(0)).unwrap();
    to.layers.index(&layers[0], &to.cancel).unwrap();
    assert!(!to.store.has_blob(&image.layers[1].digest));
    // What is in the store is not looked for again.
    fs::remove_file(blob(0)).unwrap();
    assert_eq!(register(), layers);
    to.layers.lowers(&layers[..1], &to.cancel).unwrap();
}
