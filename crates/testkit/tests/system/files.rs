//! Images in files: saved, loaded, imported, exported, and read by the tools of others.

use std::fs;
use std::process::Command;

use rbuild_testkit::{Finished, Privilege, Registry, granted, need_tool, run, run_with_input};
use serde_json::Value;

use crate::names::skopeo;
use crate::place::{LIMIT, Place, busybox, shell_in};

/// A place with an image of two layers under two names.
fn built() -> Place {
    let place =
        Place::new("FROM busybox\nRUN echo hi > /hi && ln -s hi /link\nCMD [\"cat\", \"/hi\"]\n");
    place
        .build(&["-t", "app:1", "-t", "team.example/app:2"])
        .expect_success();
    place
}

/// A second store.
fn elsewhere() -> Place {
    Place::new("FROM scratch\n")
}

fn path(place: &Place, name: &str) -> String {
    place.dir().join(name).display().to_string()
}

fn json(done: &Finished) -> Value {
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done}"))
}

/// The digest that skopeo gives an image.
fn digest(place: &Place, image: &str) -> String {
    let raw = skopeo(place, &["inspect", "--raw", image]).expect_success();
    let mut sum = Command::new(need_tool("sha256sum"));
    let sum = run_with_input(&mut sum, raw.stdout.as_bytes(), LIMIT).expect_success();
    format!("sha256:{}", &sum.stdout[..64])
}

#[test]
fn saved_images_are_loaded_with_their_names_and_digests() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = built();
    place.run(&["tag", "app:1", "third"]).expect_success();
    place.write("Dockerfile", "FROM busybox\nCOPY Dockerfile /\n");
    place.build(&["-t", "other:3"]).expect_success();
    let id = json(&place.run(&["inspect", "app:1"]))[0]["Id"].clone();
    for format in ["oci", "docker"] {
        let file = path(&place, &format!("{format}.tar"));
        let words = ["save", "--format", format, "-o", &file];
        let names = ["app:1", "team.example/app:2", "other:3"];
        place.run(&[&words[..], &names].concat()).expect_success();
        let to = elsewhere();
        let loaded = to.run(&["load", "-i", &file]).expect_success();
        let lines =
            "Loaded image: app:1\nLoaded image: team.example/app:2\nLoaded image: other:3\n";
        assert_eq!(loaded.stdout, lines);
        assert_eq!(
            json(&to.run(&["inspect", "team.example/app:2"]))[0]["Id"],
            id
        );
        assert_eq!(shell_in(&to, "app:1", "cat /link"), "hi\n");
        // What came with a manifest leaves with it.
        let again = path(&to, "again.tar");
        let words = ["save", "--format", "oci", "-o", &again, "app:1"];
        to.run(&words).expect_success();
        let second = digest(&to, &format!("oci-archive:{again}"));
        if format == "oci" {
            let first = digest(&place, &format!("oci-archive:{file}:2"));
            assert_eq!(first, second);
        }
        let shown = json(&to.run(&["inspect", "app:1"]));
        assert_eq!(shown[0]["ManifestDigest"].as_str(), Some(second.as_str()));
        to.assert_intact();
    }
}

#[test]
fn streams_and_compressed_archives_are_read() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = built();
    let to = elsewhere();
    let pipe = |tool: &str, load: &str| {
        let script =
            format!("\"$0\" --root \"$1\" save app:1 | {tool} | \"$0\" --root \"$2\" {load}");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &script])
            .arg(rbuild_testkit::rbuild_binary());
        run(shell.arg(place.store()).arg(to.store()), LIMIT)
    };
    for tool in ["cat", "gzip -1", "zstd -q"] {
        let loaded = pipe(tool, "load").expect_success();
        assert_eq!(loaded.stdout, "Loaded image: app:1\n");
        to.run(&["rmi", "app:1"]).expect_success();
        pipe(tool, "import mine -").expect_success();
        assert_eq!(shell_in(&to, "mine", "cat /hi"), "hi\n");
    }
    let broken = pipe("head -c 100000", "load").expect_code(1);
    broken.expect_text("standard input");
    pipe("true", "load").expect_code(1);
    assert_eq!(to.run(&["images", "-q"]).stdout.lines().count(), 1);
    to.assert_intact();
}

#[test]
fn what_others_wrote_is_loaded() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = built();
    place
        .run(&["save", "-o", "oci:ours:app", "app:1"])
        .expect_success();
    let to = elsewhere();
    for (dest, load, name) in [
        ("oci:theirs:v1", "oci:theirs:v1", None),
        ("oci-archive:theirs.tar:v1", "oci-archive:theirs.tar", None),
        (
            "oci-archive:full.tar:reg.example/full:1",
            "full.tar",
            Some("reg.example/full:1"),
        ),
        (
            "docker-archive:docker.tar:docker/app:1",
            "docker.tar",
            Some("docker/app:1"),
        ),
    ] {
        skopeo(&place, &["copy", "-q", "oci:ours:app", dest]).expect_success();
        let mut load_command = to.rbuild(&["load", "-i", load]);
        let loaded = run(load_command.current_dir(place.dir()), LIMIT).expect_success();
        match name {
            Some(name) => assert_eq!(loaded.stdout, format!("Loaded image: {name}\n")),
            None => assert!(
                loaded.stdout.starts_with("Loaded image ID: sha256:"),
                "{loaded}"
            ),
        }
        let mut run_command = to.rbuild(&["run", load.trim_end_matches(":v1"), "cat", "/link"]);
        if load.starts_with("oci") {
            let ran = run(run_command.current_dir(place.dir()), LIMIT).expect_success();
            assert_eq!(ran.stdout, "hi\n");
        }
    }
    to.assert_intact();
}

#[test]
fn podman_loads_what_is_saved_and_saves_what_is_loaded() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = built();
    let podman = |words: &[&str]| {
        let mut podman = Command::new(need_tool("podman"));
        podman
            .args(["--storage-driver", "vfs", "--root"])
            .arg(place.dir().join("podman/root"))
            .arg("--runroot")
            .arg(place.dir().join("podman/run"))
            .args(["--tmpdir"])
            .arg(place.dir().join("podman/tmp"));
        run(podman.args(words).current_dir(place.dir()), LIMIT)
    };
    for format in ["oci", "docker"] {
        let file = format!("{format}.tar");
        place
            .run(&[
                "save",
                "--format",
                format,
                "-o",
                &file,
                "team.example/app:2",
            ])
            .expect_success();
        podman(&["load", "-i", &file]).expect_success();
        let labels = [
            "image",
            "inspect",
            "--format",
            "{{.Config.Cmd}}",
            "team.example/app:2",
        ];
        assert_eq!(podman(&labels).expect_success().stdout, "[cat /hi]\n");
        let back = format!("podman-{format}.tar");
        let kind = format!("{format}-archive");
        podman(&[
            "save",
            "-q",
            "--format",
            &kind,
            "-o",
            &back,
            "team.example/app:2",
        ])
        .expect_success();
        podman(&["rmi", "-f", "team.example/app:2"]).expect_success();
        let to = elsewhere();
        let back = path(&place, &back);
        to.run(&["load", "-i", &back])
            .expect_success()
            .expect_text("team.example/app:2");
        assert_eq!(shell_in(&to, "team.example/app:2", "cat /hi"), "hi\n");
    }
}

#[test]
fn addresses_are_taken_wherever_an_image_is_named() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = built();
    let registry = Registry::start();
    registry.push_layout(busybox(), "base:1");
    let remote = format!("docker://{}/base:1", registry.host());
    for dest in [
        "oci:dir:v1",
        "oci-archive:a.tar:v1",
        "docker-archive:b.tar:x/y:1",
    ] {
        place.run(&["save", "-o", dest, "app:1"]).expect_success();
        for address in [dest, dest.trim_end_matches(":v1")] {
            let ran = place.run(&["run", address, "cat", "/hi"]).expect_success();
            assert_eq!(ran.stdout, "hi\n", "{address}");
        }
        place
            .run(&["history", dest])
            .expect_success()
            .expect_text("echo hi");
        let tagged = ["tag", dest, "tagged"];
        place.run(&tagged).expect_success();
        assert_eq!(shell_in(&place, "tagged", "cat /hi"), "hi\n");
        place.run(&["rmi", "tagged"]).expect_success();
        place.write(
            "Dockerfile",
            "FROM base\nCOPY --from=base /hi /copy\nRUN cat /copy\n",
        );
        let context = format!("base={dest}");
        let built = place.build(&["--no-cache", "--build-context", &context]);
        built.expect_success().expect_text("hi");
    }
    let all = [
        "save",
        "--format",
        "oci",
        "-o",
        "all.tar",
        "oci:dir:v1",
        &remote,
        "app:1",
    ];
    place.run(&all).expect_success();
    let list = place.run(&["load", "-i", "all.tar"]).expect_success();
    // The layout's is the store's.
    let names = format!(
        "Loaded image: app:1\nLoaded image: {}/base:1\n",
        registry.host()
    );
    assert_eq!(list.stdout, names);
    let ran = place.run(&["run", &remote, "echo", "far"]).expect_success();
    assert_eq!(ran.stdout, "far\n");
    place.run(&["tag", &remote, "near"]).expect_success();
    drop(registry);
    assert_eq!(shell_in(&place, "near", "echo near"), "near\n");
    place.assert_intact();
}

#[test]
fn addresses_that_lead_nowhere_say_what_to_do() {
    let place = Place::new("FROM scratch\nCOPY Dockerfile /\n");
    place.build(&["-t", "app:1"]).expect_success();
    place
        .run(&["save", "--format", "oci", "-o", "oci.tar", "app:1"])
        .expect_success();
    for (words, code, text) in [
        (&["run", "docker-daemon:app:1"][..], 2, "docker save"),
        (
            &["save", "-o", "x.tar", "containers-storage:app"],
            2,
            "podman save",
        ),
        (&["save", "-o", "dir:x", "app:1"], 2, "skopeo copy"),
        (&["save", "-o", "docker://x/y", "app:1"], 2, "rbuild push"),
        (&["save", "-o", "oci:x:a b", "app:1"], 2, "at character 8"),
        (&["load", "-i", "docker://x/y"], 2, "rbuild tag"),
        (
            &["load", "-i", "docker-archive:oci.tar"],
            1,
            "no manifest.json",
        ),
        (&["load", "-i", "oci-archive:oci.tar:none"], 1, "there is 1"),
        (&["load", "-i", "missing.tar"], 1, "missing.tar"),
        (&["load", "-i", "context/Dockerfile"], 1, "tar"),
        (
            &["load", "-i", "oci.tar", "--platform", "linux/s390x"],
            1,
            "linux/s390x",
        ),
        (&["save", "-o", "none/x.tar", "app:1"], 2, "none/x.tar"),
        (&["save", "-o", "x.tar", "gone"], 1, "no such image"),
        (&["import", "x", "oci:none"], 1, "none"),
        (&["export", "-o", ".", "app:1"], 2, "is a directory"),
    ] {
        place.run(words).expect_code(code).expect_text(text);
    }
    let two = ["save", "-o", "oci:x:one", "app:1", "oci-archive:oci.tar"];
    place.run(&two).expect_success(); // both are one image
    place.write("Dockerfile", "FROM scratch\nLABEL a=b\n");
    place.build(&["-t", "other"]).expect_success();
    let two = ["save", "-o", "oci:x:one", "app:1", "other"];
    place
        .run(&two)
        .expect_code(2)
        .expect_text("2 images cannot all be one");
    place.assert_intact();
}

#[test]
fn exported_files_are_those_of_the_image() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = built();
    place
        .run(&["export", "-o", "files.tar", "app:1"])
        .expect_success();
    place
        .build(&["-o", "type=tar,dest=built.tar"])
        .expect_success();
    let read = |name: &str| fs::read(place.dir().join(name)).expect("read a tar");
    assert!(read("files.tar") == read("built.tar"));
    let script = "\"$0\" --root \"$1\" export app:1 | tar -xO ./hi hi 2>/dev/null";
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .arg(rbuild_testkit::rbuild_binary());
    let piped = run(shell.arg(place.store()), LIMIT);
    assert_eq!(piped.stdout, "hi\n", "{piped}");
    // A root file system becomes an image again.
    place
        .run(&["import", "--platform", "linux/arm64", "files", "files.tar"])
        .expect_success();
    let shown = json(&place.run(&["inspect", "files"]).expect_success());
    assert_eq!(shown[0]["Architecture"], "arm64");
    place.assert_intact();
}
