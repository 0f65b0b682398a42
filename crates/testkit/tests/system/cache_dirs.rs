//! `--cache-mount ID=DIR`: cache mounts in directories of the host.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use rbuild_testkit::{Privilege, granted, need_tool, run};

use crate::host::{Grant, User};
use crate::place::{LIMIT, Place};

/// A step that counts how often it ran in the cache.
const COUNTING: &str = "FROM busybox\nARG RUN\n\
    RUN --mount=type=cache,target=/c,id=count,sharing=locked echo $RUN >> /c/runs\n";

fn owner(path: &Path) -> (u32, u32, u32) {
    let found = fs::metadata(path).expect("stat");
    (
        found.uid(),
        found.gid(),
        found.permissions().mode() & 0o7777,
    )
}

#[test]
fn a_directory_outlives_the_store() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(COUNTING);
    let words = |n: &str| {
        [
            "--build-arg",
            &format!("RUN={n}"),
            "--cache-mount",
            "count=kept/here",
        ]
        .map(str::to_owned)
    };
    for n in ["1", "2"] {
        let words = words(n);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let done = place.build(&words).expect_success();
        assert!(!done.text().contains("WARNING"), "{done}");
        let du = place.run(&["du"]).expect_success();
        assert!(!du.stdout.contains("mount"), "{du}");
        fs::remove_dir_all(place.store()).expect("remove the store");
    }
    let dir = place.dir().join("kept/here");
    assert_eq!(
        fs::read_to_string(dir.join("runs")).expect("read"),
        "1\n2\n"
    );
    assert_eq!(owner(&dir), (0, 0, 0o755));
}

#[test]
fn an_empty_directory_is_made_what_the_mount_asks_for() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(
        "FROM busybox AS from\nRUN mkdir /f && echo 1 > /f/one && chown 3:4 /f && ln -s / /f/out\n\
         FROM busybox\n\
         RUN --mount=type=cache,target=/a,id=a,uid=5,gid=6,mode=0700 touch /a/x\n\
         RUN --mount=type=cache,target=/b,id=b,from=from,source=/f test -f /b/one && rm /b/one && touch /b/own\n\
         RUN --mount=type=cache,target=/b,id=b,from=from,source=/f,mode=0711 test -f /b/own && ! test -e /b/one\n",
    );
    fs::create_dir(place.dir().join("a")).expect("make a directory");
    let words = ["--cache-mount=a=a", "--cache-mount=b=b"];
    place.build(&words).expect_success();
    assert_eq!(owner(&place.dir().join("a")), (5, 6, 0o700));
    assert_eq!(owner(&place.dir().join("b")), (3, 4, 0o755));
    // What a step puts there does not lead out of it.
    let out = "FROM busybox\nRUN --mount=type=cache,target=/c,id=b,source=out test ! -e /c/etc/passwd && touch /c/canary\n";
    place.write("Dockerfile", out);
    place.build(&words).expect_success();
    assert!(place.dir().join("b/canary").exists());
}

#[test]
fn builds_that_lock_a_directory_take_turns() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(
        "FROM busybox\nARG RUN\nRUN --mount=type=cache,target=/c,sharing=locked \
         mkdir /c/busy && usleep 100000 && rmdir /c/busy && echo $RUN >> /c/done\n",
    );
    fs::create_dir(place.dir().join("real")).expect("make a directory");
    std::os::unix::fs::symlink("real", place.dir().join("link")).expect("link");
    let builds: Vec<_> = ["real", "link", "real", "link"]
        .into_iter()
        .enumerate()
        .map(|(n, dir)| {
            let words = [
                format!("--build-arg=RUN={n}"),
                format!("--cache-mount=/c={dir}"),
            ];
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let mut command = place.build_command(&words);
            command.stderr(Stdio::null()).spawn().expect("start")
        })
        .collect();
    for mut build in builds {
        assert!(build.wait().expect("wait").success());
    }
    let done = fs::read_to_string(place.dir().join("real/done")).expect("read");
    assert_eq!(done.lines().count(), 4, "{done}");
}

#[test]
fn what_makes_no_sense_is_told() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(COUNTING);
    fs::write(place.dir().join("file"), "").expect("write a file");
    let cases: [(&[&str], &str); 6] = [
        (&["--cache-mount=count=file"], "Not a directory"),
        (&["--cache-mount=count=file/below"], "cannot be made"),
        (&["--cache-mount=count=store"], "it holds the store"),
        (&["--cache-mount=count"], "write ID=DIR"),
        (
            &["--cache-mount=count=a", "--cache-mount=count=b"],
            "count is given two directories",
        ),
        (
            &["--cache-mount=count=a", "--cache-mount=other=a/b"],
            "give each cache mount a directory of its own",
        ),
    ];
    for (words, message) in cases {
        place.build(words).expect_code(2).expect_text(message);
    }
    place
        .build(&["--cache-mount=cuont=a"])
        .expect_success()
        .expect_text("no step mounts the cache cuont; there are: count");
}

#[test]
fn an_ordinary_user_keeps_a_directory_too() {
    if !(granted(Privilege::Root) && granted(Privilege::UserNamespaces)) {
        return;
    }
    need_tool("newuidmap");
    for grant in [Grant::Ranges, Grant::Nothing] {
        let user = User::new(grant);
        let script = "printf 'FROM busybox\\nARG N\\nUSER nobody\\nRUN --mount=type=cache,target=/c,uid=65534,mode=0700 \
             echo $N >> /c/runs; test -w /c\\n' > Dockerfile; \
             for n in 1 2; do rbuild build --build-context \"$BASE\" --build-arg N=$n --cache-mount /c=kept . || exit; done";
        run(&mut user.shell(script), LIMIT).expect_success();
        let kept = user.work().join("kept");
        let runs = fs::read_to_string(kept.join("runs")).expect("read as root");
        assert_eq!(runs, "1\n2\n");
        // A directory that root closed is none of theirs.
        let closed = user.work().join("closed");
        fs::create_dir(&closed).expect("make a directory");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("chmod");
        let status = Command::new("chown").arg("0:0").arg(&closed).status();
        assert!(status.expect("run chown").success());
        let script = "rbuild build --build-context \"$BASE\" --cache-mount /c=closed .";
        run(&mut user.shell(script), LIMIT)
            .expect_code(2)
            .expect_text("it cannot be read");
    }
}
