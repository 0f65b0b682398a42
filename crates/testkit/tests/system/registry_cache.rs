//! Caches in a real registry, and records in images: each machine is a store of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use rbuild_testkit::{Finished, Privilege, Registry, Tree, granted, run};
use serde_json::Value;

use crate::machines::{STEPS, blob_bytes, image_id, instead};
use crate::place::{LIMIT, Place, cached_steps, shell_in};

/// Without a stage whose results are not in the image.
const ONE_STAGE: &str = "FROM busybox\n\
    COPY in /in\n\
    RUN head -c 3000000 /dev/urandom > /out && cat /in >> /out\n\
    RUN md5sum /out > /sum\n";

fn machine(steps: &str) -> Place {
    Place::with(steps, Tree::new().file("in", "1\n"))
}

fn build(place: &Place, words: &[&str]) -> Finished {
    place.build(words).expect_success()
}

#[test]
fn a_registry_serves_other_machines_and_an_image_takes_its_layers_from_the_cache() {
    if !granted(Privilege::Root) {
        return;
    }
    let registry = Registry::start();
    let cache = format!("{}/team/cache:main", registry.host());
    let (first, second) = (machine(STEPS), machine(STEPS));
    let to = format!("type=registry,ref={cache},mode=max");
    build(&first, &["-t", "x", "--cache-to", &to]);
    registry.forget_requests();
    let done = build(&second, &["-t", "x", "--cache-from", &cache]);
    assert_eq!(cached_steps(&done).len(), 4, "{}", done.stderr);
    assert_eq!(image_id(&first, "x"), image_id(&second, "x"));
    assert!(blob_bytes(&second) < 1_000_000, "{}", blob_bytes(&second));
    // To the same registry the layers go without coming here.
    let output = format!(
        "type=image,name={}/team/app:1,push=true,compression=zstd",
        registry.host()
    );
    build(&second, &["-o", &output, "--cache-from", &cache]);
    let asked = registry.requests();
    let count = |words: [&str; 2]| {
        let fits = |line: &&String| words.iter().all(|word| line.contains(word));
        asked.iter().filter(fits).count()
    };
    assert_eq!(count(["mount=", "from=team%2Fcache"]), 2, "{asked:?}");
    // Only the index came here.
    assert_eq!(count(["GET", "/v2/team/cache/blobs/"]), 1, "{asked:?}");
}

#[test]
fn writers_at_the_same_time_keep_each_others_entries() {
    if !granted(Privilege::Root) {
        return;
    }
    let registry = Registry::start();
    let cache = format!("{}/team/cache:main", registry.host());
    let machines: Vec<Place> = (0..6)
        .map(|number| Place::new(&format!("FROM busybox\nRUN echo {number} > /n\n")))
        .collect();
    let write = |place: &Place| {
        let done = build(place, &["-t", "x", "--cache-to", &cache]);
        assert!(!done.stderr.contains("RemoteCache"), "{done}");
    };
    std::thread::scope(|scope| {
        for place in &machines {
            scope.spawn(move || write(place));
        }
    });
    let found = || {
        let is_found = |place: &&Place| {
            let elsewhere = Place::new("");
            fs::copy(
                place.context().join("Dockerfile"),
                elsewhere.context().join("Dockerfile"),
            )
            .expect("copy the Dockerfile");
            let built = build(&elsewhere, &["-t", "x", "--cache-from", &cache]);
            cached_steps(&built).len() == 1
        };
        machines.iter().filter(is_found).count()
    };
    // Who is held up between its last look and its writing may undo another's; nobody undoes all.
    assert!(found() >= 3);
    // What got lost comes with the next build, although nothing is made in it.
    machines.iter().for_each(write);
    assert_eq!(found(), machines.len());
}

#[test]
fn a_registry_that_takes_nothing_fails_no_build() {
    if !granted(Privilege::Root) {
        return;
    }
    let registry = Registry::start_with_login();
    let cache = format!("{}/team/cache:main", registry.host());
    let place = machine(STEPS);
    let done = build(
        &place,
        &["-t", "x", "--cache-to", &cache, "--cache-from", &cache],
    );
    let warned = done.stderr.matches("access denied").count();
    assert!(warned > 0, "{}", done.stderr);
    assert!(
        done.stderr.contains("the cache was not written"),
        "{}",
        done.stderr
    );
}

#[test]
fn records_in_an_image_serve_other_machines_and_give_the_same_image_again() {
    if !granted(Privilege::Root) {
        return;
    }
    let registry = Registry::start();
    let app = format!("{}/app:1", registry.host());
    let (first, second, plain) = (machine(ONE_STAGE), machine(ONE_STAGE), machine(ONE_STAGE));
    build(&first, &["-t", &app, "--push", "--cache-to", "type=inline"]);
    let done = build(
        &second,
        &[
            "-t",
            &app,
            "--build-arg",
            "BUILDKIT_INLINE_CACHE=1",
            "--cache-from",
            &app,
        ],
    );
    assert_eq!(cached_steps(&done).len(), 3, "{}", done.stderr);
    assert_eq!(image_id(&first, &app), image_id(&second, &app));
    assert!(blob_bytes(&second) < 1_000_000, "{}", blob_bytes(&second));
    build(&second, &["-t", "without"]);
    assert_ne!(image_id(&second, "without"), image_id(&second, &app));
    // A change makes what follows it, over layers that are fetched now.
    second.write("in", "2\n");
    let done = build(&second, &["-t", "changed", "--cache-from", &app]);
    assert!(cached_steps(&done).is_empty(), "{}", done.stderr);
    // An image without records is told, and in nobody's way.
    let bare = format!("{}/app:bare", registry.host());
    build(&second, &["-t", &bare, "--push"]);
    let done = build(&plain, &["-t", "x", "--cache-from", &bare]);
    assert!(
        done.stderr.contains("without records of a cache"),
        "{}",
        done.stderr
    );
}

#[test]
fn records_in_an_image_are_believed_if_their_writer_is() {
    if !granted(Privilege::Root) {
        return;
    }
    let registry = Registry::start();
    let app = format!("{}/app:1", registry.host());
    let (first, second) = (machine(ONE_STAGE), machine(ONE_STAGE));
    let key = |name: &str| {
        let file = first.dir().join(name).display().to_string();
        let made = first.run(&["cache", "key", &file]).expect_success();
        (file, made.stdout.trim().to_owned())
    };
    let ((own, public), (_, stranger)) = (key("own"), key("stranger"));
    let inline = ["-t", &app, "--push", "--cache-to", "type=inline"];
    build(&first, &[&inline[..], &["--cache-key", &own]].concat());
    let from = ["-t", "x", "--cache-from", &app, "--cache-trust"];
    let done = build(&second, &[&from[..], &[&stranger]].concat());
    assert!(cached_steps(&done).is_empty(), "{}", done.stderr);
    let told = "signed by a key that is not trusted";
    assert!(done.stderr.contains(told), "{}", done.stderr);
    let third = machine(ONE_STAGE);
    let done = build(&third, &[&from[..], &[&public]].concat());
    assert_eq!(cached_steps(&done).len(), 3, "{}", done.stderr);
    third.assert_intact();
}

/// Pushes the image again with a layer of it in the place of another, under the same config.
fn push_with_swapped_layer(registry: &Registry, name: &str, place: &Place) {
    let dir = place.dir().join("swapped");
    let from = format!("docker://{name}");
    let to = format!("oci:{}:latest", dir.display());
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "-q", "--src-tls-verify=false", &from, &to]);
    run(&mut copy, LIMIT).expect_success();
    let blobs = dir.join("blobs/sha256");
    let layout = dir.join("index.json");
    let parse = |path: &Path| -> Value {
        serde_json::from_slice(&fs::read(path).expect("read a document")).expect("it is JSON")
    };
    let digest = |descriptor: &Value| descriptor["digest"].as_str().expect("a digest").to_owned();
    let manifest = blobs.join(&digest(&parse(&layout)["manifests"][0])["sha256:".len()..]);
    let mut swapped = parse(&manifest);
    swapped["layers"][2] = swapped["layers"][1].clone();
    let swapped = instead(&layout, &manifest, swapped.to_string().as_bytes());
    fs::write(&layout, swapped).expect("write a layout");
    registry.push_layout(&dir, "app:1");
}

#[test]
fn a_layer_that_a_record_does_not_mean_goes_nowhere() {
    if !granted(Privilege::Root) {
        return;
    }
    let registry = Registry::start();
    let app = format!("{}/app:1", registry.host());
    let first = machine(ONE_STAGE);
    let key = first.dir().join("key").display().to_string();
    let made = first.run(&["cache", "key", &key]).expect_success();
    let inline = ["-t", &app, "--push", "--cache-to", "type=inline"];
    build(&first, &[&inline[..], &["--cache-key", &key]].concat());
    push_with_swapped_layer(&registry, &app, &first);
    // Believed by its signature, it is looked at before it is written anywhere.
    let second = machine(ONE_STAGE);
    let archive = second.dir().join("x.tar").display().to_string();
    let to = format!("type=oci,dest={archive}");
    let trust = ["--cache-from", &app, "--cache-trust", made.stdout.trim()];
    let done = build(&second, &[&trust[..], &["-o", &to]].concat());
    assert_eq!(cached_steps(&done).len(), 1, "{}", done.stderr);
    let told = "is not what was said of it";
    assert!(done.stderr.contains(told), "{}", done.stderr);
    // Believed by its place, it is found out when a step needs its files.
    let third = machine(&format!("{ONE_STAGE}RUN wc -c < /out > /size\n"));
    let done = build(&third, &["-t", "x", "--cache-from", &app]);
    assert!(done.stderr.contains(told), "{}", done.stderr);
    assert_eq!(shell_in(&third, "x", "cat /size").trim(), "3000002");
    third.assert_intact();
}

#[test]
fn an_image_that_stands_on_one_with_records_does_not_inherit_them() {
    if !granted(Privilege::Root) {
        return;
    }
    let registry = Registry::start();
    let app = format!("{}/app:1", registry.host());
    let first = machine(ONE_STAGE);
    build(&first, &["-t", &app, "--push", "--cache-to", "type=inline"]);
    let config = |place: &Place, name: &str| {
        let archive = place.dir().join("image.tar");
        let text = archive.display().to_string();
        place.run(&["save", "-o", &text, name]).expect_success();
        let bytes = fs::read(archive).expect("read the archive");
        String::from_utf8_lossy(&bytes).contains("io.rbuild.cache.v1")
    };
    assert!(config(&first, &app));
    let child = Place::new(&format!("FROM {app}\nRUN true\n"));
    build(&child, &["-t", "child"]);
    assert!(!config(&child, "child"));
}
