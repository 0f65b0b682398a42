//! A build, a second one from the cache, and a failing one.

use std::time::{Duration, Instant};

use rbuild_testkit::{Finished, Privilege, granted};

use crate::place::{Place, cached_steps, shell_in};

const FIRST: &str = "FROM busybox\n\
    Run mkdir /tmp/logs\n\
    RUN echo one > /tmp/logs/one\n\
    WORKDIR /srv\n\
    COPY greeting .\n\
    RUN cat greeting >> /tmp/logs/one && rm /etc/group\n";

fn place() -> Place {
    let place = Place::new(FIRST);
    place.write("greeting", "hello\n");
    place
}

#[test]
fn an_image_is_built_tagged_and_runs() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = place();
    place.build(&["-t", "first"]).expect_success();
    assert_eq!(
        shell_in(&place, "first", "cat /tmp/logs/one"),
        "one\nhello\n"
    );
    assert_eq!(
        shell_in(
            &place,
            "first",
            "pwd; ls /etc/passwd; ls /etc/group || true"
        ),
        "/srv\n/etc/passwd\n"
    );
    place
        .run(&["images", "--filter", "reference=first"])
        .expect_success()
        .expect_text("first");
    place.assert_intact();
}

#[test]
fn the_second_build_comes_from_the_cache() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = place();
    let first = place.build(&["-t", "first"]).expect_success();
    assert!(!first.text().contains("CACHED"), "{first}");
    let begun = Instant::now();
    let second = place.build(&["-t", "first"]).expect_success();
    let elapsed = begun.elapsed();
    assert_eq!(cached_steps(&second).len(), 5, "{second}");
    assert!(
        elapsed < Duration::from_secs(2),
        "a cached build took {elapsed:?}"
    );
}

#[test]
fn what_is_read_and_what_is_here_is_told_as_buildkit_does() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = place();
    place.write(".dockerignore", "*.md\n");
    let base = |built: &Finished| {
        let text = built.text();
        let mut lines = text
            .lines()
            .skip_while(|line| !line.contains("[context busybox] "));
        lines.nth(1).unwrap_or_default().to_owned()
    };
    let first = place.build(&[]).expect_success();
    let size = FIRST.len();
    let first = first.expect_text(&format!(
        "[internal] load build definition from Dockerfile\n#1 transferring dockerfile: {size}B done\n#1 DONE"
    ));
    let first = first
        .expect_text("[internal] load .dockerignore\n#2 transferring context: 5B done\n#2 DONE");
    assert!(base(&first).contains(" DONE "), "{first}");
    place.write("other.Dockerfile", "FROM busybox\nRUN true\n");
    std::fs::remove_file(place.context().join(".dockerignore")).expect("remove it");
    let second = place
        .build(&["-f", "context/other.Dockerfile"])
        .expect_success();
    let second = second
        .expect_text("[internal] load build definition from other.Dockerfile\n")
        .expect_text("[internal] load .dockerignore\n#2 DONE");
    assert!(base(&second).ends_with(" CACHED"), "{second}");
    assert!(cached_steps(&second).is_empty(), "{second}");
}

#[test]
fn a_changed_file_runs_only_what_depends_on_it() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = place();
    place.build(&["-t", "first"]).expect_success();
    place.write("greeting", "goodbye\n");
    let second = place.build(&["-t", "first"]).expect_success();
    assert_eq!(cached_steps(&second).len(), 3, "{second}");
    assert_eq!(
        shell_in(&place, "first", "cat /tmp/logs/one"),
        "one\ngoodbye\n"
    );
}

#[test]
fn a_failing_step_shows_its_line_its_output_and_exits_1() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new("FROM busybox\nRUN true\nRUN echo last words; exit 7\nRUN true\n");
    let failed = place.build(&["-t", "first"]).expect_code(1);
    let failed = failed.expect_text("did not complete successfully: exit code: 7");
    let failed = failed
        .expect_text("last words")
        .expect_text("Dockerfile:3")
        .expect_text(">>> RUN echo");
    assert!(!failed.stdout.contains("first"), "{failed}");
    place.run(&["inspect", "first"]).expect_code(1);
    place.assert_intact();
}

#[test]
fn a_step_killed_by_a_signal_is_reported_as_shells_do() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new("FROM busybox\nRUN sh -c 'kill -9 $$'; exit $?\n");
    place
        .build(&[])
        .expect_code(1)
        .expect_text("exit code: 137");
}

#[test]
fn stages_run_beside_each_other() {
    if !granted(Privilege::Root) {
        return;
    }
    // Each waits for the other's sign in a shared cache mount: one after the other they would never end.
    let mount = "RUN --mount=type=cache,id=meeting,target=/m";
    let place = Place::new(&format!(
        "FROM busybox AS a\n{mount} touch /m/a; until [ -e /m/b ]; do sleep 0.1; done; echo a > /a\n\
         FROM busybox AS b\n{mount} touch /m/b; until [ -e /m/a ]; do sleep 0.1; done; echo b > /b\n\
         FROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
    ));
    place.build(&["-t", "both"]).expect_success();
    assert_eq!(shell_in(&place, "both", "cat /a /b"), "a\nb\n");
}

#[test]
fn only_what_the_target_needs_is_built() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(
        "FROM busybox AS wanted\nRUN echo yes > /yes\nFROM busybox AS broken\nRUN exit 1\nFROM wanted AS last\n",
    );
    place.build(&["-t", "wanted"]).expect_success();
    place.build(&["--target", "wanted"]).expect_success();
    place.build(&["--target", "broken"]).expect_code(1);
}

#[test]
fn after_a_restart_of_the_machine_layers_are_checked_before_use() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = place();
    place.build(&["-t", "first"]).expect_success();
    let restart = || {
        std::fs::write(place.store().join("boot"), "another-boot 0\n").expect("forge a restart");
    };
    restart();
    let second = place.build(&["-t", "first"]).expect_success();
    let second = second.expect_text("check the store after a restart");
    assert_eq!(cached_steps(&second).len(), 5, "{second}");
    let torn = std::fs::read_dir(place.store().join("trees")).expect("list trees");
    let torn = torn
        .flatten()
        .map(|tree| tree.path().join("fs/tmp/logs/one"))
        .find(|file| file.exists())
        .expect("a RUN wrote it");
    std::fs::write(torn, "\0\0\0\0").expect("tear a file");
    restart();
    let third = place.build(&["-t", "first"]).expect_success();
    assert!(cached_steps(&third).len() < 5, "{third}");
    assert_eq!(
        shell_in(&place, "first", "cat /tmp/logs/one"),
        "one\nhello\n"
    );
    place.assert_intact();
}
