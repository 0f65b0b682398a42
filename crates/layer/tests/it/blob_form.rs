//! Layers made of files: their tars, indexes and twins.

use std::io::Read;
use std::sync::Arc;

use rbuild_layer::{
    ByteSource, Compression, ContentDigest, Error, FileView, Kind, LayerProblem, Mtime, NewEntry,
    NewLayer,
};
use rbuild_oci::{DiffId, Digest};

use crate::bench::*;

fn everything() -> Vec<NewEntry> {
    let mut entries = vec![
        dir("a", 0o755),
        file("a/file", "hello"),
        hardlink("a/link", "a/file"),
        symlink("a/sym", "../etc/é"),
        dir("a-b", 0o1777),
        file("a.empty", ""),
        whiteout("a/gone"),
        NewEntry::plain(entry("dev/null", Kind::Char { major: 1, minor: 3 }, 0o666)),
        NewEntry::plain(entry("fifo", Kind::Fifo, 0o600)),
        file(&format!("long/{}", "n".repeat(120)), "long"),
    ];
    let kind = Kind::Dir {
        opaque: true,
        implied: false,
    };
    entries.push(NewEntry::plain(entry("opaque", kind, 0o750)));
    let mut owned = entry("su", Kind::Fifo, 0o4755);
    (owned.uid, owned.gid) = (3_000_000, 7);
    owned.mtime = Mtime {
        secs: -2,
        nanos: 900_000_000,
    };
    owned
        .xattrs
        .insert(b"security.capability".to_vec(), b"\x01cap".to_vec());
    entries.push(NewEntry::inline(owned, b"set".as_slice()));
    entries
}

#[test]
fn tar_of_every_kind() {
    let bench = Bench::new(Way::InPlace);
    let layer = bench.commit(everything());
    let tar = bench.tar(&layer);
    golden("every-kind.tar.txt", &list_tar(&tar));
    let info = bench.layers.info(&layer).unwrap();
    assert_eq!(info.diff_id, Some(DiffId(Digest::sha256_of(&tar))));
    assert_eq!(info.blob, Some(Digest::sha256_of(&tar)));
}

#[test]
fn order_of_entries_does_not_matter() {
    let bench = Bench::new(Way::InPlace);
    let forwards = bench.commit(everything());
    let mut entries = everything();
    entries.reverse();
    let backwards = bench.commit(entries);
    let diff_id = |layer| bench.layers.diff_id(layer, &bench.cancel).unwrap();
    assert_eq!(diff_id(&forwards), diff_id(&backwards));
    assert_ne!(forwards, backwards);
}

#[test]
fn an_empty_layer_is_a_kibibyte_of_zeros() {
    let bench = Bench::new(Way::InPlace);
    let layer = bench.commit(Vec::new());
    assert_eq!(bench.tar(&layer), [0; 1024]);
    assert!(
        bench
            .layers
            .lowers(&[layer], &bench.cancel)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_view_reads_back_what_was_committed() {
    let bench = Bench::new(Way::InPlace);
    let layer = bench.commit(vec![
        file("d/a", "one"),
        file("d/b", "two"),
        hardlink("e", "d/a"),
    ]);
    let expected = "d 0755 0:0 d\nd/a 0644 0:0 f=one\nd/b 0644 0:0 f=two\ne 0644 0:0 f=one\n";
    assert_eq!(list_view(&bench.view(&[layer])), expected);
}

#[test]
fn the_index_survives_in_the_store() {
    let bench = Bench::new(Way::InPlace);
    let layer = bench.commit(vec![file("etc/passwd", "root:x:0:0::/:/bin/sh\n")]);
    let index = bench.layers.index(&layer, &bench.cancel).unwrap();
    let again = Bench {
        layers: rbuild_layer::LayerStore::new(
            Arc::clone(bench.layers.store()),
            Arc::new(rbuild_layer::InPlace::root()),
            Arc::new(rbuild_layer::NoFetch),
        ),
        cancel: bench.cancel.clone(),
        dir: bench.dir,
        jobs: bench.jobs.clone(),
    };
    let read = again.layers.index(&layer, &again.cancel).unwrap();
    assert_eq!(read, index);
    assert!(read.inline(b"etc/passwd").is_some());
}

#[test]
fn learned_digests_end_up_in_the_index() {
    let bench = Bench::new(Way::InPlace);
    let content = ContentDigest::empty();
    let unknown = entry("f", Kind::File { size: 3, content }, 0o644);
    let open = ByteSource::Open(Arc::new(|| {
        Ok(Box::new(&b"abc"[..]) as Box<dyn Read + Send>)
    }));
    let layer = bench.commit(vec![NewEntry::learned(unknown, open)]);
    let view = bench.view(&[layer]);
    assert_eq!(view.content(b"f").unwrap(), ContentDigest::of(b"abc"));
}

#[test]
fn bytes_that_changed_are_an_error_and_leave_nothing() {
    let bench = Bench::new(Way::InPlace);
    for now in [&b"abd"[..], b"ab", b"abcd", b""] {
        let content = ContentDigest::of(b"abc");
        let known = entry("dir/f", Kind::File { size: 3, content }, 0o644);
        let open = ByteSource::Open(Arc::new(move || Ok(Box::new(now))));
        let layer = NewLayer {
            entries: vec![NewEntry::file(known, open)],
        };
        let error = bench.layers.commit_files(layer, &bench.cancel).unwrap_err();
        assert!(matches!(error, Error::ContentChanged { .. }), "{error}");
        assert!(error.to_string().contains("dir/f"), "{error}");
    }
    assert_eq!(bench.layers.store().blobs().unwrap(), []);
}

#[test]
fn what_is_no_layer_is_refused() {
    let bench = Bench::new(Way::InPlace);
    let socket = NewEntry::plain(entry("s", Kind::Socket, 0o644));
    for entries in [
        vec![file("a", "1"), file("a", "2")],
        vec![file("a", "1"), file("a/b", "2")],
        vec![file("../a", "1")],
        vec![hardlink("a", "b"), file("b", "1")],
        vec![hardlink("a", "missing")],
        vec![socket],
    ] {
        let layer = NewLayer { entries };
        let outcome = bench.layers.commit_files(layer, &bench.cancel);
        assert!(matches!(outcome, Err(Error::Entry { .. })), "{outcome:?}");
    }
}

#[test]
fn files_of_other_layers_are_copied() {
    for way in [Way::InPlace, Way::Forked] {
        let bench = Bench::new(way);
        let base = bench.commit(vec![file("x", "from below"), file("y", "too")]);
        let view = bench.view(&[base]);
        let copied = |path: &str, to: &str| {
            let content = view.content(path.as_bytes()).unwrap();
            let node = view.lstat(path.as_bytes()).unwrap().unwrap();
            let rbuild_layer::NodeKind::File { size } = node.kind else {
                panic!("{path} is a file");
            };
            let bytes = view.bytes(path.as_bytes()).unwrap();
            NewEntry::file(entry(to, Kind::File { size, content }, 0o600), bytes)
        };
        let layer = bench.commit(vec![copied("y", "a"), copied("x", "b")]);
        let expected = "a 0600 0:0 f=too\nb 0600 0:0 f=from below\n";
        assert_eq!(list_view(&bench.view(&[layer])), expected);
    }
}

#[test]
fn twins_are_made_once_and_hold_the_tar() {
    let bench = Bench::new(Way::InPlace);
    let layer = bench.commit(everything());
    let tar = bench.tar(&layer);
    let twin = |compression| {
        let twin = bench.layers.compressed(&layer, compression, &bench.cancel);
        twin.unwrap()
    };
    let read = |twin: &rbuild_oci::Descriptor| {
        let blob = bench
            .layers
            .store()
            .read_blob(&twin.digest, 1 << 20)
            .unwrap();
        assert_eq!(blob.len() as u64, twin.size);
        blob
    };
    let gzip = twin(Compression::GZIP);
    let mut unpacked = Vec::new();
    let blob = read(&gzip);
    flate2::read::GzDecoder::new(&*blob)
        .read_to_end(&mut unpacked)
        .unwrap();
    assert!(unpacked == tar);
    let zstd = twin(Compression::ZSTD);
    assert!(zstd::decode_all(&*read(&zstd)).unwrap() == tar);
    assert!(read(&twin(Compression::None)) == tar);
    assert_eq!(twin(Compression::GZIP), gzip);
    assert_eq!(bench.layers.info(&layer).unwrap().twins.len(), 2);
    assert_eq!(
        gzip.media_type,
        "application/vnd.oci.image.layer.v1.tar+gzip"
    );
}

#[test]
fn a_sound_layer_verifies_and_a_damaged_one_does_not() {
    let bench = Bench::new(Way::InPlace);
    let layer = bench.commit(vec![file("f", "content")]);
    let verify = || bench.layers.verify(&layer, &bench.cancel).unwrap();
    assert_eq!(verify(), []);
    let blob = bench.layers.info(&layer).unwrap().blob.unwrap();
    let path = bench.layers.store().blob_path(&blob);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[600] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(verify()[..], [LayerProblem::DiffId { .. }]));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(verify(), [LayerProblem::Gone]);
    assert!(!bench.layers.is_usable(&layer).unwrap());
}

#[test]
fn cancellation_leaves_nothing() {
    let bench = Bench::new(Way::InPlace);
    bench.cancel.cancel();
    let layer = NewLayer {
        entries: vec![file("f", "x")],
    };
    let outcome = bench.layers.commit_files(layer, &bench.cancel);
    assert!(matches!(outcome, Err(Error::Cancelled)));
    assert_eq!(bench.layers.store().blobs().unwrap(), []);
}

#[test]
fn large_files_go_through_both_threads() {
    let bench = Bench::new(Way::InPlace);
    let bytes: Arc<[u8]> = (0..5_000_000u32).flat_map(u32::to_le_bytes).collect();
    let content = ContentDigest::of(&bytes);
    let size = bytes.len() as u64;
    let large = entry("large", Kind::File { size, content }, 0o644);
    let layer = bench.commit(vec![
        NewEntry::file(large, ByteSource::Inline(Arc::clone(&bytes))),
        file("small", "x"),
    ]);
    let tar = bench.tar(&layer);
    let diff_id = bench.layers.diff_id(&layer, &bench.cancel).unwrap();
    assert_eq!(diff_id.0, Digest::sha256_of(&tar));
    assert!(tar[512..512 + bytes.len()] == bytes[..]);
}

#[test]
fn a_capped_layer_has_earlier_times_and_the_same_files() {
    let bench = Bench::new(Way::InPlace);
    let store = bench.layers.store();
    let (lease, _) = store.lease(&[]).unwrap();
    let layer = bench.commit(everything());
    let gzip = Compression::GZIP;
    let cap = |epoch| {
        let layers = &bench.layers;
        layers
            .capped(&layer, epoch, gzip, (&lease, &bench.cancel))
            .unwrap()
    };
    // All are of 1700000000, or before 1970.
    assert_eq!(cap(1_700_000_000), layer);
    let capped = cap(1_600_000_000);
    assert_ne!(capped, layer);
    let expected = list_tar(&bench.tar(&layer)).replace("1700000000", "1600000000");
    assert_eq!(list_tar(&bench.tar(&capped)), expected);
    assert_eq!(cap(1_600_000_000), capped);
    let info = bench.layers.info(&capped).unwrap();
    assert!(info.twins.contains_key(&gzip));
    assert_ne!(cap(1_500_000_000), capped);
}
