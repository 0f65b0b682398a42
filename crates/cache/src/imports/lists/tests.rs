use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock};

use rbuild_oci::{Descriptor, DiffId};
use rbuild_solver::{CacheKey, InputNote, KeyInputs, Part};

use super::*;
use crate::backend::memory::MemoryBackend;
use crate::backend::{IndexDocument, NewIndex};
use crate::entry::{LIST_TYPE, LayerEntry, Signed, StepEntry};
use crate::imports::{From, Summary, Told};
use crate::{CacheFrom, Index, PlaceEnv, Trust};

struct Deaf;

impl Told for Deaf {
    fn reading(&self, _: &str, read: &mut dyn FnMut() -> Result<Summary>) {
        read().unwrap();
    }

    fn warn(&self, text: &str) {
        panic!("{text}");
    }
}

/// A place that says what it has and never delivers.
struct Silent(MemoryBackend);

impl Backend for Silent {
    fn name(&self) -> &str {
        "silent"
    }

    fn read_indexes(&self, cancel: &CancelToken) -> Result<Vec<IndexDocument>> {
        self.0.read_indexes(cancel)
    }

    fn write_index(&self, index: &NewIndex<'_>, cancel: &CancelToken) -> Result<()> {
        self.0.write_index(index, cancel)
    }

    fn present(&self, _: &[Descriptor], _: &CancelToken) -> Result<BTreeSet<Digest>> {
        Ok(BTreeSet::new())
    }

    fn fetch(
        &self,
        _: &Descriptor,
        _: &Store,
        _: &dyn Fn(u64),
        cancel: &CancelToken,
    ) -> Result<()> {
        cancel
            .wait(Duration::from_secs(600))
            .map_err(|_| Error::Cancelled)
    }

    fn send(&self, blob: &Descriptor, store: &Store, cancel: &CancelToken) -> Result<()> {
        self.0.send(blob, store, cancel)
    }
}

fn entry(list: &Digest, size: u64) -> StepEntry {
    let digest = Digest::sha256_of(b"x");
    let blob = |media_type: &str, digest: &Digest, size| BlobRef {
        media_type: media_type.to_owned(),
        digest: digest.clone(),
        size,
    };
    StepEntry {
        keys: vec![list.to_string()],
        identity: CacheKey::parse(digest.as_str()).unwrap(),
        layer: LayerEntry {
            diff_id: DiffId(digest.clone()),
            blob: blob("x", &digest, 1),
            index: None,
            made_ns: 0,
        },
        scope: "default".to_owned(),
        writer: String::new(),
        created: 1,
        cost_ms: 0,
        inputs: KeyInputs {
            name: "COPY".to_owned(),
            op: digest,
            fields: Vec::new(),
            inputs: vec![InputNote {
                label: "context".to_owned(),
                part: Part::Nothing,
                source: None,
                files: Some(list.clone()),
                is_base: false,
            }],
            form: 0,
        },
        lists: vec![blob(LIST_TYPE, list, size)],
        inline: false,
    }
}

/// The imports of one place in which these entries lie.
fn imports(backend: Arc<dyn Backend>, entries: Vec<StepEntry>) -> Imports<'static> {
    let cancel = CancelToken::new();
    let lines = entries.into_iter().map(|entry| Signed {
        seen: 1,
        entry,
        signature: None,
    });
    let index = NewIndex {
        bytes: &Index::of_steps(lines.collect()).encode().unwrap(),
        blobs: &[],
        merged: &[],
    };
    backend.write_index(&index, &cancel).unwrap();
    let words =
        [("type", "local"), ("src", "/c")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let spec = CacheFrom::parse(words.into(), &PlaceEnv::default()).unwrap();
    let imports = Imports {
        from: vec![From { spec, backend }],
        trust: Trust::default(),
        told: &Deaf,
        known: OnceLock::new(),
        lost: Mutex::default(),
        patience: Mutex::default(),
    };
    imports.find("nothing", &cancel).unwrap();
    imports
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

#[test]
fn a_list_is_fetched_once_and_kept() {
    let (_dir, store) = store();
    let memory = MemoryBackend::new();
    let list = memory.put(b"a list");
    let absent = Digest::sha256_of(b"absent");
    let imports = imports(Arc::new(memory), vec![entry(&list, 6)]);
    let cancel = CancelToken::new();
    assert_eq!(imports.list(&absent, &store, &cancel), None);
    assert_eq!(imports.list(&list, &store, &cancel).unwrap(), b"a list");
    let kept = store.get(Table::Listings, list.as_str()).unwrap();
    assert_eq!(kept.unwrap(), b"a list");
}

#[test]
fn what_is_too_large_or_too_much_is_not_fetched() {
    let (_dir, store) = store();
    let memory = MemoryBackend::new();
    let lists: Vec<Digest> = (0..=MOST)
        .map(|n| memory.put(n.to_string().as_bytes()))
        .collect();
    let large = memory.put(b"large");
    let mut entries = vec![entry(&large, MAX_LIST + 1)];
    entries.extend(lists.iter().map(|list| entry(list, 1)));
    let imports = imports(Arc::new(memory), entries);
    let cancel = CancelToken::new();
    assert_eq!(imports.list(&large, &store, &cancel), None);
    let had = |list: &&Digest| imports.list(list, &store, &cancel).is_some();
    // What is too large was looked for as well.
    assert_eq!(lists.iter().filter(had).count(), MOST - 1);
}

#[test]
fn a_place_that_stays_silent_is_waited_for_once() {
    let (_dir, store) = store();
    let list = Digest::sha256_of(b"list");
    let silent = Silent(MemoryBackend::new());
    let imports = imports(Arc::new(silent), vec![entry(&list, 6)]);
    let time = Duration::from_millis(50);
    imports.patience.lock().unwrap().time = time;
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(imports.list(&list, &store, &CancelToken::new()), None);
    }
    let took = began.elapsed();
    assert!(took >= time && took < PATIENCE, "{took:?}");
}

#[test]
fn a_list_that_is_gone_costs_no_other() {
    let (_dir, store) = store();
    let memory = MemoryBackend::new();
    let (gone, list) = (Digest::sha256_of(b"gone"), memory.put(b"list"));
    let imports = imports(Arc::new(memory), vec![entry(&gone, 4), entry(&list, 4)]);
    let cancel = CancelToken::new();
    assert_eq!(imports.list(&gone, &store, &cancel), None);
    assert_eq!(imports.list(&list, &store, &cancel).unwrap(), b"list");
}
