//! Layers of a base that nobody reads stay in the registry: they are gone from it here, and nobody notices.

use std::fs;
use std::path::Path;
use std::process::Command;

use rbuild_testkit::{Image, Registry, Tree, run, write_layout};
use serde_json::Value;

use crate::place::{LIMIT, Place};

/// Which of the two layers the registry has lost.
enum Lost {
    Lower,
    Both,
}

/// A registry with an image of two layers, `low/file` below `tools/tool`, without the bytes of some.
fn registry(place: &Place, lost: &Lost) -> (Registry, String) {
    let work = place.dir().join("image");
    let lower = Tree::new().file("low/file", "low").dir("tools");
    let upper = Tree::new().file("tools/tool", "tool").dir("tools");
    let layers = [("lower", lower), ("upper", upper)].map(|(name, tree)| {
        let root = work.join(name);
        tree.write_to(&root);
        let archive = work.join(format!("{name}.tar"));
        let mut tar = Command::new("tar");
        tar.arg("-cf").arg(&archive).arg("-C").arg(&root).arg(".");
        run(&mut tar, LIMIT).expect_success();
        archive
    });
    let mut image = Image::new("1", &layers[0], &["/tools/tool"]);
    image.layers = layers.to_vec();
    write_layout(&work.join("layout"), &image).expect("write a layout");
    let registry = Registry::start();
    let digest = registry.push_layout(&work.join("layout"), "team/tools:1");
    let manifest = fs::read(data_of(&registry.data(), digest.trim())).expect("read the manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("a manifest");
    let count = match lost {
        Lost::Lower => 1,
        Lost::Both => 2,
    };
    for layer in &manifest["layers"].as_array().expect("layers")[..count] {
        let digest = layer["digest"].as_str().expect("a digest");
        fs::remove_file(data_of(&registry.data(), digest)).expect("lose a layer");
    }
    let name = format!("{}/team/tools:1", registry.host());
    (registry, name)
}

/// Where docker-registry keeps a blob's bytes.
fn data_of(data: &Path, digest: &str) -> std::path::PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    let blobs = data.join("docker/registry/v2/blobs/sha256");
    blobs.join(&hex[..2]).join(hex).join("data")
}

/// Builds a Dockerfile whose `BASE` is that image.
fn build(lost: &Lost, dockerfile: &str) -> (Place, rbuild_testkit::Finished) {
    let place = Place::new("");
    place.write("own", "own");
    let (_registry, name) = registry(&place, lost);
    place.write("Dockerfile", &dockerfile.replace("BASE", &name));
    let finished = place.build(&["-t", "t"]);
    (place, finished)
}

#[test]
fn a_stage_that_only_adds_metadata_needs_no_layer() {
    let (place, finished) = build(&Lost::Both, "FROM BASE\nENV A=b\nCMD [\"/x\"]\n");
    finished.expect_success();
    place.assert_intact();
}

#[test]
fn a_linked_copy_needs_no_layer_of_its_base() {
    let (place, finished) = build(&Lost::Both, "FROM BASE\nCOPY --link own /tools/own\n");
    finished.expect_success();
    place.assert_intact();
}

#[test]
fn a_file_of_the_upper_layer_is_copied_without_the_lower() {
    let dockerfile = "FROM scratch\nCOPY --from=BASE /tools/tool /tool\n";
    let (place, finished) = build(&Lost::Lower, dockerfile);
    finished.expect_success();
    let out = place.dir().join("out");
    let dest = format!("type=local,dest={}", out.display());
    place.build(&["-o", &dest]).expect_success();
    assert_eq!(fs::read_to_string(out.join("tool")).expect("read"), "tool");
}

#[test]
fn what_may_be_in_a_lost_layer_is_missed() {
    for path in ["/low/file", "/tools/", "/nowhere"] {
        let dockerfile = format!("FROM scratch\nCOPY --from=BASE {path} /x/\n");
        let (place, finished) = build(&Lost::Lower, &dockerfile);
        finished
            .expect_code(1)
            .expect_text("Dockerfile:2")
            .expect_text("not found");
        place.assert_intact();
    }
}
