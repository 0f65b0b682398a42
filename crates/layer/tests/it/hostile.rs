//! Archives that try to leave: whatever they hold, nothing outside the tree changes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rbuild_layer::{Compression, Error};
use rbuild_testkit::{Privilege, granted};
use tar::EntryType;

use crate::bench::*;

/// A file outside of every tree, and what it must stay.
struct Canary {
    dir: PathBuf,
}

impl Canary {
    fn plant(bench: &Bench) -> Self {
        let dir = bench.dir.path().join("canary");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("file"), "alive").unwrap();
        fs::set_permissions(dir.join("file"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("file", dir.join("link")).unwrap();
        Self { dir }
    }

    fn path(&self) -> &str {
        self.dir.to_str().unwrap()
    }

    #[track_caller]
    fn lives(&self, case: &str) {
        let meta = self.dir.join("file").symlink_metadata();
        let meta = meta.unwrap_or_else(|error| panic!("{case}: canary: {error}"));
        assert_eq!(fs::read(self.dir.join("file")).unwrap(), b"alive", "{case}");
        assert_eq!(
            (meta.mode() & 0o7777, meta.uid(), meta.nlink()),
            (0o640, 0, 1),
            "{case}"
        );
        let names = fs::read_dir(&self.dir).unwrap().count();
        assert_eq!(names, 2, "{case}: something was put beside the canary");
    }
}

/// Unpacks an archive in every way; returns whether it was refused.
#[track_caller]
fn attack(case: &str, make: impl Fn(&str) -> TarMaker) -> bool {
    let mut refused = true;
    for way in [Way::InPlace, Way::Forked] {
        let bench = Bench::new(way);
        let canary = Canary::plant(&bench);
        let tar = make(canary.path()).finish();
        let layer = bench.pull(None, &tar, Compression::None).id;
        let outcome = bench.layers.lowers(&[layer], &bench.cancel);
        canary.lives(case);
        refused &= outcome.is_err();
        if outcome.is_err() {
            let left = fs::read_dir(bench.layers.store().root().join("trees")).unwrap();
            assert_eq!(left.count(), 0, "{case}: a refused layer left a tree");
        }
        // Reading without a tree must come to the same conclusion.
        let indexed = bench.layers.index(&layer, &bench.cancel).is_err();
        let is_missing_link = matches!(outcome, Err(Error::NotFound { .. }))
            || outcome
                .as_ref()
                .is_err_and(|error| error.to_string().contains("not found"));
        assert!(indexed == outcome.is_err() || is_missing_link, "{case}");
    }
    refused
}

#[test]
fn names_that_climb() {
    if !granted(Privilege::Root) {
        return;
    }
    for name in [
        "../../../../canary/file",
        "a/../../../../../canary/file",
        "..",
        "../x",
    ] {
        assert!(
            attack(name, |_| TarMaker::default().file(name, "dead")),
            "{name}"
        );
        assert!(attack(name, |_| TarMaker::default().dir(name)), "{name}");
    }
}

#[test]
fn absolute_names_stay_inside() {
    if !granted(Privilege::Root) {
        return;
    }
    let refused = attack("absolute", |canary| {
        TarMaker::default().file(&format!("{canary}/file"), "dead")
    });
    assert!(!refused);
}

#[test]
fn links_planted_first_are_not_followed() {
    if !granted(Privilege::Root) {
        return;
    }
    let planted = |target: &str| TarMaker::default().symlink("l", target);
    assert!(attack("link, then file", |canary| planted(canary)
        .file("l/file", "dead")));
    assert!(attack("link, then directory", |canary| planted(canary).dir("l/d")));
    assert!(attack("relative link", |_| planted("../../../../canary")
        .file("l/file", "dead")));
    assert!(attack("chain of links", |canary| {
        planted(canary)
            .symlink("m", "l")
            .symlink("n", "/m")
            .file("n/file", "dead")
    }));
    assert!(attack("link, then whiteout", |canary| planted(canary)
        .file("l/.wh.file", "")));
    assert!(attack("link, then opaque mark", |canary| {
        planted(canary).file("l/.wh..wh..opq", "")
    }));
    assert!(attack("link, then link in it", |canary| {
        planted(canary).file("f", "x").hardlink("l/hard", "f")
    }));
    let replaced = attack("link replaced by a directory", |canary| {
        planted(canary).dir("l").file("l/file", "dead")
    });
    assert!(!replaced);
    let over = attack("file over link", |canary| {
        planted(&format!("{canary}/file"))
            .file("l", "dead")
            .owned(0o777, 5, 5)
    });
    assert!(!over);
}

#[test]
fn hard_links_do_not_reach_out() {
    if !granted(Privilege::Root) {
        return;
    }
    assert!(attack("to an absolute path", |canary| {
        TarMaker::default().hardlink("h", &format!("{canary}/file"))
    }));
    assert!(attack("climbing", |_| TarMaker::default()
        .hardlink("h", "../../../../canary/file")));
    assert!(attack("through a link", |canary| {
        TarMaker::default()
            .symlink("l", canary)
            .hardlink("h", "l/file")
    }));
    // A hard link to a symbolic link is one more name of the link; writing to it replaces it.
    let to_link = attack("to a link, then written", |canary| {
        TarMaker::default()
            .symlink("l", &format!("{canary}/file"))
            .hardlink("h", "l")
            .file("h", "dead")
            .owned(0o777, 7, 7)
    });
    assert!(!to_link);
    let changed = attack("mode through a hard link to a link", |canary| {
        TarMaker::default()
            .symlink("l", &format!("{canary}/file"))
            .hardlink("h", "l")
            .owned(0o4777, 7, 7)
    });
    assert!(!changed);
}

#[test]
fn whiteouts_do_not_reach_out() {
    if !granted(Privilege::Root) {
        return;
    }
    for name in [
        ".wh...",
        ".wh..",
        ".wh.",
        "a/.wh...",
        "../.wh.canary",
        "a/../../.wh.x",
    ] {
        assert!(
            attack(name, |_| TarMaker::default().file(name, "")),
            "{name}"
        );
    }
}

#[test]
fn the_root_is_not_replaced() {
    if !granted(Privilege::Root) {
        return;
    }
    for name in [".", "/", "./", "a/.."] {
        let canary = |canary: &str| TarMaker::default().symlink(name, canary);
        assert!(attack(name, canary), "{name}");
        assert!(!attack(name, |_| TarMaker::default().dir(name)), "{name}");
    }
}

#[test]
fn kinds_may_replace_each_other_inside() {
    if !granted(Privilege::Root) {
        return;
    }
    let refused = attack("replacements", |canary| {
        TarMaker::default()
            .dir("x")
            .file("x/f", "1")
            .symlink("x", canary)
            .file("x", "2")
            .dir("x")
            .file("x/g", "3")
            .raw(EntryType::Fifo, "x/g", "", b"")
            .file("x/g", "4")
    });
    assert!(!refused);
}

#[test]
fn names_that_differ_in_case_or_form_are_different() {
    if !granted(Privilege::Root) {
        return;
    }
    let bench = Bench::new(Way::InPlace);
    let tar = TarMaker::default()
        .file("A", "1")
        .file("a", "2")
        .file("e\u{301}", "3")
        .file("é", "4")
        .finish();
    let layer = bench.pull(None, &tar, Compression::None).id;
    let lowers = bench.layers.lowers(&[layer], &bench.cancel).unwrap();
    assert_eq!(fs::read_dir(&lowers[0]).unwrap().count(), 4);
}

#[test]
fn a_whiteout_device_is_refused() {
    if !granted(Privilege::Root) {
        return;
    }
    assert!(attack("c 0:0", |_| TarMaker::default().raw(
        EntryType::Char,
        "c",
        "",
        b""
    )));
}

#[test]
fn truncated_and_garbled_blobs_leave_nothing() {
    if !granted(Privilege::Root) {
        return;
    }
    let tar = TarMaker::default().file("f", &"x".repeat(5000)).finish();
    let whole = gzip(&tar);
    for (case, blob) in [
        ("half a gzip", whole[..whole.len() / 2].to_vec()),
        ("gzip of half a tar", gzip(&tar[..2000])),
        ("garbage", b"this is no archive at all".repeat(100)),
        ("zstd magic only", vec![0x28, 0xb5, 0x2f, 0xfd]),
    ] {
        let bench = Bench::new(Way::InPlace);
        let digest = bench.layers.store().put_blob(&blob).unwrap();
        let layer = rbuild_layer::PulledLayer {
            parent: None,
            diff_id: rbuild_oci::DiffId(rbuild_oci::Digest::sha256_of(&tar)),
            descriptor: rbuild_oci::Descriptor::new("x", digest, blob.len() as u64),
            origin: String::new(),
        };
        let layer = bench.layers.pulled(&layer, &bench.cancel).unwrap();
        assert!(
            bench.layers.lowers(&[layer], &bench.cancel).is_err(),
            "{case}"
        );
        assert!(bench.layers.index(&layer, &bench.cancel).is_err(), "{case}");
        assert_eq!(
            count(&bench.layers.store().root().join("trees")),
            0,
            "{case}"
        );
    }
}

fn count(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}
