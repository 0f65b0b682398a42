//! Names in the store: several platforms under one, and where FROM looks for them.

use std::fs;
use std::process::Command;

use rbuild_testkit::{Finished, Privilege, Registry, granted, need_tool, run};
use serde_json::Value;

use crate::place::{LIMIT, Place, busybox, shell_in};

/// This machine's platform, and one that is none.
fn platforms() -> (&'static str, &'static str) {
    match std::env::consts::ARCH {
        "aarch64" => ("linux/arm64", "linux/s390x"),
        _ => ("linux/amd64", "linux/s390x"),
    }
}

pub fn skopeo(place: &Place, words: &[&str]) -> Finished {
    let mut skopeo = Command::new(need_tool("skopeo"));
    skopeo.current_dir(place.dir()).arg("--insecure-policy");
    run(skopeo.args(words), LIMIT)
}

/// Both platforms under one name; `busybox` runs on this machine's only.
fn both(place: &Place) -> String {
    let (own, other) = platforms();
    let both = format!("{other},{own}");
    place
        .build(&["--platform", &both, "-t", "both:1"])
        .expect_success();
    both
}

const EACH: &str =
    "FROM --platform=$BUILDPLATFORM busybox\nARG TARGETARCH\nRUN echo $TARGETARCH > /arch\n";

#[test]
fn a_name_of_several_platforms_is_run_and_built_on() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(EACH);
    let both = both(&place);
    let (own, other) = platforms();
    let arch = |platform: &str| platform.trim_start_matches("linux/").to_owned() + "\n";
    assert_eq!(shell_in(&place, "both:1", "cat /arch"), arch(own));
    let words = ["run", "--platform", other, "both:1", "cat", "/arch"];
    assert_eq!(place.run(&words).expect_success().stdout, arch(other));
    place
        .run(&["run", "--platform", "linux/386", "both:1", "true"])
        .expect_code(1)
        .expect_text("both:1 has no image for linux/386; there is");
    // FROM takes the part for the platform that it builds for.
    place.write(
        "Dockerfile",
        "FROM both:1\nCOPY --from=both:1 /arch /copy\n",
    );
    let on_top = ["--platform", &both, "-o", "type=local,dest=out"];
    place.build(&on_top).expect_success();
    for platform in [own, other] {
        let folder = format!("out/{}", platform.replace('/', "_"));
        for file in ["arch", "copy"] {
            let text = fs::read_to_string(place.dir().join(&folder).join(file));
            assert_eq!(text.expect("the platform has its file"), arch(platform));
        }
    }
    place.run(&["tag", "both:1", "more:2"]).expect_success();
    place.run(&["rmi", "both:1"]).expect_success();
    let listed = place.run(&["images", "--format", "json"]).expect_success();
    let listed: Value = serde_json::from_str(&listed.stdout).expect("one line");
    assert_eq!(listed["Platform"].as_str(), Some(both.as_str()));
    place.run(&["rmi", "more:2"]).expect_success();
    assert_eq!(place.run(&["images", "-q"]).expect_success().stdout, "");
    place.assert_intact();
}

#[test]
fn several_platforms_are_saved_as_an_index() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(EACH);
    both(&place);
    let (own, other) = platforms();
    place
        .run(&["save", "--format", "oci", "-o", "all.tar", "both:1"])
        .expect_success();
    let raw = skopeo(&place, &["inspect", "--raw", "oci-archive:all.tar"]).expect_success();
    let index: Value = serde_json::from_str(&raw.stdout).expect("an index is JSON");
    let listed: Vec<String> = index["manifests"]
        .as_array()
        .expect("an index has manifests")
        .iter()
        .map(|one| &one["platform"])
        .map(|one| format!("{}/{}", one["os"], one["architecture"]).replace('"', ""))
        .collect();
    assert_eq!(listed, [other, own]);
    for (file, words) in [
        ("one.tar", vec!["--format", "oci", "--platform", other]),
        ("docker.tar", vec![]),
        ("foreign.tar", vec!["--platform", other]),
    ] {
        let words = [vec!["save", "-o", file], words, vec!["both:1"]].concat();
        place.run(&words).expect_success();
    }
    let arch = |image: &str, more: &[&str]| {
        let words = [more, &["inspect", "--config", image][..]].concat();
        let config = skopeo(&place, &words).expect_success().stdout;
        let config: Value = serde_json::from_str(&config).expect("a config is JSON");
        format!(
            "linux/{}",
            config["architecture"].as_str().unwrap_or_default()
        )
    };
    let arch_of = ["--override-arch", other.trim_start_matches("linux/")];
    assert_eq!(arch("oci-archive:one.tar", &[]), other);
    assert_eq!(arch("docker-archive:docker.tar", &[]), own);
    assert_eq!(arch("docker-archive:foreign.tar", &[]), other);
    assert_eq!(arch("oci-archive:all.tar", &arch_of), other);
}

/// A base in the store and another of the same name in a registry.
fn two_bases(place: &Place, registry: &Registry) -> String {
    registry.push_layout(busybox(), "base:1");
    let name = format!("{}/base:1", registry.host());
    place.write("Dockerfile", "FROM busybox\nRUN echo store > /where\n");
    place.build(&["-t", &name]).expect_success();
    place.write(
        "Dockerfile",
        &format!("FROM {name}\nRUN cat /where || echo registry\n"),
    );
    name
}

#[test]
fn from_finds_contexts_before_the_store_before_registries() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new("");
    let registry = Registry::start();
    let name = two_bases(&place, &registry);
    let resolved = |words: &[&str]| place.build(words).expect_success();
    let in_store = format!("resolve {name} in the store");
    let in_registry = format!("resolve {name} in its registry");
    for words in [
        &[][..],
        &["--pull"],
        &["--resolve=auto"],
        &["--resolve", "local"],
    ] {
        let built = resolved(words).expect_text(&in_store);
        assert!(!built.text().contains(&in_registry), "{built}");
    }
    let built = resolved(&["--resolve=registry", "--no-cache"]);
    built.expect_text(&in_registry).expect_text("registry\n");
    // What was pulled is no name of the store.
    place.run(&["rmi", &name]).expect_success();
    resolved(&[]).expect_text(&in_registry);
    let refused = place.build(&["--resolve=store"]).expect_code(1);
    refused
        .expect_text("is not in the store")
        .expect_text("--resolve=store leaves registries out");
    // Tagged, loaded and imported images are.
    for words in [
        &["tag", "docker://NAME", "NAME"][..],
        &["import", "NAME", "oci:LAYOUT"],
        &["load", "-i", "saved.tar"],
    ] {
        let layout = busybox().display().to_string();
        let words: Vec<String> = words
            .iter()
            .map(|word| word.replace("NAME", &name).replace("LAYOUT", &layout))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        place.run(&words).expect_success();
        resolved(&["--resolve=store"]).expect_text(&in_store);
        place
            .run(&["save", "-o", "saved.tar", &name])
            .expect_success();
        place.run(&["rmi", &name]).expect_success();
    }
    // A named context goes before all of them, and may be the registry's and no other.
    two_bases(&place, &registry);
    let layout = format!("{name}=oci-layout://{}", busybox().display());
    let built = resolved(&["--build-context", &layout]);
    assert!(!built.text().contains("resolve "), "{built}");
    let far = format!("{name}=docker://{name}");
    resolved(&["--build-context", &far]).expect_text(&in_registry);
    place
        .build(&["--resolve=nowhere"])
        .expect_code(2)
        .expect_text("`nowhere` is none of auto (the store, then the registry), registry, store");
    place.assert_intact();
}

#[test]
fn a_name_that_fits_nowhere_says_where_it_was_looked_for() {
    let place = Place::new("FROM scratch\nCOPY Dockerfile /\n");
    let registry = Registry::start();
    let name = format!("{}/none:1", registry.host());
    let both = "linux/s390x,linux/riscv64";
    place
        .build(&["--platform", both, "-t", &name])
        .expect_success();
    place.write("Dockerfile", &format!("FROM {name}\nLABEL a=b\n"));
    let missing = place.build(&["--platform", "linux/arm64"]).expect_code(1);
    missing.expect_text("the store has it, but not for linux/arm64: linux/s390x, linux/riscv64");
    let words = ["--platform", "linux/arm64", "--resolve=store"];
    let refused = place.build(&words).expect_code(1);
    refused.expect_text("has no image for linux/arm64; there is linux/s390x, linux/riscv64");
    let refused = place.build(&["--resolve=registry"]).expect_code(1);
    refused.expect_text("--resolve=registry leaves the store out");
    let fits = ["--platform", "linux/riscv64"];
    place.build(&fits).expect_success();
}
