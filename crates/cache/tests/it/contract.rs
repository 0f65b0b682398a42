//! What every backend must do: one function that asks it of any of them.
//!
//! [`holds`] panics with the sentence that does not hold. It wants a place that is empty.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rbuild_cache::{Backend, Error, IndexDocument, NewIndex};
use rbuild_oci::{Descriptor, Digest};
use rbuild_progress::CancelToken;
use rbuild_store::Store;
use rbuild_testkit::TempDir;

/// What the trait leaves to the kind of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// Whether indexes of several writers are there at the same time, newest first. If not, whoever has not
    /// merged the one that is there is told.
    pub keeps_foreign: bool,
    /// Whether indexes that were merged into another are gone afterwards.
    pub removes_merged: bool,
}

impl Habits {
    /// A place that can do everything.
    pub const ALL: Self = Self {
        keeps_foreign: true,
        removes_merged: true,
    };
}

/// A store in a directory of its own.
pub struct Local {
    _dir: TempDir,
    pub store: Store,
}

impl Local {
    pub fn new() -> Self {
        let dir = TempDir::new();
        let store = Store::open(&dir.join("store")).unwrap();
        Self { _dir: dir, store }
    }

    /// Puts `bytes` into it.
    pub fn put(&self, bytes: &[u8]) -> Descriptor {
        let digest = self.store.put_blob(bytes).unwrap();
        Descriptor::new(MEDIA_TYPE, digest, bytes.len() as u64)
    }
}

pub const MEDIA_TYPE: &str = "application/octet-stream";

/// Bytes that no compression and no chance makes equal to others.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Asks of a backend on an empty place whatever the trait promises.
pub fn holds(backend: &dyn Backend, habits: Habits) {
    an_empty_place_is_no_error(backend);
    blobs_come_back_as_they_were(backend);
    what_is_missing_is_gone(backend);
    a_wrong_size_is_corrupt(backend);
    what_the_store_has_not_is_not_sent(backend);
    match habits.keeps_foreign {
        true => indexes_are_merged(backend, habits),
        false => an_unseen_index_is_not_replaced(backend),
    }
    indexes_leave_blobs_alone(backend);
    many_at_once(backend);
    nothing_is_done_once_cancelled(backend);
}

/// The indexes that are there.
pub fn indexes(backend: &dyn Backend) -> Vec<IndexDocument> {
    backend.read_indexes(&CancelToken::new()).unwrap()
}

/// Their bytes.
pub fn contents(backend: &dyn Backend) -> Vec<Vec<u8>> {
    let all = indexes(backend).into_iter();
    all.map(|index| index.bytes).collect()
}

/// Writes an index that names `blobs`; over another writer's, where that one has to be read first.
pub fn write(backend: &dyn Backend, bytes: &[u8], blobs: &[Descriptor], merged: &[String]) {
    let put = |merged: &[String]| {
        let index = NewIndex {
            bytes,
            blobs,
            merged,
        };
        backend.write_index(&index, &CancelToken::new())
    };
    match put(merged) {
        Err(Error::Moved { .. }) => {
            let now: Vec<String> = indexes(backend).into_iter().map(|one| one.name).collect();
            put(&now).unwrap();
        }
        other => other.unwrap(),
    }
}

/// Which of the blobs are there.
pub fn present(backend: &dyn Backend, blobs: &[Descriptor]) -> BTreeSet<Digest> {
    backend.present(blobs, &CancelToken::new()).unwrap()
}

/// Fetches a blob into a store of its own, and returns what came.
pub fn fetch(backend: &dyn Backend, blob: &Descriptor) -> Result<Vec<u8>, Error> {
    let to = Local::new();
    backend.fetch(blob, &to.store, &|_| (), &CancelToken::new())?;
    let read = to.store.read_blob(&blob.digest, 1 << 30);
    Ok(read.unwrap())
}

fn send(backend: &dyn Backend, blob: &Descriptor, from: &Local) {
    let sent = backend.send(blob, &from.store, &CancelToken::new());
    sent.unwrap();
}

fn an_empty_place_is_no_error(backend: &dyn Backend) {
    assert!(!backend.name().is_empty());
    assert_eq!(contents(backend), Vec::<Vec<u8>>::new());
    let absent = Descriptor::of(MEDIA_TYPE, b"never sent");
    assert!(present(backend, &[absent]).is_empty());
    assert!(present(backend, &[]).is_empty());
}

fn blobs_come_back_as_they_were(backend: &dyn Backend) {
    let from = Local::new();
    // One byte, a usual one, and more than any buffer or part on the way holds.
    for (seed, length) in [(1, 1), (2, 70_000), (3, (12 << 20) + 5)] {
        let bytes = noise(seed, length);
        let blob = from.put(&bytes);
        send(backend, &blob, &from);
        // Once more is no mistake.
        send(backend, &blob, &from);
        let found = present(backend, std::slice::from_ref(&blob));
        assert_eq!(found, BTreeSet::from([blob.digest.clone()]));
        let heard = AtomicU64::new(0);
        let progress = |came: u64| {
            let before = heard.swap(came, Ordering::SeqCst);
            assert!(before <= came, "{came} bytes after {before}");
        };
        let to = Local::new();
        let fetched = backend.fetch(&blob, &to.store, &progress, &CancelToken::new());
        fetched.unwrap();
        assert_eq!(heard.load(Ordering::SeqCst), length as u64);
        assert!(to.store.read_blob(&blob.digest, 1 << 30).unwrap() == bytes);
    }
}

fn what_is_missing_is_gone(backend: &dyn Backend) {
    let absent = Descriptor::of(MEDIA_TYPE, b"never sent");
    let failed = fetch(backend, &absent).unwrap_err();
    assert!(
        matches!(&failed, Error::Gone { digest, .. } if *digest == absent.digest),
        "{failed:?}"
    );
}

fn a_wrong_size_is_corrupt(backend: &dyn Backend) {
    let from = Local::new();
    let blob = from.put(&noise(4, 1000));
    send(backend, &blob, &from);
    for size in [999, 1001] {
        let other = Descriptor::new(MEDIA_TYPE, blob.digest.clone(), size);
        let failed = fetch(backend, &other).unwrap_err();
        assert!(matches!(failed, Error::Corrupt { .. }), "{failed:?}");
    }
}

fn what_the_store_has_not_is_not_sent(backend: &dyn Backend) {
    let absent = Descriptor::of(MEDIA_TYPE, b"in no store");
    let sent = backend.send(&absent, &Local::new().store, &CancelToken::new());
    sent.unwrap_err();
    assert!(present(backend, &[absent]).is_empty());
}

fn indexes_are_merged(backend: &dyn Backend, habits: Habits) {
    write(backend, b"first", &[], &[]);
    let first = indexes(backend);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].bytes, b"first");
    // Another writer, who did not see it.
    write(backend, b"second", &[], &[]);
    assert_eq!(contents(backend), [b"second".to_vec(), b"first".to_vec()]);
    let seen: Vec<String> = indexes(backend).into_iter().map(|one| one.name).collect();
    // A third comes before both are merged: nobody may take it away.
    write(backend, b"third", &[], &[]);
    write(backend, b"first and second", &[], &seen);
    let now = contents(backend);
    assert_eq!(now[0], b"first and second");
    assert!(now.contains(&b"third".to_vec()));
    if habits.removes_merged {
        assert!(!now.contains(&b"first".to_vec()) && !now.contains(&b"second".to_vec()));
    }
    // What is gone already is no mistake.
    write(backend, b"last", &[], &seen);
    assert_eq!(contents(backend)[0], b"last");
}

/// Where there is one index only, whoever has not seen it is told.
fn an_unseen_index_is_not_replaced(backend: &dyn Backend) {
    write(backend, b"first", &[], &[]);
    let seen: Vec<String> = indexes(backend).into_iter().map(|one| one.name).collect();
    assert_eq!(contents(backend), [b"first"]);
    let unseen = NewIndex {
        bytes: b"second",
        blobs: &[],
        merged: &[],
    };
    let refused = backend.write_index(&unseen, &CancelToken::new());
    assert!(matches!(refused, Err(Error::Moved { .. })), "{refused:?}");
    assert_eq!(contents(backend), [b"first"]);
    write(backend, b"both", &[], &seen);
    assert_eq!(contents(backend), [b"both"]);
}

fn indexes_leave_blobs_alone(backend: &dyn Backend) {
    let from = Local::new();
    let bytes = noise(5, 3000);
    let blob = from.put(&bytes);
    send(backend, &blob, &from);
    let large = noise(6, 3 << 20);
    let seen: Vec<String> = indexes(backend).into_iter().map(|one| one.name).collect();
    write(backend, &large, std::slice::from_ref(&blob), &seen);
    assert!(contents(backend)[0] == large);
    assert!(fetch(backend, &blob).unwrap() == bytes);
}

fn many_at_once(backend: &dyn Backend) {
    let from = Local::new();
    let shared = noise(100, 200_000);
    let shared_blob = from.put(&shared);
    let mut blobs = vec![shared_blob.clone()];
    thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|seed| {
                let (from, shared, shared_blob) = (&from, &shared, &shared_blob);
                scope.spawn(move || {
                    let own = noise(200 + seed, 50_000);
                    let own_blob = from.put(&own);
                    send(backend, shared_blob, from);
                    send(backend, &own_blob, from);
                    assert!(fetch(backend, shared_blob).unwrap() == *shared);
                    assert!(fetch(backend, &own_blob).unwrap() == own);
                    own_blob
                })
            })
            .collect();
        for worker in workers {
            blobs.push(worker.join().unwrap());
        }
    });
    let mut asked = blobs.clone();
    asked.push(Descriptor::of(MEDIA_TYPE, b"never sent"));
    let expected = blobs.into_iter().map(|blob| blob.digest).collect();
    assert_eq!(present(backend, &asked), expected);
}

fn nothing_is_done_once_cancelled(backend: &dyn Backend) {
    let cancel = CancelToken::new();
    cancel.cancel();
    let from = Local::new();
    let blob = from.put(b"not sent, being cancelled");
    let before = contents(backend);
    let seen: Vec<String> = indexes(backend).into_iter().map(|one| one.name).collect();
    let index = NewIndex {
        bytes: b"not written, being cancelled",
        blobs: std::slice::from_ref(&blob),
        merged: &seen,
    };
    let all = std::slice::from_ref(&blob);
    let outcomes = [
        backend.read_indexes(&cancel).map(drop),
        backend.write_index(&index, &cancel),
        backend.present(all, &cancel).map(drop),
        backend.fetch(&blob, &Local::new().store, &|_| (), &cancel),
        backend.send(&blob, &from.store, &cancel),
    ];
    for outcome in outcomes {
        assert!(matches!(outcome, Err(Error::Cancelled)), "{outcome:?}");
    }
    assert_eq!(contents(backend), before);
    assert!(present(backend, all).is_empty());
}
