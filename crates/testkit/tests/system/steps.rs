//! What a RUN sees, what stops it, and what it leaves behind.

use std::path::Path;
use std::process::Command;

use rbuild_testkit::{Privilege, granted};

use crate::place::{LIMIT, Place, cached_steps, shell_in};

#[test]
fn a_cache_mount_shows_the_folder_that_source_names() {
    if !granted(Privilege::Root) {
        return;
    }
    let cache = "RUN --mount=type=cache,id=c";
    let place = Place::new(&format!(
        "FROM busybox\n\
         {cache},target=/all mkdir -p /all/deep/er && echo found > /all/deep/er/file\n\
         {cache},target=/some,source=deep/er cp /some/file /file && touch /some/second\n\
         {cache},target=/all ls /all/deep/er >> /file\n"
    ));
    place.build(&["-t", "cached"]).expect_success();
    assert_eq!(
        shell_in(&place, "cached", "cat /file"),
        "found\nfile\nsecond\n"
    );
}

#[test]
fn a_source_that_the_cache_does_not_have_is_named() {
    if !granted(Privilege::Root) {
        return;
    }
    let cache = "RUN --mount=type=cache,id=c";
    // The second is a link that a step left there: it leads nowhere outside the cache.
    for (before, source) in [("true", "../../none"), ("ln -s /etc /all/none", "none")] {
        let place = Place::new(&format!(
            "FROM busybox\n{cache},target=/all {before}\n{cache},target=/some,source={source} cat /some/passwd\n"
        ));
        place
            .build(&[])
            .expect_code(1)
            .expect_text(
                "process \"/bin/sh -c cat /some/passwd\" did not complete successfully: \
                 open /none: no such file or directory (the source of the mount at /some)",
            )
            .expect_text("Dockerfile:3");
    }
}

#[test]
fn a_user_that_the_image_does_not_know_is_named_with_the_process() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new("FROM busybox\nUSER nobody-here\nRUN true\n");
    place.build(&[]).expect_code(1).expect_text(
        "process \"/bin/sh -c true\" did not complete successfully: \
         unable to find user nobody-here: no matching entries in passwd file",
    );
}

#[test]
fn another_secret_does_not_run_a_step_again() {
    if !granted(Privilege::Root) {
        return;
    }
    let place =
        Place::new("FROM busybox\nRUN --mount=type=secret,id=key cat /run/secrets/key > /seen\n");
    let key = place.dir().join("key");
    let secret = format!("id=key,src={}", key.display());
    for (text, tag) in [("one", "first"), ("two", "second")] {
        std::fs::write(&key, text).expect("write the secret");
        let built = place
            .build(&["--secret", &secret, "-t", tag])
            .expect_success();
        assert_eq!(cached_steps(&built).is_empty(), tag == "first", "{built}");
        // Nothing is left of the place where it was mounted: the base has no /run.
        assert_eq!(
            shell_in(&place, tag, "cat /seen; ls -d /run || true"),
            "one"
        );
    }
}

#[test]
fn a_volume_is_neither_made_nor_frozen() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(
        "FROM busybox\nVOLUME /made /never\nRUN mkdir /made && echo 1 > /made/f\nRUN echo 2 >> /made/f\n",
    );
    place.build(&["-t", "volumes"]).expect_success();
    assert_eq!(
        shell_in(&place, "volumes", "cat /made/f; ls -d /never || true"),
        "1\n2\n"
    );
}

#[test]
fn a_step_that_changes_nothing_has_an_empty_layer() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new("FROM busybox\nRUN true\n");
    place.build(&["-t", "same"]).expect_success();
    // The digest of two blocks of zeros, the end of every archive.
    place
        .run(&["inspect", "same"])
        .expect_success()
        .expect_text("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
    place
        .run(&["history", "same"])
        .expect_success()
        .expect_text("RUN /bin/sh -c true");
}

#[test]
fn a_rebuilt_stage_counts_whole_as_root_and_by_its_files_as_mount() {
    if !granted(Privilege::Root) {
        return;
    }
    let users = [
        ("FROM made\nRUN cat /made\n", false),
        (
            "FROM busybox\nRUN --mount=from=made,source=/made,target=/m cat /m\n",
            true,
        ),
    ];
    for (user, cached) in users {
        let file = |how: &str| format!("FROM busybox AS made\nRUN {how} > /made\n{user}");
        let place = Place::new(&file("echo same"));
        place.build(&[]).expect_success();
        place.write("Dockerfile", &file("printf '%s\\n' same"));
        let again = place.build(&[]).expect_success();
        assert_eq!(!cached_steps(&again).is_empty(), cached, "{again}");
    }
}

/// Copies a program of this machine and the libraries that it is linked with into a folder of the context.
fn carry_program(place: &Place, program: &str) {
    let program = rbuild_testkit::need_tool(program);
    let listed = rbuild_testkit::run(Command::new("ldd").arg(&program), LIMIT).expect_success();
    let libraries = listed.stdout.split_whitespace();
    let libraries = libraries.filter(|word| word.starts_with('/'));
    for file in libraries.map(Path::new).chain([program.as_path()]) {
        let to = place
            .context()
            .join("root")
            .join(file.strip_prefix("/").expect("a full path"));
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("make a folder");
        std::fs::copy(file, to).expect("copy a file");
    }
}

#[test]
fn keys_in_files_sign_for_steps() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(
        "FROM busybox\n\
         COPY root /\n\
         RUN --mount=type=ssh,id=deploy,required --mount=type=bind,target=/c \\\n\
           echo text > /message && ssh-keygen -Y sign -f /c/key.pub -n file /message && \\\n\
           echo \"me $(cat /c/key.pub)\" > /signers && \\\n\
           ssh-keygen -Y verify -f /signers -I me -n file -s /message.sig < /message\n",
    );
    carry_program(&place, "ssh-keygen");
    let key = place.dir().join("key");
    let mut make = Command::new(rbuild_testkit::need_tool("ssh-keygen"));
    make.args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&key);
    rbuild_testkit::run(&mut make, LIMIT).expect_success();
    std::fs::copy(key.with_extension("pub"), place.context().join("key.pub")).expect("copy");
    let agent = format!("deploy={}", key.display());
    place
        .build(&["--ssh", &agent])
        .expect_success()
        .expect_text("Good \"file\" signature for me");
    // A key that cannot be read is told before anything is built.
    let agent = format!("deploy={}", place.dir().join("none").display());
    let refused = place.build(&["--ssh", &agent, "--no-cache"]).expect_code(2);
    assert!(!refused.text().contains("FROM"), "{refused}");
    refused.expect_text("No such file or directory");
}
