//! What becomes of trees when the machine was restarted since they were committed.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_layer::{Error, Form, LayerId, LayerStore, NewLayer, NoFetch, Recovered};
use rbuild_progress::CancelToken;
use rbuild_store::Store;
use rbuild_testkit::{Privilege, granted};

use crate::bench::*;

/// The layers as the first process after a restart finds them.
fn restarted(bench: &Bench, way: Way) -> LayerStore {
    let root = bench.layers.store().root();
    fs::write(root.join("boot"), "another-boot 0\n").unwrap();
    let store = Arc::new(Store::open(root).unwrap());
    LayerStore::new(store, work(way, &Arc::default()), Arc::new(NoFetch))
}

/// A layer as a RUN leaves it: links, whiteouts, an opaque directory, a directory on the way, a socket.
fn ran(bench: &Bench) -> LayerId {
    let below = bench.commit(vec![
        dir("d", 0o755),
        file("d/old", "old"),
        file("gone", "gone"),
        dir("way", 0o755),
    ]);
    let active = bench.layers.prepare().unwrap();
    let upper = active.upper().to_owned();
    for made in ["d", "new", "way"] {
        fs::create_dir(upper.join(made)).unwrap();
    }
    fs::write(upper.join("new/file"), "content").unwrap();
    fs::hard_link(upper.join("new/file"), upper.join("new/link")).unwrap();
    std::os::unix::fs::symlink("file", upper.join("new/symlink")).unwrap();
    std::os::unix::net::UnixListener::bind(upper.join("new/socket")).unwrap();
    let device = rustix::fs::makedev(0, 0);
    let (kind, mode) = (
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::empty(),
    );
    rustix::fs::mknodat(rustix::fs::CWD, upper.join("gone"), kind, mode, device).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(upper.join("d"), "trusted.overlay.opaque", b"y", flags).unwrap();
    active.commit(&[below], &bench.cancel).unwrap()
}

fn tree_of(bench: &Bench, layer: &LayerId) -> (String, PathBuf) {
    let info = bench.layers.info(layer).unwrap();
    let id = info.trees.into_values().next().unwrap();
    let path = bench.layers.store().tree_path(&id).join("fs");
    (id, path)
}

#[test]
fn whole_trees_come_back() {
    if !granted(Privilege::Root) {
        return;
    }
    for way in [Way::InPlace, Way::Forked] {
        let bench = Bench::new(way);
        let entries = vec![dir("d", 0o700), file("d/f", "f"), hardlink("d/l", "d/f")];
        let files = NewLayer { entries };
        let form = Form::Tree { below: &[] };
        let files = bench
            .layers
            .commit_files_as(files, form, &bench.cancel)
            .unwrap();
        let mut all = vec![files];
        if way == Way::InPlace {
            all.push(ran(&bench));
        }
        let layers = restarted(&bench, way);
        assert!(!layers.is_usable(&files).unwrap());
        let doubt = layers.trees_in_doubt().unwrap();
        assert_eq!(doubt.len(), all.len());
        let recovered = layers.recover_trees(&doubt, &bench.cancel).unwrap();
        let whole = Recovered {
            whole: all.len(),
            dropped: 0,
        };
        assert_eq!(recovered, whole);
        for layer in all {
            assert!(layers.is_usable(&layer).unwrap());
        }
        assert!(layers.trees_in_doubt().unwrap().is_empty());
    }
}

#[test]
fn trees_with_other_bytes_are_dropped() {
    if !granted(Privilege::Root) {
        return;
    }
    type Damage = fn(&std::path::Path);
    let cases: [(&str, Damage); 6] = [
        ("zeroes", |tree| {
            fs::write(tree.join("new/file"), "\0\0\0\0\0\0\0").unwrap()
        }),
        ("cut", |tree| fs::write(tree.join("new/file"), "").unwrap()),
        ("gone", |tree| {
            fs::remove_file(tree.join("new/symlink")).unwrap()
        }),
        ("more", |tree| {
            fs::write(tree.join("new/more"), "x").unwrap()
        }),
        ("link no more", |tree| {
            fs::remove_file(tree.join("new/link")).unwrap();
            fs::write(tree.join("new/link"), "content").unwrap();
        }),
        ("a whiteout less", |tree| {
            fs::remove_file(tree.join("gone")).unwrap()
        }),
    ];
    for (case, damage) in cases {
        let bench = Bench::new(Way::InPlace);
        let layer = ran(&bench);
        let (id, path) = tree_of(&bench, &layer);
        damage(&path);
        let layers = restarted(&bench, Way::InPlace);
        let recovered = layers.recover_trees(std::slice::from_ref(&id), &bench.cancel);
        let dropped = Recovered {
            whole: 0,
            dropped: 1,
        };
        assert_eq!(recovered.unwrap(), dropped, "{case}");
        assert!(!layers.is_usable(&layer).unwrap(), "{case}");
        assert!(layers.find(&layer).unwrap().is_none(), "{case}");
        assert!(layers.trees_in_doubt().unwrap().is_empty(), "{case}");
    }
}

#[test]
fn a_stopped_look_leaves_trees_in_doubt() {
    if !granted(Privilege::Root) {
        return;
    }
    let bench = Bench::new(Way::InPlace);
    ran(&bench);
    let layers = restarted(&bench, Way::InPlace);
    let doubt = layers.trees_in_doubt().unwrap();
    let stopped = CancelToken::new();
    stopped.cancel();
    let error = layers.recover_trees(&doubt, &stopped).unwrap_err();
    assert!(
        matches!(error, Error::Cancelled | Error::Store(_)),
        "{error}"
    );
    assert_eq!(layers.trees_in_doubt().unwrap(), doubt);
    assert_eq!(
        layers.recover_trees(&doubt, &bench.cancel).unwrap().whole,
        1
    );
}

#[test]
fn a_held_layer_is_not_collected() {
    let bench = Bench::new(Way::InPlace);
    let layer = bench.commit(vec![file("f", "f")]);
    let store = bench.layers.store();
    store.release_committed();
    let (lease, _) = store.lease(&[]).unwrap();
    assert!(bench.layers.hold(&layer, &lease).unwrap());
    let objects = bench.layers.objects(&layer).unwrap();
    assert_eq!(objects.len(), 2);
    let leased = |object| store.gc_lock(&bench.cancel).unwrap().is_leased(object);
    assert!(objects.iter().all(leased));
    assert!(
        !bench
            .layers
            .hold(&LayerId::random().unwrap(), &lease)
            .unwrap()
    );
    drop(lease);
    assert!(!objects.iter().any(leased));
}
