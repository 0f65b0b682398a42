//! Pushing to Debian's `docker-registry`: what is sent, what is not, and when.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rbuild_testkit::{
    Finished, Privilege, REGISTRY_PASSWORD, REGISTRY_USER, Registry, Tree, granted, need_tool, run,
};
use serde_json::Value;

use crate::place::{LIMIT, Place, busybox};

const COPIES: &str =
    "FROM busybox\nCOPY first /first\nRUN echo second > /second\nCOPY third /third\n";

fn copies() -> Place {
    let tree = Tree::new()
        .file("first", "1".repeat(100_000))
        .file("third", "3");
    Place::with(COPIES, tree)
}

/// The blobs that were sent, by digest.
fn sent(registry: &Registry) -> Vec<String> {
    let requests = registry.requests();
    let puts = requests.iter().filter(|request| {
        request.starts_with("PUT ")
            && request.contains("/blobs/uploads/")
            && request.ends_with(" 201")
    });
    puts.filter_map(|request| {
        let (_, digest) = request.split_once("digest=sha256%3A")?;
        Some(digest.trim_end_matches(" 201").to_owned())
    })
    .collect()
}

/// What a registry has under a name, by skopeo.
#[track_caller]
fn raw(registry: &Registry, name: &str) -> Value {
    let inspected = skopeo(
        &["inspect", "--raw"],
        &format!("docker://{}/{name}", registry.host()),
    );
    serde_json::from_str(&inspected.expect_success().stdout).expect("a manifest")
}

pub fn skopeo(words: &[&str], address: &str) -> Finished {
    let mut command = Command::new(need_tool("skopeo"));
    command.args(words).args(["--tls-verify=false", address]);
    run(&mut command, Duration::from_secs(60))
}

fn metadata(place: &Place, file: &str) -> Value {
    let bytes = fs::read(place.dir().join(file)).expect("read the metadata");
    serde_json::from_slice(&bytes).expect("JSON")
}

#[test]
fn a_second_push_sends_no_layer_and_a_small_change_one() {
    if !granted(Privilege::Root) {
        return;
    }
    let (registry, place) = (Registry::start(), copies());
    let name = format!("{}/team/app:1", registry.host());
    let push = ["-t", &name, "--push", "--metadata-file", "m.json"];
    place.build(&push).expect_success();
    // Base, three layers and the config.
    assert_eq!(sent(&registry).len(), 5);
    let first = metadata(&place, "m.json");
    assert_eq!(first["image.name"], name);
    let manifest = raw(&registry, "team/app:1");
    assert_eq!(
        manifest["config"]["digest"],
        first["containerimage.config.digest"]
    );
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(4));

    registry.forget_requests();
    place.build(&push).expect_success();
    assert!(sent(&registry).is_empty(), "{:?}", sent(&registry));
    assert_eq!(metadata(&place, "m.json"), first);

    registry.forget_requests();
    place.write("third", "changed");
    place.build(&push).expect_success();
    let again = raw(&registry, "team/app:1");
    let hex = |value: &Value| {
        value
            .as_str()
            .map(|text| text.trim_start_matches("sha256:").to_owned())
    };
    let mut wanted = [
        hex(&again["layers"][3]["digest"]),
        hex(&again["config"]["digest"]),
    ];
    let mut found: Vec<_> = sent(&registry).into_iter().map(Some).collect();
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
    place.assert_intact();
}

#[test]
fn layers_are_there_while_later_steps_run() {
    if !granted(Privilege::Root) {
        return;
    }
    let registry = Registry::start();
    // The layer's digest, from an image that is the same so far.
    let place = Place::with(
        "FROM busybox\nCOPY first /first\n",
        Tree::new().file("first", "content"),
    );
    place
        .build(&["-o", "type=oci,tar=false,dest=layout"])
        .expect_success();
    let inspected = run(
        Command::new(need_tool("skopeo"))
            .current_dir(place.dir())
            .args(["inspect", "--raw", "oci:layout"]),
        LIMIT,
    );
    let manifest: Value = serde_json::from_str(&inspected.expect_success().stdout).expect("JSON");
    let digest = manifest["layers"][1]["digest"].as_str().expect("a layer");

    // The same files, whose times are in the layer, and nothing known; the RUN ends only when the layer
    // is there.
    fs::remove_dir_all(place.store()).expect("remove the store");
    let blob = format!("http://{}/v2/team/app/blobs/{digest}", registry.host());
    let script = until_there(&blob);
    place.write(
        "Dockerfile",
        &format!("FROM busybox\nCOPY first /first\nRUN {script}\n"),
    );
    let name = format!("{}/team/app:1", registry.host());
    place
        .build(&["-t", &name, "--push"])
        .expect_success()
        .expect_text("pushing finished layers");
    let requests = registry.requests();
    let at = |what: &dyn Fn(&str) -> bool| requests.iter().position(|request| what(request));
    let layer = at(&|r| r.starts_with("PUT") && r.contains(&digest.replace(':', "%3A")));
    let tag = at(&|r| r.starts_with("PUT /v2/team/app/manifests/1 "));
    assert!(layer.is_some() && layer < tag, "{requests:?}");
    raw(&registry, "team/app:1");
}

#[test]
fn layers_of_a_base_that_a_step_needed_go_while_it_runs() {
    if !granted(Privilege::Root) {
        return;
    }
    let (from, to) = (Registry::start(), Registry::start());
    from.push_layout(busybox(), "team/busybox:1");
    let base = raw(&from, "team/busybox:1");
    let digest = base["layers"][0]["digest"].as_str().expect("a layer");
    let blob = format!("http://{}/v2/team/app/blobs/{digest}", to.host());
    let place = Place::new(&format!(
        "FROM {}/team/busybox:1\nRUN true > /first\nRUN {}\n",
        from.host(),
        until_there(&blob),
    ));
    let name = format!("{}/team/app:1", to.host());
    place.build(&["-t", &name, "--push"]).expect_success();
    raw(&to, "team/app:1");
}

/// A script that ends well once a blob is there.
fn until_there(blob: &str) -> String {
    format!(
        "i=0; until wget -q -O /dev/null {blob}; do i=$((i+1)); [ $i -lt 300 ] || exit 9; sleep 0.1; done"
    )
}

#[test]
fn a_refused_push_ends_the_build_before_its_time() {
    if !granted(Privilege::Root) {
        return;
    }
    let registry = Registry::start_with_login();
    let place = Place::new("FROM busybox\nRUN sleep 100\n");
    let begun = Instant::now();
    place
        .build(&["-t", &format!("{}/team/app:1", registry.host()), "--push"])
        .expect_code(1)
        .expect_text("failed to push")
        .expect_text("push access denied")
        .expect_text("rbuild login");
    assert!(begun.elapsed() < Duration::from_secs(50));
    place.assert_intact();
}

/// Writes a login for the registry; returns the folder that `DOCKER_CONFIG` is to name.
pub fn login(place: &Place, registry: &Registry, password: &str) -> std::path::PathBuf {
    let folder = place.dir().join("docker");
    let pair = base64(&format!("{REGISTRY_USER}:{password}"));
    let text = format!(
        r#"{{"auths":{{"{}":{{"auth":"{pair}"}}}}}}"#,
        registry.host()
    );
    fs::create_dir_all(&folder).expect("make the folder");
    fs::write(folder.join("config.json"), text).expect("write the login");
    folder
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let bytes = [
            three[0],
            *three.get(1).unwrap_or(&0),
            *three.get(2).unwrap_or(&0),
        ];
        let bits = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
            out.push(if at <= three.len() {
                digit as char
            } else {
                '='
            });
        }
    }
    out
}

#[test]
fn what_was_refused_is_pushed_later_without_building() {
    let registry = Registry::start_with_login();
    let place = Place::with(
        "FROM scratch\nCOPY first /first\n",
        Tree::new().file("first", "1"),
    );
    let name = format!("{}/team/app:1", registry.host());
    let wrong = login(&place, &registry, "wrong");
    let mut build = place.build_command(&["-t", &name, "--push"]);
    run(build.env("DOCKER_CONFIG", &wrong), LIMIT)
        .expect_code(1)
        .expect_text("push access denied");
    // Nothing is half-tagged.
    let right = login(&place, &registry, REGISTRY_PASSWORD);
    let resume = |words: &[&str]| {
        let mut command = place.rbuild(&["push", "--resume"]);
        run(command.args(words).env("DOCKER_CONFIG", &right), LIMIT)
    };
    resume(&["other/name"])
        .expect_code(1)
        .expect_text("no push of other/name:latest is unfinished");
    let finished = resume(&[]).expect_success();
    assert!(
        finished.stdout.starts_with(&format!("{name}@sha256:")),
        "{}",
        finished.stdout
    );
    assert!(!finished.stderr.contains("COPY"), "{}", finished.stderr);
    resume(&[])
        .expect_success()
        .expect_text("no push is unfinished");
    let mut inspect = Command::new(need_tool("skopeo"));
    inspect.args(["inspect", "--tls-verify=false", "--creds"]);
    inspect.arg(format!("{REGISTRY_USER}:{REGISTRY_PASSWORD}"));
    run(inspect.arg(format!("docker://{name}")), LIMIT).expect_success();
}

/// Bytes that no compressor makes smaller.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

#[test]
fn a_base_of_the_same_registry_is_mounted_and_not_fetched() {
    let registry = Registry::start();
    registry.push_layout(busybox(), "team/busybox:1");
    let place = Place::with(
        &format!(
            "FROM {}/team/busybox:1\nCOPY --link first /first\n",
            registry.host()
        ),
        Tree::new().file("first", "1"),
    );
    registry.forget_requests();
    let name = format!("{}/apps/one:1", registry.host());
    place.build(&["-t", &name, "--push"]).expect_success();
    let requests = registry.requests();
    let manifest = raw(&registry, "apps/one:1");
    let base = manifest["layers"][0]["digest"].as_str().expect("a layer");
    let mounts = requests.iter().filter(|request| {
        request.starts_with("POST /v2/apps/one/blobs/uploads/?mount=")
            && request.contains("from=team%2Fbusybox")
            && request.ends_with(" 201")
    });
    assert_eq!(mounts.count(), 1, "{requests:?}");
    let fetched = requests
        .iter()
        .filter(|request| request.starts_with("GET") && request.contains(base));
    assert_eq!(fetched.count(), 0, "{requests:?}");
    // The layer and the config.
    assert_eq!(sent(&registry).len(), 2);

    // What was pushed to one repository is mounted into the next.
    registry.forget_requests();
    let name = format!("{}/apps/two:1", registry.host());
    place.build(&["-t", &name, "--push"]).expect_success();
    assert!(sent(&registry).is_empty(), "{:?}", registry.requests());
    raw(&registry, "apps/two:1");
}

#[test]
fn a_base_of_another_registry_is_fetched_and_sent() {
    let (from, to) = (Registry::start(), Registry::start());
    from.push_layout(busybox(), "team/busybox:1");
    let place = Place::new(&format!("FROM {}/team/busybox:1\nLABEL a=b\n", from.host()));
    let name = format!("{}/apps/one:1", to.host());
    place.build(&["-t", &name, "--push"]).expect_success();
    assert_eq!(sent(&to).len(), 2);
    raw(&to, "apps/one:1");
    place.assert_intact();
}

#[test]
fn several_platforms_and_names_become_indexes() {
    let registry = Registry::start();
    let place = Place::with(
        "FROM scratch\nCOPY first /first\n",
        Tree::new().file("first", "1"),
    );
    let host = registry.host();
    let names = [
        format!("{host}/a/app:1"),
        format!("{host}/a/app:2"),
        format!("{host}/b/app:1"),
    ];
    let mut words = vec!["--platform", "linux/amd64,linux/arm64", "--push"];
    words.extend(["--metadata-file", "m.json", "--iidfile", "id"]);
    words.extend(["--annotation", "index:team=us"]);
    for name in &names {
        words.extend(["-t", name]);
    }
    place.build(&words).expect_success();
    let indexes = ["a/app:1", "a/app:2", "b/app:1"].map(|name| raw(&registry, name));
    assert!(indexes.iter().all(|index| index == &indexes[0]));
    assert_eq!(indexes[0]["annotations"]["team"], "us");
    let platforms: Vec<_> = indexes[0]["manifests"]
        .as_array()
        .expect("manifests")
        .iter()
        .map(|entry| {
            entry["platform"]["architecture"]
                .as_str()
                .expect("a platform")
        })
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
    // One layer and two configs, each once; the rest is mounted.
    assert_eq!(sent(&registry).len(), 3, "{:?}", registry.requests());
    let told = metadata(&place, "m.json");
    let id = fs::read_to_string(place.dir().join("id")).expect("read the id");
    assert_eq!(told["containerimage.digest"], id);
    assert_eq!(told["image.name"], names.join(","));
    // The store has it as it was pushed.
    let other = format!("{host}/c/app:1");
    place.run(&["tag", &names[0], &other]).expect_success();
    let pushed = place.run(&["push", &other]).expect_success();
    assert_eq!(pushed.stdout, format!("{other}@{id}\n"));
    for platform in ["amd64", "arm64"] {
        let words = ["inspect", "--override-arch", platform];
        skopeo(&words, &format!("docker://{}", names[0]))
            .expect_success()
            .expect_text(&format!("\"Architecture\": \"{platform}\""));
    }
}

#[test]
fn attributes_of_the_output() {
    let registry = Registry::start();
    let place = Place::with(
        "FROM scratch\nCOPY first /first\n",
        Tree::new().file("first", "1"),
    );
    let host = registry.host();
    let output = format!(
        "type=image,\"name={host}/a:1,{host}/b:2\",push=true,store=false,compression=zstd,oci-mediatypes=true"
    );
    place
        .build(&["-t", "not/pushed", "-o", &output])
        .expect_success();
    for name in ["a:1", "b:2"] {
        let manifest = raw(&registry, name);
        let layer = &manifest["layers"][0]["mediaType"];
        assert_eq!(layer, "application/vnd.oci.image.layer.v1.tar+zstd");
    }
    let images = place.run(&["images", "-q"]).expect_success();
    assert_eq!(images.stdout, "");

    let digest = format!("type=registry,name={host}/c,push-by-digest=true,oci-mediatypes=false");
    let words = ["-o", digest.as_str(), "--metadata-file", "m.json"];
    place.build(&words).expect_success();
    let told = metadata(&place, "m.json");
    let pinned = format!(
        "c@{}",
        told["containerimage.digest"].as_str().expect("a digest")
    );
    let manifest = raw(&registry, &pinned);
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    assert_eq!(manifest["mediaType"], docker);
    let tagged = registry.requests();
    assert!(
        !tagged.iter().any(|r| r.contains("/v2/c/manifests/latest")),
        "{tagged:?}"
    );

    let dangling = format!("type=registry,dangling-name-prefix={host}/d");
    place
        .build(&["-o", &dangling, "--metadata-file", "m.json"])
        .expect_success();
    let told = metadata(&place, "m.json");
    let pinned = format!(
        "d@{}",
        told["containerimage.digest"].as_str().expect("a digest")
    );
    raw(&registry, &pinned);
}

#[test]
fn requests_that_make_no_sense() {
    let place = Place::new("FROM scratch\nLABEL a=b\n");
    place
        .build(&["--push"])
        .expect_code(2)
        .expect_text("tag is needed when pushing to registry");
    place
        .build(&["--push", "--offline", "-t", "registry.invalid/a"])
        .expect_code(2)
        .expect_text("`rbuild push NAME`");
    place.run(&["push"]).expect_code(2);
    place
        .run(&["push", "no/such:1"])
        .expect_code(1)
        .expect_text("no/such:1: no such image in the store");
    // Nobody listens there.
    place
        .build(&["-t", "127.0.0.1:1/a:1", "--push"])
        .expect_code(1)
        .expect_text("failed to push 127.0.0.1:1/a:1: cannot reach 127.0.0.1:1");
}

#[test]
fn an_image_of_the_store_is_pushed_as_it_was() {
    let registry = Registry::start();
    let place = Place::with(
        "FROM scratch\nCOPY first /first\n",
        Tree::new().file("first", "1"),
    );
    let name = format!("{}/team/app:1", registry.host());
    let other = format!("{}/team/app:2", registry.host());
    let push = [
        "-t",
        &name,
        "--push",
        "--annotation",
        "k=v",
        "--metadata-file",
        "m.json",
    ];
    place.build(&push).expect_success();
    place.run(&["tag", &name, &other]).expect_success();
    let pushed = place.run(&["push", &other]).expect_success();
    let digest = metadata(&place, "m.json")["containerimage.digest"].clone();
    let digest = digest.as_str().expect("a digest");
    assert_eq!(pushed.stdout, format!("{other}@{digest}\n"));
    assert_eq!(raw(&registry, "team/app:2")["annotations"]["k"], "v");
    // One that was never pushed.
    let plain = format!("{}/plain:1", registry.host());
    place.build(&["-t", &plain]).expect_success();
    place.run(&["push", &plain]).expect_success();
    assert_eq!(
        raw(&registry, "plain:1")["layers"].as_array().map(Vec::len),
        Some(1)
    );
}
