//! Mistakes people make: a clear message, the place where there is one, the right exit code, an intact store.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rbuild_testkit::{Finished, Privilege, TempDir, Tree, granted, need_tool, rbuild_binary, run};

use crate::place::{LIMIT, Place, busybox};

/// Panics unless the build fails with code 1, says all of `texts`, and leaves the store intact.
#[track_caller]
fn refuses(place: &Place, words: &[&str], texts: &[&str]) -> Finished {
    let mut failed = place.build(words).expect_code(1);
    for text in texts {
        failed = failed.expect_text(text);
    }
    let panicked = failed.text().contains("panicked at");
    assert!(!panicked, "{failed}");
    place.assert_intact();
    failed
}

#[track_caller]
fn refuses_text(dockerfile: &str, texts: &[&str]) {
    refuses(&Place::new(dockerfile), &[], texts);
}

#[test]
fn missing_dockerfile() {
    let place = Place::new("");
    fs::remove_file(place.context().join("Dockerfile")).expect("remove it");
    refuses(&place, &[], &["Dockerfile", "no such file or directory"]);
}

#[test]
fn missing_context() {
    let place = Place::new("FROM scratch\n");
    fs::remove_dir_all(place.context()).expect("remove it");
    let failed = place.build(&[]);
    assert!(matches!(failed.code(), Some(1 | 2)), "{failed}");
    failed.expect_text("context");
}

#[test]
fn empty_dockerfile() {
    refuses_text("", &["empty"]);
    refuses_text("\n# nothing\n", &["Dockerfile"]);
}

#[test]
fn unknown_instruction_with_a_suggestion() {
    refuses_text(
        "FROM busybox\nRUNN true\n",
        &[
            "Dockerfile:2",
            "unknown instruction: RUNN (did you mean RUN?)",
            ">>> RUNN true",
        ],
    );
}

#[test]
fn unknown_flag_with_a_suggestion() {
    refuses_text(
        "FROM busybox\nCOPY --frm=busybox /a /b\n",
        &[
            "Dockerfile:2",
            "unknown flag: --frm",
            "did you mean",
            "from",
        ],
    );
}

#[test]
fn bad_json_where_json_is_needed() {
    refuses_text(
        "FROM busybox\nSHELL [\"/bin/sh\", -c]\n",
        &[
            "Dockerfile:2",
            "SHELL requires the arguments to be in JSON form",
        ],
    );
}

#[test]
fn several_mistakes_are_shown_at_once() {
    refuses_text(
        "FROM busybox\nRNU true\nCOPY --frm=x a b\n",
        &["Dockerfile:2", "Dockerfile:3"],
    );
}

#[test]
fn missing_source_file() {
    refuses_text(
        "FROM scratch\nCOPY nowhere /x\n",
        &[
            "Dockerfile:2",
            "\"/nowhere\": not found",
            ">>> COPY nowhere /x",
        ],
    );
}

#[test]
fn missing_source_names_the_ignore_rule_that_hid_it() {
    let place = Place::with(
        "FROM scratch\nCOPY app.log /x\n",
        Tree::new()
            .file("app.log", "")
            .file(".dockerignore", "# logs\n*.log\n"),
    );
    refuses(
        &place,
        &[],
        &["\"/app.log\": not found", ".dockerignore", "*.log"],
    );
}

#[test]
fn unknown_stage() {
    let place = Place::new("FROM scratch AS build\n");
    refuses(
        &place,
        &["--target", "bulid"],
        &["bulid", "did you mean build"],
    );
}

#[test]
fn stage_index_that_is_not_there() {
    refuses_text(
        "FROM scratch\nCOPY --from=7 /a /b\n",
        &["7", "Dockerfile:2"],
    );
}

#[test]
fn stages_in_a_circle() {
    refuses_text(
        "FROM scratch AS a\nCOPY --from=b /x /x\nFROM scratch AS b\nCOPY --from=a /x /x\n",
        &["b", "Dockerfile:2"],
    );
    refuses_text(
        "FROM scratch AS a\nCOPY --from=a /x /x\n",
        &["circular dependency detected on stage: a"],
    );
}

#[test]
fn base_that_does_not_exist() {
    let place = Place::new("FROM gone\n");
    let missing = format!(
        "gone=oci-layout://{}",
        place.dir().join("no-layout").display()
    );
    refuses(&place, &["--build-context", &missing], &["no-layout"]);
    let no_tag = format!("gone=oci-layout://{}:no-such-tag", busybox().display());
    refuses(&place, &["--build-context", &no_tag], &["no-such-tag"]);
}

#[test]
fn base_for_another_platform() {
    let place = Place::new("FROM --platform=linux/s390x busybox\nRUN true\n");
    refuses(&place, &[], &["s390x", "Dockerfile:1"]);
}

#[test]
fn registry_that_is_down() {
    // Port 1 of loopback: nobody listens there, and nobody waits for long.
    let place = Place::new("FROM 127.0.0.1:1/nobody/there\n");
    let failed = refuses(&place, &[], &["127.0.0.1:1", "Dockerfile:1", "refused"]);
    assert!(failed.elapsed < Duration::from_secs(30), "{failed}");
}

#[test]
fn wrong_usage_is_told_from_a_failed_build() {
    let place = Place::new("FROM scratch\n");
    place
        .build(&["--no-such-flag"])
        .expect_code(2)
        .expect_text("--no-such-flag");
    place
        .run(&["build", "--progress", "loud", "context"])
        .expect_code(2)
        .expect_text("loud");
    place.build(&["-t", "Not A Name"]).expect_code(2);
    place.run(&["no-such-command"]).expect_code(2);
    place
        .run(&["rmi", "nobody"])
        .expect_code(1)
        .expect_text("nobody");
}

#[test]
fn unreadable_context_file() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::with(
        "FROM scratch\nCOPY secret /x\n",
        Tree::new().file("secret", "x").mode(0o000),
    );
    // Root reads everything; without this capability it is like any other user.
    let mut command = Command::new(need_tool("setpriv"));
    command.args([
        "--bounding-set",
        "-dac_override,-dac_read_search",
        "--inh-caps",
        "-all",
    ]);
    command.args([
        "--reuid",
        "0",
        "--clear-groups",
        "sh",
        "-c",
        "exec \"$0\" \"$@\"",
    ]);
    let build = place.build_command(&[]);
    command.arg(build.get_program()).args(build.get_args());
    run(&mut command, LIMIT)
        .expect_code(1)
        .expect_text("secret")
        .expect_text("ermission denied")
        .expect_text("must be able to read the context");
}

#[test]
fn full_disk_leaves_the_store_usable() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::with(
        "FROM scratch\nCOPY big /big\n",
        Tree::new()
            .file("big", vec![7; 32 << 20])
            .file("small/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n"),
    );
    // A small disk that only these processes see; it vanishes with them.
    let script = format!(
        "mkdir -p '{store}' && mount -t tmpfs -o size=16m none '{store}' || exit 99\n\
         '{rbuild}' --root '{store}' build --progress plain -o type=oci,dest=/dev/null '{context}'; first=$?\n\
         '{rbuild}' --root '{store}' store verify || exit 98\n\
         ls '{store}/stage'\n\
         '{rbuild}' --root '{store}' build --progress plain '{context}/small' || exit 97\n\
         exit $first",
        store = place.store().display(),
        rbuild = rbuild_binary().display(),
        context = place.context().display(),
    );
    let mut command = Command::new(need_tool("unshare"));
    command.args(["--mount", "sh", "-c", &script]);
    run(&mut command, LIMIT)
        .expect_code(1)
        .expect_text("No space left on device");
}

#[test]
fn no_user_namespaces_is_a_fault_of_the_host() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new("FROM busybox\nRUN true\n");
    let home = TempDir::new();
    open_to_all(&home);
    open_to_all(place.dir());
    fs::copy(rbuild_binary(), home.join("rbuild")).expect("copy the program");
    fs::create_dir(home.join("store")).expect("make a directory");
    chown(home.join("store"), Some(1000), Some(1000)).expect("give it away");
    fs::write(home.join("subid"), "root:0:65536\n").expect("write a grant");
    // In a user namespace of its own the limit binds nobody else; a copy of the grants makes that one.
    let limited = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces || exit 99; \
         exec setpriv --reuid 1000 --regid 1000 --clear-groups '{home}/rbuild' --root '{home}/store' \
         build --progress plain --build-context 'busybox=oci-layout://{}' '{}'",
        busybox_for_all(&home).display(),
        place.context().display(),
        home = home.display(),
    );
    let setup = format!(
        "mount --bind '{home}/subid' /etc/subuid && mount --bind '{home}/subid' /etc/subgid && \
         exec unshare --user --map-users 0,0,65536 --map-groups 0,0,65536 --setuid 0 sh -c \"$0\"",
        home = home.display(),
    );
    let mut command = Command::new(need_tool("unshare"));
    command.args(["--mount", "sh", "-c", &setup, &limited]);
    run(&mut command, LIMIT)
        .expect_code(3)
        .expect_text("user namespace");
}

/// Copies the base image to where every user can read it.
fn busybox_for_all(dir: &Path) -> PathBuf {
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(busybox()).arg(dir.join("busybox"));
    run(&mut copy, LIMIT).expect_success();
    dir.join("busybox")
}

fn open_to_all(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("open the directory");
}
