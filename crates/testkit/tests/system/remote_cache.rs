//! Caches in a directory that machines share: each machine is a store of its own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rbuild_testkit::{Finished, Privilege, TempDir, Tree, granted, run};

use crate::place::{LIMIT, Place, cached_steps, shell_in};

const STEPS: &str = "FROM busybox AS made\n\
    COPY in /in\n\
    RUN head -c 3000000 /dev/urandom > /out && cat /in >> /out\n\
    FROM busybox\n\
    COPY --from=made /out /out\n\
    RUN md5sum /out > /sum\n";

/// A directory that machines share.
struct Shared(TempDir);

impl Shared {
    fn new() -> Self {
        Self(TempDir::new())
    }

    fn dir(&self) -> PathBuf {
        self.0.join("cache")
    }

    /// Words that write it.
    fn to(&self, more: &str) -> [String; 2] {
        let text = format!("type=local,dest={}{more}", self.dir().display());
        ["--cache-to".to_owned(), text]
    }

    /// Words that read it.
    fn from(&self, more: &str) -> [String; 2] {
        let text = format!("type=local,src={}{more}", self.dir().display());
        ["--cache-from".to_owned(), text]
    }

    /// Its blobs, the largest first.
    fn blobs(&self) -> Vec<PathBuf> {
        let dir = self.dir().join("blobs/sha256");
        let blobs = fs::read_dir(dir).expect("list blobs").flatten();
        let mut blobs: Vec<PathBuf> = blobs.map(|entry| entry.path()).collect();
        blobs.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).expect("look").len()));
        blobs
    }

    /// The blob that is the index.
    fn index(&self) -> PathBuf {
        let is_index = |path: &&PathBuf| {
            let bytes = fs::read(path).expect("read a blob");
            let text = bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
            let unpacked = run(Command::new("zstd").args(["-dc"]).arg(path), LIMIT);
            text && unpacked.stdout.starts_with("{\"rbuild_cache_index\"")
        };
        let all = self.blobs();
        all.iter()
            .find(is_index)
            .expect("there is an index")
            .clone()
    }
}

fn machine() -> Place {
    Place::with(STEPS, Tree::new().file("in", "1\n"))
}

fn words<'a>(lists: &'a [&'a [String]]) -> Vec<&'a str> {
    lists
        .iter()
        .copied()
        .flatten()
        .map(String::as_str)
        .collect()
}

fn build(place: &Place, lists: &[&[String]]) -> Finished {
    let mut all = vec!["-t", "x"];
    all.extend(words(lists));
    place.build(&all).expect_success()
}

fn max(shared: &Shared) -> [String; 2] {
    shared.to(",mode=max")
}

/// Bytes of all blobs in a store.
fn blob_bytes(place: &Place) -> u64 {
    let dir = fs::read_dir(place.store().join("blobs/sha256")).expect("list blobs");
    dir.flatten()
        .map(|entry| entry.metadata().expect("look").size())
        .sum()
}

fn image_id(place: &Place) -> String {
    let shown = place.run(&["inspect", "x"]).expect_success().stdout;
    let at = shown.find("\"Id\"").expect("an id");
    shown[at..].lines().next().expect("a line").to_owned()
}

#[test]
fn another_machine_gets_the_same_image_without_a_byte_of_a_layer() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, a, b) = (Shared::new(), machine(), machine());
    build(&a, &[&max(&shared)]);
    let built = build(&b, &[&shared.from("")]);
    assert_eq!(cached_steps(&built).len(), 4, "{built}");
    assert_eq!(image_id(&a), image_id(&b));
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
fn a_miss_is_told_by_what_another_machine_had() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, a, b) = (Shared::new(), machine(), machine());
    build(&a, &[&max(&shared)]);
    b.write("in", "2\n");
    let built = build(&b, &[&shared.from("")]);
    assert!(!built.text().contains("never built before"), "{built}");
    let misses: Vec<&str> = built
        .stderr
        .lines()
        .filter(|line| line.contains("cache miss:"))
        .collect();
    assert!(misses[0].contains("file"), "{misses:?}");
    assert!(misses[1].contains("because [made 1/3] COPY"), "{misses:?}");
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

/// Makes a key; the file and the public half.
fn key(dir: &Path, name: &str) -> (String, String) {
    let file = dir.join(name).display().to_string();
    let place = machine();
    let public = place.run(&["cache", "key", &file]).expect_success().stdout;
    (file, public.trim().to_owned())
}

fn signing(file: &str) -> [String; 2] {
    ["--cache-key".to_owned(), file.to_owned()]
}

fn trusting(key: &str) -> [String; 2] {
    ["--cache-trust".to_owned(), key.to_owned()]
}

#[test]
fn whoever_may_write_the_place_cannot_change_a_build_that_trusts_a_key() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, keys) = (Shared::new(), TempDir::new());
    let (main_key, main) = key(&keys, "main");
    let (evil_key, _) = key(&keys, "evil");
    let evil = machine();
    // The attacker's own results, under the very keys that main asks for: unsigned, and signed by them.
    build(&evil, &[&max(&shared)]);
    build(&evil, &[&max(&shared), &signing(&evil_key)]);
    let reader = machine();
    let built = build(&reader, &[&shared.from(""), &trusting(&main)]);
    assert!(cached_steps(&built).is_empty(), "{built}");
    assert!(built.text().contains("not signed"), "{built}");
    assert!(built.text().contains("not trusted"), "{built}");
    // Beside them main's own entries are found, and the attacker's later ones do not displace them.
    let author = machine();
    build(&author, &[&max(&shared), &signing(&main_key)]);
    build(
        &evil,
        &[
            &["--no-cache".to_owned()],
            &max(&shared),
            &signing(&evil_key),
        ],
    );
    let reader = machine();
    let built = build(&reader, &[&shared.from(""), &trusting(&main)]);
    assert_eq!(cached_steps(&built).len(), 4, "{built}");
    assert_eq!(image_id(&reader), image_id(&author));
}

#[test]
fn a_pull_request_reads_main_and_writes_its_own_scope() {
    if !granted(Privilege::Root) {
        return;
    }
    let (shared, main, request) = (Shared::new(), machine(), machine());
    build(&main, &[&shared.to(",mode=max,scope=main")]);
    request.write("Dockerfile", &format!("{STEPS}RUN echo pr > /pr\n"));
    let (from_main, from_own) = (shared.from(",scope=main"), shared.from(",scope=pr-7"));
    let built = build(
        &request,
        &[&from_main, &from_own, &shared.to(",mode=max,scope=pr-7")],
    );
    assert_eq!(cached_steps(&built).len(), 4, "{built}");
    // Main does not see it; the request's next machine does.
    for (scopes, expected) in [(vec![&from_main], 4), (vec![&from_main, &from_own], 5)] {
        let place = machine();
        place.write("Dockerfile", &format!("{STEPS}RUN echo pr > /pr\n"));
        let lists: Vec<&[String]> = scopes.iter().map(|words| words.as_slice()).collect();
        let built = build(&place, &lists);
        assert_eq!(cached_steps(&built).len(), expected, "{built}");
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
