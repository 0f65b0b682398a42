use super::*;

fn parse(text: &str) -> ExportSpec {
    Export::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refuse(text: &str, message: &str) {
    assert_eq!(
        Export::parse(text).unwrap_err().to_string(),
        message,
        "{text}"
    );
}

#[test]
fn shortcuts_are_a_directory_or_a_tar_on_stdout() {
    let local = |dest: &str| Export::Local {
        dest: dest.into(),
        stale: Stale::Keep,
        split: None,
    };
    assert_eq!(parse("out").export, local("out"));
    assert_eq!(parse("./a=b").export, local("./a=b"));
    assert_eq!(
        parse("-").export,
        Export::Tar {
            dest: Dest::Stdout,
            split: None
        }
    );
}

#[test]
fn kinds_and_places() {
    let file = || Dest::File("x".into());
    let cases = [
        ("type=oci,dest=x", Export::OciArchive { dest: file() }),
        ("type=oci", Export::OciArchive { dest: Dest::Stdout }),
        (
            "type=oci,dest=x,tar=false",
            Export::OciDir { dest: "x".into() },
        ),
        (
            "type=oci,dest=x,tar=what",
            Export::OciArchive { dest: file() },
        ),
        ("type=docker", Export::DockerArchive { dest: Dest::Engine }),
        (
            "type=docker,dest=-",
            Export::DockerArchive { dest: Dest::Stdout },
        ),
        (
            "type=docker,tar=0,dest=x",
            Export::DockerDir { dest: "x".into() },
        ),
        (
            "type=tar,dest=x,platform-split=true",
            Export::Tar {
                dest: file(),
                split: Some(true),
            },
        ),
        (
            "TYPE=local, Dest=x,mode=delete",
            Export::Local {
                dest: "x".into(),
                stale: Stale::Delete,
                split: None,
            },
        ),
        (
            "type=image,push=true",
            Export::Image(ImageOutput {
                push: true,
                ..ImageOutput::default()
            }),
        ),
        (
            "type=registry",
            Export::Image(ImageOutput {
                push: true,
                ..ImageOutput::default()
            }),
        ),
        (
            "type=registry,push=false",
            Export::Image(ImageOutput::default()),
        ),
        ("type=cacheonly", Export::CacheOnly),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text).export, expected, "{text}");
    }
}

#[test]
fn mistakes_are_told_in_the_known_words() {
    refuse("type=oci,dest", "invalid value dest");
    refuse("dest=x,tar=true", "type is required for output");
    refuse("type=,dest=x", "type is required for output");
    refuse("type=local", "dest is required for local exporter");
    refuse(
        "type=local,dest=-",
        "dest cannot be stdout for local exporter",
    );
    refuse("type=oci,tar=false", "dest is required for oci exporter");
    refuse(
        "type=oci,compression=lzma",
        "unsupported layer compression type: lzma (there is gzip, zstd, uncompressed)",
    );
    refuse(
        "type=oci,compression-level=x",
        "non-integer value x specified for compression-level",
    );
    refuse(
        "type=oci,force-compression=x",
        "non-bool value x specified for force-compression",
    );
    refuse("type=floppy", "exporter \"floppy\" could not be found");
    refuse(
        "type=oci,\"name=a",
        "invalid output \"type=oci,\\\"name=a\": a quote is not closed",
    );
    let error = Export::parse("type=oci,name=A B").unwrap_err().to_string();
    assert!(error.starts_with("failed to parse A B: "), "{error}");
}

#[test]
fn quotes_keep_commas_together() {
    let spec = parse("type=oci,\"name=a,b:1\",\"annotation.k=say \"\"hi\"\"\"");
    let names: Vec<String> = spec.image.names.iter().map(Reference::familiar).collect();
    assert_eq!(names, ["a:latest", "b:1"]);
    assert_eq!(spec.image.annotations[0].value, "say \"hi\"");
}

#[test]
fn compression_and_level() {
    let cases = [
        ("", None),
        (",compression-level=9", Some(Compression::Gzip { level: 9 })),
        (",compression=gzip", Some(Compression::GZIP)),
        (
            ",compression=gzip,compression-level=0",
            Some(Compression::Gzip { level: 1 }),
        ),
        (",compression=zstd", Some(Compression::ZSTD)),
        (
            ",compression=zstd,compression-level=99",
            Some(Compression::Zstd { level: 22 }),
        ),
        (
            ",compression=uncompressed,compression-level=3",
            Some(Compression::None),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(
            parse(&format!("type=oci{text}")).image.compression,
            expected,
            "{text}"
        );
    }
    assert!(parse("type=oci,force-compression=").image.force_compression);
    assert_eq!(
        parse("type=oci,oci-mediatypes=false").image.media_types,
        Family::Docker
    );
}

#[test]
fn annotations_name_place_and_platform() {
    let spec = parse(
        "type=oci,annotation.a.b=1,annotation-index[linux/arm64].c=2,annotation-manifest-descriptor.d=",
    );
    let found: Vec<(AnnotationPlace, Option<String>, &str, &str)> = spec
        .image
        .annotations
        .iter()
        .map(|a| {
            (
                a.place,
                a.platform.as_ref().map(Platform::to_string),
                a.key.as_str(),
                a.value.as_str(),
            )
        })
        .collect();
    let expected = [
        (
            AnnotationPlace::Index,
            Some("linux/arm64".to_owned()),
            "c",
            "2",
        ),
        (AnnotationPlace::ManifestDescriptor, None, "d", ""),
        (AnnotationPlace::Manifest, None, "a.b", "1"),
    ];
    assert_eq!(found, expected);
    refuse(
        "type=oci,annotation-foo.a=1",
        "unknown annotation type \"foo\"",
    );
    refuse("type=oci,annotation=1", "invalid annotation \"annotation\"");
}

#[test]
fn unknown_attributes_are_handed_on() {
    let spec = parse("type=image,buildinfo=true,name=a");
    assert_eq!(
        spec.other,
        BTreeMap::from([("buildinfo".to_owned(), "true".to_owned())])
    );
}

#[test]
fn attributes_of_a_pushed_image() {
    let text = "type=image,push=true,push-by-digest=true,registry.insecure=true,store=false,\
                unpack=true,name-canonical=true,dangling-name-prefix=h.io/a,danging-name-empty-only=true";
    let spec = parse(text);
    let expected = ImageOutput {
        push: true,
        push_by_digest: true,
        insecure: true,
        keep: Keep::Dropped,
        dangling: Some(Dangling {
            repository: Reference::parse("h.io/a").unwrap(),
            only_alone: true,
        }),
    };
    assert_eq!(spec.export, Export::Image(expected));
    assert!(spec.other.is_empty());
    refuse(
        "type=image,unpack=x",
        "non-bool value x specified for unpack",
    );
    let wrong = "failed to parse A: invalid image reference \"A\": the repository name \"A\" must be lower case";
    refuse("type=image,dangling-name-prefix=A", wrong);
}

#[test]
fn places_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let check = |text: String| parse(&text).check().unwrap_err().to_string();
    let (d, f) = (dir.path().display(), file.display());
    assert_eq!(
        check(format!("type=oci,dest={d}")),
        format!("destination file {d} is a directory")
    );
    assert_eq!(
        check(format!("type=local,dest={f}")),
        format!("destination directory {f} is a file")
    );
    let both = [parse("-"), parse("type=oci")];
    let error = ExportSpec::check_all(&both).unwrap_err();
    assert_eq!(
        error.to_string(),
        "multiple outputs configured to write to stdout"
    );
}
