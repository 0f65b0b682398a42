//! Images into a real Podman, with a storage of its own.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rbuild_testkit::{Finished, Privilege, Registry, granted, need_tool, run};

use crate::place::{LIMIT, Place, busybox};

const DOCKERFILE: &str = "FROM busybox\nCOPY big /big\nCOPY small /small\n\
                          CMD [\"cat\", \"/small\"]\n";

/// A place with a large and a small file, built as `app`.
fn built() -> Place {
    let place = Place::new(DOCKERFILE);
    // Bytes that a layer cannot be small with.
    let big: Vec<u8> = (0..500_000u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    fs::write(place.context().join("big"), big).expect("write a file");
    place.write("small", "one\n");
    place.build(&["-t", "app"]).expect_success();
    place
}

/// Podman with a storage of its own below the place.
struct Podman<'a> {
    place: &'a Place,
}

impl<'a> Podman<'a> {
    fn new(place: &'a Place) -> Self {
        let storage = place.dir().join("containers");
        let text = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = {:?}\nrunroot = {:?}\n",
            storage.join("root"),
            storage.join("run"),
        );
        fs::write(place.dir().join("storage.conf"), text).expect("write settings");
        Self { place }
    }

    fn set_up<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let settings = self.place.dir().join("storage.conf");
        command.env("CONTAINERS_STORAGE_CONF", settings)
    }

    fn podman(&self, words: &[&str]) -> Finished {
        let mut podman = Command::new(need_tool("podman"));
        run(self.set_up(podman.args(words)), LIMIT)
    }

    fn load(&self, image: &str) -> Finished {
        let mut command = self.place.rbuild(&["load-into", "podman", image]);
        run(self.set_up(&mut command), LIMIT)
    }

    /// The names in the storage, sorted.
    fn names(&self) -> Vec<String> {
        let format = "{{.Repository}}:{{.Tag}}";
        let listed = self.podman(&["images", "--format", format]);
        let listed = listed.expect_success().stdout;
        let mut names: Vec<String> = listed.lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

#[test]
fn podman_pulls_what_it_lacks_and_no_more() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = built();
    let podman = Podman::new(&place);
    let first = podman.load("app").expect_success();
    first
        .clone()
        .expect_text("Loaded image: app:latest (podman pulled ")
        .expect_text("MB)");
    let again = podman.load("app").expect_success();
    again.expect_text("Loaded image: app:latest (podman has it already)");
    place.write("small", "two\n");
    place.build(&["-t", "app"]).expect_success();
    let changed = podman.load("app").expect_success();
    // The layer of one small file and the config: without the large one.
    changed.clone().expect_text("kB)");
    let names = podman.names();
    assert_eq!(names, ["<none>:<none>", "docker.io/library/app:latest"]);
    // Looked into rather than run: not every machine for tests lets Podman's runtime set its limits.
    let container = podman.podman(&["create", "app"]).expect_success().stdout;
    let small = place.dir().join("copied");
    let from = format!("{}:/small", container.trim());
    podman
        .podman(&["cp", &from, &small.to_string_lossy()])
        .expect_success();
    let copied = fs::read_to_string(small).expect("read the file");
    assert_eq!(copied, "two\n");
}

#[test]
fn podman_gets_an_image_without_a_name() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = built();
    let podman = Podman::new(&place);
    place.write("small", "nameless\n");
    let id = place.build(&["-q"]).expect_success().stdout;
    podman
        .load(id.trim())
        .expect_success()
        .expect_text(&format!("Loaded image ID: {}", id.trim()));
    assert_eq!(podman.names(), ["<none>:<none>"]);
    podman
        .podman(&["image", "exists", id.trim().trim_start_matches("sha256:")])
        .expect_success();
}

#[test]
fn podman_that_does_not_reach_us_gets_an_archive() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = built();
    let podman = Podman::new(&place);
    let bin = program(
        &place,
        "podman",
        &format!(
            "case $1 in pull) echo 'no route to host' >&2; exit 125;; esac; exec {} \"$@\"",
            need_tool("podman").display()
        ),
    );
    let mut command = place.rbuild(&["load-into", "podman", "app"]);
    podman.set_up(&mut command).env("PATH", path_with(&bin));
    run(&mut command, LIMIT)
        .expect_success()
        .expect_text("(podman got all of ")
        .expect_text("does not reach this machine's loopback: no route to host");
    assert_eq!(podman.names(), ["docker.io/library/app:latest"]);
}

#[test]
fn podman_that_refuses_is_quoted() {
    let place = built();
    let bin = program(
        &place,
        "podman",
        "case $1 in image) exit 1;; esac; echo 'Error: storage is full' >&2; exit 125",
    );
    let mut command = place.rbuild(&["load-into", "podman", "app"]);
    command.env("PATH", path_with(&bin));
    run(&mut command, LIMIT)
        .expect_code(1)
        .expect_text("podman could not load: Error: storage is full");
}

#[test]
fn a_base_that_podman_has_is_not_downloaded_for_it() {
    if !granted(Privilege::Root) {
        return;
    }
    let registry = Registry::start();
    registry.push_layout(busybox(), "team/busybox:1");
    let name = format!("{}/team/busybox:1", registry.host());
    let place = Place::new(&format!("FROM {name}\nLABEL a=b\n"));
    let podman = Podman::new(&place);
    podman
        .podman(&["pull", "--quiet", "--tls-verify=false", &name])
        .expect_success();
    place.build(&["-t", "app"]).expect_success();
    // From now on nobody could get its layer.
    drop(registry);
    podman
        .load("app")
        .expect_success()
        .expect_text("Loaded image: app:latest (podman pulled ");
}

#[test]
fn a_base_that_cannot_be_fetched_is_the_reason_that_is_given() {
    if !granted(Privilege::Root) {
        return;
    }
    let registry = Registry::start();
    registry.push_layout(busybox(), "team/busybox:1");
    let host = registry.host();
    let place = Place::new(&format!("FROM {host}/team/busybox:1\nLABEL a=b\n"));
    place.build(&["-t", "app"]).expect_success();
    drop(registry);
    Podman::new(&place)
        .load("app")
        .expect_code(1)
        .expect_text(&format!("cannot reach {host}"));
}

/// Puts a shell script into a folder of the place; returns the folder.
fn program(place: &Place, name: &str, script: &str) -> PathBuf {
    let bin = place.dir().join("bin");
    fs::create_dir_all(&bin).expect("make a folder");
    let file = bin.join(name);
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("write a script");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("make it a program");
    bin
}

fn path_with(bin: &Path) -> OsString {
    let mut path = bin.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}
