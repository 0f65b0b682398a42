//! What this binary does when a test starts it as another process.

use std::io::Write;
use std::path::Path;
use std::{env, fs};

use rbuild_oci::Digest;
use rbuild_progress::CancelToken;
use rbuild_store::{Object, Store, Table};

/// Variable that names what to do.
pub const DUTY: &str = "RBUILD_STORE_TEST_DUTY";

/// Variable that names the root of the store.
pub const ROOT: &str = "RBUILD_STORE_TEST_ROOT";

/// What a child prints when it waits to be killed.
pub const READY: &str = "child is ready";

/// How often a busy child does everything.
pub const ROUNDS: u32 = 25;

/// Passes at once unless this process was started as a child.
#[test]
fn child() {
    let (Ok(duty), Some(root)) = (env::var(DUTY), env::var_os(ROOT)) else {
        return;
    };
    let store = Store::open(Path::new(&root)).unwrap();
    match duty.as_str() {
        "half" => half(&store),
        "busy" => busy(&store),
        "lease" => lease(&store),
        "fill" => fill(&store),
        other => panic!("no such duty: {other}"),
    }
}

/// Has one of everything in the making, and waits.
fn half(store: &Store) {
    store.put(Table::Records, "k", b"v").unwrap();
    let mut ingest = store.ingest().unwrap();
    ingest.write_all(&[0; 1_000_000]).unwrap();
    let dir = store.stage_dir().unwrap();
    fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
    fs::write(dir.path().join("a/b/c/file"), "x").unwrap();
    let file = store.stage_file().unwrap();
    let lock = store.work_lock("work", &CancelToken::new()).unwrap();
    wait_for_the_end();
    drop((ingest, dir, file, lock));
}

fn lease(store: &Store) {
    let digest = Digest::sha256_of(b"leased");
    let (lease, missing) = store.lease(&[Object::Blob(digest)]).unwrap();
    assert!(missing.is_empty());
    wait_for_the_end();
    drop(lease);
}

/// Fills the disk; in a process that starts no others, which would keep removed files for a moment.
fn fill(store: &Store) {
    let mut ingest = store.ingest().unwrap();
    let chunk = [0; 64 * 1024];
    let error = (0..64)
        .find_map(|_| ingest.write_all(&chunk).err())
        .expect("the disk is smaller");
    assert!(error.to_string().contains("rbuild prune"), "{error}");
    drop(ingest);
    let error = store.put_blob(&[1; 4 * 1024 * 1024]).unwrap_err();
    assert!(error.is_disk_full(), "{error}");
    // Dropped, so there is room again.
    store.put_blob(b"small").unwrap();
}

/// Does the same work as its siblings at the same time.
fn busy(store: &Store) {
    let cancel = CancelToken::new();
    for round in 0..ROUNDS {
        let mut ingest = store.ingest().unwrap();
        ingest
            .write_all(format!("content {round}").repeat(1000).as_bytes())
            .unwrap();
        let (digest, _) = ingest.commit(None).unwrap();
        assert!(store.has_blob(&digest));

        let dir = store.stage_dir().unwrap();
        fs::create_dir(dir.path().join("t")).unwrap();
        fs::write(dir.path().join("t/file"), "x").unwrap();
        let tree = store
            .commit_tree(dir, "t", &format!("tree-{round}"))
            .unwrap();
        assert_eq!(fs::read(tree.join("file")).unwrap(), b"x");

        let key = format!("{}-{round}", std::process::id());
        store
            .put(Table::Records, &key, digest.as_str().as_bytes())
            .unwrap();

        let _lock = store.work_lock("count", &cancel).unwrap();
        let count = store
            .get(Table::Meta, "count")
            .unwrap()
            .unwrap_or(b"0".to_vec());
        let count: u32 = String::from_utf8(count).unwrap().parse().unwrap();
        store
            .put(Table::Meta, "count", (count + 1).to_string().as_bytes())
            .unwrap();
    }
}

fn wait_for_the_end() {
    println!("{READY}");
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}
