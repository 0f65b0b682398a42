//! Indexes over images that other machines built: made, added to, annotated, and read back by skopeo.

use std::fs;

use rbuild_testkit::{Finished, Registry};
use serde_json::Value;

use crate::names::skopeo;
use crate::place::Place;

/// A registry with an image of each platform in a repository of its own, as a matrix of builds leaves them.
fn matrix(place: &Place, registry: &Registry) -> [String; 2] {
    ["amd64", "arm64"].map(|arch| {
        let name = format!("{}/{arch}/app:1", registry.host());
        place.write("file", arch);
        let platform = format!("linux/{arch}");
        let layout = format!("oci:{arch}:1");
        place
            .build(&["--platform", &platform, "-t", "built"])
            .expect_success();
        place
            .run(&["save", "-o", &layout, "built"])
            .expect_success();
        place.run(&["rmi", "built"]).expect_success();
        let remote = format!("docker://{name}");
        let words = ["copy", "-q", "--dest-tls-verify=false", &layout, &remote];
        skopeo(place, &words).expect_success();
        name
    })
}

fn place() -> Place {
    Place::new("FROM scratch\nCOPY file /\nCMD [\"/file\"]\n")
}

/// What skopeo reads under a name.
fn raw(place: &Place, name: &str) -> Value {
    let remote = format!("docker://{name}");
    let words = ["inspect", "--tls-verify=false", "--raw", &remote];
    json(&skopeo(place, &words).expect_success())
}

fn json(done: &Finished) -> Value {
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done}"))
}

fn architectures(index: &Value) -> Vec<&str> {
    let manifests = index["manifests"].as_array();
    let manifests = manifests.expect("an index has manifests").iter();
    manifests
        .filter_map(|one| one["platform"]["architecture"].as_str())
        .collect()
}

/// Everything under a name is there and is what it says.
fn copies_whole(place: &Place, name: &str) {
    let remote = format!("docker://{name}");
    let words = [
        "copy",
        "-q",
        "--all",
        "--src-tls-verify=false",
        &remote,
        "dir:whole",
    ];
    skopeo(place, &words).expect_success();
    fs::remove_dir_all(place.dir().join("whole")).expect("remove the copy");
}

fn blobs(place: &Place) -> usize {
    let verified = place.run(&["store", "verify"]).expect_success();
    let count = verified.stdout.split(' ').next().unwrap_or_default();
    count.parse().expect("verify counts blobs")
}

#[test]
fn a_copy_that_fails_leaves_nothing_in_the_store() {
    let place = place();
    let (registry, other) = (Registry::start(), Registry::start());
    let [amd, arm] = matrix(&place, &registry);
    let before = blobs(&place);
    let (far, nowhere) = (format!("{}/app:1", other.host()), "127.0.0.1:1/app:1");
    let words = ["index", "create", "-t", &far, "-t", nowhere, &amd, &arm];
    place.run(&words).expect_code(1).expect_text("127.0.0.1:1");
    assert!(other.requests().iter().any(|sent| sent.starts_with("PUT ")));
    assert_eq!(blobs(&place), before);
}

#[test]
fn images_of_a_matrix_become_one_name() {
    let place = place();
    let (registry, other) = (Registry::start(), Registry::start());
    let [amd, arm] = matrix(&place, &registry);
    let before = blobs(&place);
    let (near, far) = (
        format!("{}/app:1", registry.host()),
        format!("{}/app:1", other.host()),
    );
    let words = ["index", "create", "--dry-run", &amd, &arm];
    let planned = json(&place.run(&words).expect_success());
    assert_eq!(architectures(&planned), ["amd64", "arm64"]);
    let words = [
        "index",
        "create",
        "-t",
        &near,
        "-t",
        &far,
        "--metadata-file",
        "meta",
        &amd,
        &arm,
    ];
    let made = place.run(&words).expect_success();
    assert_eq!(made.stdout.lines().count(), 2, "{made}");
    for name in [&near, &far] {
        let index = raw(&place, name);
        assert_eq!(index, planned);
        copies_whole(&place, name);
    }
    // What went through the store has left it.
    assert_eq!(blobs(&place), before);
    let meta = fs::read_to_string(place.dir().join("meta")).expect("read the metadata");
    let meta: Value = serde_json::from_str(&meta).expect("it is JSON");
    let digest = meta["containerimage.digest"].as_str().expect("a digest");
    assert!(
        made.stdout.contains(&format!("{near}@{digest}\n")),
        "{made}"
    );
    // An index in one piece is copied as it is; one of its platforms becomes another.
    let copy = format!("{}/copy:1", other.host());
    let copied = place
        .run(&["index", "create", "-t", &copy, &near])
        .expect_success();
    assert!(copied.stdout.contains(digest), "{copied}");
    let words = [
        "index",
        "create",
        "-t",
        &copy,
        "--platform",
        "linux/arm64",
        &near,
    ];
    place.run(&words).expect_success();
    assert_eq!(architectures(&raw(&place, &copy)), ["arm64"]);
    let words = ["index", "create", "-t", &copy, "--prefer-index=false", &amd];
    place.run(&words).expect_success();
    assert_eq!(raw(&place, &copy), raw(&place, &amd));
    place.assert_intact();
}

#[test]
fn indexes_are_added_to_annotated_and_shown() {
    let place = place();
    let registry = Registry::start();
    let [amd, arm] = matrix(&place, &registry);
    let name = format!("{}/app:1", registry.host());
    let annotation = [
        "--annotation",
        "a=b",
        "--annotation",
        "manifest-descriptor[linux/amd64]:c=d",
    ];
    let words = [&["index", "create", "-t", &name], &annotation[..], &[&amd]].concat();
    place.run(&words).expect_success();
    let meta = serde_json::json!({
        "containerimage.descriptor": descriptor(&place, &arm),
        "image.name": arm,
    });
    fs::write(place.dir().join("meta"), meta.to_string()).expect("write the metadata");
    let words = ["index", "create", "--append", "-t", &name, "-f", "meta"];
    place.run(&words).expect_success();
    let both = raw(&place, &name);
    assert_eq!(architectures(&both), ["amd64", "arm64"]);
    assert_eq!(both["manifests"][0]["annotations"]["c"], "d");
    // A new build of a platform takes the place of the old one; it may be in the store only.
    place.write("file", "newer");
    let local = format!("{}/local:1", registry.host());
    let words = ["--platform", "linux/amd64", "-t", &local];
    place.build(&words).expect_success();
    let words = ["index", "create", "--append", "-t", &name, &local];
    place.run(&words).expect_success();
    let newer = raw(&place, &name);
    assert_eq!(architectures(&newer), ["arm64", "amd64"]);
    assert_ne!(
        newer["manifests"][1]["digest"],
        both["manifests"][0]["digest"]
    );
    copies_whole(&place, &name);
    let words = [
        "index",
        "annotate",
        "--annotation",
        "e=f",
        "--annotation",
        "index:g=h=i",
        &name,
    ];
    place.run(&words).expect_success();
    let annotated = raw(&place, &name);
    assert_eq!(
        annotated["annotations"],
        serde_json::json!({ "e": "f", "g": "h=i" })
    );
    assert_eq!(annotated["manifests"], newer["manifests"]);
    let shown = place
        .run(&["index", "inspect", "--raw", &name])
        .expect_success();
    assert_eq!(json(&shown), annotated);
    let shown = place.run(&["index", "inspect", &name]).expect_success();
    for line in [
        "Name:      ",
        "  Platform:    linux/arm64\n",
        "MediaType: application/vnd.oci.image.index",
    ] {
        assert!(shown.stdout.contains(line), "{shown}");
    }
    let shown = json(&place.run(&["index", "inspect", "--format", "json", &name]));
    assert_eq!(shown["manifest"]["manifests"], annotated["manifests"]);
    assert!(
        shown["manifest"]["digest"]
            .as_str()
            .is_some_and(|d| d.starts_with("sha256:"))
    );
    place.assert_intact();
}

/// The descriptor of a name, as a build's metadata has it.
fn descriptor(place: &Place, name: &str) -> Value {
    let shown = json(&place.run(&["index", "inspect", "--format", "json", name]));
    let manifest = &shown["manifest"];
    serde_json::json!({
        "mediaType": manifest["mediaType"],
        "digest": manifest["digest"],
        "size": manifest["size"],
    })
}

#[test]
fn files_and_the_store_are_sources_too() {
    let place = place();
    let registry = Registry::start();
    place.write("file", "content");
    let both = "linux/amd64,linux/riscv64";
    place
        .build(&["--platform", both, "-t", "kept"])
        .expect_success();
    let kept = place.run(&["save", "-o", "oci:layout:kept", "kept"]);
    kept.expect_success();
    let name = format!("{}/app:1", registry.host());
    let local = format!("{}/kept:1", registry.host());
    place.run(&["tag", "kept", &local]).expect_success();
    for source in ["oci:layout:kept", &local] {
        let words = ["index", "create", "-t", &name, source];
        place.run(&words).expect_success();
        assert_eq!(architectures(&raw(&place, &name)), ["amd64", "riscv64"]);
        copies_whole(&place, &name);
    }
    // Whoever asks whether it was pushed must not take the store's word for the registry's.
    let warning = "this is what the store has";
    let seen = place.run(&["index", "inspect", &local]).expect_success();
    seen.expect_text(warning);
    let seen = place.run(&["index", "inspect", &name]).expect_success();
    assert!(!seen.stderr.contains(warning), "{}", seen.stderr);
    place.assert_intact();
}

#[test]
fn what_cannot_be_an_index_is_told() {
    let place = place();
    let registry = Registry::start();
    let [amd, _] = matrix(&place, &registry);
    let host = registry.host();
    let (name, none) = (format!("{host}/app:1"), format!("{host}/none:1"));
    let pinned = format!("{name}@sha256:{}", "0".repeat(64));
    fs::write(place.dir().join("odd"), "{}").expect("write a file");
    let create = |words: &[&str]| place.run(&[&["index", "create"], words].concat());
    for (words, code, text) in [
        (&[amd.as_str()][..], 2, "--tag"),
        (&["-t", &name], 2, "no source is named"),
        (&["-t", &name, &none], 1, "is not in the store either"),
        (&["-t", &pinned, &amd], 2, "leave the digest out"),
        (&["-t", &none, "--append", &amd], 1, "without --append"),
        (&["-t", &name, "-f", "odd"], 2, "it has no descriptor"),
        (&["-t", &name, "-f", "missing"], 2, "missing"),
        (
            &["-t", &name, "--annotation", "manifest:a=b", &amd],
            2,
            "manifest-descriptor",
        ),
        (
            &["-t", &name, "--platform", "linux/s390x", &amd],
            2,
            "no source is for these platforms",
        ),
        (&["-t", &name, "oci:nowhere"], 1, "nowhere"),
    ] {
        create(words).expect_code(code).expect_text(text);
    }
    // Nothing was named on the way.
    let words = ["index", "inspect", &name];
    place.run(&words).expect_code(1);
    place.assert_intact();
}
