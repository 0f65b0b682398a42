use rbuild_progress::CancelToken;

use super::*;

struct Bench {
    dir: tempfile::TempDir,
    store: Store,
    cancel: CancelToken,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    Bench {
        dir,
        store,
        cancel: CancelToken::new(),
    }
}

impl Bench {
    fn backend(&self, reset: bool) -> LocalBackend {
        LocalBackend::new(LocalPlace {
            dir: self.dir.path().join("cache"),
            tag: "latest".to_owned(),
            reset,
        })
    }

    fn blob(&self, text: &str) -> Descriptor {
        self.store.put_blob(text.as_bytes()).unwrap();
        Descriptor::of("text", text.as_bytes())
    }

    fn write(
        &self,
        backend: &LocalBackend,
        bytes: &[u8],
        blobs: &[Descriptor],
        merged: &[String],
    ) -> Result<()> {
        let index = NewIndex {
            bytes,
            blobs,
            merged,
        };
        backend.write_index(&index, &self.cancel)
    }
}

#[test]
fn what_is_sent_comes_back_and_what_is_not_there_is_told() {
    let bench = bench();
    let backend = bench.backend(false);
    assert_eq!(backend.read_indexes(&bench.cancel).unwrap(), []);
    let blob = bench.blob("bytes");
    let absent = Descriptor::of("text", b"absent");
    backend.send(&blob, &bench.store, &bench.cancel).unwrap();
    backend.send(&blob, &bench.store, &bench.cancel).unwrap();
    let both = [blob.clone(), absent.clone()];
    let present = backend.present(&both, &bench.cancel).unwrap();
    assert_eq!(present, BTreeSet::from([blob.digest.clone()]));
    let other = Store::open(&bench.dir.path().join("other")).unwrap();
    backend
        .fetch(&blob, &other, &|_| {}, &bench.cancel)
        .unwrap();
    assert_eq!(other.read_blob(&blob.digest, 100).unwrap(), b"bytes");
    let gone = backend.fetch(&absent, &other, &|_| {}, &bench.cancel);
    assert!(matches!(gone, Err(Error::Gone { .. })), "{gone:?}");
}

#[test]
fn other_bytes_are_never_taken() {
    let bench = bench();
    let backend = bench.backend(false);
    let blob = bench.blob("bytes");
    backend.send(&blob, &bench.store, &bench.cancel).unwrap();
    let path = backend.blob_path(&blob.digest);
    let other = Store::open(&bench.dir.path().join("other")).unwrap();
    for bytes in ["evil!", "more bytes", "by"] {
        fs::write(&path, bytes).unwrap();
        let got = backend.fetch(&blob, &other, &|_| {}, &bench.cancel);
        assert!(matches!(got, Err(Error::Corrupt { .. })), "{got:?}");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(
        backend
            .fetch(&blob, &other, &|_| {}, &bench.cancel)
            .is_err()
    );
    assert!(!other.has_blob(&blob.digest));
}

#[test]
fn a_writer_that_has_not_seen_the_last_index_is_told() {
    let bench = bench();
    let backend = bench.backend(false);
    bench.write(&backend, b"first", &[], &[]).unwrap();
    let read = backend.read_indexes(&bench.cancel).unwrap();
    assert_eq!(read[0].bytes, b"first");
    let unseen = bench.write(&backend, b"second", &[], &[]);
    assert!(matches!(unseen, Err(Error::Moved { .. })), "{unseen:?}");
    bench
        .write(&backend, b"second", &[], &[read[0].name.clone()])
        .unwrap();
    assert_eq!(
        backend.read_indexes(&bench.cancel).unwrap()[0].bytes,
        b"second"
    );
}

#[test]
fn what_nothing_names_goes_in_time_or_at_once() {
    let bench = bench();
    let (kept, old, young) = (bench.blob("kept"), bench.blob("old"), bench.blob("young"));
    let backend = bench.backend(false);
    for blob in [&kept, &old, &young] {
        backend.send(blob, &bench.store, &bench.cancel).unwrap();
    }
    let file = File::options()
        .write(true)
        .open(backend.blob_path(&old.digest))
        .unwrap();
    file.set_modified(std::time::SystemTime::now() - 2 * YOUNG)
        .unwrap();
    bench
        .write(&backend, b"index", std::slice::from_ref(&kept), &[])
        .unwrap();
    let all = [kept.clone(), old, young.clone()];
    let present = backend.present(&all, &bench.cancel).unwrap();
    assert_eq!(present, BTreeSet::from([kept.digest.clone(), young.digest]));
    let read = backend.read_indexes(&bench.cancel).unwrap();
    let resetting = bench.backend(true);
    let merged = [read[0].name.clone()];
    bench
        .write(&resetting, b"again", std::slice::from_ref(&kept), &merged)
        .unwrap();
    let present = backend.present(&all, &bench.cancel).unwrap();
    assert_eq!(present, BTreeSet::from([kept.digest]));
}

#[test]
fn damaged_documents_are_told_and_can_be_replaced() {
    let bench = bench();
    let backend = bench.backend(false);
    bench.write(&backend, b"first", &[], &[]).unwrap();
    let index = backend.place.dir.join("index.json");
    for bytes in [&b"{"[..], b"[]", b"\xff"] {
        fs::write(&index, bytes).unwrap();
        let read = backend.read_indexes(&bench.cancel);
        assert!(matches!(read, Err(Error::Document { .. })), "{read:?}");
    }
    bench.write(&backend, b"new", &[], &[]).unwrap();
    assert_eq!(
        backend.read_indexes(&bench.cancel).unwrap()[0].bytes,
        b"new"
    );
    let config = Digest::sha256_of(b"new");
    fs::write(backend.blob_path(&config), b"evil").unwrap();
    let read = backend.read_indexes(&bench.cancel);
    assert!(matches!(read, Err(Error::Document { .. })), "{read:?}");
}
