//! What a step wrote, through a real overlay.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rbuild_layer::{Compression, Error, FileView, LayerId};
use rbuild_oci::Digest;
use rbuild_testkit::{Privilege, granted};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::bench::*;

/// Runs `step` in the merged directory of a stack, and commits what it wrote.
fn run(bench: &Bench, stack: &[LayerId], step: impl FnOnce(&Path)) -> LayerId {
    let lowers = bench.layers.lowers(stack, &bench.cancel).unwrap();
    let active = bench.layers.prepare().unwrap();
    let merged = bench.dir.path().join("merged");
    fs::create_dir_all(&merged).unwrap();
    let mounted = Mounted::new(&lowers, active.upper(), active.work(), merged);
    step(&mounted.at);
    drop(mounted);
    active.commit(stack, &bench.cancel).unwrap()
}

struct Mounted {
    at: PathBuf,
}

impl Mounted {
    fn new(lowers: &[PathBuf], upper: &Path, work: &Path, at: PathBuf) -> Self {
        let lowers: Vec<_> = lowers.iter().map(|path| path.to_str().unwrap()).collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={},redirect_dir=nofollow,metacopy=off,index=off,xino=off",
            lowers.join(":"),
            upper.display(),
            work.display()
        );
        let options = std::ffi::CString::new(options).unwrap();
        mount(
            "overlay",
            &at,
            "overlay",
            MountFlags::empty(),
            Some(options.as_c_str()),
        )
        .unwrap();
        Self { at }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.at, UnmountFlags::empty()).unwrap();
    }
}

/// A base with whole-second times, as pulled layers have them.
fn base(bench: &Bench) -> LayerId {
    let tar = TarMaker::default()
        .dir("etc/")
        .file("etc/passwd", "root\n")
        .file("etc/motd", "hello\n")
        .dir("var/")
        .dir("var/lib/")
        .file("var/lib/a", "a")
        .file("var/lib/b", "b")
        .file("bin/sh", "#!")
        .hardlink("bin/ash", "bin/sh")
        .symlink("l", "bin")
        .finish();
    bench.pull(None, &tar, Compression::GZIP).id
}

#[track_caller]
fn check(step: impl FnOnce(&Path), expected: &str) {
    if !granted(Privilege::Root) {
        return;
    }
    let bench = Bench::new(Way::InPlace);
    let low = base(&bench);
    let layer = run(&bench, &[low], step);
    let tar = bench.tar(&layer);
    let names: Vec<String> = list_tar(&tar)
        .lines()
        .map(|line| {
            let mut fields = line.split(' ');
            let kind = fields.next().unwrap_or_default();
            let mode = fields.next().unwrap_or_default();
            let rest: Vec<_> = fields.skip(2).filter(|part| !part.is_empty()).collect();
            // Size is left out, content is there.
            let (_, rest) = rest.split_first().unwrap();
            format!("{kind} {mode} {}", rest.join(" "))
        })
        .collect();
    assert_eq!(names.join("\n"), expected);
    let diff_id = bench.layers.diff_id(&layer, &bench.cancel).unwrap();
    assert_eq!(diff_id.0, Digest::sha256_of(&tar));
}

#[test]
fn new_and_changed_files_come_with_their_parents() {
    check(
        |root| {
            fs::write(root.join("etc/motd"), "changed\n").unwrap();
            fs::create_dir(root.join("var/lib/new")).unwrap();
            fs::write(root.join("var/lib/new/f"), "1").unwrap();
            fs::set_permissions(
                root.join("var/lib/new/f"),
                fs::Permissions::from_mode(0o4711),
            )
            .unwrap();
            symlink("/x", root.join("s")).unwrap();
        },
        "5 0755 etc/\n0 0644 etc/motd changed\n2 0777 s -> /x\n5 0755 var/\n5 0755 var/lib/\n\
         5 0755 var/lib/new/\n0 4711 var/lib/new/f 1",
    );
}

#[test]
fn what_did_not_change_is_out() {
    check(
        |root| {
            // Opened for writing: copied up, not changed.
            fs::OpenOptions::new()
                .append(true)
                .open(root.join("etc/motd"))
                .unwrap();
            fs::rename(root.join("var/lib/a"), root.join("tmp")).unwrap();
            fs::rename(root.join("tmp"), root.join("var/lib/a")).unwrap();
            fs::write(root.join("gone"), "x").unwrap();
            fs::remove_file(root.join("gone")).unwrap();
        },
        "",
    );
}

#[test]
fn removals_are_whiteouts() {
    check(
        |root| {
            fs::remove_file(root.join("etc/motd")).unwrap();
            fs::remove_dir_all(root.join("var")).unwrap();
        },
        "5 0755 etc/\n0 0000 etc/.wh.motd\n0 0000 .wh.var",
    );
}

#[test]
fn directories_made_anew_hide_their_old_content_by_name() {
    check(
        |root| {
            fs::remove_dir_all(root.join("var/lib")).unwrap();
            fs::create_dir(root.join("var/lib")).unwrap();
            fs::write(root.join("var/lib/c"), "c").unwrap();
        },
        "5 0755 var/\n5 0755 var/lib/\n0 0000 var/lib/.wh.a\n0 0000 var/lib/.wh.b\n0 0644 var/lib/c c",
    );
}

#[test]
fn links_and_sockets() {
    check(
        |root| {
            fs::write(root.join("x"), "x").unwrap();
            fs::hard_link(root.join("x"), root.join("y")).unwrap();
            drop(UnixListener::bind(root.join("socket")).unwrap());
        },
        "0 0644 x x\n1 0644 y -> x",
    );
}

#[test]
fn kinds_change() {
    check(
        |root| {
            fs::remove_file(root.join("l")).unwrap();
            fs::create_dir(root.join("l")).unwrap();
            fs::remove_dir_all(root.join("etc")).unwrap();
            fs::write(root.join("etc"), "file").unwrap();
        },
        "0 0644 etc file\n5 0755 l/",
    );
}

#[test]
fn a_step_that_changes_nothing_makes_an_empty_layer() {
    if !granted(Privilege::Root) {
        return;
    }
    let bench = Bench::new(Way::InPlace);
    let low = base(&bench);
    let layer = run(&bench, &[low], |_| {});
    assert_eq!(bench.tar(&layer), [0; 1024]);
    let lowers = bench.layers.lowers(&[low, layer], &bench.cancel).unwrap();
    assert_eq!(lowers.len(), 1);
}

#[test]
fn the_upper_serves_the_next_step_and_the_view() {
    if !granted(Privilege::Root) {
        return;
    }
    let bench = Bench::new(Way::InPlace);
    let low = base(&bench);
    let one = run(&bench, &[low], |root| {
        fs::remove_dir_all(root.join("var/lib")).unwrap();
        fs::create_dir(root.join("var/lib")).unwrap();
        fs::write(root.join("var/lib/c"), "c").unwrap();
    });
    let two = run(&bench, &[low, one], |root| {
        assert!(!root.join("var/lib/a").exists());
        assert_eq!(fs::read(root.join("var/lib/c")).unwrap(), b"c");
        fs::remove_file(root.join("var/lib/c")).unwrap();
    });
    let listed = list_view(&bench.view(&[low, one, two]));
    assert!(
        listed.contains("var/lib 0755") && !listed.contains("var/lib/"),
        "{listed}"
    );
    // What overlay shows and what the view shows is the same thing.
    let seen = run(&bench, &[low, one, two], |root| {
        assert_eq!(fs::read_dir(root.join("var/lib")).unwrap().count(), 0);
    });
    assert!(bench.layers.index(&seen, &bench.cancel).unwrap().is_empty());
}

#[test]
fn tars_of_trees_are_the_same_however_they_are_read() {
    if !granted(Privilege::Root) {
        return;
    }
    let write = |root: &Path| {
        for at in 0..20 {
            fs::write(
                root.join(format!("f{at}")),
                vec![at; 200_000 * usize::from(at)],
            )
            .unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(at.into());
            let file = fs::File::options()
                .append(true)
                .open(root.join(format!("f{at}")));
            file.unwrap().set_modified(time).unwrap();
        }
    };
    let bench = Bench::new(Way::InPlace);
    let low = base(&bench);
    let in_place = run(&bench, &[low], write);
    let far = Bench::new(Way::Forked);
    // Without a mount: what matters is how the bytes are read.
    let active = far.layers.prepare().unwrap();
    write(active.upper());
    let forked = active.commit(&[], &far.cancel).unwrap();
    let diff_id = bench.layers.diff_id(&in_place, &bench.cancel).unwrap();
    assert_eq!(far.layers.diff_id(&forked, &far.cancel).unwrap(), diff_id);
    let zstd = bench
        .layers
        .compressed(&in_place, Compression::ZSTD, &bench.cancel);
    let other = far
        .layers
        .compressed(&forked, Compression::ZSTD, &far.cancel);
    assert_eq!(zstd.unwrap(), other.unwrap());
    assert_eq!(bench.layers.info(&in_place).unwrap().blob, None);
    assert_eq!(far.layers.verify(&forked, &far.cancel).unwrap(), []);
}

#[test]
fn one_job_opens_all_files_of_far_trees() {
    let bench = Bench::new(Way::Forked);
    let active = bench.layers.prepare().unwrap();
    for number in 0..50 {
        fs::write(
            active.upper().join(format!("f{number}")),
            number.to_string(),
        )
        .unwrap();
    }
    let layer = active.commit(&[], &bench.cancel).unwrap();
    let view = bench.view(&[layer]);
    let before = bench.jobs.load(Ordering::Relaxed);
    // In any order, some twice, and with a file that is missing on the way.
    for number in (0..50).rev().chain([7, 7]) {
        let mut text = String::new();
        let mut file = view.open(format!("f{number}").as_bytes()).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, number.to_string());
        assert!(view.open(b"none").is_err());
    }
    assert_eq!(bench.jobs.load(Ordering::Relaxed) - before, 1);
}

#[test]
fn an_upper_that_is_dropped_leaves_nothing() {
    let bench = Bench::new(Way::InPlace);
    let active = bench.layers.prepare().unwrap();
    let upper = active.upper().to_owned();
    fs::write(upper.join("f"), "x").unwrap();
    drop(active);
    assert!(!upper.exists());
    let active = bench.layers.prepare().unwrap();
    let upper = active.upper().to_owned();
    bench.cancel.cancel();
    let outcome = active.commit(&[], &bench.cancel);
    assert!(matches!(outcome, Err(Error::Cancelled)));
    assert!(!upper.exists());
}
