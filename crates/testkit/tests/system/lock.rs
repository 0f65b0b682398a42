//! `rbuild lock`: what comes into a lock, what stays, what goes.

use std::fs;

use rbuild_testkit::{Tree, git};

use crate::lock_world::{ALL, World};
use crate::place::Place;

#[test]
fn what_the_dockerfile_pins_needs_no_lock() {
    let world = World::new("FROM scratch\n");
    let sum = "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    let commit = git(world.repository.work(), &["rev-parse", "HEAD"]);
    let text = world.named(&format!(
        "FROM scratch\nADD --checksum={sum} {{url}} /f\nADD {{git}}#{} /g/\n",
        commit.trim()
    ));
    world.place.write("Dockerfile", &text);
    world.lock(&[]).expect_success();
    assert_eq!(world.lock_text(), "{\n  \"version\": 1\n}\n");
    world.place.build(&["--locked"]).expect_success();
}

#[test]
fn entries_stay_until_they_are_updated() {
    let world = World::new(ALL);
    world.lock(&[]).expect_success();
    let before = world.lock_text();
    world.move_on();
    let same = world.lock(&[]).expect_success();
    assert_eq!(world.lock_text(), before, "{same}");
    let one = world
        .lock(&[&format!("--update={}", world.server.url("/f"))])
        .expect_success();
    assert!(
        one.stdout
            .contains(&format!("~ {} sha256:", world.server.url("/f"))),
        "{one}"
    );
    assert_eq!(one.stdout.matches("~ ").count(), 1, "{one}");
    let rest = world.lock(&["--update"]).expect_success();
    for name in [world.base(), format!("{}#main", world.git())] {
        assert!(rest.stdout.contains(&format!("~ {name} ")), "{rest}");
    }
    assert_eq!(rest.stdout.matches(" -> ").count(), 2, "{rest}");
    let last = world.lock(&["--update"]).expect_success();
    assert!(!last.stdout.contains("~ "), "{last}");
    let wrong = world.lock(&["--update=nothing:1"]).expect_code(2);
    assert!(
        wrong.stderr.contains("this build needs no nothing:1"),
        "{wrong}"
    );
    world.lock(&["--update", "--check"]).expect_code(2);
    // By the repository alone, and by the image.
    world.push("base:1", "third", &[]);
    world
        .repository
        .commit(Tree::new().file("g", "third"), "on");
    let named = [
        format!("--update={}", world.git()),
        format!("--update={}", world.base()),
    ];
    let both = world.lock(&[&named[0], &named[1]]).expect_success();
    assert_eq!(both.stdout.matches("~ ").count(), 2, "{both}");
}

#[test]
fn locks_of_several_arguments_are_one() {
    let world = World::new("ARG V=1\nFROM {host}/base:$V\n");
    world.push("base:2", "two", &[]);
    world.lock(&[]).expect_success();
    world.lock(&["--build-arg", "V=2"]).expect_success();
    let both = world.lock_text();
    for v in ["1", "2"] {
        let arg = format!("V={v}");
        world
            .place
            .build(&["--locked", "--build-arg", &arg])
            .expect_success();
        let good = world
            .lock(&["--check", "--build-arg", &arg])
            .expect_success();
        assert!(
            good.stdout
                .contains("1 of them for other arguments, complete"),
            "{good}"
        );
    }
    let missing = world
        .lock(&["--check", "--build-arg", "V=3"])
        .expect_code(1);
    assert!(
        missing
            .stdout
            .contains("base:3 linux/amd64 is missing (line 2)"),
        "{missing}"
    );
    assert_eq!(world.lock_text(), both);
    // What nothing can name any more goes by itself, what nobody may need if that is asked for.
    let text = world.named("ARG V=1\nFROM {host}/base:$V\nFROM {host}/base:2 AS x\n");
    world
        .place
        .write("Dockerfile", &text.replace("base:$V", "base:1"));
    world.lock(&["--target", "x"]).expect_success();
    assert!(world.lock_text().contains("base:1\""));
    world
        .place
        .write("Dockerfile", &world.named("FROM {host}/base:2\n"));
    let stale = world.lock(&["--check"]).expect_code(1);
    assert!(
        stale.stdout.contains("base:1 (nothing needs it)"),
        "{stale}"
    );
    let gone = world.lock(&[]).expect_success();
    assert!(
        gone.stdout
            .contains(&format!("- {}/base:1\n", world.registry.host())),
        "{gone}"
    );
    world
        .place
        .write("Dockerfile", &world.named("ARG V=1\nFROM {host}/base:$V\n"));
    world.lock(&[]).expect_success();
    assert!(world.lock_text().contains("base:2\""));
    world.lock(&["--prune"]).expect_success();
    assert!(!world.lock_text().contains("base:2\""));
    world.lock(&["--check", "--prune"]).expect_success();
}

#[test]
fn platforms_are_of_one_index() {
    let world = World::new("FROM {host}/multi:1\n");
    let both = ["--platform", "linux/amd64,linux/arm64"];
    world.push("multi:1", "first", &both);
    world.lock(&[]).expect_success();
    assert!(!world.lock_text().contains("linux/arm64"));
    world.push("multi:1", "second", &both);
    // The tag went on, the entry did not: the other platform is of the index that is locked.
    let added = world.lock(&both).expect_success();
    assert!(
        added.stdout.contains("multi:1 linux/arm64 sha256:"),
        "{added}"
    );
    assert_eq!(added.stdout.matches("+ ").count(), 1, "{added}");
    world
        .place
        .build(&["--locked", "--platform", "linux/arm64"])
        .expect_success();
    world
        .place
        .build(&["--locked", both[0], both[1]])
        .expect_success();
    // Updated for one platform, it is so for all.
    let before = world.lock_text();
    world.lock(&["--update"]).expect_success();
    let after = world.lock_text();
    assert!(after.contains("linux/arm64"), "{after}");
    let digests = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| line.contains("sha256:"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(digests(&after).len(), 3);
    assert!(
        digests(&after)
            .iter()
            .all(|line| !before.contains(line.trim())),
        "{after}"
    );
}

#[test]
fn images_of_the_store_are_locked_by_their_id() {
    let world = World::new("FROM mine:1\nLABEL a=b\n");
    let maker = Place::with("FROM scratch\nCOPY b /b\n", Tree::new().file("b", "x"));
    let tar = world.place.dir().join("mine.tar").display().to_string();
    maker
        .build(&["-t", "mine:1", "-o", &format!("type=oci,dest={tar}")])
        .expect_success();
    world
        .place
        .run(&["import", "mine:1", &tar])
        .expect_success();
    let made = world.lock(&[]).expect_success();
    assert!(
        made.stdout
            .contains("note: mine:1 is an image of this store"),
        "{made}"
    );
    let first = world.id(&["--locked"]);
    world
        .place
        .run(&["tag", "mine:1", "kept:1"])
        .expect_success();
    let other = Place::with("FROM scratch\nCOPY b /b\n", Tree::new().file("b", "y"));
    other
        .build(&["-t", "mine:1", "-o", &format!("type=oci,dest={tar}")])
        .expect_success();
    world
        .place
        .run(&["import", "mine:1", &tar])
        .expect_success();
    assert_eq!(world.id(&["--locked"]), first);
    assert_ne!(world.id(&[]), first);
    world.place.run(&["rmi", "kept:1"]).expect_success();
    let gone = world.place.build(&["--locked"]).expect_code(1);
    assert!(
        gone.stderr.contains("the store has none of this id"),
        "{gone}"
    );
}

#[test]
fn every_stage_is_locked_unless_one_is_named() {
    let world =
        World::new("FROM {base} AS a\nFROM scratch AS b\nADD {url} /f\nFROM scratch\nCOPY x /\n");
    world.lock(&["--target", "b"]).expect_success();
    assert!(!world.lock_text().contains("base:1"));
    world.lock(&[]).expect_success();
    assert!(world.lock_text().contains("base:1"));
    world
        .place
        .build(&["--locked", "--target", "a"])
        .expect_success();
    let text = world.named("FROM {host}/none:1 AS a\nFROM {base}\n");
    world.place.write("Dockerfile", &text);
    let refused = world.lock(&["--update"]).expect_code(1);
    for wanted in ["Dockerfile:1", "with --target only what one stage needs"] {
        assert!(refused.stderr.contains(wanted), "{refused}");
    }
}

#[test]
fn a_lock_that_cannot_be_written_stays_as_it_is() {
    let world = World::new("FROM {base}\n");
    let missing = world.lock(&["-o", "nowhere/x.lock"]).expect_code(1);
    assert!(
        missing
            .stderr
            .contains("write the lock nowhere/x.lock: No such file"),
        "{missing}"
    );
    // What is no lock is not written over, either.
    world
        .place
        .write("Dockerfile.lock", "{\"name\": \"other\"}\n");
    let foreign = world.lock(&[]).expect_code(1);
    for wanted in [
        "is no lock: missing field `version`",
        "make it again with `rbuild lock`",
    ] {
        assert!(foreign.stderr.contains(wanted), "{foreign}");
    }
    assert_eq!(world.lock_text(), "{\"name\": \"other\"}\n");
    fs::remove_file(world.lock_path()).expect("it is there");
    // A link leads to the same file afterwards.
    world.place.write("real.lock", "{\"version\": 1}");
    std::os::unix::fs::symlink("real.lock", world.lock_path()).expect("make a link");
    world.lock(&[]).expect_success();
    assert!(world.lock_path().is_symlink());
    let real = fs::read_to_string(world.place.context().join("real.lock"));
    assert!(real.expect("it is there").contains("base:1"));
    let names = fs::read_dir(world.place.context())
        .expect("it is there")
        .count();
    assert_eq!(names, 3);
}

#[test]
fn a_commit_that_is_gone_is_told() {
    let world = World::new("FROM scratch\nADD {git}#main /g/\n");
    world.lock(&[]).expect_success();
    let work = world.repository.work();
    for words in [
        &["checkout", "-q", "--orphan", "new"][..],
        &["commit", "-q", "-m", "anew"],
        &["branch", "-M", "new", "main"],
        &["tag", "-d", "v1"],
        &["reflog", "expire", "--expire=now", "--all"],
        &["gc", "-q", "--prune=now"],
    ] {
        git(&work, words);
    }
    let gone = world.place.build(&["--locked"]).expect_code(1);
    for wanted in [
        "does not contain ref",
        "the repository has lost this commit",
        "Dockerfile:2",
    ] {
        assert!(gone.stderr.contains(wanted), "{gone}");
    }
    world.lock(&["--update"]).expect_success();
    world.place.build(&["--locked"]).expect_success();
}

#[test]
fn platforms_are_the_same_in_whatever_words() {
    let world = World::new("FROM {host}/multi:1\n");
    world.push("multi:1", "x", &["--platform", "linux/amd64,linux/arm64"]);
    world
        .lock(&["--platform", "linux/arm64/v8,linux/x86_64"])
        .expect_success();
    let text = world.lock_text();
    assert!(
        text.contains("\"linux/arm64\"") && text.contains("\"linux/amd64\""),
        "{text}"
    );
    for platform in ["linux/arm64/v8", "linux/aarch64", "linux/amd64"] {
        world
            .place
            .build(&["--locked", "--platform", platform])
            .expect_success();
        world
            .lock(&["--check", "--platform", platform])
            .expect_success();
    }
}
