//! Locks of builds whose Dockerfile, context or base is elsewhere, and where such locks lie.

use std::fs;
use std::process::Command;

use rbuild_testkit::{Tree, run};

use crate::lock_world::World;
use crate::place::{LIMIT, Place};

#[test]
fn contexts_from_elsewhere_are_locked_in_a_file_of_its_own() {
    let world = World::new("FROM scratch\n");
    let text = "FROM scratch\nCOPY g /\n";
    world
        .repository
        .commit(Tree::new().file("Dockerfile", text), "buildable");
    let address = format!("{}#main", world.git());
    let no_place = world.place.run(&["lock", &address]).expect_code(2);
    assert!(no_place.stderr.contains("--lock-file"), "{no_place}");
    world
        .place
        .run(&["lock", "-o", "my.lock", &address])
        .expect_success();
    world
        .repository
        .commit(Tree::new().file("g", "later"), "on");
    let out = format!(
        "type=local,dest={}",
        world.place.dir().join("out").display()
    );
    let build = |words: &[&str]| {
        let mut all = vec!["build", "-o", &*out];
        all.extend(words);
        all.push(&address);
        world.place.run(&all).expect_success();
        fs::read_to_string(world.place.dir().join("out/g")).expect("it is built")
    };
    assert_eq!(build(&["--locked", "--lock-file", "my.lock"]), "first");
    assert_eq!(build(&[]), "later");
    world
        .place
        .run(&["lock", "-o", "my.lock", &address])
        .expect_success();
    assert_eq!(build(&["--locked", "--lock-file", "my.lock"]), "first");
    world
        .place
        .run(&["lock", "--update", "-o", "my.lock", &address])
        .expect_success();
    assert_eq!(build(&["--locked", "--lock-file", "my.lock"]), "later");
    // Or in the context, where it says nothing of the context itself.
    world.repository.commit(
        Tree::new()
            .file("Dockerfile.lock", "{\"version\": 1}\n")
            .file("g", "last"),
        "locked",
    );
    assert_eq!(build(&["--locked"]), "last");
}

#[test]
fn named_contexts_are_locked_and_stay() {
    let world = World::new("FROM base\nCOPY --from=files / /\n");
    let base = format!("base=docker-image://{}", world.base());
    let files = format!("files={}#main", world.git());
    let words = ["--build-context", &*base, "--build-context", &*files];
    world.lock(&words).expect_success();
    assert_eq!(world.lock_text().matches("\"indirect\": true").count(), 2);
    let first = world.id(&words);
    world.move_on();
    let mut locked = vec!["--locked"];
    locked.extend(words);
    assert_eq!(world.id(&locked), first);
    world.push("other:1", "x", &[]);
    world
        .place
        .write("Dockerfile", &world.named("FROM {host}/other:1\n"));
    let kept = world.lock(&[]).expect_success();
    assert!(
        kept.stdout
            .contains("3 entries, 2 of them for other arguments"),
        "{kept}"
    );
}

#[test]
fn triggers_of_bases_are_locked_and_stay() {
    let world = World::new("FROM {host}/trigger:1\n");
    let maker = Place::new(&world.named(
        "FROM scratch\nENV W={url}\nONBUILD COPY --from={host}/base:1 /b /\nONBUILD ADD $W /f\n",
    ));
    let name = format!("{}/trigger:1", world.registry.host());
    maker.build(&["-t", &name, "--push"]).expect_success();
    let made = world.lock(&[]).expect_success();
    assert!(made.stdout.contains("3 entries"), "{made}");
    assert_eq!(world.lock_text().matches("\"indirect\": true").count(), 2);
    world.place.build(&["--locked"]).expect_success();
    world.lock(&["--check"]).expect_success();
    // Where the base is not in the store nobody knows what it triggers.
    let other = Place::new(&world.named("FROM {host}/trigger:1\n"));
    other.write("Dockerfile.lock", &world.lock_text());
    let blind = other.run(&["lock", "--check", "context"]).expect_success();
    assert!(
        blind.stdout.contains("trigger:1 is not in the store"),
        "{blind}"
    );
    world
        .place
        .write("Dockerfile", &world.named("FROM {host}/base:1\n"));
    let kept = world.lock(&[]).expect_success();
    assert!(
        kept.stdout
            .contains("2 entries, 1 of them for other arguments"),
        "{kept}"
    );
}

#[test]
fn a_lock_lies_beside_its_dockerfile_or_where_it_is_told() {
    let world = World::new("FROM {base}\n");
    let text = world.named("FROM {base}\n");
    world.place.write("deploy/Other", &text);
    let file = world
        .place
        .context()
        .join("deploy/Other")
        .display()
        .to_string();
    world.lock(&["-f", &file]).expect_success();
    assert!(world.place.context().join("deploy/Other.lock").exists());
    assert!(!world.lock_path().exists());
    world
        .place
        .build(&["--locked", "-f", &file])
        .expect_success();
    world.place.build(&["--locked"]).expect_code(2);
    let lock = world
        .place
        .context()
        .join("deploy/Other.lock")
        .display()
        .to_string();
    world
        .place
        .build(&["--locked", "--lock-file", &lock])
        .expect_success();
    world.place.build(&["--lock-file", &lock]).expect_code(2);
    // A Dockerfile on standard input lies nowhere.
    let piped = |words: &[&str]| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(r#"printf %s "$0" | "$@""#).arg(&text);
        let inner = world.place.rbuild(words);
        command.arg(inner.get_program()).args(inner.get_args());
        run(
            command
                .current_dir(world.place.dir())
                .env_remove("RBUILD_ROOT"),
            LIMIT,
        )
    };
    let nowhere = piped(&["lock", "-f", "-", "context"]).expect_code(2);
    assert!(
        nowhere.stderr.contains("name a place with --lock-file"),
        "{nowhere}"
    );
    piped(&["lock", "-f", "-", "-o", "piped.lock", "context"]).expect_success();
    let nowhere = piped(&["build", "--locked", "-f", "-", "context"]).expect_code(2);
    assert!(
        nowhere.stderr.contains("name a place with --lock-file"),
        "{nowhere}"
    );
    piped(&[
        "build",
        "--locked",
        "--lock-file",
        "piped.lock",
        "-f",
        "-",
        "context",
    ])
    .expect_success();
}

#[test]
fn a_context_on_standard_input_may_bring_its_lock() {
    let world = World::new("FROM {base}\nCOPY Dockerfile /\n");
    let piped = |words: &str| {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!(r#"tar -C context -c . | "$0" "$@" {words} -"#));
        let inner = world.place.rbuild(&["build"]);
        command.arg(inner.get_program()).args(inner.get_args());
        run(
            command
                .current_dir(world.place.dir())
                .env_remove("RBUILD_ROOT"),
            LIMIT,
        )
    };
    let missing = piped("--locked").expect_code(2);
    assert!(
        missing.stderr.contains("Dockerfile.lock does not exist"),
        "{missing}"
    );
    world.lock(&[]).expect_success();
    world.move_on();
    piped("--locked")
        .expect_success()
        .expect_text("base:1@sha256:");
}
