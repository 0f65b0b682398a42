//! What locks are about: things in the network that move.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rbuild_testkit::{Finished, GitServer, Registry, Tree, WebReply, WebServer};

use crate::add_git::Repository;
use crate::place::Place;

/// A registry, a server and a repository, whose content can be changed, and a place that builds of them.
pub struct World {
    pub registry: Registry,
    pub body: Arc<Mutex<String>>,
    pub server: WebServer,
    pub repository: Repository,
    repositories: GitServer,
    pub place: Place,
}

pub const EPOCH: &str = "SOURCE_DATE_EPOCH=1700000000";
/// Files of new layers get no later time, so that a layer that is made again is the same.
pub const CLAMPED: &str = "type=image,rewrite-timestamp=true";

impl World {
    /// `text` may name `{base}`, `{url}` and `{git}`.
    pub fn new(text: &str) -> World {
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

    pub fn named(&self, text: &str) -> String {
        text.replace("{base}", &self.base())
            .replace("{url}", &self.server.url("/f"))
            .replace("{git}", &self.git())
            .replace("{host}", &self.registry.host())
    }

    pub fn base(&self) -> String {
        format!("{}/base:1", self.registry.host())
    }

    pub fn git(&self) -> String {
        self.repositories.url("r.git/.git")
    }

    /// Pushes an image with one file under a name of the registry.
    pub fn push(&self, name: &str, content: &str, words: &[&str]) {
        let maker = Place::with("FROM scratch\nCOPY b /b\n", Tree::new().file("b", content));
        let name = format!("{}/{name}", self.registry.host());
        let mut all = vec!["-t", name.as_str(), "--push", "--build-arg", EPOCH];
        all.extend(words);
        maker.build(&all).expect_success();
    }

    /// Changes all that names and addresses stand for.
    pub fn move_on(&self) {
        self.push("base:1", "second", &[]);
        *self.body.lock().expect("nobody panicked") = "two".to_owned();
        self.repository
            .commit(Tree::new().file("g", "second"), "on");
    }

    pub fn lock(&self, words: &[&str]) -> Finished {
        let mut all = vec!["lock", "--progress", "plain"];
        all.extend(words);
        all.push("context");
        self.place.run(&all)
    }

    pub fn lock_path(&self) -> PathBuf {
        self.place.context().join("Dockerfile.lock")
    }

    pub fn lock_text(&self) -> String {
        fs::read_to_string(self.lock_path()).expect("there is a lock")
    }

    /// Builds with an epoch and returns the id.
    pub fn id(&self, words: &[&str]) -> String {
        id(&self.place, words)
    }
}

pub fn id(place: &Place, words: &[&str]) -> String {
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
pub const ALL: &str = "FROM {base} AS base\nADD {url} /f\nADD {git}#main /g/\n\
                   FROM scratch\nCOPY --from=base / /\nCOPY --from={host}/base:1 /b /again\n";
