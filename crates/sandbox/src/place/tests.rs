use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::CWD;

use super::*;

/// A root with hostile links, beside a canary that must stay out of reach.
struct Scene {
    base: std::path::PathBuf,
    root: OwnedFd,
}

impl Scene {
    fn new(name: &str) -> Self {
        let base = std::env::temp_dir().join(format!("rbuild-place-{name}-{}", std::process::id()));
        fs::remove_dir_all(&base).ok();
        fs::create_dir_all(base.join("root/etc")).unwrap();
        fs::write(base.join("canary"), "host").unwrap();
        fs::write(base.join("root/etc/passwd"), "root:x:0:0::/root:\n").unwrap();
        symlink("../../../../canary", base.join("root/up")).unwrap();
        symlink(base.join("canary"), base.join("root/abs")).unwrap();
        symlink("loop", base.join("root/loop")).unwrap();
        symlink("/etc", base.join("root/link")).unwrap();
        symlink("../run/gone/resolv.conf", base.join("root/etc/resolv.conf")).unwrap();
        let root = openat(CWD, base.join("root"), OFlags::PATH, Mode::empty()).unwrap();
        Self { base, root }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.base).ok();
    }
}

fn names(walked: &Walked) -> String {
    let join = |names: Vec<&OsString>| {
        let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
        names.join("/")
    };
    let trail = join(walked.trail.iter().map(|(name, _)| name).collect());
    format!("{trail}|{}", join(walked.missing.iter().collect()))
}

#[test]
fn walk_stays_inside_whatever_links_say() {
    let scene = Scene::new("walk");
    let base = scene.base.to_string_lossy().into_owned();
    let inner = base.trim_start_matches('/');
    let cases = [
        ("/", "|".to_owned()),
        ("/etc/passwd", "etc/passwd|".to_owned()),
        ("/link/passwd", "etc/passwd|".to_owned()),
        ("/link/../etc/./passwd", "etc/passwd|".to_owned()),
        ("/../../etc", "etc|".to_owned()),
        ("/up", "|canary".to_owned()),
        ("/abs", format!("|{inner}/canary")),
        ("/etc/resolv.conf", "|run/gone/resolv.conf".to_owned()),
        ("/new/dir/../file", "|new/file".to_owned()),
    ];
    for (path, expected) in cases {
        let walked = walk(&scene.root, path.as_ref()).unwrap();
        assert_eq!(names(&walked), expected, "{path}");
    }
    assert_eq!(walk(&scene.root, "/loop".as_ref()).err(), Some(Errno::LOOP));
    assert_eq!(
        walk(&scene.root, "/etc/passwd/x".as_ref()).err(),
        Some(Errno::NOTDIR)
    );
}

#[test]
fn open_in_does_not_leave_the_root() {
    let scene = Scene::new("open");
    for path in ["/up", "/abs", "up"] {
        assert_eq!(
            open_in(&scene.root, path).err(),
            Some(Errno::NOENT),
            "{path}"
        );
    }
    for path in ["/etc/passwd", "link/passwd", "/", "//etc"] {
        assert!(open_in(&scene.root, path).is_ok(), "{path}");
    }
}

#[test]
fn ensure_makes_what_is_missing_inside() {
    let scene = Scene::new("ensure");
    let owner = Owner {
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
    };
    ensure(&scene.root, "/up/x".as_ref(), Kind::File, owner).unwrap();
    assert!(scene.base.join("root/canary/x").is_file());
    assert_eq!(
        fs::read_to_string(scene.base.join("canary")).unwrap(),
        "host"
    );
    assert_eq!(
        ensure(&scene.root, "/etc/passwd".as_ref(), Kind::Directory, owner).err(),
        Some(Errno::NOTDIR)
    );
    assert_eq!(
        ensure(&scene.root, "/etc".as_ref(), Kind::File, owner).err(),
        Some(Errno::ISDIR)
    );
}

#[test]
fn read_small_refuses_what_is_no_small_regular_file() {
    let scene = Scene::new("read");
    assert_eq!(
        read_small(&scene.root, c"/etc/passwd", 100)
            .unwrap()
            .unwrap(),
        b"root:x:0:0::/root:\n"
    );
    assert!(
        read_small(&scene.root, c"/etc/none", 100)
            .unwrap()
            .is_none()
    );
    assert!(read_small(&scene.root, c"/etc/passwd", 3).is_err());
    rustix::fs::mknodat(
        &scene.root,
        "fifo",
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    // Would block for ever if it were opened.
    let error = read_small(&scene.root, c"/fifo", 100).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    assert!(read_small(&scene.root, c"/abs", 100).unwrap().is_none());
}
