//! Mounts of a step, and the stub layer that keeps their places out of the upper.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use rbuild_sandbox::{Error, MountSource, StepExit};

use crate::Test;
use crate::bed::{Bed, mount};
use crate::step::chmod;

pub const TESTS: &[Test] = &[
    ("directory_is_bound", directory_is_bound),
    ("stack_is_mounted_by_subpath", stack_is_mounted_by_subpath),
    ("missing_source_is_named", missing_source_is_named),
    (
        "path_within_a_cache_stays_there",
        path_within_a_cache_stays_there,
    ),
    (
        "directory_that_was_exchanged_is_refused",
        directory_that_was_exchanged_is_refused,
    ),
    ("tmpfs_and_secret", tmpfs_and_secret),
    (
        "own_shared_memory_takes_the_place_of_the_usual",
        own_shared_memory_takes_the_place_of_the_usual,
    ),
    (
        "socket_has_the_owner_of_the_step",
        socket_has_the_owner_of_the_step,
    ),
    (
        "nested_targets_are_attached_outside_in",
        nested_targets_are_attached_outside_in,
    ),
    ("stub_layer_leaves_no_trace", stub_layer_leaves_no_trace),
    (
        "stub_directories_look_like_the_image",
        stub_directories_look_like_the_image,
    ),
    ("layers_share_a_device_number", layers_share_a_device_number),
    (
        "target_of_the_wrong_kind_is_refused",
        target_of_the_wrong_kind_is_refused,
    ),
    ("many_layers_and_long_paths", many_layers_and_long_paths),
    ("root_of_nothing_but_mounts", root_of_nothing_but_mounts),
];

fn directory_is_bound(bed: &Bed) {
    let host = bed.dir("host");
    fs::write(host.join("given"), "text\n").unwrap();
    let mut spec = bed.shell("cat /ro/given; echo x >/ro/y; echo kept >/rw/new; cat /one");
    let mut read_only = mount("/ro", MountSource::Dir(host.clone()));
    read_only.read_only = true;
    spec.mounts = vec![
        read_only,
        mount("/rw", MountSource::Dir(host.clone())),
        mount("/one", MountSource::Dir(host.join("given"))),
    ];
    let ran = bed.run(&spec);
    assert_eq!(ran.stdout, "text\ntext\n");
    assert!(ran.stderr.contains("Read-only file system"), "{ran:?}");
    assert_eq!(fs::read_to_string(host.join("new")).unwrap(), "kept\n");
    assert_eq!(Bed::names(&ran.upper), Vec::<String>::new());
}

fn stack_is_mounted_by_subpath(bed: &Bed) {
    let (low, high) = (bed.dir("low"), bed.dir("high"));
    let canary = bed.dir("canary");
    fs::write(canary.join("secret"), "host").unwrap();
    fs::create_dir_all(low.join("a/b")).unwrap();
    fs::write(low.join("a/b/f"), "low\n").unwrap();
    fs::create_dir_all(high.join("a/b")).unwrap();
    fs::write(high.join("a/b/g"), "high\n").unwrap();
    symlink("/a/b", high.join("link")).unwrap();
    symlink(&canary, high.join("out")).unwrap();
    let source = |subpath: &str, upper| MountSource::Overlay {
        lowers: vec![high.clone(), low.clone()],
        subpath: subpath.into(),
        upper,
    };
    let (upper, work) = (bed.dir("u"), bed.dir("w"));
    let mut spec = bed.shell(
        "cat /all/a/b/f /sub/g /link/f; echo x >/sub/g; echo x >/write/new && cat /write/new",
    );
    spec.mounts = vec![
        mount("/all", source("/", None)),
        mount("/sub", source("/a/b", None)),
        mount("/link", source("/link", None)),
        mount("/write", source("/", Some((upper, work)))),
    ];
    let ran = bed.run(&spec);
    assert_eq!(ran.stdout, "low\nhigh\nlow\nx\n", "{ran:?}");
    assert!(ran.stderr.contains("Read-only file system"), "{ran:?}");
    assert!(!low.join("new").exists() && !high.join("new").exists());
    // A link out of the stack leads nowhere (CVE-2024-1753).
    spec = bed.shell("true");
    spec.mounts = vec![mount("/x", source("/out/secret", None))];
    let error = bed.try_run(&spec).unwrap_err();
    assert!(matches!(error, Error::MissingSource { .. }), "{error:?}");
}

fn missing_source_is_named(bed: &Bed) {
    let gone = bed.temp.path().join("gone");
    let mut spec = bed.shell("true");
    spec.mounts = vec![mount("/x", MountSource::Dir(gone.clone()))];
    match bed.try_run(&spec) {
        Err(Error::MissingSource { target, path }) => {
            assert_eq!((target.as_str(), path), ("/x", gone.display().to_string()));
        }
        other => panic!("{other:?}"),
    }
}

fn path_within_a_cache_stays_there(bed: &Bed) {
    let (cache, canary) = (bed.dir("cache"), bed.dir("canary"));
    fs::write(canary.join("f"), "canary").unwrap();
    fs::create_dir_all(cache.join("a/b")).unwrap();
    fs::write(cache.join("a/b/f"), "cached").unwrap();
    symlink(&canary, cache.join("out")).unwrap();
    symlink("/a/b", cache.join("in")).unwrap();
    for (subpath, expected) in [
        ("/a/b", Some("cached")),
        ("/in", Some("cached")),
        ("/out", None),
    ] {
        let mut spec = bed.shell("cat /c/f");
        let source = MountSource::Within {
            directory: cache.clone(),
            inode: None,
            subpath: subpath.into(),
        };
        spec.mounts = vec![mount("/c", source)];
        match (bed.try_run(&spec), expected) {
            (Ok(ran), Some(text)) => assert_eq!(ran.stdout, text, "{subpath}"),
            (Err(Error::MissingSource { .. }), None) => {}
            (result, _) => panic!("{subpath}: {result:?}"),
        }
    }
}

fn directory_that_was_exchanged_is_refused(bed: &Bed) {
    let (cache, canary) = (bed.dir("cache"), bed.dir("canary"));
    let found = fs::metadata(&cache).unwrap();
    let run = || {
        let mut spec = bed.shell("echo x >/c/f");
        let source = MountSource::Within {
            directory: cache.clone(),
            inode: Some((found.dev(), found.ino())),
            subpath: "/".into(),
        };
        spec.mounts = vec![mount("/c", source)];
        bed.try_run(&spec)
    };
    assert!(run().is_ok());
    fs::rename(&cache, cache.with_extension("away")).unwrap();
    symlink(&canary, &cache).unwrap();
    let error = run().unwrap_err().to_string();
    assert!(error.contains("exchanged"), "{error}");
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 0);
}

fn tmpfs_and_secret(bed: &Bed) {
    let mut spec = bed.shell(
        "stat -c '%a' /t; df -P /t | tail -1 | awk '{print $2}'; echo x >/t/f; \
         stat -c '%a %u:%g' /run/secrets/key; cat /run/secrets/key; echo x >/run/secrets/key",
    );
    let mut secret = mount(
        "/run/secrets/key",
        MountSource::File {
            bytes: b"hush\n".to_vec(),
            mode: 0o400,
            uid: if bed.has_many_ids() { 33 } else { 0 },
            gid: 0,
        },
    );
    secret.read_only = true;
    let tmpfs = MountSource::Tmpfs {
        size: Some(1 << 20),
        mode: 0o1777,
    };
    spec.mounts = vec![mount("/t", tmpfs), secret];
    let ran = bed.run(&spec);
    let owner = if bed.has_many_ids() { "33:0" } else { "0:0" };
    assert_eq!(ran.stdout, format!("1777\n1024\n400 {owner}\nhush\n"));
    assert!(ran.stderr.contains("Read-only file system"), "{ran:?}");
    assert_eq!(Bed::names(&ran.upper), Vec::<String>::new());
    assert!(!format!("{spec:?}").contains("hush") && !format!("{spec:?}").contains("104, 117"));
}

fn own_shared_memory_takes_the_place_of_the_usual(bed: &Bed) {
    let list = "grep -c ' /dev/shm ' /proc/mounts; df -P /dev/shm | tail -1 | awk '{print $1, $2}'";
    let mut spec = bed.shell(list);
    spec.shm_size = 2 << 20;
    assert_eq!(bed.text(&spec), "1\ntmpfs 2048\n");
    let mut spec = bed.shell(list);
    let tmpfs = MountSource::Tmpfs {
        size: Some(1 << 20),
        mode: 0o1777,
    };
    spec.mounts = vec![mount("/dev/shm", tmpfs)];
    assert_eq!(bed.text(&spec), "1\ntmpfs 1024\n");
}

fn socket_has_the_owner_of_the_step(bed: &Bed) {
    let path = bed.dir("socket").join("s");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let socket = |mode| MountSource::Socket {
        path: path.clone(),
        mode,
        uid: 33,
        gid: 44,
    };
    let mut spec = bed.shell("stat -c '%F %u:%g %a' /run/a/s; test -w /run/a/s && echo mine");
    spec.user = "www-data".into();
    spec.mounts = vec![mount("/run/a/s", socket(0o600))];
    let owner = if bed.has_many_ids() { "33:44" } else { "0:0" };
    assert_eq!(bed.text(&spec), format!("socket {owner} 600\nmine\n"));
    // Whatever the mode it is not another user's.
    spec = bed.shell("test -w /s || echo not mine");
    spec.user = "nobody".into();
    spec.mounts = vec![mount("/s", socket(0o640))];
    let expected = if bed.has_many_ids() { "not mine\n" } else { "" };
    assert_eq!(bed.run(&spec).stdout, expected);
    drop(listener);
    spec.mounts = vec![mount("/s", socket(0o600))];
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    let error = bed.try_run(&spec).unwrap_err().to_string();
    assert!(error.contains("is no socket"), "{error}");
}

fn nested_targets_are_attached_outside_in(bed: &Bed) {
    let (outer, inner) = (bed.dir("outer"), bed.dir("inner"));
    fs::write(outer.join("o"), "").unwrap();
    fs::write(inner.join("i"), "").unwrap();
    let mut spec = bed.shell("ls -R /x /dev/shm/deep");
    spec.mounts = vec![
        mount("/x/y/z", MountSource::Dir(inner.clone())),
        mount("/x", MountSource::Dir(outer)),
        mount("/dev/shm/deep", MountSource::Dir(inner)),
    ];
    let text = bed.text(&spec);
    assert!(
        text.contains("/x:\no\ny\n") && text.contains("/x/y/z:\ni\n"),
        "{text}"
    );
    assert!(text.contains("/dev/shm/deep:\ni\n"), "{text}");
    assert_eq!(Bed::names(&spec.root.upper), Vec::<String>::new());
}

fn stub_layer_leaves_no_trace(bed: &Bed) {
    let host = bed.dir("host");
    let mut spec = bed.shell("ls -d /etc/resolv.conf /very/deep/place; touch /etc/new");
    spec.mounts = vec![mount("/very/deep/place", MountSource::Dir(host))];
    bed.text(&spec);
    assert_eq!(Bed::names(&spec.root.upper), ["etc", "etc/new"]);
    assert_eq!(bed.attached_mounts(), Vec::<String>::new());
}

fn stub_directories_look_like_the_image(bed: &Bed) {
    let top = bed.dir("top");
    fs::create_dir(top.join("etc")).unwrap();
    chmod(&top.join("etc"), 0o2751);
    rustix::fs::setxattr(
        top.join("etc"),
        "user.rbuild",
        b"kept",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    if bed.is_root() {
        std::os::unix::fs::chown(top.join("etc"), Some(33), Some(44)).unwrap();
        chmod(&top.join("etc"), 0o2751);
    }
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    fs::File::open(top.join("etc"))
        .unwrap()
        .set_modified(time)
        .unwrap();
    let script = "stat -c '%a %u:%g %Y' /etc; touch /etc/passwd";
    let spec = bed.spec_on(vec![top.clone(), bed.base()], &["/bin/sh", "-c", script]);
    let owner = if bed.is_root() { "33:44" } else { "0:0" };
    assert_eq!(bed.text(&spec), format!("2751 {owner} 1000000000\n"));
    // What the step touches is copied up with the metadata of the image, not of the stub.
    let (copied, original) = (spec.root.upper.join("etc"), top.join("etc"));
    let (copied_meta, original_meta) = (
        fs::metadata(&copied).unwrap(),
        fs::metadata(original).unwrap(),
    );
    assert_eq!(copied_meta.mode(), original_meta.mode());
    assert_eq!(copied_meta.uid(), original_meta.uid());
    let mut value = [0_u8; 16];
    let length = rustix::fs::getxattr(&copied, "user.rbuild", &mut value).unwrap();
    assert_eq!(&value[..length], b"kept");
}

fn layers_share_a_device_number(bed: &Bed) {
    let spec = bed.shell("stat -c %d / /etc /bin/busybox /etc/passwd | sort -u | wc -l");
    assert_eq!(
        bed.text(&spec).trim(),
        "1",
        "files and directories are on one device"
    );
}

fn target_of_the_wrong_kind_is_refused(bed: &Bed) {
    let host = bed.dir("host");
    fs::write(host.join("file"), "").unwrap();
    let cases = [
        ("/etc/passwd", host.clone(), "Not a directory"),
        ("/etc", host.join("file"), "Is a directory"),
        ("/etc/passwd/below", host.clone(), "Not a directory"),
        ("/", host.clone(), "cannot be a mount target"),
        ("/proc/sys", host.clone(), "cannot be a mount target"),
        ("relative", host.clone(), "cannot be a mount target"),
    ];
    for (target, source, expected) in cases {
        let mut spec = bed.shell("true");
        spec.mounts = vec![mount(target, MountSource::Dir(source))];
        let error = bed.try_run(&spec).unwrap_err().to_string();
        assert!(error.contains(expected), "{target}: {error}");
    }
}

fn many_layers_and_long_paths(bed: &Bed) {
    let mut dir = bed.dir("long");
    for _ in 0..4 {
        dir = dir.join("d".repeat(100));
        fs::create_dir(&dir).unwrap();
    }
    let mut lowers: Vec<_> = (0..400)
        .map(|index| {
            let layer = dir.join(format!("layer-{index}"));
            fs::create_dir(&layer).unwrap();
            fs::write(layer.join(format!("f{index}")), "").unwrap();
            layer
        })
        .collect();
    lowers.push(bed.base());
    let spec = bed.spec_on(lowers, &["/bin/sh", "-c", "ls / | grep -c '^f[0-9]'"]);
    assert_eq!(bed.text(&spec), "400\n");
}

fn root_of_nothing_but_mounts(bed: &Bed) {
    let mut spec = bed.spec_on(Vec::new(), &["/tools/busybox", "ls", "/"]);
    spec.mounts = vec![mount("/tools", MountSource::Dir(bed.base().join("bin")))];
    let ran = bed.run(&spec);
    assert_eq!(
        (ran.exit, ran.stdout.as_str()),
        (StepExit::Code(0), "dev\netc\nproc\nsys\ntools\n")
    );
    assert_eq!(Bed::names(&ran.upper), Vec::<String>::new());
}
