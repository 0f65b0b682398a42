//! Caches in a directory that machines share: each machine is a store of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rbuild_testkit::{Privilege, Tree, granted, run};

use crate::machines::{STEPS, Shared, blob_bytes, build, image_id, machine, max, words};
use crate::place::{LIMIT, Place, cached_steps, shell_in};

#[test]
fn another_machine_gets_the_same_image_without_a_byte_of_a_layer() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, a, b) = (Shared::new(), machine(), machine());
    build(&a, &[&max(&shared)]);
    let built = build(&b, &[&shared.from("")]);
    assert_eq!(cached_steps(&built).len(), 4, "{built}");
    assert_eq!(image_id(&a, "x"), image_id(&b, "x"));
    // Base, documents; the layer of 3 MB stays where it is.
    assert!(blob_bytes(&b) < 2 << 20, "{}", blob_bytes(&b));
    assert_eq!(
        shell_in(&b, "x", "md5sum /out"),
        shell_in(&a, "x", "cat /sum")
    );
    b.assert_intact();
}

#[test]
fn a_build_that_needs_nothing_asks_nothing() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, a) = (Shared::new(), machine());
    build(&a, &[&max(&shared)]);
    fs::remove_dir_all(shared.dir()).expect("remove the cache");
    fs::write(shared.dir(), "no directory").expect("put a file there");
    let again = build(&a, &[&shared.from("")]);
    assert_eq!(cached_steps(&again).len(), 4, "{again}");
    assert!(!again.text().contains("importing cache"), "{again}");
    assert!(!again.text().contains("RemoteCache"), "{again}");
}

#[test]
fn after_a_change_only_what_is_new_is_made_and_sent() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, a, b) = (Shared::new(), machine(), machine());
    build(&a, &[&max(&shared)]);
    let before = shared.blobs();
    b.write("Dockerfile", &format!("{STEPS}RUN echo more > /more\n"));
    let built = build(&b, &[&shared.from(""), &max(&shared)]);
    assert_eq!(cached_steps(&built).len(), 4, "{built}");
    let large = |all: &[PathBuf]| {
        let size = |path: &&PathBuf| fs::metadata(path).expect("look").len() > 1 << 20;
        all.iter().filter(size).count()
    };
    assert_eq!(large(&before), 1);
    assert_eq!(large(&shared.blobs()), 1, "no large blob is new");
    let c = machine();
    c.write("Dockerfile", &format!("{STEPS}RUN echo more > /more\n"));
    assert_eq!(cached_steps(&build(&c, &[&shared.from("")])).len(), 5);
}

#[test]
fn min_takes_the_layers_of_the_result_only() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, a, b) = (Shared::new(), machine(), machine());
    build(&a, &[&shared.to("")]);
    let built = build(&b, &[&shared.from("")]);
    // The stage that is copied from has no entries.
    let cached = cached_steps(&built);
    assert!(
        cached.iter().all(|step| !step.starts_with("[made")),
        "{built}"
    );
    assert_eq!(cached.len(), 2, "{built}");
}

/// Breaks the cache in some way, and sees the build through with a warning and the right result.
fn survives(break_it: impl Fn(&Shared), warned: &str) {
    let (shared, a, b) = (Shared::new(), machine(), machine());
    build(&a, &[&max(&shared)]);
    break_it(&shared);
    b.write("Dockerfile", &format!("{STEPS}RUN cat /out > /more\n"));
    let built = build(&b, &[&shared.from("")]);
    assert!(built.text().contains("RemoteCache: "), "{built}");
    assert!(built.text().contains(warned), "{built}");
    let sums = shell_in(&b, "x", "md5sum < /out; md5sum < /more; cut -d' ' -f1 /sum");
    let mut sums: Vec<&str> = sums
        .split_whitespace()
        .filter(|word| *word != "-")
        .collect();
    sums.dedup();
    assert_eq!(sums.len(), 1, "{sums:?}");
    b.assert_intact();
    // And the cache is as good as new once somebody writes it.
    build(&b, &[&max(&shared)]);
    let c = machine();
    c.write("Dockerfile", &format!("{STEPS}RUN cat /out > /more\n"));
    let built = build(&c, &[&shared.from("")]);
    assert_eq!(cached_steps(&built).len(), 5, "{built}");
}

#[test]
fn a_layer_that_is_gone_is_made_again() {
    if !granted(Privilege::Root) {
        return;
    }
    let remove = |shared: &Shared| fs::remove_file(&shared.blobs()[0]).expect("remove");
    survives(remove, "any more; what it holds is made again");
}

#[test]
fn a_layer_that_is_gone_is_sent_again_by_whoever_missed_it() {
    if !granted(Privilege::Root) {
        return;
    }
    // What is made again is the same blob: the index names it already.
    let copy = "FROM busybox\nCOPY in /in\n";
    let machine = |more: &str| {
        let tree = Tree::new().file("in", "0123456789\n".repeat(5000));
        Place::with(&format!("{copy}{more}"), tree)
    };
    let shared = Shared::new();
    build(&machine(""), &[&max(&shared)]);
    let is_layer = |path: &&PathBuf| {
        let unpacked = run(Command::new("zstd").arg("-dc").arg(path), LIMIT);
        unpacked.stdout.contains("0123456789")
    };
    let blobs = shared.blobs();
    let layer = blobs.iter().find(is_layer).expect("a layer");
    fs::remove_file(layer).expect("remove");
    // It needs the bytes.
    let b = machine("RUN wc -c < /in > /more\n");
    let built = build(&b, &[&shared.from(""), &max(&shared)]);
    assert!(built.text().contains("is made again"), "{built}");
    let c = machine("RUN wc -l < /in > /more\n");
    let built = build(&c, &[&shared.from("")]);
    assert!(!built.text().contains("RemoteCache"), "{built}");
    assert_eq!(cached_steps(&built).len(), 1, "{built}");
    assert_eq!(shell_in(&c, "x", "cat /more").trim(), "5000");
}

#[test]
fn a_layer_with_other_bytes_is_made_again() {
    if !granted(Privilege::Root) {
        return;
    }
    let swap = |shared: &Shared| {
        let blobs = shared.blobs();
        let mut bytes = fs::read(&blobs[0]).expect("read");
        bytes[1000] ^= 1;
        fs::write(&blobs[0], bytes).expect("write");
    };
    survives(swap, "is damaged");
}

#[test]
fn a_truncated_layer_is_made_again() {
    if !granted(Privilege::Root) {
        return;
    }
    let cut = |shared: &Shared| {
        let file = fs::OpenOptions::new().write(true).open(&shared.blobs()[0]);
        file.and_then(|file| file.set_len(1000)).expect("truncate");
    };
    survives(cut, "1000 bytes instead of");
}

#[test]
fn layers_that_are_not_what_the_index_says_are_made_again() {
    if !granted(Privilege::Root) {
        return;
    }
    let swap = |shared: &Shared| {
        shared.edit_index(|text| {
            let mut parts = text.split("\"diff_id\":\"sha256:");
            let mut lies = parts.next().expect("a beginning").to_owned();
            for part in parts {
                lies += &format!("\"diff_id\":\"sha256:{}{}", "0".repeat(64), &part[64..]);
            }
            lies
        });
    };
    survives(swap, "is not what was said of it");
}

#[test]
fn a_damaged_index_is_no_cache() {
    if !granted(Privilege::Root) {
        return;
    }
    let damage = |shared: &Shared| fs::write(shared.index(), "rubbish").expect("write");
    survives(damage, "the index in the cache");
}

#[test]
fn a_damaged_layout_is_no_cache() {
    if !granted(Privilege::Root) {
        return;
    }
    let damage = |shared: &Shared| fs::write(shared.dir().join("index.json"), "{").expect("write");
    survives(damage, "index.json");
}

#[test]
fn a_cache_that_cannot_be_written_fails_no_build() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, a) = (Shared::new(), machine());
    fs::write(shared.dir(), "no directory").expect("put a file there");
    let built = build(&a, &[&max(&shared), &shared.from("")]);
    assert!(
        built.text().contains("the cache was not written"),
        "{built}"
    );
    assert!(built.text().contains("is not used"), "{built}");
    shell_in(&a, "x", "cat /sum");
}

#[test]
fn a_full_disk_under_the_cache_fails_no_build() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, a) = (Shared::new(), machine());
    fs::create_dir(shared.dir()).expect("make a mount point");
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(shared.dir());
    run(&mut mount, LIMIT).expect_success();
    let built = a.build(&[&["-t", "x"], &*words(&[&max(&shared)])].concat());
    let left: Vec<_> = fs::read_dir(shared.dir())
        .expect("list")
        .flatten()
        .collect();
    let half = left
        .iter()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(".new"));
    let half = half.count();
    run(Command::new("umount").arg("-l").arg(shared.dir()), LIMIT).expect_success();
    let built = built.expect_success();
    assert!(
        built.text().contains("the cache was not written"),
        "{built}"
    );
    assert_eq!(half, 0, "half-written files stay");
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    if !granted(Privilege::Root) {
        return;
    }
    let shared = Shared::new();
    let machines: Vec<Place> = (0..6)
        .map(|number| {
            let place = machine();
            place.write(
                "Dockerfile",
                &format!("FROM busybox\nRUN echo {number} > /n\n"),
            );
            place
        })
        .collect();
    thread::scope(|scope| {
        for place in &machines {
            scope.spawn(|| build(place, &[&max(&shared)]));
        }
    });
    for place in &machines {
        fs::remove_dir_all(place.store()).expect("lose the store");
        let built = build(place, &[&shared.from("")]);
        assert_eq!(cached_steps(&built).len(), 1, "{built}");
    }
}

#[test]
fn a_writer_that_is_killed_leaves_a_cache_that_works() {
    if !granted(Privilege::Root) {
        return;
    }
    let shared = Shared::new();
    build(&machine(), &[&max(&shared)]);
    for moment in 0..8 {
        let place = machine();
        place.write("in", &format!("{moment}\n"));
        let mut command = place.build_command(&words(&[&max(&shared)]));
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start");
        thread::sleep(Duration::from_millis(150 + 40 * moment));
        child.kill().expect("kill");
        child.wait().expect("wait");
        let reader = machine();
        let built = build(&reader, &[&shared.from("")]);
        assert_eq!(cached_steps(&built).len(), 4, "{built}");
        assert!(!built.text().contains("RemoteCache"), "{built}");
    }
}

#[test]
fn what_cannot_be_meant_is_told_before_anything_is_built() {
    let place = machine();
    for (option, said) in [
        ("--cache-to=type=local", "type=local needs dest="),
        (
            "--cache-from=type=local,src=/x,mode=max",
            "no attribute mode=",
        ),
        (
            "--cache-to=type=local,dest=/x,mode=all",
            "it must be min or max",
        ),
        ("--cache-from=type=nothing", "type=nothing is no cache"),
        ("--cache-trust=/does/not/exist", "it is no public key"),
        ("--cache-key=/does/not/exist", "/does/not/exist"),
    ] {
        let refused = place.build(&[option]).expect_code(2);
        assert!(refused.text().contains(said), "{refused}");
        assert!(!place.store().exists(), "{option}");
    }
}

#[test]
fn a_budget_of_nothing_sends_nothing_and_says_so() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, a) = (Shared::new(), machine());
    let budget = ["--cache-budget".to_owned(), "0s".to_owned()];
    build(&a, &[&shared.to("")]);
    fs::remove_dir_all(shared.dir()).expect("lose the cache");
    // Everything is made already, so nothing goes ahead.
    let built = build(&a, &[&shared.to(""), &budget]);
    assert!(
        built.text().contains("--cache-budget was used up"),
        "{built}"
    );
}
