//! Builds that go by a lock.

use std::fs;
use std::process::Command;

use rbuild_testkit::{Finished, Privilege, git, granted, need_tool, run};

use crate::lock_world::{ALL, CLAMPED, EPOCH, World, id};
use crate::place::{LIMIT, Place, busybox, cached_steps};

/// Nothing can be sent: a network namespace whose loopback interface is down.
fn without_network(command: &Command) -> Finished {
    let mut all = Command::new(need_tool("unshare"));
    all.arg("-n")
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        all.current_dir(dir);
    }
    run(all.env_remove("RBUILD_ROOT"), LIMIT)
}

#[test]
fn a_locked_build_gives_the_image_that_was_locked() {
    let world = World::new(ALL);
    let made = world.lock(&[]).expect_success();
    for name in [
        world.base(),
        world.server.url("/f"),
        format!("{}#main", world.git()),
    ] {
        assert!(made.stdout.contains(&format!("+ {name} ")), "{made}");
    }
    let first = world.id(&[]);
    assert_eq!(world.id(&["--locked"]), first);
    world.move_on();
    assert_eq!(world.id(&["--locked", "--no-cache"]), first);
    // Where nothing of it was ever built, too.
    let other = Place::new(&world.named(ALL));
    other.write("Dockerfile.lock", &world.lock_text());
    world.registry.forget_requests();
    let refused = other.build(&["--locked"]).expect_code(1);
    assert!(
        refused.stderr.contains("is not what was locked"),
        "{refused}"
    );
    *world.body.lock().expect("nobody panicked") = "one".to_owned();
    assert_eq!(id(&other, &["--locked"]), first);
    let asked = world.registry.requests();
    assert!(
        asked.iter().all(|asked| !asked.contains("/manifests/1")),
        "{asked:?}"
    );
    *world.body.lock().expect("nobody panicked") = "two".to_owned();
    assert_ne!(id(&world.place, &["--pull", "--no-cache"]), first);
    world.place.assert_intact();
    other.assert_intact();
}

#[test]
fn a_locked_build_shares_the_cache_of_others() {
    let world = World::new(ALL);
    world.lock(&[]).expect_success();
    world.place.build(&[]).expect_success();
    let again = world.place.build(&["--locked"]).expect_success();
    let steps = cached_steps(&again);
    let made = |step: &&String| step.starts_with('[');
    assert_eq!(steps.iter().filter(made).count(), 4, "{again}");
}

#[test]
fn lock_and_store_build_without_a_network() {
    if !granted(Privilege::Root) {
        return;
    }
    let text = ALL.replace(
        "FROM scratch",
        "FROM {host}/busybox:1\nRUN echo made > /made",
    );
    let world = World::new("FROM scratch\n");
    world.registry.push_layout(busybox(), "busybox:1");
    world.place.write("Dockerfile", &world.named(&text));
    world.lock(&[]).expect_success();
    let first = world.id(&[]);
    world.move_on();
    // From now on the store remembers other things of all these names.
    assert_ne!(world.id(&["--pull"]), first);
    let id = world.place.dir().join("id2");
    let path = id.display().to_string();
    for words in [&["--locked", "--offline"][..], &["--locked"]] {
        let mut all = vec![
            "--iidfile",
            path.as_str(),
            "--build-arg",
            EPOCH,
            "-o",
            CLAMPED,
        ];
        all.extend(words);
        without_network(&world.place.build_command(&all)).expect_success();
        assert_eq!(fs::read_to_string(&id).expect("the id is written"), first);
    }
    // Made again it is made of the same.
    let out = format!(
        "type=local,dest={}",
        world.place.dir().join("out").display()
    );
    let again = ["--locked", "--offline", "--no-cache", "-o", &*out];
    without_network(&world.place.build_command(&again)).expect_success();
    for (file, content) in [
        ("b", "first"),
        ("f", "one"),
        ("g/g", "first"),
        ("again", "first"),
    ] {
        let found = fs::read_to_string(world.place.dir().join("out").join(file));
        assert_eq!(found.expect("it is built"), content, "{file}");
    }
    let plain = world.place.build_command(&["--pull", "--build-arg", EPOCH]);
    without_network(&plain).expect_code(1);
    // A check needs none either.
    let check = world.place.rbuild(&["lock", "--check", "context"]);
    without_network(&check).expect_success();
}

#[test]
fn times_that_come_from_elsewhere_are_locked() {
    let text = "FROM scratch\nCOPY --from=src /context /f\n";
    let world = World::new(text);
    let context = format!("src={}", world.server.url("/f"));
    let named = [
        "--build-context",
        &*context,
        "--build-arg",
        "SOURCE_DATE_EPOCH=src",
    ];
    world.lock(&named).expect_success();
    let text = world.lock_text();
    assert!(text.contains("2015-10-21T07:28:00Z"), "{text}");
    let other = Place::new("FROM scratch\nCOPY --from=src /context /f\n");
    let tampered = text.replace("2015", "2016");
    other.write("Dockerfile.lock", &tampered);
    let file = other.dir().join("id").display().to_string();
    let mut words = vec!["--locked", "--iidfile", &*file];
    words.extend(named);
    other.build(&words).expect_success();
    let shown = fs::read_to_string(&file).expect("the id is written");
    let image = other.run(&["inspect", &shown]).expect_success();
    assert!(
        image
            .stdout
            .contains("\"Created\": \"2016-10-21T07:28:00Z\""),
        "{image}"
    );
}

#[test]
fn offline_a_lock_says_what_names_stand_for_and_no_more() {
    let world = World::new("FROM {base}\nADD {url} /f\n");
    world.lock(&[]).expect_success();
    let first = world.id(&[]);
    world.push("base:1", "second", &[]);
    let second = world.id(&["--pull"]);
    assert_ne!(second, first);
    assert_eq!(world.id(&["--offline"]), first);
    fs::remove_file(world.lock_path()).expect("there is a lock");
    assert_eq!(world.id(&["--offline"]), second);
    // What is locked is not in every store.
    world.push("base:1", "third", &[]);
    let other = Place::new(&world.named("FROM {base}\nADD {url} /f\n"));
    other.run(&["lock", "context"]).expect_success();
    let lock = other.context().join("Dockerfile.lock");
    let lock = fs::read_to_string(lock).expect("there is a lock");
    world.place.write("Dockerfile.lock", &lock);
    let told = world.place.build(&["--offline"]).expect_success();
    assert!(told.stderr.contains("NotAsLocked"), "{told}");
    let refused = world.place.build(&["--offline", "--locked"]).expect_code(1);
    assert!(refused.stderr.contains("is not in the store"), "{refused}");
    world.place.write("Dockerfile.lock", "not a lock\n");
    let told = world.place.build(&["--offline"]).expect_success();
    assert!(told.stderr.contains("LockIgnored"), "{told}");
}

#[test]
fn what_is_not_in_the_lock_is_refused_with_its_place() {
    let world = World::new("FROM {base}\n");
    let missing = world.place.build(&["--locked"]).expect_code(2);
    assert!(
        missing.stderr.contains("Dockerfile.lock does not exist"),
        "{missing}"
    );
    assert!(missing.stderr.contains("`rbuild lock`"), "{missing}");
    world.lock(&[]).expect_success();
    for (line, what) in [
        ("COPY --from={host}/other:1 / /", "the image {host}/other:1"),
        (
            "RUN --mount=from={host}/other:2,target=/m true",
            "the image {host}/other:2",
        ),
        ("ADD {url} /", "{url}"),
        ("ADD {git}#main /", "{git}#main"),
    ] {
        let text = world.named(&format!("FROM {{base}}\n# more\n{line}\n"));
        world.place.write("Dockerfile", &text);
        world.registry.forget_requests();
        let asked = world.server.asked().len();
        let refused = world.place.build(&["--locked"]).expect_code(1);
        let what = format!("{} is not in Dockerfile.lock", world.named(what));
        for wanted in [
            &*what,
            "Dockerfile:3",
            "`rbuild lock`, with the options of this build, adds it",
        ] {
            assert!(refused.stderr.contains(wanted), "{wanted}\n{refused}");
        }
        assert_eq!(world.server.asked().len(), asked);
        world
            .lock(&["--check"])
            .expect_code(1)
            .expect_text("is missing (line 3)");
    }
    world
        .place
        .write("Dockerfile", &world.named("FROM {base}\n"));
    let refused = world
        .place
        .build(&["--locked", "--platform", "linux/arm64"])
        .expect_code(1);
    for wanted in [
        "for linux/arm64: it is there for linux/amd64",
        "--platform linux/arm64",
    ] {
        assert!(refused.stderr.contains(wanted), "{refused}");
    }
    world.place.build(&["--locked", "--pull"]).expect_code(2);
}

#[test]
fn a_lock_that_was_tampered_with_is_refused() {
    let world = World::new("FROM {host}/multi:1\nADD {url} /f\n");
    world.push("multi:1", "x", &["--platform", "linux/amd64,linux/arm64"]);
    let both = ["--platform", "linux/amd64,linux/arm64"];
    world.lock(&both).expect_success();
    let text = world.lock_text();
    let digest = |platform: &str| {
        let line = text
            .lines()
            .find(|line| line.contains(platform))
            .expect("it is locked");
        line.split('"').nth(3).expect("it has a digest").to_owned()
    };
    let (amd64, arm64) = (digest("linux/amd64"), digest("linux/arm64"));
    let unknown = format!("sha256:{}", "0".repeat(64));
    for (tampered, wanted) in [
        (text.replace(&amd64, &unknown), "locked is sha256:0000"),
        (text.replace(&digest("\"digest\""), &unknown), "sha256:0000"),
        (
            text.replace("\"version\": 1", "\"version\": 9"),
            "has version 9 of the format",
        ),
        (text.replace(&amd64, "sha256:12"), "Dockerfile.lock:7"),
        (text[..text.len() / 2].to_owned(), "is no lock"),
        ("FROM x\n".to_owned(), "is no lock"),
    ] {
        world.place.write("Dockerfile.lock", &tampered);
        let fresh = Place::new(
            &fs::read_to_string(world.place.context().join("Dockerfile")).expect("it is there"),
        );
        fresh.write("Dockerfile.lock", &tampered);
        let refused = fresh.build(&["--locked"]).expect_code(1);
        assert!(refused.stderr.contains(wanted), "{wanted}\n{refused}");
        assert!(refused.stderr.contains("help:"), "{refused}");
    }
    // The manifest of another platform is in the index, but not for this one.
    let fresh = Place::new(
        &fs::read_to_string(world.place.context().join("Dockerfile")).expect("it is there"),
    );
    fresh.write("Dockerfile.lock", &text.replace(&amd64, &arm64));
    let refused = fresh.build(&["--locked"]).expect_code(1);
    assert!(
        refused.stderr.contains("the lock contradicts itself"),
        "{refused}"
    );
    let file = world.lock_path();
    fs::remove_file(&file).expect("there is a lock");
    fs::create_dir(&file).expect("make a directory");
    let refused = world.place.build(&["--locked"]).expect_code(1);
    assert!(refused.stderr.contains("read the lock"), "{refused}");
    let refused = world.lock(&[]).expect_code(1);
    assert!(refused.stderr.contains("read the lock"), "{refused}");
}

#[test]
fn what_lets_somebody_in_is_in_no_lock() {
    let world = World::new("FROM scratch\n");
    let url = world
        .server
        .url("/f?v=1&token=geheim")
        .replace("://", "://user:geheim@");
    world
        .place
        .write("Dockerfile", &format!("FROM scratch\nADD {url} /f\n"));
    let made = world.lock(&[]).expect_success();
    assert!(!made.text().contains("geheim"), "{made}");
    let text = world.lock_text();
    assert!(
        !text.contains("geheim") && text.contains("/f?v=1&token=***"),
        "{text}"
    );
    // With another login it is the same file.
    let other = fs::read_to_string(world.place.context().join("Dockerfile")).expect("it is there");
    world
        .place
        .write("Dockerfile", &other.replace("geheim", "anders"));
    world.place.build(&["--locked"]).expect_success();
    world.lock(&["--check"]).expect_success();
}

#[test]
fn a_locked_commit_is_found_when_its_branch_or_tag_is_gone() {
    let world = World::new("FROM scratch\n");
    let work = world.repository.work();
    git(&work, &["branch", "feature"]);
    let text =
        world.named("FROM scratch\nADD {git}#feature /a/\nADD --keep-git-dir {git}#v1 /b/\n");
    world.place.write("Dockerfile", &text);
    world.lock(&[]).expect_success();
    let check = |by: &str| {
        let fresh = Place::new(&text);
        fresh.write("Dockerfile.lock", &world.lock_text());
        let out = format!("type=local,dest={}", fresh.dir().join("out").display());
        fresh.build(&["--locked", "-o", &out]).expect_success();
        for file in ["a/g", "b/g"] {
            let found = fs::read_to_string(fresh.dir().join("out").join(file));
            assert_eq!(found.expect("it is built"), "first", "{file} {by}");
        }
        git(fresh.dir().join("out/b"), &["rev-parse", "v1^{commit}"])
    };
    let commit = check("as it was");
    world.move_on();
    assert_eq!(check("with main ahead"), commit);
    git(&work, &["branch", "-f", "feature", "main"]);
    git(&work, &["tag", "-f", "-a", "-m", "moved", "v1"]);
    assert_eq!(check("moved"), commit);
    git(&work, &["branch", "-D", "feature"]);
    git(&work, &["tag", "-d", "v1"]);
    assert_eq!(check("gone"), commit);
}
