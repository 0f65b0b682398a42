//! `rbuild du` and `rbuild prune`: what goes, what stays, and who is not disturbed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rbuild_testkit::{
    Finished, GitServer, Privilege, Registry, Tree, WebReply, WebServer, granted, need_tool, run,
};

use crate::add_git::Repository;
use crate::place::{LIMIT, Place, busybox, cached_steps, shell_in};

const STEPS: &str = "FROM busybox\n\
    RUN dd if=/dev/zero of=/big bs=1M count=8 2> /dev/null\n\
    COPY Dockerfile /copied\n\
    RUN --mount=type=cache,id=pruned,target=/c echo kept > /c/file && cp /c/file /file\n";

/// Allocated bytes of a directory with all below.
pub fn taken(path: &Path) -> u64 {
    let meta = fs::symlink_metadata(path).expect("look");
    let below = match meta.is_dir() {
        true => fs::read_dir(path)
            .expect("list")
            .map(|entry| taken(&entry.expect("list").path()))
            .sum(),
        false => 0,
    };
    meta.blocks() * 512 + below
}

fn prune(place: &Place, words: &[&str]) -> Finished {
    let words = [&["prune", "-f"], words].concat();
    place.run(&words).expect_success()
}

/// The entries of `rbuild du`, a JSON text each.
fn entries(place: &Place, words: &[&str]) -> Vec<String> {
    let words = [&["du", "--format", "json"], words].concat();
    let listed = place.run(&words).expect_success();
    listed.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn everything_goes_and_the_next_build_works() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(STEPS);
    place.build(&[]).expect_success();
    let before = taken(&place.store());
    let pruned = prune(&place, &["-a"]);
    assert!(pruned.stdout.contains("Total:"), "{pruned}");
    let after = taken(&place.store());
    assert!(before > 8 << 20, "{before}");
    assert!(after < 1 << 20, "{after} of {before}\n{pruned}");
    assert!(entries(&place, &[]).is_empty());
    place.assert_intact();
    let again = place.build(&["-t", "again"]).expect_success();
    assert!(cached_steps(&again).is_empty(), "{again}");
    assert_eq!(shell_in(&place, "again", "cat /file"), "kept\n");
    place.assert_intact();
}

#[test]
fn a_list_says_what_takes_how_much() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(STEPS);
    place.build(&[]).expect_success();
    let all = entries(&place, &[]);
    for part in [
        "\"exec.cachemount\"",
        "RUN dd if=/dev/zero",
        "COPY Dockerfile /copied",
        "pulled from",
    ] {
        assert!(all.iter().any(|it| it.contains(part)), "{part} in {all:#?}");
    }
    assert_eq!(
        entries(&place, &["--filter", "type=exec.cachemount"]).len(),
        1
    );
    assert!(entries(&place, &["--filter", "until=1h"]).is_empty());
    let table = place.run(&["du"]).expect_success();
    for word in ["RECLAIMABLE", "LAST ACCESSED", "Private:", "Total:"] {
        assert!(table.stdout.contains(word), "{word}\n{table}");
    }
    let long = place.run(&["du", "--verbose"]).expect_success();
    assert!(long.stdout.contains("Usage count:"), "{long}");
    prune(&place, &["--filter", "type=exec.cachemount"]);
    assert_eq!(entries(&place, &[]).len(), all.len() - 1);
    assert_eq!(cached_steps(&place.build(&[]).expect_success()).len(), 3);
}

#[test]
fn what_came_from_elsewhere_goes_and_comes_again() {
    if !granted(Privilege::Root) {
        return;
    }
    let registry = Registry::start();
    registry.push_layout(busybox(), "team/busybox:1");
    let web = WebServer::start(|_| WebReply::of("x".repeat(300_000)).header("ETag", "\"1\""));
    let repository = Repository::new(Tree::new().file("f", "of git"));
    let git = GitServer::start(repository.root().to_owned(), |_| true);
    let text = format!(
        "FROM {}/team/busybox:1\nADD {} /web\nADD {} /git\nRUN cat /web /git/f > /all\n",
        registry.host(),
        web.url("/big"),
        git.url("r.git"),
    );
    let place = Place::new(&text);
    place.build(&[]).expect_success();
    let all = entries(&place, &[]).join("\n");
    for part in ["pulled from", "downloaded file", "source.git.checkout"] {
        assert!(all.contains(part), "{part} in {all}");
    }
    // Nothing is asked for again while it is here, the registry not even for the name.
    let asked = web.asked().len();
    place.build(&[]).expect_success();
    assert_eq!(web.asked().len(), asked + 1);
    prune(&place, &["-a"]);
    assert!(entries(&place, &[]).is_empty());
    assert!(taken(&place.store()) < 1 << 20);
    place.assert_intact();
    let again = place.build(&["-t", "again"]).expect_success();
    assert!(cached_steps(&again).is_empty(), "{again}");
    let size = shell_in(&place, "again", "wc -c < /all");
    assert_eq!(size.trim(), "300006");
    place.assert_intact();
    // Without the registry a base that went is told as missing, and nothing is half there.
    prune(&place, &["-a"]);
    place.run(&["rmi", "again"]).expect_success();
    prune(&place, &["-a"]);
    let offline = place.build(&["--offline"]).expect_code(1);
    assert!(offline.text().contains("offline"), "{offline}");
    place.assert_intact();
}

#[test]
fn images_with_names_outlive_any_prune() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(STEPS);
    place.build(&["-t", "named"]).expect_success();
    // What an image holds stays known as long as nobody says -a.
    prune(&place, &[]);
    assert_eq!(
        cached_steps(&place.build(&["-t", "named"]).expect_success()).len(),
        3
    );
    prune(&place, &["-a"]);
    assert_eq!(shell_in(&place, "named", "cat /file"), "kept\n");
    place
        .run(&["save", "-o", "saved.tar", "named"])
        .expect_success();
    place.assert_intact();
    let again = place.build(&["-t", "other"]).expect_success();
    assert!(cached_steps(&again).is_empty(), "{again}");
    place.run(&["rmi", "named", "other"]).expect_success();
    let before = taken(&place.store());
    prune(&place, &["-a"]);
    assert!(taken(&place.store()) + (8 << 20) < before);
    place.assert_intact();
}

#[test]
fn what_a_running_step_uses_stays() {
    if !granted(Privilege::Root) {
        return;
    }
    // The step waits for a file in another cache mount.
    let waits = "FROM busybox\nRUN echo one > /one\n\
         RUN --mount=type=cache,id=busy,target=/c --mount=type=cache,id=gate,target=/gate \
         echo kept > /c/file; touch /gate/begun; while [ ! -e /gate/open ]; do sleep 0.05; done; \
         cat /c/file > /file\n";
    let place = Place::new(waits);
    let cache = place.store().join("cache");
    let gate = |name: &str| find(&cache, name);
    thread::scope(|scope| {
        let build = scope.spawn(|| place.build(&["-t", "done"]));
        while gate("begun").is_none() {
            thread::yield_now();
        }
        for _ in 0..3 {
            prune(&place, &["-a"]);
        }
        let begun = gate("begun").expect("the mount is in use and stays");
        fs::write(begun.with_file_name("open"), "").expect("open the gate");
        build.join().expect("no panic").expect_success();
    });
    assert_eq!(shell_in(&place, "done", "cat /one /file"), "one\nkept\n");
    place.assert_intact();
    prune(&place, &[]);
    assert!(gate("begun").is_none());
}

/// The first file of this name below a directory.
fn find(dir: &Path, name: &str) -> Option<std::path::PathBuf> {
    for entry in fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        if entry.file_name() == name {
            return Some(path);
        }
        if let Some(found) = path.is_dir().then(|| find(&path, name)).flatten() {
            return Some(found);
        }
    }
    None
}

#[test]
fn builds_beside_a_pruner_never_fail() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(
        "FROM busybox AS a\nARG N\nRUN --mount=type=cache,id=c,target=/c echo $N > /a; date +%N >> /c/n\n\
         FROM busybox\nARG N\nRUN echo shared > /s\nCOPY --from=a /a /a\n\
         RUN --mount=from=a,target=/m --mount=target=/context cat /m/a /context/Dockerfile > /b\n",
    );
    let over = AtomicBool::new(false);
    let prunes = thread::scope(|scope| {
        let pruner = scope.spawn(|| {
            let mut prunes = 0;
            while !over.load(Ordering::Relaxed) {
                let words: &[&str] = if prunes % 2 == 0 { &["-a"] } else { &[] };
                prune(&place, words);
                prunes += 1;
            }
            prunes
        });
        let builders = ["x", "y"].map(|tag| {
            let place = &place;
            scope.spawn(move || {
                for number in 0..12 {
                    let arg = format!("N={}", number / 3);
                    let done = place.build(&["-t", tag, "--build-arg", &arg]);
                    done.expect_success();
                    let text = shell_in(place, tag, "cat /a /s");
                    assert_eq!(text, format!("{}\nshared\n", number / 3));
                }
            })
        });
        let ends = builders.map(|builder| builder.join());
        over.store(true, Ordering::Relaxed);
        for end in ends {
            end.expect("no build fails");
        }
        pruner.join().expect("no prune fails")
    });
    assert!(prunes > 3, "{prunes} prunes");
    place.assert_intact();
    place.build(&["--build-arg", "N=0"]).expect_success();
}

#[test]
fn a_killed_prune_leaves_a_sound_store() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(STEPS);
    let mut cut_short = 0;
    for round in 0..10_u64 {
        place.build(&["-t", "kept"]).expect_success();
        place.build(&["--no-cache"]).expect_success();
        let mut child = place
            .rbuild(&["prune", "-a", "-f"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start");
        pause(Duration::from_millis(2 + 3 * round));
        child.kill().expect("kill");
        cut_short += u32::from(child.wait().expect("wait").code().is_none());
        // The next opening takes away what was being deleted.
        place.run(&["images"]).expect_success();
        place.assert_intact();
        assert_eq!(shell_in(&place, "kept", "cat /file"), "kept\n");
    }
    assert!(cut_short > 0, "every prune was over before it was killed");
    place.run(&["rmi", "kept"]).expect_success();
    prune(&place, &["-a"]);
    assert!(taken(&place.store()) < 1 << 20);
    place.build(&[]).expect_success();
}

#[test]
fn limits_remove_no_more_than_they_must() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(
        "FROM busybox\nRUN dd if=/dev/zero of=/a bs=1M count=4 2> /dev/null\n\
         RUN sleep 0.3; dd if=/dev/zero of=/b bs=1M count=4 2> /dev/null\n",
    );
    place.build(&[]).expect_success();
    let before = taken(&place.store());
    prune(&place, &["--max-used-space", "1g"]);
    assert_eq!(cached_steps(&place.build(&[]).expect_success()).len(), 2);
    let keep = (before - (3 << 20)).to_string();
    prune(&place, &["--max-used-space", &keep]);
    assert!(taken(&place.store()) <= before - (3 << 20));
    let left = entries(&place, &[]);
    assert!(left.iter().any(|it| it.contains("sleep 0.3")), "{left:#?}");
    place.assert_intact();
}

#[test]
fn nobody_is_asked_without_a_terminal_and_bad_filters_are_refused() {
    let place = Place::new("FROM scratch\nCOPY Dockerfile /\n");
    place.build(&[]).expect_success();
    place.run(&["prune"]).expect_code(2).expect_text("-f");
    let bad = ["prune", "-f", "--filter", "type=nothing"];
    place
        .run(&bad)
        .expect_code(2)
        .expect_text("exec.cachemount");
    place.run(&["du", "--filter", "until=x"]).expect_code(2);
    prune(&place, &["--filter", "until=24h"]);
    assert_eq!(cached_steps(&place.build(&[]).expect_success()).len(), 1);
    // An empty store is no error.
    fs::remove_dir_all(place.store()).expect("remove the store");
    prune(&place, &["-a"]).expect_text("Total:");
}

#[test]
fn a_limit_is_kept_by_the_builds_themselves() {
    if !granted(Privilege::Root) {
        return;
    }
    const MIB: u64 = 1 << 20;
    let (cap, layer) = (40 * MIB, 6 * MIB);
    let place = Place::new(
        "FROM busybox\nARG N\n\
         RUN --mount=type=cache,id=grows,target=/c \
         dd if=/dev/urandom of=/f bs=1M count=5 2> /dev/null; echo $N >> /c/n\n\
         COPY Dockerfile /\n",
    );
    let (store, image) = (place.store(), place.dir().join("disk"));
    // Far less than all builds make together.
    let _disk = SmallDisk::mount(&store, &image, 80 * MIB);
    let mut largest = 0;
    for number in 0..24_u64 {
        let arg = format!("N={number}");
        let words = ["--cache-max", "40m", "--build-arg", &arg];
        if number % 5 == 4 {
            let mut child = place
                .build_command(&words)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("start");
            pause(Duration::from_millis(20 * number));
            child.kill().expect("kill");
            child.wait().expect("wait");
            continue;
        }
        place.build(&words).expect_success();
        let now = taken(&store);
        largest = largest.max(now);
        assert!(now <= cap + layer, "{now} after build {number}");
    }
    assert!(largest > cap / 2, "{largest} is far from the limit");
    place.assert_intact();
    // The sum that is told is the disk's own.
    let told = place.run(&["du"]).expect_success();
    let objects: u64 = ["blobs", "trees", "cache", "db"]
        .map(|name| taken(&store.join(name)))
        .iter()
        .sum();
    let told = total(&told.stdout);
    assert!(
        objects.abs_diff(told) * 50 < objects,
        "{told} is told of {objects}"
    );
}

/// The total that `rbuild du` tells, in bytes.
fn total(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("Total:"));
    let size = line.expect("a total").trim();
    let digits = size.find(|c: char| c != '.' && !c.is_ascii_digit());
    let (number, unit) = size.split_at(digits.expect("a unit"));
    let number: f64 = number.parse().expect("a number");
    let factor = match unit {
        "MB" => 1e6,
        "kB" => 1e3,
        other => panic!("{other:?} in {text}"),
    };
    (number * factor) as u64
}

fn pause(length: Duration) {
    let until = std::time::Instant::now() + length;
    while std::time::Instant::now() < until {
        thread::yield_now();
    }
}

#[test]
fn a_limit_that_cannot_be_kept_is_told_and_a_wrong_one_refused() {
    let place = Place::new("FROM busybox\nCOPY Dockerfile /\n");
    let kept = place
        .build(&["-t", "big", "--cache-max", "1k"])
        .expect_success();
    assert!(kept.text().contains("CacheMax"), "{kept}");
    place.build(&["--cache-max", "much"]).expect_code(2);
    let mut build = place.build_command(&[]);
    run(build.env("RBUILD_CACHE_MAX", "much"), LIMIT)
        .expect_code(2)
        .expect_text("RBUILD_CACHE_MAX");
    place.assert_intact();
}

/// A small file system of its own; gone with the value.
pub struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// Makes and mounts one of this size, in a file.
    pub fn mount(at: &'a Path, image: &Path, bytes: u64) -> Self {
        fs::File::create(image)
            .and_then(|file| file.set_len(bytes))
            .expect("make the image");
        fs::create_dir_all(at).expect("make the mount point");
        let done = run(
            Command::new(need_tool("mkfs.ext4")).arg("-q").arg(image),
            LIMIT,
        );
        done.expect_success();
        let mut mount = Command::new(need_tool("mount"));
        run(mount.args(["-o", "loop"]).arg(image).arg(at), LIMIT).expect_success();
        Self(at)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        run(Command::new(need_tool("umount")).arg(self.0), LIMIT);
    }
}

#[test]
fn a_full_disk_is_told_and_pruned() {
    if !granted(Privilege::Root) {
        return;
    }
    let place =
        Place::new("FROM busybox\nRUN dd if=/dev/urandom of=/a bs=1M count=12 2> /dev/null\n");
    let (store, image) = (place.store(), place.dir().join("disk"));
    let _disk = SmallDisk::mount(&store, &image, 48 << 20);
    place.build(&["-t", "first"]).expect_success();
    let rest =
        "FROM busybox\nRUN dd if=/dev/urandom of=/b bs=1M count=12 2> /dev/null\nCOPY big /big\n";
    place.write("Dockerfile", rest);
    place.write("big", &"x".repeat(40 << 20));
    let failed = place.build(&["-t", "second"]).expect_code(1);
    failed
        .expect_text("No space left on device")
        .expect_text("rbuild prune");
    // Until not a byte is left for anybody.
    let filler = store.join("lost+found/filler");
    let mut dd = Command::new(need_tool("dd"));
    dd.args(["if=/dev/zero", "bs=4k"])
        .arg(format!("of={}", filler.display()));
    run(&mut dd, LIMIT).expect_code(1);
    prune(&place, &["-a"]);
    assert_eq!(shell_in_full(&place), "ok\n");
    place.assert_intact();
    place.run(&["rmi", "first"]).expect_success();
    prune(&place, &["-a"]);
    fs::remove_file(&filler).expect("remove the filler");
    place.write("big", "small");
    place.build(&["-t", "second"]).expect_success();
    place.assert_intact();
}

/// Runs the first image, whose files must be all there.
fn shell_in_full(place: &Place) -> String {
    shell_in(place, "first", "test $(wc -c < /a) = 12582912 && echo ok")
}
