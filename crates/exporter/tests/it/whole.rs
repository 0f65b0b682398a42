//! Whole archives: every image in them, every platform, and the same digests when they leave again.

use std::fs;
use std::io::Write;

use rbuild_exporter::{
    Error, Export, Form, ImageToExport, Imported, Input, KeptImage, KeptIndex, Platforms,
    SavedImage, Selection, Source, Which, export, import, save,
};
use rbuild_oci::{
    Descriptor, Digest, ImageConfig, Index, Manifest, Pick, Platform, Reference, media_type,
};

use crate::bench::{Bench, file, read_tar, tar, write_tar};

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// The same image for another platform.
fn for_platform(image: &ImageToExport, platform: &Platform) -> ImageToExport {
    let mut config = ImageConfig::from_bytes(&image.config).unwrap();
    config.architecture.clone_from(&platform.architecture);
    ImageToExport {
        config: config.to_bytes(),
        platform: platform.clone(),
        ..image.clone()
    }
}

/// What was imported, as the store would have it.
fn kept(imported: &Imported) -> SavedImage {
    let images = imported.images.iter().map(|image| {
        let plain = ImageToExport {
            config: image.config.clone(),
            layers: image.layers.clone(),
            names: imported.names.clone(),
            platform: image.platform.clone(),
        };
        (plain, image.manifest.clone())
    });
    let kept = KeptImage {
        images: images.collect(),
        index: imported.index.clone().map(|index| KeptIndex {
            document: index.document,
            others: index.others,
        }),
        as_index: imported.index.is_some() || imported.images.len() > 1,
    };
    SavedImage {
        image: kept,
        names: imported.names.clone(),
        tag: None,
    }
}

/// Two platforms of one image, exported as an index to `@/two.tar`.
fn two_platforms(bench: &Bench, attrs: &str) -> Digest {
    let image = bench.image();
    let both = ["amd64", "arm64"].map(|arch| for_platform(&image, &Platform::new("linux", arch)));
    let spec = bench.spec(&format!("type=oci,dest=@/two.tar{attrs}"));
    export(&spec, &both, &bench.cx()).unwrap().index.unwrap()
}

fn save_oci(bench: &Bench, images: &[Imported], to: &str) -> Vec<Digest> {
    let images: Vec<_> = images.iter().map(kept).collect();
    let dest = bench.spec(&format!("type=oci,dest=@/{to}")).export;
    let saved = save(&dest, &images, &bench.cx()).unwrap();
    let tops = saved.into_iter().map(|one| one.descriptor.unwrap().digest);
    tops.collect()
}

#[test]
fn an_index_leaves_as_it_came() {
    for attrs in [
        "",
        ",compression=zstd",
        ",compression=uncompressed",
        ",oci-mediatypes=false",
        ",annotation.a=b,annotation-index.c=d,annotation-manifest-descriptor.e=f",
    ] {
        let (from, to) = (Bench::new(), Bench::new());
        let index = two_platforms(&from, attrs);
        let back = import(&tar(&from.path("two.tar")), &Selection::all(), &to.cx()).unwrap();
        assert_eq!(back.len(), 1);
        assert_eq!(back[0].names, [name("example/app:1")]);
        assert_eq!(back[0].images.len(), 2);
        assert_eq!(save_oci(&to, &back, "again.tar"), [index], "{attrs}");
        let (first, second) = (
            read_tar(&from.path("two.tar")),
            read_tar(&to.path("again.tar")),
        );
        let blobs = |files: &(std::collections::BTreeMap<String, Vec<u8>>, Vec<String>)| {
            let names = files.0.keys().filter(|name| name.starts_with("blobs/"));
            names.cloned().collect::<Vec<_>>()
        };
        assert_eq!(blobs(&first), blobs(&second), "{attrs}");
    }
}

#[test]
fn some_platforms_of_an_index_are_no_longer_that_index() {
    let (from, to) = (Bench::new(), Bench::new());
    let index = two_platforms(&from, "");
    let wanted = |platforms| Selection {
        which: Which::All,
        platforms: Platforms::These(platforms),
    };
    let arm = wanted(vec![Platform::new("linux", "arm64")]);
    let back = import(&tar(&from.path("two.tar")), &arm, &to.cx()).unwrap();
    assert_eq!((back[0].images.len(), &back[0].index), (1, &None));
    assert_eq!(back[0].images[0].platform, Platform::new("linux", "arm64"));
    let saved = save_oci(&to, &back, "again.tar");
    assert_eq!(Some(&saved[0]), back[0].images[0].manifest.as_ref());
    assert_ne!(saved[0], index);
    let none = wanted(vec![Platform::new("linux", "s390x")]);
    let error = import(&tar(&from.path("two.tar")), &none, &to.cx()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("it has no image for linux/s390x"),
        "{error}"
    );
}

#[test]
fn all_images_of_an_archive_come_with_their_names() {
    let from = Bench::new();
    let first = from.image();
    let second = from.image_of(vec![from.layer(vec![file("second", "2", 0o644)])]);
    let images = [
        saved_new(&first, &["a:1", "b:2"]),
        saved_new(&second, &["c:3"]),
    ];
    for kind in ["oci", "docker"] {
        let dest = from.spec(&format!("type={kind},dest=@/{kind}.tar")).export;
        save(&dest, &images, &from.cx()).unwrap();
        let to = Bench::new();
        let back = import(
            &tar(&from.path(&format!("{kind}.tar"))),
            &Selection::all(),
            &to.cx(),
        );
        let back = back.unwrap();
        assert_eq!(back.len(), 2);
        assert_eq!(back[0].names, [name("a:1"), name("b:2")]);
        assert_eq!(back[1].images[0].config, second.config);
        // Without a word on which of them it is none.
        let path = from.path(&format!("{kind}.tar"));
        let error = import(&tar(&path), &Selection::one(None), &to.cx()).unwrap_err();
        assert!(error.to_string().contains("there is"), "{error}");
        let only = Selection::one(Some(Pick::Tag("c:3".into())));
        let one = import(&tar(&path), &only, &to.cx()).unwrap();
        assert_eq!(one, back[1..]);
    }
    // The older form, without the layout.
    let (files, _) = read_tar(&from.path("docker.tar"));
    let old: Vec<(&str, &[u8])> = files
        .iter()
        .filter(|(name, _)| *name != "index.json" && *name != "oci-layout")
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    // Long names need another header, which this writer lacks.
    let short: Vec<(String, &[u8])> = old
        .iter()
        .map(|(name, bytes)| (name.replace("blobs/sha256/", ""), *bytes))
        .collect();
    let manifest = String::from_utf8(files["manifest.json"].clone()).unwrap();
    let manifest = manifest.replace("blobs/sha256/", "");
    let mut short: Vec<(&str, &[u8])> = short.iter().map(|(n, b)| (n.as_str(), *b)).collect();
    short.retain(|(name, _)| *name != "manifest.json");
    short.push(("manifest.json", manifest.as_bytes()));
    write_tar(&from.path("old.tar"), &short, &[]);
    let to = Bench::new();
    let back = import(&tar(&from.path("old.tar")), &Selection::all(), &to.cx()).unwrap();
    assert_eq!(back.len(), 2);
    assert_eq!(back[1].names, [name("c:3")]);
}

fn saved_new(image: &ImageToExport, names: &[&str]) -> SavedImage {
    SavedImage {
        image: KeptImage {
            images: vec![(image.clone(), None)],
            index: None,
            as_index: false,
        },
        names: names.iter().map(|text| name(text)).collect(),
        tag: None,
    }
}

#[test]
fn archives_may_be_compressed_or_of_the_wrong_form() {
    let from = Bench::new();
    from.export("type=oci,dest=@/x.tar", &from.image());
    let plain = fs::read(from.path("x.tar")).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&plain).unwrap();
    fs::write(from.path("x.tar.xz"), xz.finish().unwrap()).unwrap();
    for tool in ["gzip", "zstd"] {
        let to = fs::File::create(from.path(&format!("x.tar.{tool}"))).unwrap();
        let mut command = std::process::Command::new(tool);
        command
            .args(["-q", "-c"])
            .arg(from.path("x.tar"))
            .stdout(to);
        assert!(command.status().unwrap().success());
    }
    for ending in ["tar", "tar.xz", "tar.gzip", "tar.zstd"] {
        let to = Bench::new();
        let form = |form| {
            let source = Source::Tar {
                input: Input::File(from.path(&format!("x.{ending}"))),
                form,
            };
            import(&source, &Selection::all(), &to.cx())
        };
        for fits in [Form::Oci, Form::Images, Form::Any] {
            assert_eq!(form(fits).unwrap().len(), 1, "{ending}");
        }
        let error = form(Form::Docker).unwrap_err().to_string();
        assert!(error.ends_with("it has no manifest.json"), "{error}");
    }
    write_tar(&from.path("files.tar"), &[("etc/passwd", b"root")], &[]);
    let to = Bench::new();
    let source = Source::Tar {
        input: Input::File(from.path("files.tar")),
        form: Form::Images,
    };
    let error = import(&source, &Selection::all(), &to.cx()).unwrap_err();
    assert!(error.to_string().contains("it has no images"), "{error}");
}

#[test]
fn parts_of_an_index_that_are_not_here_are_left_out() {
    let (from, to) = (Bench::new(), Bench::new());
    let index = two_platforms(&from, "");
    let dir = from.path("layout");
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let (files, _) = read_tar(&from.path("two.tar"));
    let bytes = &files[&format!("blobs/sha256/{}", index.hex())];
    let arm = &Index::from_bytes(bytes).unwrap().manifests[1];
    for (name, bytes) in &files {
        if !name.ends_with(arm.digest.hex()) {
            fs::write(dir.join(name), bytes).unwrap();
        }
    }
    let source = Source::LayoutDir(dir);
    let back = import(&source, &Selection::all(), &to.cx()).unwrap();
    assert_eq!(back[0].images.len(), 1);
    assert_eq!(back[0].index, None);
    let wanted = Selection {
        which: Which::All,
        platforms: Platforms::These(vec![Platform::new("linux", "arm64")]),
    };
    let error = import(&source, &wanted, &to.cx()).unwrap_err();
    assert!(matches!(error, Error::MissingBlob { .. }), "{error}");
}

#[test]
fn attestations_stay_with_their_index() {
    let (from, to) = (Bench::new(), Bench::new());
    let dir = from.path("layout");
    from.export("type=oci,tar=false,dest=@/layout,name=x:1", &from.image());
    let put = |bytes: &[u8]| {
        let digest = Digest::sha256_of(bytes);
        fs::write(dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    };
    let path = dir.join("index.json");
    let image = Index::from_bytes(&fs::read(&path).unwrap())
        .unwrap()
        .manifests
        .remove(0);
    let statement = br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#;
    let manifest = Manifest::new(
        media_type::OCI_MANIFEST,
        Descriptor::of(media_type::OCI_CONFIG, b"{}"),
        vec![Descriptor::of("application/vnd.in-toto+json", statement)],
    );
    let mut entry = Descriptor::of(media_type::OCI_MANIFEST, &manifest.to_bytes());
    let about = (
        "vnd.docker.reference.type".into(),
        "attestation-manifest".into(),
    );
    entry.annotations.extend([about]);
    let index = Index::new(media_type::OCI_INDEX, vec![image, entry]);
    for bytes in [
        &b"{}"[..],
        statement,
        &manifest.to_bytes(),
        &index.to_bytes(),
    ] {
        put(bytes);
    }
    let mut top = Descriptor::of(media_type::OCI_INDEX, &index.to_bytes());
    let named = (
        "org.opencontainers.image.ref.name".into(),
        "docker.io/library/x:1".into(),
    );
    top.annotations.extend([named]);
    fs::write(
        &path,
        Index::new(media_type::OCI_INDEX, vec![top.clone()]).to_bytes(),
    )
    .unwrap();

    let back = import(&Source::LayoutDir(dir), &Selection::all(), &to.cx()).unwrap();
    assert_eq!(back[0].images.len(), 1);
    assert_eq!(back[0].index.as_ref().unwrap().others.len(), 3);
    assert_eq!(save_oci(&to, &back, "again.tar"), [top.digest]);
    let (files, _) = read_tar(&to.path("again.tar"));
    let name = format!("blobs/sha256/{}", Digest::sha256_of(statement).hex());
    assert_eq!(files[&name], statement);
}

#[test]
fn a_docker_archive_holds_one_platform() {
    let (from, to) = (Bench::new(), Bench::new());
    two_platforms(&from, "");
    let back = import(&tar(&from.path("two.tar")), &Selection::all(), &to.cx()).unwrap();
    let images: Vec<_> = back.iter().map(kept).collect();
    let dest = Export::parse(&format!("type=docker,dest={}", to.path("x.tar").display()));
    let error = save(&dest.unwrap().export, &images, &to.cx()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "docker exporter does not currently support exporting manifest lists"
    );
}
