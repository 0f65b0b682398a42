//! Stacks as overlay lowers: what is left out, merged, and marked.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rbuild_layer::{Compression, Kind, Mtime, NewEntry};
use rbuild_testkit::{Listing, Privilege, granted};

use crate::bench::*;

#[test]
fn lowers_run_from_the_top_without_empty_layers() {
    if !granted(Privilege::Root) {
        return;
    }
    for way in [Way::InPlace, Way::Forked] {
        let bench = Bench::new(way);
        let stack = [
            bench.commit(vec![file("low", "1")]),
            bench.commit(Vec::new()),
            bench.commit(vec![file("high", "2")]),
        ];
        let lowers = bench.layers.lowers(&stack, &bench.cancel).unwrap();
        assert_eq!(lowers.len(), 2);
        assert!(lowers[0].join("high").exists() && lowers[1].join("low").exists());
    }
}

#[test]
fn trees_of_layers_made_here_keep_nanoseconds() {
    if !granted(Privilege::Root) {
        return;
    }
    let bench = Bench::new(Way::InPlace);
    let time = Mtime {
        secs: 1_700_000_000,
        nanos: 123_456_789,
    };
    let mut directory = entry("d", Kind::dir(), 0o755);
    directory.mtime = time;
    let mut inside = entry("d/f", Kind::Fifo, 0o644);
    inside.mtime = time;
    let entries = vec![
        NewEntry::plain(directory),
        NewEntry::inline(inside, b"x".as_slice()),
    ];
    let lowers = bench.layers.lowers(&[bench.commit(entries)], &bench.cancel);
    let tree = &lowers.unwrap()[0];
    for path in ["d", "d/f"] {
        let meta = tree.join(path).metadata().unwrap();
        assert_eq!(
            (meta.mtime(), meta.mtime_nsec()),
            (1_700_000_000, 123_456_789)
        );
    }
}

#[test]
fn trees_keep_everything_that_an_entry_says() {
    if !granted(Privilege::Root) {
        return;
    }
    let bench = Bench::new(Way::InPlace);
    let mut su = entry("su", Kind::Fifo, 0o6755);
    (su.uid, su.gid) = (12, 34);
    let caps = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    su.xattrs
        .insert(b"security.capability".to_vec(), caps.to_vec());
    let device = Kind::Char { major: 1, minor: 5 };
    let layer = bench.commit(vec![
        NewEntry::inline(su, b"x".as_slice()),
        NewEntry::plain(entry("zero", device, 0o640)),
        NewEntry::plain(entry("pipe", Kind::Fifo, 0o600)),
        symlink("l", "nowhere"),
        whiteout("gone"),
    ]);
    let lowers = bench.layers.lowers(&[layer], &bench.cancel).unwrap();
    let meta = |path: &str| lowers[0].join(path).symlink_metadata().unwrap();
    assert_eq!(
        (
            meta("su").mode() & 0o7777,
            meta("su").uid(),
            meta("su").gid()
        ),
        (0o6755, 12, 34)
    );
    let mut found = [0; 64];
    let read = rustix::fs::getxattr(lowers[0].join("su"), "security.capability", &mut found);
    assert_eq!(&found[..read.unwrap()], caps);
    assert!(meta("zero").file_type().is_char_device());
    assert_eq!(meta("zero").rdev(), rustix::fs::makedev(1, 5));
    assert!(meta("pipe").file_type().is_fifo());
    assert_eq!(meta("l").mtime(), 1_700_000_000);
    assert_eq!(meta("gone").rdev(), 0);
    assert!(meta("gone").file_type().is_char_device());
}

#[test]
fn opaque_directories_carry_the_mark_of_their_site() {
    if !granted(Privilege::Root) {
        return;
    }
    for (way, name) in [
        (Way::InPlace, "trusted.overlay.opaque"),
        (Way::Forked, "user.overlay.opaque"),
    ] {
        let bench = Bench::new(way);
        let kind = Kind::Dir {
            opaque: true,
            implied: false,
        };
        let layer = bench.commit(vec![NewEntry::plain(entry("d", kind, 0o755))]);
        let lowers = bench.layers.lowers(&[layer], &bench.cancel).unwrap();
        let mut value = [0; 8];
        let read = rustix::fs::getxattr(lowers[0].join("d"), name, &mut value);
        assert_eq!(
            read.map(|length| value[..length].to_vec()),
            Ok(b"y".to_vec()),
            "{name}"
        );
    }
}

#[test]
fn an_opaque_root_ends_the_stack() {
    if !granted(Privilege::Root) {
        return;
    }
    let bench = Bench::new(Way::InPlace);
    let low = bench.pull(
        None,
        &TarMaker::default().file("a", "1").finish(),
        Compression::None,
    );
    let tar = TarMaker::default()
        .file(".wh..wh..opq", "")
        .file("b", "2")
        .finish();
    let top = bench.pull(Some(low.chain), &tar, Compression::None);
    let stack = [low.id, top.id];
    assert_eq!(bench.layers.lowers(&stack, &bench.cancel).unwrap().len(), 1);
    assert_eq!(list_view(&bench.view(&stack)), "b 0644 0:0 f=2\n");
}

#[test]
fn over_four_hundred_lowers_the_oldest_are_merged() {
    if !granted(Privilege::Root) {
        return;
    }
    let bench = Bench::new(Way::InPlace);
    let mut stack = vec![
        bench.commit(vec![dir("d", 0o700), file("d/old", "o"), file("kept", "k")]),
        bench.commit(vec![whiteout("d/old"), dir("e", 0o755)]),
        bench.commit(vec![whiteout("e"), file("f", "plain")]),
        bench.commit(vec![
            dir("d", 0o711),
            file("d/new", "n"),
            file("e", "file now"),
        ]),
        bench.commit(vec![whiteout("f")]),
        bench.commit(vec![dir("f", 0o755), file("f/in", "i")]),
    ];
    let first = stack.len();
    stack.extend((first..420).map(|at| bench.commit(vec![file(&format!("n/{at}"), "x")])));
    let lowers = bench.layers.lowers(&stack, &bench.cancel).unwrap();
    assert_eq!(lowers.len(), 1 + 220);
    let merged = Listing::of(&lowers[220]);
    assert_eq!(
        merged.paths().filter(|path| path.starts_with("n/")).count(),
        200 - first
    );
    let read = |path: &str| std::fs::read_to_string(lowers[220].join(path)).unwrap();
    assert_eq!(
        (read("d/new"), read("e"), read("f/in")),
        ("n".into(), "file now".into(), "i".into())
    );
    let mode = lowers[220].join("d").metadata().unwrap().mode();
    assert_eq!(mode & 0o7777, 0o711);
    assert!(is_whiteout(&lowers[220].join("d/old")));
    assert_eq!(bench.layers.lowers(&stack, &bench.cancel).unwrap(), lowers);
}

fn is_whiteout(path: &Path) -> bool {
    let meta = path.symlink_metadata().unwrap();
    meta.file_type().is_char_device() && meta.rdev() == 0
}

#[test]
fn trees_of_one_kind_are_not_used_where_another_is_made() {
    if !granted(Privilege::Root) {
        return;
    }
    let bench = Bench::new(Way::InPlace);
    let layer = bench.commit(vec![file("f", "x")]);
    let lowers = bench.layers.lowers(&[layer], &bench.cancel).unwrap();
    let mut seen = vec![lowers];
    for ids in [rbuild_layer::Ids::All, rbuild_layer::Ids::Single] {
        let site = rbuild_layer::Site {
            namespace: rbuild_layer::OverlayNamespace::User,
            ids,
        };
        let other = rbuild_layer::LayerStore::new(
            std::sync::Arc::clone(bench.layers.store()),
            std::sync::Arc::new(rbuild_layer::InPlace::at(site)),
            std::sync::Arc::new(rbuild_layer::NoFetch),
        );
        let lowers = other.lowers(&[layer], &bench.cancel).unwrap();
        assert!(!seen.contains(&lowers), "{ids:?}: {lowers:?}");
        seen.push(lowers);
    }
    assert_eq!(bench.layers.info(&layer).unwrap().trees.len(), 3);
}

#[test]
fn the_same_work_is_done_once_by_many() {
    if !granted(Privilege::Root) {
        return;
    }
    let bench = Bench::new(Way::InPlace);
    let low = bench.pull(
        None,
        &TarMaker::default().file("a", "1").finish(),
        Compression::GZIP,
    );
    let tar = TarMaker::default().file("b", "2").finish();
    let top = bench.pull(Some(low.chain), &tar, Compression::GZIP);
    let made = bench.commit(vec![file("c", "3")]);
    let stacks = [vec![low.id, top.id, made], vec![top.id, low.id, made]];
    let work = |at: usize| {
        let stack = &stacks[at % 2];
        let lowers = bench.layers.lowers(stack, &bench.cancel).unwrap();
        assert_eq!(lowers.len(), 3);
        let twin = bench
            .layers
            .compressed(&made, Compression::ZSTD, &bench.cancel);
        twin.unwrap()
    };
    let twins: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|at| scope.spawn(move || work(at))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(twins.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(bench.layers.store().trees().unwrap().len(), 3);
}

#[test]
fn an_upper_of_any_depth_is_removed() {
    let bench = Bench::new(Way::Forked);
    let active = bench.layers.prepare().unwrap();
    let upper = active.upper().to_owned();
    let flags = rustix::fs::OFlags::DIRECTORY;
    let mut at = rustix::fs::open(&upper, flags, rustix::fs::Mode::empty()).unwrap();
    // Too deep for paths, for descriptors and for recursion.
    for _ in 0..3000 {
        rustix::fs::mkdirat(&at, "deep", rustix::fs::Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "deep", flags, rustix::fs::Mode::empty()).unwrap();
    }
    drop(at);
    drop(active);
    assert!(!upper.exists());
}
