//! What a RUN sees, what stops it, and what it leaves behind.

use rbuild_testkit::{Privilege, granted};

use crate::place::{Place, shell_in};

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
