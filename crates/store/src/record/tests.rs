use std::time::Instant;

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

#[test]
fn tables_are_apart_and_values_are_bytes() {
    let (_dir, store) = store();
    assert_eq!(store.get(Table::Layers, "k").unwrap(), None);
    store.put(Table::Layers, "k", &[0, 255]).unwrap();
    store.put(Table::Records, "k", b"").unwrap();
    assert_eq!(store.get(Table::Layers, "k").unwrap().unwrap(), [0, 255]);
    assert_eq!(store.get(Table::Records, "k").unwrap().unwrap(), b"");
    store.delete(Table::Layers, "k").unwrap();
    store.delete(Table::Layers, "k").unwrap();
    assert_eq!(store.get(Table::Layers, "k").unwrap(), None);
    assert!(store.get(Table::Records, "k").unwrap().is_some());
}

#[test]
fn list_is_sorted_and_stops_at_the_prefix() {
    let (_dir, store) = store();
    for key in ["b/2", "a", "b/1", "b0", "b/é", "c"] {
        store.put(Table::Tags, key, key.as_bytes()).unwrap();
    }
    let keys = |prefix| -> Vec<String> {
        store
            .list(Table::Tags, prefix)
            .unwrap()
            .into_iter()
            .map(|(key, _)| key)
            .collect()
    };
    assert_eq!(keys("b/"), ["b/1", "b/2", "b/é"]);
    assert_eq!(keys("").len(), 6);
    assert!(keys("x").is_empty());
}

#[test]
fn put_new_keeps_the_first() {
    let (_dir, store) = store();
    assert_eq!(store.put_new(Table::Records, "k", b"1").unwrap(), None);
    assert_eq!(
        store.put_new(Table::Records, "k", b"2").unwrap().unwrap(),
        b"1"
    );
    assert_eq!(store.get(Table::Records, "k").unwrap().unwrap(), b"1");
}

#[test]
fn many_are_set_and_read_together() {
    let (_dir, store) = store();
    store
        .put_many(&[(Table::Chains, "a", b"1"), (Table::DiffIds, "a", b"2")])
        .unwrap();
    assert_eq!(
        store.get_many(Table::Chains, &["x", "a"]).unwrap(),
        [None, Some(b"1".to_vec())]
    );
    assert_eq!(store.get(Table::DiffIds, "a").unwrap().unwrap(), b"2");
}

#[test]
fn order_counts_when_a_key_is_changed_twice() {
    let (_dir, store) = store();
    store.put(Table::Meta, "k", b"1").unwrap();
    let changes = [
        Change::Delete(Table::Meta, "k"),
        Change::Put(Table::Meta, "k", b"2"),
        Change::Put(Table::Meta, "k", b"1"),
    ];
    store.transact(&changes).unwrap();
    assert_eq!(store.get(Table::Meta, "k").unwrap().unwrap(), b"1");
}

#[test]
fn equal_value_is_not_written() {
    let (_dir, store) = store();
    store.put(Table::Tags, "k", b"v").unwrap();
    let log = store.layout.database().with_extension("sqlite-wal");
    let length = || std::fs::metadata(&log).unwrap().len();
    let before = length();
    store.put(Table::Tags, "k", b"v").unwrap();
    store.delete(Table::Tags, "absent").unwrap();
    assert_eq!(length(), before);
    store.put(Table::Tags, "k", b"w").unwrap();
    assert!(length() > before);
}

#[test]
fn data_survives_without_a_checkpoint_at_close() {
    let (dir, store) = store();
    store.put(Table::Meta, "k", b"v").unwrap();
    let log = store.layout.database().with_extension("sqlite-wal");
    drop(store);
    assert!(
        std::fs::metadata(log).unwrap().len() > 0,
        "the log was folded in at close"
    );
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.get(Table::Meta, "k").unwrap().unwrap(), b"v");
}

#[test]
fn opening_and_ten_reads_are_cheap() {
    let (dir, store) = store();
    let value = [7; 200];
    for chunk in 0..20 {
        let keys: Vec<String> = (0..1000)
            .map(|i| format!("{:032}", chunk * 1000 + i))
            .collect();
        let entries: Vec<_> = keys
            .iter()
            .map(|key| (Table::Records, key.as_str(), &value[..]))
            .collect();
        store.put_many(&entries).unwrap();
    }
    drop(store);
    let mut times = Vec::new();
    for _ in 0..10 {
        let begin = Instant::now();
        let store = Store::open(dir.path()).unwrap();
        for key in 0..10 {
            assert!(
                store
                    .get(Table::Records, &format!("{key:032}"))
                    .unwrap()
                    .is_some()
            );
        }
        times.push(begin.elapsed());
        drop(store);
    }
    times.sort();
    eprintln!("open and ten reads: {times:?}");
    // A hundred times the target: this guards against a scan, not against a busy machine.
    assert!(times[0] < Duration::from_millis(100), "{times:?}");
}
