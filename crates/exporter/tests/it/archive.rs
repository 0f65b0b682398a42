//! Images as archives and layouts.

use std::fs;

use rbuild_exporter::{
    EngineArchive, Error, Platforms, Selection, Which, assemble, assemble_named, export, import,
};
use rbuild_layer::PulledLayer;
use rbuild_oci::{Descriptor, DiffId, Digest, Index, Manifest, MediaType, Platform, media_type};

use crate::bench::{Bench, read_tar, tar};

#[test]
fn oci_archive_holds_what_its_index_names() {
    let bench = Bench::new();
    let image = bench.image();
    let exported = bench.export("type=oci,dest=@/out.tar", &image);
    let (files, names) = read_tar(&bench.path("out.tar"));
    assert!(names.is_sorted(), "{names:?}");
    let index = Index::from_bytes(&files["index.json"]).unwrap();
    let [entry] = index.manifests.as_slice() else {
        panic!("{index:?}")
    };
    assert_eq!(
        entry.annotations["io.containerd.image.name"],
        "docker.io/example/app:1"
    );
    assert_eq!(entry.annotations["org.opencontainers.image.ref.name"], "1");
    assert_eq!(
        entry.annotations["org.opencontainers.image.created"],
        "2024-01-02T03:04:05Z"
    );
    assert_eq!(entry.platform, Some(Platform::new("linux", "amd64")));
    assert_eq!(exported.manifest.as_ref(), Some(&entry.digest));

    let blob = |descriptor: &Descriptor| {
        let bytes = &files[&format!("blobs/sha256/{}", descriptor.digest.hex())];
        assert_eq!(Digest::sha256_of(bytes), descriptor.digest);
        assert_eq!(bytes.len() as u64, descriptor.size);
        bytes.clone()
    };
    let manifest = Manifest::from_bytes(&blob(entry)).unwrap();
    assert_eq!(blob(&manifest.config), image.config);
    assert_eq!(exported.config, Some(manifest.config.digest.clone()));
    assert_eq!(manifest.layers.len(), 2);
    for layer in &manifest.layers {
        assert_eq!(layer.media_type, media_type::OCI_LAYER_GZIP);
        assert!(blob(layer).starts_with(&[0x1f, 0x8b]));
    }
    let statuses = bench.ended();
    let digest = &entry.digest;
    let expected = [
        "exporting layers".to_owned(),
        format!("exporting manifest {digest}"),
        format!("exporting config {}", manifest.config.digest),
        "sending tarball".to_owned(),
    ];
    assert_eq!(statuses, expected);
}

#[test]
fn same_image_gives_same_bytes_wherever_it_is_made() {
    let bytes: Vec<Vec<u8>> = (0..2)
        .map(|_| {
            let bench = Bench::new();
            bench.export("type=docker,dest=@/out.tar", &bench.image());
            fs::read(bench.path("out.tar")).unwrap()
        })
        .collect();
    assert_eq!(bytes[0], bytes[1]);
}

#[test]
fn compression_and_media_types_are_as_asked() {
    let bench = Bench::new();
    let image = bench.image();
    let layer_types = |output: &str| {
        let assembled = assemble(
            std::slice::from_ref(&image),
            &bench.spec(output).image,
            &bench.cx(),
        )
        .unwrap();
        let first = &assembled.images[0];
        (
            first.layers[0].media_type.clone(),
            first.manifest.descriptor.media_type.clone(),
        )
    };
    let oci = |layer: &str| (layer.to_owned(), media_type::OCI_MANIFEST.to_owned());
    assert_eq!(
        layer_types("type=oci,compression=zstd"),
        oci(media_type::OCI_LAYER_ZSTD)
    );
    assert_eq!(
        layer_types("type=oci,compression=uncompressed"),
        oci(media_type::OCI_LAYER)
    );
    let docker = (
        media_type::DOCKER_LAYER_GZIP.to_owned(),
        media_type::DOCKER_MANIFEST.to_owned(),
    );
    assert_eq!(layer_types("type=oci,oci-mediatypes=false"), docker);
    // Docker's family has no zstd.
    assert_eq!(
        layer_types("type=oci,oci-mediatypes=false,compression=zstd"),
        oci(media_type::OCI_LAYER_ZSTD)
    );
}

#[test]
fn what_came_compressed_leaves_as_it_came_unless_forced() {
    let from = Bench::new();
    from.export("type=oci,dest=@/base.tar,compression=zstd", &from.image());
    let bench = Bench::new();
    let wanted = Selection::one(None);
    let base = import(&tar(&from.path("base.tar")), &wanted, &bench.cx()).unwrap();
    let image = bench.image_of(base[0].images[0].layers.clone());
    let types = |output: &str| {
        let assembled = assemble(
            std::slice::from_ref(&image),
            &bench.spec(output).image,
            &bench.cx(),
        )
        .unwrap();
        assembled.images[0]
            .layers
            .iter()
            .map(|layer| layer.media_type.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(types("type=oci"), [media_type::OCI_LAYER_ZSTD; 2]);
    assert_eq!(
        types("type=oci,force-compression=true"),
        [media_type::OCI_LAYER_GZIP; 2]
    );
}

#[test]
fn pulled_layers_can_be_named_without_their_bytes() {
    let bench = Bench::new();
    let mut image = bench.image();
    let far = Descriptor::of(media_type::DOCKER_LAYER_GZIP, b"far away");
    let pulled = PulledLayer {
        parent: None,
        diff_id: DiffId(Digest::sha256_of(b"its tar")),
        descriptor: far.clone(),
        origin: "example.com/base".to_owned(),
    };
    image.layers[0] = bench.layers.pulled(&pulled, &bench.cancel).unwrap();
    let image = bench.image_of(image.layers);
    let images = std::slice::from_ref(&image);
    let named = |output: &str| assemble_named(images, &bench.spec(output).image, &bench.cx());
    let assembled = named("type=registry").unwrap();
    let listed = &assembled.images[0].layers;
    let oci = Descriptor::new(media_type::OCI_LAYER_GZIP, far.digest.clone(), far.size);
    assert_eq!(listed[0], oci);
    assert!(!bench.store.has_blob(&far.digest) && bench.store.has_blob(&listed[1].digest));
    named("type=registry,force-compression=true").unwrap();
    // Another format, or an archive, needs them.
    named("type=registry,force-compression=true,compression=zstd").unwrap_err();
    assemble(images, &bench.spec("type=oci").image, &bench.cx()).unwrap_err();
}

#[test]
fn several_platforms_get_an_index() {
    let bench = Bench::new();
    let amd = bench.image();
    let mut arm = bench.image();
    arm.platform = Platform::new("linux", "arm64");
    arm.config = String::from_utf8(arm.config)
        .unwrap()
        .replace("amd64", "arm64")
        .into_bytes();
    let images = [amd, arm];
    let spec = bench.spec(
        "type=oci,dest=@/out.tar,annotation-index.k=v,annotation-manifest[linux/arm64].only=arm",
    );
    let exported = export(&spec, &images, &bench.cx()).unwrap();
    assert!(exported.manifest.is_none());
    let (files, _) = read_tar(&bench.path("out.tar"));
    let top = Index::from_bytes(&files["index.json"]).unwrap();
    assert!(MediaType::of(&top.manifests[0].media_type).is_index());
    let index = &files[&format!("blobs/sha256/{}", exported.index.unwrap().hex())];
    let index = Index::from_bytes(index).unwrap();
    assert_eq!(index.annotations["k"], "v");
    let only: Vec<bool> = index
        .manifests
        .iter()
        .map(|entry| {
            Manifest::from_bytes(&files[&format!("blobs/sha256/{}", entry.digest.hex())]).unwrap()
        })
        .map(|manifest| manifest.annotations.contains_key("only"))
        .collect();
    assert_eq!(only, [false, true]);

    let error = export(
        &bench.spec("type=docker,dest=@/no.tar"),
        &images,
        &bench.cx(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "docker exporter does not currently support exporting manifest lists"
    );
    assert!(!bench.path("no.tar").exists());

    // Each platform is found again.
    let platform = Platform::new("linux", "arm64");
    let wanted = Selection {
        which: Which::One(None),
        platforms: Platforms::These(vec![platform.clone()]),
    };
    let back = import(&tar(&bench.path("out.tar")), &wanted, &bench.cx()).unwrap();
    assert_eq!(back[0].images[0].platform, platform);
}

#[test]
fn config_of_other_layers_is_refused() {
    let bench = Bench::new();
    let mut image = bench.image();
    image.layers.reverse();
    let result = export(
        &bench.spec("type=oci,dest=@/out.tar"),
        &[image.clone()],
        &bench.cx(),
    );
    assert!(
        matches!(
            result,
            Err(Error::LayerContent {
                position: 0 | 1,
                ..
            })
        ),
        "{result:?}"
    );
    image.layers.pop();
    let result = export(
        &bench.spec("type=oci,dest=@/out.tar"),
        &[image],
        &bench.cx(),
    );
    assert!(
        matches!(
            result,
            Err(Error::LayerCount {
                in_config: 2,
                layers: 1
            })
        ),
        "{result:?}"
    );
    let left: Vec<_> = fs::read_dir(bench.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["store"]);
}

#[test]
fn cancelled_export_leaves_no_file() {
    let bench = Bench::new();
    let image = bench.image();
    bench.cancel.cancel();
    for output in [
        "type=oci,dest=@/out.tar",
        "type=tar,dest=@/out.tar",
        "type=local,dest=@/out",
    ] {
        let result = export(
            &bench.spec(output),
            std::slice::from_ref(&image),
            &bench.cx(),
        );
        assert!(
            matches!(result, Err(Error::Cancelled(_))),
            "{output}: {result:?}"
        );
    }
    assert!(!bench.path("out.tar").exists());
}

#[test]
fn image_without_layers_is_an_image() {
    let bench = Bench::new();
    let mut image = bench.image_of(Vec::new());
    image.config = br#"{"architecture":"amd64","config":{},"created":null,"os":"linux","rootfs":{"type":"layers","diff_ids":null}}"#.to_vec();
    let exported = bench.export("type=oci,dest=@/out.tar", &image);
    assert!(
        !exported
            .descriptor
            .unwrap()
            .annotations
            .contains_key("org.opencontainers.image.created")
    );
    let wanted = Selection::one(None);
    let back = import(&tar(&bench.path("out.tar")), &wanted, &bench.cx()).unwrap();
    assert_eq!(back[0].images[0].config, image.config);
}

#[test]
fn layout_directory_is_added_to() {
    let bench = Bench::new();
    let image = bench.image();
    bench.export("type=oci,tar=false,dest=@/layout,name=x:a", &image);
    bench.export(
        "type=oci,tar=false,dest=@/layout,name=x:b,compression=zstd",
        &image,
    );
    bench.export("type=oci,tar=false,dest=@/layout,name=x:a", &image);
    let index = Index::from_bytes(&fs::read(bench.path("layout/index.json")).unwrap()).unwrap();
    let tags: Vec<&str> = index
        .manifests
        .iter()
        .map(|entry| entry.annotations["org.opencontainers.image.ref.name"].as_str())
        .collect();
    assert_eq!(tags, ["b", "a"]);
    assert_eq!(
        fs::read(bench.path("layout/oci-layout")).unwrap(),
        br#"{"imageLayoutVersion":"1.0.0"}"#
    );
    // Two manifests, one config, two layers in two forms.
    assert_eq!(
        fs::read_dir(bench.path("layout/blobs/sha256"))
            .unwrap()
            .count(),
        2 + 1 + 4
    );
}

#[test]
fn an_engines_archive_is_the_docker_output_and_as_long_as_it_says() {
    let bench = Bench::new();
    let image = bench.image();
    let options = bench.spec("type=docker").image;
    let assembled = assemble(std::slice::from_ref(&image), &options, &bench.cx()).unwrap();
    let archive = EngineArchive::of(&assembled, &image.names);
    let path = bench.path("sent.tar");
    let into = fs::File::create(&path).unwrap();
    archive.send(into, "the engine", &bench.cx()).unwrap();
    let sent = fs::read(&path).unwrap();
    assert_eq!(archive.size_bytes(), sent.len() as u64);
    bench.export("type=docker,dest=@/file.tar", &image);
    assert!(fs::read(bench.path("file.tar")).unwrap() == sent);
    // One that nobody reads.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = fs::File::from(std::os::fd::OwnedFd::from(writer));
    let error = archive.send(closed, "the engine", &bench.cx()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}
