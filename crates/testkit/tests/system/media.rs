//! How an exported image looks: media types, compression, annotations, as the tools of others read them.

use std::fs;
use std::path::Path;
use std::process::Command;

use rbuild_testkit::{Privilege, Registry, granted, need_tool, run};
use serde_json::Value;

use crate::names::skopeo;
use crate::place::{LIMIT, Place, busybox};

const OCI: &str = "application/vnd.oci.image.";
const DOCKER: &str = "application/vnd.docker.";

fn raw(place: &Place, image: &str) -> Value {
    let raw = skopeo(place, &["inspect", "--raw", image]).expect_success();
    serde_json::from_str(&raw.stdout).expect("a manifest is JSON")
}

/// Media types of manifest, config and layers.
fn types(manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().into_iter().flatten();
    [manifest, &manifest["config"]]
        .into_iter()
        .chain(layers)
        .map(|it| it["mediaType"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// The first manifest of a layout.
fn first_manifest(layout: &Path) -> Value {
    let read = |path: &str| -> Value {
        let bytes = fs::read(layout.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        serde_json::from_slice(&bytes).expect("it is JSON")
    };
    let index = read("index.json");
    let digest = index["manifests"][0]["digest"].as_str().expect("a digest");
    read(&digest.replace("sha256:", "blobs/sha256/"))
}

/// Whether podman takes an archive.
fn podman_loads(place: &Place, file: &str) {
    let mut podman = Command::new(need_tool("podman"));
    podman.args(["--storage-driver", "vfs", "--root"]);
    podman
        .arg(place.dir().join("podman/root"))
        .arg("--runroot")
        .arg(place.dir().join("podman/run"))
        .arg("--tmpdir")
        .arg(place.dir().join("podman/tmp"));
    run(
        podman
            .args(["load", "-q", "-i", file])
            .current_dir(place.dir()),
        LIMIT,
    )
    .expect_success();
}

#[test]
fn media_types_and_compressions_are_those_asked_for() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new("FROM busybox\nRUN echo hi > /hi\n");
    let oci = |end: &str| {
        let layer = format!("{OCI}layer.v1.tar{end}");
        let (manifest, config) = ("manifest.v1+json", "config.v1+json");
        vec![
            format!("{OCI}{manifest}"),
            format!("{OCI}{config}"),
            layer.clone(),
            layer,
        ]
    };
    let docker = |end: &str| {
        let layer = format!("{DOCKER}image.rootfs.diff.tar{end}");
        let (manifest, config) = ("distribution.manifest.v2+json", "container.image.v1+json");
        vec![
            format!("{DOCKER}{manifest}"),
            format!("{DOCKER}{config}"),
            layer.clone(),
            layer,
        ]
    };
    for (attrs, expected) in [
        ("", oci("+gzip")),
        (
            ",oci-mediatypes=true,compression=gzip,compression-level=9",
            oci("+gzip"),
        ),
        (",oci-mediatypes=false", docker(".gzip")),
        (",compression=zstd,compression-level=19", oci("+zstd")),
        (",compression=zstd,oci-mediatypes=false", oci("+zstd")),
        (",compression=uncompressed", oci("")),
        (",compression=uncompressed,oci-mediatypes=false", docker("")),
    ] {
        for kind in ["oci", "docker"] {
            let output = format!("type={kind},dest=x.tar,name=reg.example/x:1{attrs}");
            place.build(&["-o", &output]).expect_success();
            let unpacked = place.dir().join("layout");
            fs::create_dir(&unpacked).expect("make a directory");
            let mut tar = Command::new("tar");
            tar.args(["-xf", "x.tar", "-C", "layout"])
                .current_dir(place.dir());
            run(&mut tar, LIMIT).expect_success();
            let manifest = first_manifest(&unpacked);
            assert_eq!(types(&manifest), expected, "{output}");
            // Readers of layouts look at OCI's media types only; of an archive for Docker they look at its
            // own list.
            let is_oci = manifest["mediaType"] == expected[0] && expected[0].starts_with(OCI);
            if is_oci {
                assert_eq!(raw(&place, "oci:layout:1"), manifest);
            }
            if is_oci || kind == "docker" {
                podman_loads(&place, "x.tar");
            }
            fs::remove_dir_all(&unpacked).expect("remove the layout");
        }
    }
}

#[test]
fn layers_of_a_base_are_compressed_again_by_force_only() {
    if !granted(Privilege::Root) {
        return;
    }
    let registry = Registry::start();
    registry.push_layout(busybox(), "base:1");
    let place = Place::new(&format!(
        "FROM {}/base:1\nRUN seq 100000 > /numbers\n",
        registry.host()
    ));
    let layers = |attrs: &str| {
        let output = format!("type=oci,dest=x.tar{attrs}");
        place.build(&["-o", &output]).expect_success();
        types(&raw(&place, "oci-archive:x.tar")).split_off(2)
    };
    let layer = |end: &str| format!("{OCI}layer.v1.tar{end}");
    let zstd = ",compression=zstd";
    assert_eq!(layers(zstd), [layer("+gzip"), layer("+zstd")]);
    let forced = layers(&format!("{zstd},force-compression=true"));
    assert_eq!(forced, [layer("+zstd"), layer("+zstd")]);
    assert_eq!(
        layers(",compression=uncompressed"),
        [layer("+gzip"), layer("")]
    );
    let size = |level: u32| {
        let attrs = format!(",compression=gzip,compression-level={level}");
        layers(&attrs);
        let manifest = raw(&place, "oci-archive:x.tar");
        manifest["layers"][1]["size"]
            .as_u64()
            .expect("a layer has a size")
    };
    let (fast, small) = (size(1), size(9));
    assert!(small < fast, "{small} {fast}");
    place.assert_intact();
}

#[test]
fn annotations_go_where_they_are_meant_to() {
    let place = Place::new("FROM scratch\nCOPY Dockerfile /\n");
    let both = "linux/amd64,linux/arm64";
    let output = "type=oci,tar=false,dest=layout,name=x:1,annotation-index.out=1,\
                  annotation-manifest[linux/arm64].arm=2";
    let mut words = vec!["--platform", both, "-o", output];
    for annotation in [
        "all=3",
        "index:index=4",
        "manifest-descriptor[linux/amd64]:descriptor=5",
        "index-descriptor:top=6",
        "manifest,index:twice=7",
    ] {
        words.extend(["--annotation", annotation]);
    }
    place.build(&words).expect_success();
    let text = fs::read_to_string(place.dir().join("layout/index.json")).expect("read the index");
    let top: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(top["manifests"][0]["annotations"]["top"], "6");
    let index = raw(&place, "oci:layout:1");
    let of = |value: &Value| {
        let all = value["annotations"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        all.iter()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(of(&index), "index=4 out=1 twice=7");
    let descriptors: Vec<String> = index["manifests"]
        .as_array()
        .expect("a list")
        .iter()
        .map(of)
        .collect();
    assert_eq!(descriptors, ["descriptor=5", ""]);
    let manifest = |arch: &str| {
        let image = index["manifests"].as_array().expect("a list").iter();
        let mut image = image.filter(|one| one["platform"]["architecture"] == arch);
        let digest = image.next().expect("the platform is listed")["digest"].clone();
        let hex = digest.as_str().expect("a digest").replace("sha256:", "");
        let bytes = fs::read(place.dir().join("layout/blobs/sha256").join(hex));
        of(&serde_json::from_slice(&bytes.expect("read a manifest")).expect("it is JSON"))
    };
    assert_eq!(manifest("amd64"), "all=3 twice=7");
    assert_eq!(manifest("arm64"), "all=3 arm=2 twice=7");
    place
        .build(&["-o", "type=oci,dest=x.tar,annotation-index.a=b"])
        .expect_code(2)
        .expect_text("index annotations not supported for single platform export");
    place
        .build(&["-o", "type=oci,dest=x.tar,compresion=zstd"])
        .expect_success()
        .expect_text("did you mean compression?");
    place
        .build(&["-o", "type=oci,dest=x.tar,compression=estargz"])
        .expect_code(2)
        .expect_text("unsupported layer compression type: estargz (there is gzip, zstd");
}
