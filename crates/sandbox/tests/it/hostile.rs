//! Images that are built to break out, with a canary outside.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use rbuild_sandbox::{Error, MountSource};

use crate::Test;
use crate::bed::{Bed, mount};

pub const TESTS: &[Test] = &[
    (
        "links_in_place_of_system_directories",
        links_in_place_of_system_directories,
    ),
    (
        "files_in_place_of_directories_fail",
        files_in_place_of_directories_fail,
    ),
    ("resolver_link_stays_inside", resolver_link_stays_inside),
    (
        "working_directory_through_proc_is_refused",
        working_directory_through_proc_is_refused,
    ),
    (
        "account_files_that_are_no_files",
        account_files_that_are_no_files,
    ),
    (
        "exchanged_directories_in_a_shared_cache",
        exchanged_directories_in_a_shared_cache,
    ),
];

/// A host directory that no step may change or read.
struct Canary {
    dir: PathBuf,
    before: (String, u64),
}

impl Canary {
    fn new(bed: &Bed) -> Self {
        let dir = bed.dir("canary");
        fs::write(dir.join("resolv.conf"), "canary").unwrap();
        let mut canary = Self {
            dir,
            before: Default::default(),
        };
        canary.before = canary.state();
        canary
    }

    fn state(&self) -> (String, u64) {
        let names = Bed::names(&self.dir).join(" ");
        let text = fs::read_to_string(self.dir.join("resolv.conf")).unwrap();
        let meta = fs::metadata(&self.dir).unwrap();
        (
            format!("{names}|{text}|{:o}|{}", meta.mode(), meta.uid()),
            meta.ino(),
        )
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.state(), self.before, "the canary changed");
        }
    }
}

fn links_in_place_of_system_directories(bed: &Bed) {
    let canary = Canary::new(bed);
    let climb = format!("../../../../../../../..{}", canary.dir.display());
    let targets = [
        canary.dir.display().to_string(),
        climb,
        "/".into(),
        "/etc".into(),
        "self".into(),
    ];
    for name in ["proc", "sys", "dev", "etc", "run", "tmp"] {
        for target in &targets {
            let top = bed.dir("top");
            symlink(target, top.join(name)).unwrap();
            let mut spec = bed.spec_on(
                vec![top, bed.base()],
                &[
                    "/bin/busybox",
                    "sh",
                    "-c",
                    "echo ran; echo x >/dev/null; cat /canary 2>/dev/null",
                ],
            );
            spec.mounts = vec![
                mount("/run/secrets/x", MountSource::Dir(bed.base())),
                mount("/tmp/cache", MountSource::Dir(bed.base())),
            ];
            spec.cwd = "/tmp/w".into();
            // It may run or be refused; what it may not do is leave the root.
            match bed.try_run(&spec) {
                Ok(ran) => assert!(
                    ran.stdout.starts_with("ran\n"),
                    "/{name} -> {target}: {ran:?}"
                ),
                Err(Error::Setup { .. }) => {}
                Err(error) => panic!("/{name} -> {target}: {error}"),
            }
        }
    }
}

fn files_in_place_of_directories_fail(bed: &Bed) {
    for name in ["proc", "sys", "dev", "etc"] {
        let top = bed.dir("top");
        fs::write(top.join(name), "").unwrap();
        let spec = bed.spec_on(vec![top, bed.base()], &["/bin/true"]);
        let error = bed.try_run(&spec).unwrap_err().to_string();
        assert!(error.contains("Not a directory"), "{name}: {error}");
    }
    let top = bed.dir("top");
    symlink("loop", top.join("loop")).unwrap();
    symlink("loop", top.join("sys")).unwrap();
    let spec = bed.spec_on(vec![top, bed.base()], &["/bin/true"]);
    let error = bed.try_run(&spec).unwrap_err().to_string();
    assert!(error.contains("symbolic links"), "{error}");
}

fn resolver_link_stays_inside(bed: &Bed) {
    let canary = Canary::new(bed);
    let outside = canary.dir.join("resolv.conf").display().to_string();
    for target in [
        outside.as_str(),
        "../run/gone/stub-resolv.conf",
        "/proc/self/environ",
        "hosts",
    ] {
        let top = bed.dir("top");
        fs::create_dir(top.join("etc")).unwrap();
        symlink(target, top.join("etc/resolv.conf")).unwrap();
        let script = "cat /etc/resolv.conf; echo x >>/etc/resolv.conf";
        let spec = bed.spec_on(vec![top, bed.base()], &["/bin/sh", "-c", script]);
        match bed.try_run(&spec) {
            Ok(ran) => {
                assert!(!ran.stdout.contains("canary"), "{target}: {ran:?}");
                assert_eq!(Bed::names(&ran.upper), Vec::<String>::new(), "{target}");
            }
            Err(Error::Setup { .. }) => {}
            Err(error) => panic!("{target}: {error}"),
        }
    }
}

fn working_directory_through_proc_is_refused(bed: &Bed) {
    let _canary = Canary::new(bed);
    for number in 3..40 {
        let top = bed.dir("top");
        symlink(format!("/proc/self/fd/{number}"), top.join("wd")).unwrap();
        for cwd in [
            format!("/proc/self/fd/{number}"),
            "/wd/x".into(),
            "/wd/../..".into(),
        ] {
            let mut spec = bed.spec_on(
                vec![top.clone(), bed.base()],
                &["/bin/sh", "-c", "pwd -P; ls /"],
            );
            spec.cwd = cwd.clone();
            if let Ok(ran) = bed.try_run(&spec) {
                let inside = ran.stdout.starts_with('/') && ran.stdout.contains("\nwd\n");
                assert!(inside, "{cwd}: {ran:?}");
            }
        }
    }
}

fn account_files_that_are_no_files(bed: &Bed) {
    let plant = |name: &str| {
        let top = bed.dir("top");
        fs::create_dir(top.join("etc")).unwrap();
        let path = top.join("etc/passwd");
        match name {
            "fifo" => rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o644),
                0,
            )
            .unwrap(),
            "zero" => symlink("/dev/zero", &path).unwrap(),
            "host" => symlink("/../../../../../../etc/shadow", &path).unwrap(),
            "big" => fs::File::create(&path).unwrap().set_len(10 << 30).unwrap(),
            _ => unreachable!(),
        }
        top
    };
    for name in ["fifo", "zero", "host", "big"] {
        let top = plant(name);
        let mut spec = bed.spec_on(
            vec![top.clone(), bed.base()],
            &["/bin/sh", "-c", "echo $HOME"],
        );
        assert_eq!(bed.text(&spec), "/\n", "{name}: root needs no account");
        spec = bed.spec_on(vec![top, bed.base()], &["/bin/true"]);
        spec.user = "someone".into();
        let error = bed.try_run(&spec).unwrap_err();
        assert!(matches!(error, Error::User(_)), "{name}: {error:?}");
    }
}

/// One step exchanges a directory for a link as fast as it can, others mount below it (CVE-2024-23651).
fn exchanged_directories_in_a_shared_cache(bed: &Bed) {
    let canary = Canary::new(bed);
    let cache = bed.dir("cache");
    fs::create_dir_all(cache.join("a/b")).unwrap();
    let inner = bed.dir("inner");
    fs::write(inner.join("resolv.conf"), "inner").unwrap();
    let script = format!(
        "i=0; while [ $i -lt 4000 ]; do mv /c/a /c/t; ln -s {} /c/a; rm /c/a; mv /c/t /c/a; i=$((i+1)); done",
        canary.dir.display()
    );
    let mut swapper = bed.shell(&script);
    swapper.mounts = vec![mount("/c", MountSource::Dir(cache.clone()))];
    let mut tries = 0;
    std::thread::scope(|scope| {
        let swap = scope.spawn(|| bed.run(&swapper));
        while !swap.is_finished() {
            let mut spec = bed.shell("cat /c/a/b/resolv.conf /c/a/resolv.conf");
            spec.mounts = vec![
                mount("/c", MountSource::Dir(cache.clone())),
                mount("/c/a/b", MountSource::Dir(inner.clone())),
            ];
            if let Ok(ran) = bed.try_run(&spec) {
                assert!(!ran.stdout.contains("canary"), "{ran:?}");
            }
            tries += 1;
        }
    });
    assert!(tries > 20, "only {tries} tries");
}
