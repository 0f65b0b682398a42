//! Several platforms, and programs of other machines.
//!
//! Emulators are registered in a user namespace of the test's own, which Linux has had since 6.7: the
//! machine's registrations are neither used nor touched. Where that is refused the tests say so and pass.

use std::process::Command;

use rbuild_testkit::{Finished, Listing, Privilege, Tree, granted, need_tool, run};

use crate::place::{LIMIT, Place};

/// The head of a static 64-bit program for ARM, which is all that is looked at.
const ARM64_HEAD: &[u8; 20] =
    b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";

/// The same as the kernel's `register` file takes it.
const ARM64_MAGIC: &str =
    r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";

/// A place whose only program is for ARM.
fn foreign() -> Place {
    Place::with(
        "FROM --platform=linux/arm64 scratch\nCOPY --chmod=755 program /program\nRUN [\"/program\", \"word\"]\n",
        Tree::new().file("program", [ARM64_HEAD.as_slice(), &[0; 200]].concat()),
    )
}

/// Runs a build where nothing is registered but what `register` says; `None` where that cannot be had.
fn registered(place: &Place, register: &[String]) -> Option<Finished> {
    need_tool("newuidmap");
    let grant = place.dir().join("subid");
    std::fs::write(&grant, "root:0:65536\n").expect("write the grant");
    let grant = grant.display();
    let setup = format!(
        "mount --bind '{grant}' /etc/subuid && mount --bind '{grant}' /etc/subgid && \
         exec unshare --user --map-users=0,0,65536 --map-groups=0,0,65536 --mount sh -c \"$@\""
    );
    let mount = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc";
    let inside = |script: &str| {
        let mut command = Command::new(need_tool("unshare"));
        command.args(["--mount", "sh", "-c", &setup, "sh", script]);
        command
    };
    let probe = run(&mut inside(mount), LIMIT);
    if probe.code() != Some(0) {
        eprintln!(
            "skipped: no emulator can be registered here: {}",
            probe.stderr
        );
        return None;
    }
    let lines: String = register
        .iter()
        .map(|line| format!(" && echo '{line}' > /proc/sys/fs/binfmt_misc/register"))
        .collect();
    let build = place.build_command(&["-t", "foreign", "--platform", "linux/arm64"]);
    let mut command = inside(&format!("{mount}{lines} && exec \"$0\" \"$@\""));
    command.arg(build.get_program()).args(build.get_args());
    command.env_remove("RBUILD_ROOT").current_dir(place.dir());
    Some(run(&mut command, LIMIT))
}

/// A registration of busybox under the name of `echo`: it prints what an emulator would run.
fn registration(place: &Place, flags: &str) -> String {
    let echo = place.dir().join("echo");
    std::fs::copy(need_tool("busybox"), &echo).expect("copy busybox");
    format!(":test:M::{ARM64_MAGIC}::{}:{flags}", echo.display())
}

#[test]
fn an_emulator_that_is_registered_runs_steps() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = foreign();
    let register = registration(&place, "F");
    if let Some(built) = registered(&place, &[register]) {
        built.expect_success().expect_text("/program word");
    }
}

#[test]
fn programs_that_nobody_can_run_are_told_with_what_to_do() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = foreign();
    if let Some(refused) = registered(&place, &[]) {
        refused
            .expect_code(3)
            .expect_text("cannot run linux/arm64 programs on this")
            .expect_text("no emulator for it is registered")
            .expect_text("help: register an emulator")
            .expect_text("Dockerfile:3");
    }
    let register = registration(&place, "");
    if let Some(refused) = registered(&place, &[register]) {
        refused
            .expect_code(3)
            .expect_text("registered without the flag F");
    }
}

#[test]
fn stages_for_the_builder_run_once_and_know_both_platforms() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(
        "FROM --platform=$BUILDPLATFORM busybox AS once\n\
         RUN head -c 8 /dev/urandom | od -An -tx1 > /once\n\
         FROM once AS each\n\
         ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM\n\
         RUN echo $TARGETPLATFORM $TARGETOS $TARGETARCH [$TARGETVARIANT] > /each && \\\n\
             test $BUILDPLATFORM = linux/$(uname -m | sed 's/x86_64/amd64/;s/aarch64/arm64/')\n\
         FROM scratch\n\
         COPY --from=each /once /each /\n",
    );
    let platforms = "linux/s390x,linux/arm/v7,linux/s390x";
    let words = ["--platform", platforms, "-o", "type=local,dest=out"];
    let built = place.build(&words).expect_success();
    let read = |path: &str| std::fs::read_to_string(place.dir().join("out").join(path));
    let read = |path: &str| read(path).unwrap_or_else(|error| panic!("{path}: {error}: {built}"));
    assert_eq!(read("linux_s390x/each"), "linux/s390x linux s390x []\n");
    assert_eq!(read("linux_arm_v7/each"), "linux/arm/v7 linux arm [v7]\n");
    assert_eq!(read("linux_s390x/once"), read("linux_arm_v7/once"));
    let files = Listing::of(place.dir().join("out"));
    assert!(files.get("linux_s390x/each").is_some(), "{files}");
    let steps = |text: &str| built.stderr.matches(text).count();
    assert_eq!(steps("] RUN head"), 1, "{built}");
    place.assert_intact();
}
