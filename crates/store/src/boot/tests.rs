use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use super::*;

/// Opens the store as if in another boot.
fn reopen(root: &Path, boot: &str) -> Store {
    note_as(&Layout::open(root).unwrap(), boot).unwrap();
    // The store's own note would set aside again what is tested here.
    let mut store = Store::open(root).unwrap();
    store.has_suspects = true.into();
    store
}

fn put(store: &Store, bytes: &[u8]) -> Digest {
    let mut ingest = store.ingest().unwrap();
    ingest.write_all(bytes).unwrap();
    ingest.commit(None).unwrap().0
}

fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn whole_blob_comes_back_and_torn_one_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (whole, torn) = (put(&store, b"whole"), put(&store, b"torn"));
    overwrite(&store.blob_path(&torn), b"\0\0\0\0");
    drop(store);

    let store = reopen(dir.path(), "another boot");
    assert!(!store.blob_path(&whole).exists());
    assert!(store.has_blob(&whole));
    let mut text = String::new();
    store
        .open_blob(&whole)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "whole");
    assert!(!store.has_blob(&torn));
    assert!(matches!(
        store.open_blob(&torn),
        Err(Error::MissingBlob { .. })
    ));
    assert!(stage::is_empty(&store.layout.suspects()).unwrap());
}

#[test]
fn same_boot_sets_nothing_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = put(&store, b"x");
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert!(store.blob_path(&digest).exists());
    assert!(!store.has_suspects.load(Ordering::Relaxed));
}

#[test]
fn blobs_of_earlier_boots_stay_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = put(&store, b"old");
    let layout = store.layout.clone();
    let later = now_secs() + 100;
    write_replacing(&layout.boot(), format!("second {later}\n").as_bytes()).unwrap();
    assert!(!note_as(&layout, "third").unwrap());
    assert!(store.blob_path(&digest).exists());
}

#[test]
fn recent_trees_are_gone_until_vouched_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for id in ["good", "bad", "forgotten"] {
        let staged = store.stage_dir().unwrap();
        fs::create_dir(staged.path().join("t")).unwrap();
        store.commit_tree(staged, "t", id).unwrap();
    }
    drop(store);
    let store = reopen(dir.path(), "another boot");
    assert!(!store.has_tree("good"));
    let tree = |id: &str| Object::Tree(id.into());
    assert_eq!(
        store.suspects().unwrap(),
        ["bad", "forgotten", "good"].map(tree)
    );
    let stopped = store.recover_tree("good", |_| Err(Error::TreeId { id: "stop".into() }));
    assert!(stopped.is_err());
    let recover = |id, whole| store.recover_tree::<Error>(id, |path| Ok(whole && path.is_dir()));
    assert!(recover("good", true).unwrap());
    assert!(!recover("bad", false).unwrap());
    assert!(store.has_tree("good") && !store.has_tree("bad"));
    assert_eq!(store.suspects().unwrap(), ["forgotten"].map(tree));
}

#[test]
fn trees_long_before_the_last_sign_of_life_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let staged = store.stage_dir().unwrap();
    fs::create_dir(staged.path().join("t")).unwrap();
    store.commit_tree(staged, "t", "settled").unwrap();
    let later = SystemTime::now() + std::time::Duration::from_secs(SETTLE_SECS as u64 + 60);
    File::open(store.layout.boot())
        .unwrap()
        .set_modified(later)
        .unwrap();
    note_as(&store.layout, "another boot").unwrap();
    assert!(store.has_tree("settled"));
}

#[test]
fn empty_boot_file_makes_everything_suspect() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = put(&store, b"x");
    fs::write(store.layout.boot(), "").unwrap();
    assert!(note_as(&store.layout, current_id()).unwrap());
    assert!(!store.blob_path(&digest).exists());
}

#[test]
fn unknown_boot_sets_nothing_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = put(&store, b"x");
    assert!(!note_as(&store.layout, "").unwrap());
    assert!(store.blob_path(&digest).exists());
}
