//! The store between processes: kills, races, a full disk.
//!
//! The test binary starts itself again as the other processes; what such a child does is in `child`.

// Helpers of tests may unwrap as tests may; the lint knows only test functions.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use rbuild_oci::{Algorithm, Digest};
use rbuild_progress::CancelToken;
use rbuild_store::{Error, Object, Removal, Store, Table};

mod child;

/// Starts this binary as a child doing `duty` on the store at `root`.
fn start(duty: &str, root: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "child::child", "--nocapture", "--quiet"])
        .env(child::DUTY, duty)
        .env(child::ROOT, root)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until a child says that it is ready.
fn wait_ready(child: &mut Child) {
    use std::io::{BufRead, BufReader};
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().contains(child::READY)),
        "the child ended early"
    );
}

fn staged_entries(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("stage")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn killed_process_leaves_nothing_after_the_next_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = start("half", dir.path());
    wait_ready(&mut child);
    assert_eq!(staged_entries(dir.path()).len(), 2);
    // While it lives, nobody sweeps.
    Store::open(dir.path()).unwrap();
    assert_eq!(staged_entries(dir.path()).len(), 2);

    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(staged_entries(dir.path()), Vec::<String>::new());
    assert!(store.blobs().unwrap().is_empty());
    assert!(store.trees().unwrap().is_empty());
    assert_eq!(store.get(Table::Records, "k").unwrap().unwrap(), b"v");
    assert!(store.try_work_lock("work").unwrap().is_some());
    assert!(
        store
            .verify(&CancelToken::new())
            .unwrap()
            .problems
            .is_empty()
    );
}

#[test]
fn work_of_a_killed_process_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = start("half", dir.path());
    wait_ready(&mut child);
    let store = Store::open(dir.path()).unwrap();
    assert!(store.try_work_lock("work").unwrap().is_none());
    let cancel = CancelToken::new();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| store.work_lock("work", &cancel).unwrap());
        child.kill().unwrap();
        let _lock = waiter.join().unwrap();
    });
    child.wait().unwrap();
}

#[test]
fn processes_share_a_store_from_its_first_moment() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("new");
    let children: Vec<Child> = (0..4).map(|_| start("busy", &root)).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let store = Store::open(&root).unwrap();
    assert_eq!(store.blobs().unwrap().len(), child::ROUNDS as usize);
    assert_eq!(store.trees().unwrap().len(), child::ROUNDS as usize);
    assert_eq!(
        store.list(Table::Records, "").unwrap().len(),
        4 * child::ROUNDS as usize
    );
    // Incremented under the work lock: a lost update shows.
    let count = String::from_utf8(store.get(Table::Meta, "count").unwrap().unwrap()).unwrap();
    assert_eq!(count, (4 * child::ROUNDS).to_string());
    assert!(
        store
            .verify(&CancelToken::new())
            .unwrap()
            .problems
            .is_empty()
    );
    assert_eq!(staged_entries(&root), Vec::<String>::new());
}

#[test]
fn leased_objects_stay_until_the_holder_dies() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = store.put_blob(b"leased").unwrap();
    store.release_committed();
    let mut child = start("lease", dir.path());
    wait_ready(&mut child);
    let cancel = CancelToken::new();
    let lock = store.gc_lock(&cancel).unwrap();
    assert!(matches!(
        store.remove_blob(&lock, &digest).unwrap(),
        Removal::Leased
    ));
    drop(lock);
    child.kill().unwrap();
    child.wait().unwrap();
    let lock = store.gc_lock(&cancel).unwrap();
    assert!(matches!(
        store.remove_blob(&lock, &digest).unwrap(),
        Removal::Removed(None)
    ));
    assert!(matches!(
        store.remove_blob(&lock, &digest).unwrap(),
        Removal::Absent
    ));
    drop(lock);
    let (_lease, missing) = store.lease(&[Object::Blob(digest.clone())]).unwrap();
    assert_eq!(missing, [Object::Blob(digest)]);
}

#[test]
fn what_a_handle_committed_is_leased_until_released() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (
        Store::open(dir.path()).unwrap(),
        Store::open(dir.path()).unwrap(),
    );
    let staged = ours.stage_dir().unwrap();
    fs::create_dir(staged.path().join("t")).unwrap();
    fs::write(staged.path().join("t/file"), "x").unwrap();
    let path = ours.commit_tree(staged, "t", "0a").unwrap();
    assert_eq!(fs::read(path.join("file")).unwrap(), b"x");
    let cancel = CancelToken::new();
    let lock = other.gc_lock(&cancel).unwrap();
    assert!(matches!(
        other.remove_tree(&lock, "0a").unwrap(),
        Removal::Leased
    ));
    drop(lock);
    ours.release_committed();
    let lock = other.gc_lock(&cancel).unwrap();
    let removal = other.remove_tree(&lock, "0a").unwrap();
    drop(lock);
    assert!(matches!(removal, Removal::Removed(Some(_))));
    drop(removal);
    assert!(!ours.has_tree("0a"));
    drop((ours, other));
    assert_eq!(staged_entries(dir.path()), Vec::<String>::new());
}

#[test]
fn wrong_digest_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let expected = Digest::sha256_of(b"something else");
    let mut ingest = store.ingest().unwrap();
    ingest.write_all(b"content").unwrap();
    let error = ingest.commit(Some(&expected)).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert!(store.blobs().unwrap().is_empty());
    assert!(!store.has_blob(&expected));
}

#[test]
fn a_wrong_digest_is_told_in_the_algorithm_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
        let (right, wrong) = (
            Digest::of(algorithm, b"content"),
            Digest::of(algorithm, b"other"),
        );
        let put = |expected: &Digest| {
            let mut ingest = store.ingest().unwrap();
            ingest.write_all(b"content").unwrap();
            ingest.commit(Some(expected))
        };
        match put(&wrong).unwrap_err() {
            Error::DigestMismatch { expected, found } => {
                assert_eq!((expected, found), (wrong, right.clone()));
            }
            other => panic!("{other}"),
        }
        assert_eq!(put(&right).unwrap(), (right.clone(), 7));
        assert_eq!(store.read_blob(&right, 7).unwrap(), b"content");
    }
    assert_eq!(store.blobs().unwrap().len(), 3);
    let report = store.verify(&CancelToken::new()).unwrap();
    assert_eq!(report.problems, []);
}

#[test]
fn blobs_are_read_only_and_sha512_is_checked() {
    let text = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = Digest::parse(text).unwrap();
    for (content, good) in [("abc", true), ("abd", false)] {
        let mut ingest = store.ingest().unwrap();
        ingest.write_all(content.as_bytes()).unwrap();
        assert_eq!(ingest.commit(Some(&digest)).is_ok(), good);
    }
    assert_eq!(store.blob_size(&digest).unwrap(), 3);
    assert!(matches!(store.read_blob(&digest, 2), Err(Error::Io { .. })));
    assert_eq!(store.read_blob(&digest, 3).unwrap(), b"abc");
    let mode = fs::metadata(store.blob_path(&digest))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o444);
    assert!(
        store
            .verify(&CancelToken::new())
            .unwrap()
            .problems
            .is_empty()
    );
}

#[test]
fn bad_tree_ids_reach_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for id in ["", "..", "../blobs", "A", "a/b", "a b"] {
        assert!(!store.has_tree(id));
        let staged = store.stage_dir().unwrap();
        assert!(
            matches!(
                store.commit_tree(staged, ".", id),
                Err(Error::TreeId { .. })
            ),
            "{id}"
        );
        assert!(!store.tree_path(id).exists());
    }
}

#[test]
fn full_disk_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(dir.path()) else {
        return;
    };
    let output = start("fill", dir.path()).wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// A disk of one megabyte, for tests that need privileges.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path) -> Option<Self> {
        use rustix::mount::{MountFlags, mount};
        let options = c"size=1m,mode=0700";
        match mount("tmpfs", path, "tmpfs", MountFlags::empty(), options) {
            Ok(()) => Some(Self(path)),
            Err(errno) if env::var("RBUILD_REQUIRE_PRIVILEGED").is_ok_and(|value| value == "1") => {
                panic!("mount a small disk: {errno}")
            }
            Err(errno) => {
                eprintln!("skipped: cannot mount a small disk: {errno}");
                None
            }
        }
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH).ok();
    }
}
