//! The final file system as plain files and as a tar.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use rbuild_exporter::export;
use rbuild_layer::Kind;
use rbuild_oci::Platform;

use crate::bench::{Bench, TIME, dir, entry, file, read_tar};

#[test]
fn files_come_out_with_mode_time_and_links() {
    let bench = Bench::new();
    bench.export("type=local,dest=@/out", &bench.image());
    let out = bench.path("out");
    assert_eq!(fs::read(out.join("etc/motd")).unwrap(), b"new");
    assert!(!out.join("etc/gone").exists());
    let meta = |name: &str| fs::symlink_metadata(out.join(name)).unwrap();
    let mode = |name: &str| meta(name).permissions().mode() & 0o7777;
    assert_eq!(
        [mode("etc/keep"), mode("sticky"), mode("locked")],
        [0o600, 0o1777, 0o555]
    );
    assert_eq!(mode("locked/tool"), 0o4755);
    for name in ["etc", "etc/keep", "locked", "link", "data"] {
        assert_eq!(meta(name).mtime(), TIME, "{name}");
    }
    assert_eq!(
        fs::read_link(out.join("link")).unwrap(),
        std::path::Path::new("etc/motd")
    );
    assert_eq!(meta("data").ino(), meta("data2").ino());
    assert_eq!(bench.ended(), ["copying files"]);
    // And again over itself, read-only directories included.
    bench.export("type=local,dest=@/out", &bench.image());
    assert_eq!(meta("data").ino(), meta("data2").ino());
}

#[test]
fn other_files_stay_or_go_as_asked() {
    let bench = Bench::new();
    let image = bench.image();
    let out = bench.path("out");
    fs::create_dir_all(out.join("etc/mine")).unwrap();
    fs::write(out.join("mine"), "").unwrap();
    // In the way: a file where a directory comes, a directory where a file comes.
    fs::write(out.join("sticky"), "").unwrap();
    fs::create_dir_all(out.join("data/x")).unwrap();
    bench.export("type=local,dest=@/out", &image);
    assert!(out.join("mine").exists() && out.join("etc/mine").exists());
    assert!(out.join("sticky").is_dir() && out.join("data").is_file());
    bench.export("type=local,dest=@/out,mode=delete", &image);
    assert!(!out.join("mine").exists() && !out.join("etc/mine").exists());
    assert!(out.join("etc/keep").exists());
}

#[test]
fn nothing_is_written_through_links() {
    let bench = Bench::new();
    let outside = bench.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("motd"), "precious").unwrap();
    let out = bench.path("out");
    fs::create_dir(&out).unwrap();
    symlink(&outside, out.join("etc")).unwrap();
    symlink(outside.join("motd"), out.join("data")).unwrap();
    bench.export("type=local,dest=@/out,mode=delete", &bench.image());
    assert_eq!(fs::read(outside.join("motd")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert!(fs::symlink_metadata(out.join("etc")).unwrap().is_dir());
    assert_eq!(fs::read(out.join("data")).unwrap(), b"shared content");
}

#[test]
fn tar_holds_the_final_files_in_order() {
    let bench = Bench::new();
    let long = format!("deep/{}/{}", "d".repeat(120), "f".repeat(120));
    let layer = bench.layer(vec![
        dir("a", 0o755),
        file("a/é", "umlaut", 0o644),
        file("a-b", "", 0o644),
        file(&long, "far", 0o644),
        entry("dev", Kind::Char { major: 1, minor: 3 }, 0o666),
        file("one", "linked", 0o644),
        entry(
            "two",
            Kind::Hardlink {
                leader: b"one".to_vec(),
            },
            0o644,
        ),
    ]);
    let image = bench.image_of(vec![layer]);
    bench.export("type=tar,dest=@/a.tar", &image);
    bench.export("type=tar,dest=@/b.tar", &image);
    assert_eq!(
        fs::read(bench.path("a.tar")).unwrap(),
        fs::read(bench.path("b.tar")).unwrap()
    );
    let (files, names) = read_tar(&bench.path("a.tar"));
    assert_eq!(files["a/é"], "umlaut".as_bytes());
    assert_eq!(files[&long], b"far");
    assert_eq!(files["one"], b"linked");
    assert!(!files.contains_key("two") && names.contains(&"two".to_owned()));
    let place = |name: &str| names.iter().position(|other| other == name).unwrap();
    assert!(place("a/") < place("a/é") && place("one") < place("two"));
    assert_eq!(bench.ended(), ["sending tarball"; 2]);
}

#[test]
fn platforms_get_directories_and_epoch_sets_times() {
    let bench = Bench::new();
    let mut arm = bench.image();
    arm.platform = Platform::parse("linux/arm/v7").unwrap();
    let images = [bench.image(), arm];
    export(
        &bench.spec("type=local,dest=@/out,source-date-epoch=12345"),
        &images,
        &bench.cx(),
    )
    .unwrap();
    for name in [
        "linux_amd64/etc/motd",
        "linux_arm_v7/etc/motd",
        "linux_amd64/etc",
    ] {
        assert_eq!(
            fs::metadata(bench.path("out").join(name)).unwrap().mtime(),
            12345,
            "{name}"
        );
    }
    export(&bench.spec("type=tar,dest=@/out.tar"), &images, &bench.cx()).unwrap();
    let (files, names) = read_tar(&bench.path("out.tar"));
    assert_eq!(names[0], "linux_amd64/");
    assert_eq!(files["linux_arm_v7/etc/motd"], b"new");
    let error = export(
        &bench.spec("type=local,dest=@/x,mode=delete,platform-split=false"),
        &images,
        &bench.cx(),
    );
    assert!(error.is_err());
}
