use std::os::unix::fs::PermissionsExt;

use rbuild_progress::CancelToken;

use super::*;
use crate::{Store, Table};

const IDS: &str = "these";

/// A sealed store with a blob, a tree and a row; its directory has an awkward name.
fn sealed() -> (tempfile::TempDir, PathBuf, Digest) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a store?#%");
    let store = Store::open(&root).unwrap();
    let digest = store.put_blob(b"bytes").unwrap();
    let staged = store.stage_dir().unwrap();
    fs::create_dir(staged.path().join("t")).unwrap();
    store.commit_tree(staged, "t", "tree").unwrap();
    store.put(Table::Records, "key", b"below").unwrap();
    store
        .put(Table::StatCache, "file", b"of this machine")
        .unwrap();
    store.seal(IDS, &CancelToken::new()).unwrap();
    (dir, root, digest)
}

/// Everything below a directory: path, length and time of change.
fn listing(root: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;

    let mut all = Vec::new();
    let mut stack = vec![root.to_owned()];
    while let Some(path) = stack.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        all.push(format!(
            "{path:?} {} {} {}",
            meta.len(),
            meta.ctime(),
            meta.ctime_nsec()
        ));
        if meta.is_dir() {
            stack.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    all.sort();
    all
}

fn above(root: &Path) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("own")).unwrap();
    let store = store.over(Sealed::open(root, IDS).unwrap());
    (dir, store)
}

#[test]
fn what_is_lacking_is_taken_in_place_and_nothing_is_written() {
    let (_below, root, digest) = sealed();
    let before = listing(&root);
    let (_dir, store) = above(&root);
    assert_eq!(store.read_blob(&digest, 10).unwrap(), b"bytes");
    assert!(store.blob_path(&digest).starts_with(&root));
    assert!(store.has_tree("tree") && store.tree_path("tree").starts_with(&root));
    let objects = [Object::Blob(digest.clone()), Object::Tree("tree".into())];
    let (lease, missing) = store.lease(&objects).unwrap();
    assert!(missing.is_empty(), "{missing:?}");
    lease.add_all(&objects).unwrap();
    assert!(store.keep_tree("tree").unwrap());
    // The same bytes are not kept twice, and none of it is this store's own.
    assert_eq!(store.put_blob(b"bytes").unwrap(), digest);
    let mut again = store.ingest().unwrap();
    io::Write::write_all(&mut again, b"bytes").unwrap();
    again.commit(None).unwrap();
    assert!(store.blobs().unwrap().is_empty() && store.trees().unwrap().is_empty());
    assert_eq!(store.usage(&CancelToken::new()).unwrap().blobs.bytes, 0);
    let lock = store.gc_lock(&CancelToken::new()).unwrap();
    let gone = store.discard(&lock, &objects).unwrap();
    gone.delete().unwrap();
    drop(lock);
    assert!(store.has_blob(&digest) && store.has_tree("tree"));
    assert_eq!(listing(&root), before);
    assert!(store.lower().unwrap().damage().is_empty());
}

#[test]
fn rows_of_its_own_come_first() {
    let (_below, root, _) = sealed();
    let (_dir, store) = above(&root);
    let get = |key: &str| store.get(Table::Records, key).unwrap();
    assert_eq!(get("key").as_deref(), Some(&b"below"[..]));
    assert_eq!(store.get_own(Table::Records, "key").unwrap(), None);
    assert_eq!(store.get(Table::StatCache, "file").unwrap(), None);
    store.put(Table::Records, "key", b"own").unwrap();
    store.put(Table::Records, "other", b"1").unwrap();
    assert_eq!(get("key").as_deref(), Some(&b"own"[..]));
    let all = store.list_all(Table::Records, "").unwrap();
    let all: Vec<_> = all
        .iter()
        .map(|(key, row)| (key.as_str(), row.as_slice()))
        .collect();
    assert_eq!(all, [("key", &b"own"[..]), ("other", &b"1"[..])]);
    store.delete(Table::Records, "key").unwrap();
    assert_eq!(get("key").as_deref(), Some(&b"below"[..]));
}

#[test]
fn damage_counts_as_absent_and_is_told() {
    let (_below, root, digest) = sealed();
    let blob = root.join("blobs/sha256").join(digest.hex());
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&blob, "byt").unwrap();
    fs::remove_dir(root.join("trees/tree")).unwrap();
    fs::create_dir(root.join("trees/unknown")).unwrap();
    let (_dir, store) = above(&root);
    assert!(!store.has_blob(&digest) && !store.has_tree("tree") && !store.has_tree("unknown"));
    let damage = store.lower().unwrap().damage();
    assert_eq!(damage.len(), 2, "{damage:?}");
    assert!(damage[0].contains("3 bytes instead of 5"), "{damage:?}");
    // It is made anew above.
    assert_eq!(store.put_blob(b"bytes").unwrap(), digest);
    assert_eq!(store.read_blob(&digest, 10).unwrap(), b"bytes");
}

#[test]
fn a_damaged_page_counts_as_absent_and_a_damaged_file_is_refused() {
    let (_below, root, _) = sealed();
    let database = root.join("db/store.sqlite");
    let bytes = fs::read(&database).unwrap();
    let mut torn = bytes.clone();
    torn[4096..].fill(0xee);
    fs::write(&database, torn).unwrap();
    match Sealed::open(&root, IDS) {
        Ok(lower) => {
            assert_eq!(lower.get(Table::Records, "key"), None);
            assert!(!lower.damage().is_empty());
        }
        Err(error) => assert!(error.to_string().contains("damaged"), "{error}"),
    }
    fs::write(&database, "no database at all, but long enough to be one").unwrap();
    let error = Sealed::open(&root, IDS).unwrap_err().to_string();
    assert!(error.contains("its database is damaged"), "{error}");
    fs::remove_file(&database).unwrap();
    let error = Sealed::open(&root, IDS).unwrap_err().to_string();
    assert!(error.contains("its database is damaged"), "{error}");
}

#[test]
fn what_is_no_sealed_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |root: &Path, part: &str| {
        let error = Sealed::open(root, IDS).unwrap_err().to_string();
        assert!(
            error.contains(part) && error.contains("--store-from"),
            "{error}"
        );
    };
    refused(&dir.path().join("absent"), "it is no store");
    refused(dir.path(), "it is no store");
    fs::write(dir.path().join("format"), "something else").unwrap();
    refused(dir.path(), "it is no store");
    fs::write(dir.path().join("format"), "rbuild-store 99\n").unwrap();
    refused(dir.path(), "format 99");
    let live = dir.path().join("live");
    drop(Store::open(&live).unwrap());
    refused(&live, &format!("`rbuild store seal {}`", live.display()));
    fs::write(live.join("sealed"), "rbuild-sealed 2\nx\n").unwrap();
    refused(&live, "another version");
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    refused(&file, "");
}

#[test]
fn other_ids_leave_the_trees_alone() {
    let (_below, root, digest) = sealed();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("own")).unwrap();
    let store = store.over(Sealed::open(&root, "other ones").unwrap());
    assert!(store.has_blob(&digest) && !store.has_tree("tree"));
    assert!(store.lower().unwrap().damage().is_empty());
}

#[test]
fn a_sealed_store_is_not_worked_in_until_it_is_unsealed() {
    let (_below, root, digest) = sealed();
    let error = Store::open(&root).unwrap_err();
    assert!(matches!(error, Error::Sealed { .. }));
    assert!(error.to_string().contains("rbuild store unseal"), "{error}");
    let taking = Sealed::open(&root, IDS).unwrap();
    assert!(matches!(Store::unseal(&root), Err(Error::InUse { .. })));
    drop(taking);
    Store::unseal(&root).unwrap();
    Store::unseal(&root).unwrap();
    let store = Store::open(&root).unwrap();
    assert!(store.has_blob(&digest));
    store.put_blob(b"more").unwrap();
    store.seal(IDS, &CancelToken::new()).unwrap();
    assert!(Store::unseal(Path::new("/nowhere/at/all")).is_err());
}

#[test]
fn a_store_in_use_is_not_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, other) = (
        Store::open(dir.path()).unwrap(),
        Store::open(dir.path()).unwrap(),
    );
    let cancel = CancelToken::new();
    let (lease, _) = other.lease(&[]).unwrap();
    assert!(matches!(store.seal(IDS, &cancel), Err(Error::InUse { .. })));
    drop(lease);
    let staged = other.stage_file().unwrap();
    assert!(matches!(store.seal(IDS, &cancel), Err(Error::InUse { .. })));
    drop((staged, other));
    let late = Store::open(dir.path()).unwrap();
    store.seal(IDS, &cancel).unwrap();
    // Opened before, but too late to begin anything.
    assert!(matches!(late.stage_file(), Err(Error::Sealed { .. })));
    assert!(matches!(late.lease(&[]), Err(Error::Sealed { .. })));
    assert!(matches!(late.put_blob(b"x"), Err(Error::Sealed { .. })));
}

#[test]
fn a_restart_changes_nothing_for_a_sealed_store() {
    let (_below, root, digest) = sealed();
    fs::write(root.join("boot"), "another-boot 1\n").unwrap();
    let (_dir, store) = above(&root);
    assert!(store.has_blob(&digest) && store.has_tree("tree"));
}
