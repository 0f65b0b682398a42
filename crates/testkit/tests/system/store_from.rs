//! A sealed store as a lower level: what builds take from it, and that nothing is ever written there.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use rbuild_testkit::{Finished, Privilege, Registry, WebReply, WebServer, granted, need_tool, run};

use crate::host::{Grant, User};
use crate::place::{LIMIT, Place, busybox, cached_steps};

const STEPS: &str = "FROM busybox\n\
    COPY Dockerfile /copied\n\
    RUN dd if=/dev/zero of=/big bs=1M count=8 2> /dev/null; date +%N > /made\n\
    RUN --mount=type=cache,id=below,target=/c date +%N > /c/file; chown 33:33 /made\n";

/// A place whose store is sealed, with an image called `base`.
fn sealed() -> Place {
    let place = Place::new(STEPS);
    place.build(&["-t", "base"]).expect_success();
    place.run(&["store", "seal"]).expect_success();
    place
}

/// A command of a place that takes from a store.
fn over(place: &Place, lower: &Path, words: &[&str]) -> Finished {
    let mut command = place.rbuild(words);
    command.env("RBUILD_STORE_FROM", lower);
    run(&mut command, LIMIT)
}

fn build_over(place: &Place, lower: &Path, words: &[&str]) -> Finished {
    let lower = lower.to_str().expect("a path in UTF-8");
    place.build(&[&["--store-from", lower], words].concat())
}

/// Everything below a directory: path, length, times of change.
fn listing(top: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut stack = vec![top.to_owned()];
    while let Some(path) = stack.pop() {
        let meta = fs::symlink_metadata(&path).expect("look");
        let times = (
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        );
        all.push(format!("{path:?} {} {} {times:?}", meta.len(), meta.ino()));
        if meta.is_dir() {
            let entries = fs::read_dir(&path).expect("list");
            stack.extend(entries.map(|entry| entry.expect("list").path()));
        }
    }
    all.sort();
    all
}

fn count(place: &Place, part: &str) -> usize {
    fs::read_dir(place.store().join(part))
        .expect("list")
        .count()
}

/// A read-only view of a directory; gone with the value.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn of(dir: &Path, at: PathBuf) -> Self {
        fs::create_dir(&at).expect("make the mount point");
        let mount = |words: &[&str]| {
            let mut mount = Command::new(need_tool("mount"));
            run(mount.args(words).arg(&at), LIMIT).expect_success();
        };
        mount(&["--bind", dir.to_str().expect("a path in UTF-8")]);
        let view = Self(at.clone());
        mount(&["-o", "remount,bind,ro"]);
        view
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        run(Command::new(need_tool("umount")).arg(&self.0), LIMIT);
    }
}

#[test]
fn steps_and_images_are_taken_from_a_read_only_store() {
    if !granted(Privilege::Root) {
        return;
    }
    let below = sealed();
    let before = listing(&below.store());
    let place = Place::new(STEPS);
    let lower = ReadOnly::of(&below.store(), place.dir().join("lower"));
    let built = build_over(&place, &lower.0, &["-t", "same"]).expect_success();
    assert_eq!(cached_steps(&built).len(), 3, "{built}");
    assert!(!built.text().contains("StoreFrom"), "{built}");
    // Nothing was copied.
    assert_eq!(count(&place, "trees"), 0);
    // More on top, and from the image by its name.
    place.write(
        "Dockerfile",
        &format!("{STEPS}RUN wc -c < /big > /size; rm /copied\n"),
    );
    let built = build_over(&place, &lower.0, &["-t", "more"]).expect_success();
    // The COPY copies another file now.
    assert!(cached_steps(&built).is_empty(), "{built}");
    place.write(
        "Dockerfile",
        "FROM base\nRUN cat /made > /again; stat -c %u /made > /owner\n",
    );
    let built = build_over(&place, &lower.0, &["-t", "named"]).expect_success();
    // Four for the image before, whose COPY was another one.
    assert_eq!(count(&place, "trees"), 5, "{built}");
    let shell = |image: &str, script: &str| {
        over(&place, &lower.0, &["run", image, "sh", "-c", script])
            .expect_success()
            .stdout
    };
    assert_eq!(
        shell("named", "cmp /made /again && cat /owner; wc -c < /big"),
        "33\n8388608\n"
    );
    assert_eq!(shell("more", "cat /size; test ! -e /copied"), "8388608\n");
    let archive = place.dir().join("out.tar");
    let output = format!("type=oci,dest={}", archive.display());
    build_over(&place, &lower.0, &["-o", &output]).expect_success();
    assert!(fs::metadata(&archive).expect("look").len() > 10_000);
    let listed = over(&place, &lower.0, &["images"]).expect_success();
    for name in ["base", "same", "named"] {
        assert!(listed.stdout.contains(name), "{name} in {listed}");
    }
    over(&place, &lower.0, &["rmi", "base"])
        .expect_code(1)
        .expect_text("sealed store");
    over(&place, &lower.0, &["store", "verify"]).expect_success();
    over(&place, &lower.0, &["rmi", "named", "more", "same"]).expect_success();
    over(&place, &lower.0, &["prune", "-af"]).expect_success();
    assert_eq!(count(&place, "trees"), 0);
    place.write("Dockerfile", STEPS);
    let built = build_over(&place, &lower.0, &[]).expect_success();
    assert_eq!(cached_steps(&built).len(), 3, "{built}");
    drop(lower);
    assert_eq!(listing(&below.store()), before);
}

#[test]
fn an_image_that_needs_the_lower_store_says_so() {
    if !granted(Privilege::Root) {
        return;
    }
    let below = sealed();
    let place = Place::new("FROM base\nRUN true > /f\n");
    build_over(&place, &below.store(), &["-t", "mine"]).expect_success();
    place
        .run(&["run", "mine", "true"])
        .expect_code(1)
        .expect_text("RBUILD_STORE_FROM");
    // Another build needs it as little as before.
    place.write("Dockerfile", STEPS);
    let built = place.build(&[]).expect_success();
    assert!(cached_steps(&built).is_empty(), "{built}");
}

#[test]
fn bases_and_files_of_servers_come_from_below_when_the_servers_are_gone() {
    if !granted(Privilege::Root) {
        return;
    }
    let registry = Registry::start();
    registry.push_layout(busybox(), "team/busybox:1");
    let web = WebServer::start(|_| WebReply::of("x".repeat(3000)).header("ETag", "\"1\""));
    let text = format!(
        "FROM {}/team/busybox:1\nADD {} /web\nRUN wc -c < /web > /size\n",
        registry.host(),
        web.url("/file"),
    );
    let below = Place::new(&text);
    below.build(&[]).expect_success();
    below.run(&["store", "seal"]).expect_success();
    drop((registry, web));
    let place = Place::new(&text);
    let built = build_over(&place, &below.store(), &["--offline"]).expect_success();
    assert_eq!(cached_steps(&built).len(), 2, "{built}");
    place.write("Dockerfile", &format!("{text}RUN cat /size > /again\n"));
    let words = ["--offline", "-t", "more"];
    let built = build_over(&place, &below.store(), &words).expect_success();
    assert_eq!(cached_steps(&built).len(), 2, "{built}");
    let size = over(&place, &below.store(), &["run", "more", "cat", "/again"]);
    assert_eq!(size.expect_success().stdout, "3000\n");
}

#[test]
fn many_processes_take_from_one_store() {
    if !granted(Privilege::Root) {
        return;
    }
    let below = sealed();
    let places: Vec<Place> = (0..4).map(|_| Place::new(STEPS)).collect();
    thread::scope(|scope| {
        for place in &places {
            for tag in ["left", "right"] {
                let lower = below.store();
                scope.spawn(move || {
                    let built = build_over(place, &lower, &["-t", tag]).expect_success();
                    assert_eq!(cached_steps(&built).len(), 3, "{built}");
                });
            }
        }
    });
}

#[test]
fn what_is_damaged_there_is_made_again_with_a_warning() {
    if !granted(Privilege::Root) {
        return;
    }
    let below = sealed();
    let store = below.store();
    for tree in fs::read_dir(store.join("trees")).expect("list").flatten() {
        fs::remove_dir_all(tree.path()).expect("remove a tree");
    }
    let place = Place::new(STEPS);
    let built = build_over(&place, &store, &["-t", "mended"]).expect_success();
    built
        .clone()
        .expect_text("StoreFrom")
        .expect_text("cannot be used");
    assert!(cached_steps(&built).len() < 3, "{built}");
    let mended = place.run(&["run", "mended", "stat", "-c", "%u", "/made"]);
    assert_eq!(mended.expect_success().stdout, "33\n");
    place.assert_intact();
    // Cut short, every one of them.
    for blob in fs::read_dir(store.join("blobs/sha256"))
        .expect("list")
        .flatten()
    {
        let file = fs::OpenOptions::new().write(true).open(blob.path());
        file.and_then(|file| file.set_len(7)).expect("cut a blob");
    }
    let place = Place::new(STEPS);
    let built = build_over(&place, &store, &["-t", "mended"]).expect_success();
    built.clone().expect_text("7 bytes instead of");
    assert!(cached_steps(&built).is_empty(), "{built}");
    place.assert_intact();
}

#[test]
fn trees_of_copies_serve_if_nothing_was_lost_on_the_way() {
    if !granted(Privilege::Root) {
        return;
    }
    let below = sealed();
    let dir = below.dir();
    let shell = |script: &str| {
        let mut shell = Command::new("sh");
        run(shell.args(["-ec", script]).current_dir(dir), LIMIT).expect_success();
    };
    let cached = |lower: &str| {
        let place = Place::new(STEPS);
        let built = build_over(&place, &dir.join(lower), &["-t", "of-copy"]).expect_success();
        let owner = over(
            &place,
            &dir.join(lower),
            &["run", "of-copy", "stat", "-c", "%u", "/made"],
        );
        assert_eq!(owner.expect_success().stdout, "33\n");
        (
            cached_steps(&built).len(),
            built.text().contains("trees are not used"),
        )
    };
    shell("cp -a store whole && cp -r store careless");
    assert_eq!(cached("whole"), (3, false));
    let (steps, is_told) = cached("careless");
    assert!(steps < 3 && is_told, "{steps}");
    // As in a layer of a container image: what marks deleted files there would delete others here.
    shell("mkdir up work lower && mount -t tmpfs none up && mkdir up/up up/work");
    shell("mount -t overlay -o lowerdir=store,upperdir=up/up,workdir=up/work none lower");
    let on_overlay = std::panic::catch_unwind(|| cached("lower"));
    shell("umount lower up");
    let (steps, is_told) = on_overlay.expect("a build over an overlay");
    assert!(steps < 3 && is_told, "{steps}");
}

#[test]
fn what_cannot_be_taken_from_is_refused() {
    let place = Place::new("FROM scratch\nCOPY Dockerfile /\n");
    let live = Place::new("FROM scratch\nCOPY Dockerfile /\n");
    live.build(&[]).expect_success();
    let refused = |lower: &Path, text: &str| {
        build_over(&place, lower, &[])
            .expect_code(2)
            .expect_text("--store-from")
            .expect_text(text);
    };
    refused(
        &live.store(),
        &format!("rbuild store seal {}", live.store().display()),
    );
    refused(live.dir(), "it is no store");
    refused(Path::new("/nowhere"), "it is no store");
    live.run(&["store", "seal"]).expect_success();
    live.build(&[])
        .expect_code(2)
        .expect_text("rbuild store unseal");
    fs::write(live.store().join("db/store.sqlite"), "x".repeat(5000)).expect("damage it");
    refused(&live.store(), "its database is damaged");
    fs::write(live.store().join("format"), "rbuild-store 7\n").expect("damage it");
    refused(&live.store(), "format 7");
    place
        .run(&["store", "seal", "/nowhere"])
        .expect_code(2)
        .expect_text("there is no store at /nowhere");
}

#[test]
fn a_store_is_sealed_when_nobody_works_in_it_and_can_be_unsealed() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new("FROM busybox\nRUN echo begun; sleep 30\n");
    let mut child = place
        .build_command(&[])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start");
    let said = std::io::BufReader::new(child.stderr.take().expect("piped"));
    let begun = std::io::BufRead::lines(said)
        .map_while(Result::ok)
        .any(|line| line.ends_with(" begun"));
    assert!(begun);
    place
        .run(&["store", "seal"])
        .expect_code(1)
        .expect_text("in use");
    child.kill().expect("kill");
    child.wait().expect("wait");
    place.write("Dockerfile", STEPS);
    place.build(&[]).expect_success();
    place.run(&["store", "seal"]).expect_success();
    place.run(&["store", "unseal"]).expect_success();
    assert_eq!(cached_steps(&place.build(&[]).expect_success()).len(), 3);
    place.assert_intact();
}

#[test]
fn trees_of_other_users_are_left_alone() {
    if !granted(Privilege::Root) || !granted(Privilege::UserNamespaces) {
        return;
    }
    need_tool("newuidmap");
    let user = User::new(Grant::Ranges);
    let below = sealed();
    let context = below.context();
    let lower = user.work().join("of-root");
    let mut copy = Command::new("cp");
    run(copy.arg("-a").arg(below.store()).arg(&lower), LIMIT).expect_success();
    fs::set_permissions(&lower, fs::Permissions::from_mode(0o755)).expect("open it");
    for script in [
        "chmod -R a+rX of-root".to_owned(),
        format!("cp -r '{}' context", context.display()),
        "chmod -R a+rX context".to_owned(),
    ] {
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(user.work());
        run(&mut shell, LIMIT).expect_success();
    }
    let build = "rbuild build --progress plain --build-context \"$BASE\" -t mine";
    let owner = "stat -c %u /made";
    let script = format!("{build} --store-from of-root context && rbuild run mine {owner}");
    let done = run(&mut user.shell(&script), LIMIT).expect_success();
    assert!(done.stdout.ends_with("33\n"), "{done}");
    let runs = cached_steps(&done)
        .iter()
        .filter(|step| step.contains("RUN"))
        .count();
    assert_eq!(runs, 0, "{done}");
    // A store of their own they can seal and take from.
    let script = format!(
        "rbuild store seal && mv ~/.local/share/rbuild sealed && {build} --store-from sealed context && \
         RBUILD_STORE_FROM=sealed rbuild run mine {owner}"
    );
    let done = run(&mut user.shell(&script), LIMIT).expect_success();
    assert_eq!(cached_steps(&done).len(), 3, "{done}");
    assert!(done.stdout.ends_with("33\n"), "{done}");
}
