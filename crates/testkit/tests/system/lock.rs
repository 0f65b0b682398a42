//! `rbuild lock`, and builds that go by a lock.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use rbuild_testkit::{
    Finished, GitServer, Privilege, Registry, Tree, WebReply, WebServer, git, granted, need_tool,
    run,
};

use crate::add_git::Repository;
use crate::place::{LIMIT, Place};

/// A registry, a server and a repository, whose content can be changed, and a place that builds of them.
struct World {
    registry: Registry,
    body: Arc<Mutex<String>>,
    server: WebServer,
    repository: Repository,
    repositories: GitServer,
    place: Place,
}

const EPOCH: &str = "SOURCE_DATE_EPOCH=1700000000";
/// Files of new layers get no later time, so that a layer that is made again is the same.
const CLAMPED: &str = "type=image,rewrite-timestamp=true";

impl World {
    /// `text` may name `{base}`, `{url}` and `{git}`.
    fn new(text: &str) -> World {
        let registry = Registry::start();
        let body = Arc::new(Mutex::new("one".to_owned()));
        let shown = Arc::clone(&body);
        let server = WebServer::start(move |_| {
            let body = shown.lock().expect("nobody panicked").clone();
            WebReply::of(body).header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
        });
        let repository = Repository::new(Tree::new().file("g", "first"));
        let repositories = repository.serve();
        let world = World {
            place: Place::new(""),
            registry,
            body,
            server,
            repository,
            repositories,
        };
        world.push("base:1", "first", &[]);
        world.place.write("Dockerfile", &world.named(text));
        world
    }

    fn named(&self, text: &str) -> String {
        text.replace("{base}", &self.base())
            .replace("{url}", &self.server.url("/f"))
            .replace("{git}", &self.git())
            .replace("{host}", &self.registry.host())
    }

    fn base(&self) -> String {
        format!("{}/base:1", self.registry.host())
    }

    fn git(&self) -> String {
        self.repositories.url("r.git/.git")
    }

    /// Pushes an image with one file under a name of the registry.
    fn push(&self, name: &str, content: &str, words: &[&str]) {
        let maker = Place::with("FROM scratch\nCOPY b /b\n", Tree::new().file("b", content));
        let name = format!("{}/{name}", self.registry.host());
        let mut all = vec!["-t", name.as_str(), "--push", "--build-arg", EPOCH];
        all.extend(words);
        maker.build(&all).expect_success();
    }

    /// Changes all that names and addresses stand for.
    fn move_on(&self) {
        self.push("base:1", "second", &[]);
        *self.body.lock().expect("nobody panicked") = "two".to_owned();
        self.repository
            .commit(Tree::new().file("g", "second"), "on");
    }

    fn lock(&self, words: &[&str]) -> Finished {
        let mut all = vec!["lock", "--progress", "plain"];
        all.extend(words);
        all.push("context");
        self.place.run(&all)
    }

    fn lock_path(&self) -> PathBuf {
        self.place.context().join("Dockerfile.lock")
    }

    fn lock_text(&self) -> String {
        fs::read_to_string(self.lock_path()).expect("there is a lock")
    }

    /// Builds with an epoch and returns the id.
    fn id(&self, words: &[&str]) -> String {
        id(&self.place, words)
    }
}

fn id(place: &Place, words: &[&str]) -> String {
    let file = place.dir().join("id");
    let path = file.display().to_string();
    let mut all = vec![
        "--iidfile",
        path.as_str(),
        "--build-arg",
        EPOCH,
        "-o",
        CLAMPED,
    ];
    all.extend(words);
    place.build(&all).expect_success();
    fs::read_to_string(&file).expect("the id is written")
}

/// All kinds of things that come from the network.
const ALL: &str = "FROM {base} AS base\nADD {url} /f\nADD {git}#main /g/\n\
                   FROM scratch\nCOPY --from=base / /\nCOPY --from={host}/base:1 /b /again\n";

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
    let steps = crate::place::cached_steps(&again);
    let made = |step: &&String| step.starts_with('[');
    assert_eq!(steps.iter().filter(made).count(), 4, "{again}");
}

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
fn lock_and_store_build_without_a_network() {
    if !granted(Privilege::Root) {
        return;
    }
    let world = World::new(ALL);
    world.lock(&[]).expect_success();
    let first = world.id(&[]);
    world.move_on();
    let id = world.place.dir().join("id2");
    let path = id.display().to_string();
    for words in [
        &["--locked", "--offline"][..],
        &["--locked"],
        &["--locked", "--offline", "--no-cache"],
    ] {
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
    let plain = world.place.build_command(&["--pull", "--build-arg", EPOCH]);
    without_network(&plain).expect_code(1);
    // A check needs none either.
    let check = world.place.rbuild(&["lock", "--check", "context"]);
    without_network(&check).expect_success();
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
        stale
            .stdout
            .contains("base:1 (nothing in the Dockerfile names it)"),
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
        assert!(
            refused.stderr.contains("help:") || refused.stderr.contains("lock"),
            "{refused}"
        );
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
    assert!(made.stdout.contains("(of the store)"), "{made}");
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
}
