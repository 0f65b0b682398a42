//! One layer of files in every form that it can be made in.

use std::sync::Arc;

use rbuild_layer::{ByteSource, Compression, Error, Form, LayerId, NewEntry, NewLayer};
use rbuild_testkit::{Listing, Privilege, granted};

use crate::bench::*;

fn entries() -> Vec<NewEntry> {
    let learned = NewEntry::learned(
        file("big", &"x".repeat(3 << 20)).entry().clone(),
        ByteSource::Open(Arc::new(|| {
            Ok(Box::new(std::io::Cursor::new(vec![b'x'; 3 << 20])))
        })),
    );
    vec![
        dir("etc", 0o755),
        file("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
        file("etc/empty", ""),
        hardlink("etc/pw", "etc/passwd"),
        symlink("link", "etc/passwd"),
        dir("locked", 0o500),
        file("locked/in", "in"),
        learned,
    ]
}

fn commit(bench: &Bench, entries: Vec<NewEntry>, form: Form<'_>) -> Result<LayerId, Error> {
    let layer = NewLayer { entries };
    bench.layers.commit_files_as(layer, form, &bench.cancel)
}

#[test]
fn every_form_is_the_same_layer() {
    if !granted(Privilege::Root) {
        return;
    }
    for way in [Way::InPlace, Way::Forked] {
        let bench = Bench::new(way);
        let layers = &bench.layers;
        let blob = commit(&bench, entries(), Form::Blob).unwrap();
        let tree = commit(&bench, entries(), Form::Tree { below: &[] }).unwrap();
        let twin = commit(&bench, entries(), Form::Compressed(Compression::ZSTD)).unwrap();
        let expected = layers.info(&blob).unwrap();
        for layer in [tree, twin] {
            let info = layers.info(&layer).unwrap();
            assert_eq!(info.diff_id, expected.diff_id);
            assert_eq!(info.index, expected.index);
            assert_eq!(
                list_view(&bench.view(&[layer])),
                list_view(&bench.view(&[blob]))
            );
            assert!(bench.tar(&layer) == bench.tar(&blob));
            assert_eq!(layers.verify(&layer, &bench.cancel).unwrap(), []);
        }
        let info = layers.info(&tree).unwrap();
        assert_eq!((info.blob, info.trees.len()), (None, 1));
        let trees = |layer| layers.lowers(&[layer], &bench.cancel).unwrap().remove(0);
        let (made, unpacked) = (trees(tree), trees(blob));
        assert_eq!(Listing::of(&made), Listing::of(&unpacked));
    }
}

#[test]
fn compressed_on_the_way_is_as_compressed_afterwards() {
    for compression in [Compression::GZIP, Compression::ZSTD, Compression::None] {
        let bench = Bench::new(Way::InPlace);
        let at_once = commit(&bench, entries(), Form::Compressed(compression)).unwrap();
        let later = commit(&bench, entries(), Form::Blob).unwrap();
        let compressed = |layer| {
            let made = bench.layers.compressed(layer, compression, &bench.cancel);
            made.unwrap()
        };
        let known = bench.layers.info(&at_once).unwrap().twins;
        assert_eq!(known.len(), usize::from(compression != Compression::None));
        assert_eq!(compressed(&at_once), compressed(&later));
    }
}

#[test]
fn implied_parents_of_a_tree_look_as_below() {
    if !granted(Privilege::Root) {
        return;
    }
    for way in [Way::InPlace, Way::Forked] {
        let bench = Bench::new(way);
        let low = bench.commit(vec![dir("tmp", 0o1777)]);
        let top = commit(
            &bench,
            vec![file("tmp/x", "x")],
            Form::Tree { below: &[low] },
        )
        .unwrap();
        let lowers = bench.layers.lowers(&[low, top], &bench.cancel).unwrap();
        let (upper, lower) = (Listing::of(&lowers[0]), Listing::of(&lowers[1]));
        assert_eq!(upper.get("tmp"), lower.get("tmp"));
    }
}

#[test]
fn a_layer_without_entries_has_no_tree() {
    let bench = Bench::new(Way::InPlace);
    let layer = commit(&bench, vec![], Form::Tree { below: &[] }).unwrap();
    assert!(bench.layers.is_usable(&layer).unwrap());
    assert!(
        bench
            .layers
            .lowers(&[layer], &bench.cancel)
            .unwrap()
            .is_empty()
    );
}

/// Each way in which making a layer fails, in each form; nothing may stay.
#[test]
fn failures_leave_nothing_in_any_form() {
    if !granted(Privilege::Root) {
        return;
    }
    let source = |bytes: &'static [u8]| {
        ByteSource::Open(Arc::new(move || Ok(Box::new(std::io::Cursor::new(bytes)))))
    };
    let four = || file("f", "four").entry().clone();
    type Case = (&'static str, fn(&Error) -> bool, Vec<NewEntry>);
    let is_changed = |error: &Error| matches!(error, Error::ContentChanged { .. });
    let fails_to_open = ByteSource::Open(Arc::new(|| {
        Err(Error::NotFound {
            path: "gone".into(),
        })
    }));
    let cases: [Case; 5] = [
        (
            "shorter",
            is_changed,
            vec![NewEntry::file(four(), source(b"fo"))],
        ),
        (
            "longer",
            is_changed,
            vec![NewEntry::learned(four(), source(b"fourteen"))],
        ),
        (
            "other bytes",
            is_changed,
            vec![NewEntry::file(four(), source(b"five"))],
        ),
        (
            "gone",
            |error| matches!(error, Error::NotFound { .. }),
            vec![NewEntry::file(four(), fails_to_open)],
        ),
        (
            "a file below a file",
            |error| matches!(error, Error::Entry { .. }),
            vec![file("a", "a"), file("a/b", "b")],
        ),
    ];
    for way in [Way::InPlace, Way::Forked] {
        for (case, expected, entries) in &cases {
            for form in [
                Form::Blob,
                Form::Compressed(Compression::ZSTD),
                Form::Tree { below: &[] },
            ] {
                let bench = Bench::new(way);
                let error = commit(&bench, entries.clone(), form).unwrap_err();
                assert!(expected(&error), "{case} {form:?}: {error}");
                let store = bench.layers.store();
                assert_eq!(store.trees().unwrap(), [""; 0], "{case} {form:?}");
                assert_eq!(store.blobs().unwrap(), [], "{case} {form:?}");
            }
        }
    }
}

#[test]
fn cancelling_stops_every_form() {
    for form in [
        Form::Blob,
        Form::Compressed(Compression::ZSTD),
        Form::Tree { below: &[] },
    ] {
        let bench = Bench::new(Way::InPlace);
        bench.cancel.cancel();
        let error = commit(&bench, entries(), form).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{form:?}: {error}");
    }
}
