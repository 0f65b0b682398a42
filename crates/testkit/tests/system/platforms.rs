//! Several platforms, and programs of other machines.
//!
//! Emulators are registered in a user namespace of the test's own, which Linux has had since 6.7: the
//! machine's registrations are neither used nor touched. Where that is refused the tests say so and pass.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use rbuild_testkit::{Finished, Listing, Privilege, Tree, granted, need_tool, run};
use serde_json::Value;

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

/// Builds the foreign place for ARM.
fn registered(place: &Place, register: &[String]) -> Option<Finished> {
    let words = ["-t", "foreign", "--platform", "linux/arm64"];
    build_registered(place, register, &words)
}

/// Runs a build where nothing is registered but what `register` says; `None` where that cannot be had.
fn build_registered(place: &Place, register: &[String], words: &[&str]) -> Option<Finished> {
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
    let build = place.build_command(words);
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
fn what_an_image_holds_counts_and_not_its_label() {
    if !granted(Privilege::Root) {
        return;
    }
    let busybox = std::fs::read(need_tool("busybox")).expect("read busybox");
    let step = |words: &str| {
        let file = format!(
            "FROM --platform=linux/s390x scratch\nCOPY --chmod=755 program /bin/busybox\nRUN [{words}]\n"
        );
        Place::with(&file, Tree::new().file("program", busybox.clone()))
    };
    let works = step(r#""/bin/busybox", "echo", "native""#);
    works.build(&[]).expect_success().expect_text("native");
    // A program that fails by itself is not taken for one that cannot run.
    let fails = step(r#""/bin/busybox", "false""#);
    fails.build(&[]).expect_code(1).expect_text("exit code: 1");
}

/// The folder with a real emulator and a shell for ARM; `None` where nobody fetched it.
fn emulator() -> Option<PathBuf> {
    let folder = std::env::var_os("RBUILD_FOREIGN").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: `cargo xtask emulation` fetches an emulator and runs this with it");
    }
    folder
}

/// A place whose steps run a busybox of each processor.
fn two_processors(emulator: &Path) -> Place {
    let read = |file: &Path| std::fs::read(file).unwrap_or_else(|e| panic!("{file:?}: {e}"));
    Place::with(
        "FROM --platform=$BUILDPLATFORM busybox AS once\n\
         RUN head -c 8 /dev/urandom | od -An -tx1 > /once && uname -m > /builder\n\
         FROM scratch AS shell\n\
         ARG TARGETARCH\n\
         COPY --chmod=755 busybox-$TARGETARCH /bin/busybox\n\
         RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
         RUN echo machine $(uname -m) && uname -m > /machine && chown 7:8 /machine\n\
         FROM shell\n\
         COPY --from=once /once /builder /\n\
         RUN test -s /once && ls -l /machine | awk '{ print $3 \":\" $4 }' > /owner\n",
        Tree::new()
            .file("busybox-amd64", read(&need_tool("busybox")))
            .file("busybox-arm64", read(&emulator.join("busybox-arm64"))),
    )
}

/// The real emulator as its package registers it.
fn real_registration(emulator: &Path) -> String {
    let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
    let program = emulator.join("qemu-aarch64-static");
    format!(":arm64:M::{ARM64_MAGIC}:{mask}:{}:F", program.display())
}

#[test]
fn a_real_emulator_runs_the_steps_of_one_platform() {
    if !granted(Privilege::Root) {
        return;
    }
    let Some(emulator) = emulator() else { return };
    let place = two_processors(&emulator);
    let words = ["--platform=linux/arm64", "-o", "type=local,dest=out"];
    let register = [real_registration(&emulator)];
    let Some(built) = build_registered(&place, &register, &words) else {
        return;
    };
    built.expect_success().expect_text("machine aarch64");
    let read = |file: &str| std::fs::read_to_string(place.dir().join("out").join(file));
    assert_eq!(read("machine").expect("made"), "aarch64\n");
    assert_eq!(read("owner").expect("made"), "7:8\n");
    assert_ne!(read("builder").expect("made"), "aarch64\n");
}

#[test]
fn a_real_emulator_makes_an_index_of_two_platforms() {
    if !granted(Privilege::Root) {
        return;
    }
    let Some(emulator) = emulator() else { return };
    let place = two_processors(&emulator);
    let words = [
        "--platform=linux/amd64,linux/arm64",
        "--output=type=oci,dest=layout,tar=false",
        "--output=type=local,dest=out",
    ];
    let register = [real_registration(&emulator)];
    let Some(built) = build_registered(&place, &register, &words) else {
        return;
    };
    let built = built
        .expect_success()
        .expect_text("machine aarch64")
        .expect_text("machine x86_64");
    // A step whose lines are interrupted by another's is named again, with the same number.
    let heads = built
        .stderr
        .lines()
        .filter(|line| line.contains("] RUN head"));
    assert_eq!(heads.collect::<BTreeSet<_>>().len(), 1, "{built}");
    let read = |file: &str| std::fs::read_to_string(place.dir().join("out").join(file));
    assert_eq!(read("linux_arm64/machine").expect("made"), "aarch64\n");
    assert_eq!(read("linux_amd64/machine").expect("made"), "x86_64\n");
    let once = |platform: &str| read(&format!("{platform}/once")).expect("made");
    assert_eq!(once("linux_arm64"), once("linux_amd64"));
    let index = index_in(&place.dir().join("layout"));
    let platforms: Vec<&str> = index["manifests"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|manifest| manifest["platform"]["architecture"].as_str())
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"], "{index:#}");
}

/// The image index that a layout's own index names.
fn index_in(layout: &Path) -> Value {
    let read = |path: &Path| -> Value {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let top = read(&layout.join("index.json"));
    let digest = top["manifests"][0]["digest"].as_str().expect("a digest");
    read(&layout.join("blobs").join(digest.replace(':', "/")))
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
