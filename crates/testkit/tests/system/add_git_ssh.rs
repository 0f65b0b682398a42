//! Git repositories behind ssh, from a real server: keys in files, agents, and whom to trust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rbuild_testkit::{
    Agent, Finished, Privilege, SshServer, TempDir, Tree, granted, make_key, run,
};

use crate::add_git::Repository;
use crate::place::{LIMIT, Place};

/// A repository, its server, and a key that opens it.
struct Scene {
    server: SshServer,
    repository: Repository,
    keys: TempDir,
    home: TempDir,
}

impl Scene {
    fn new(kind: &[&str]) -> Self {
        let keys = TempDir::new();
        make_key(&keys.join("key"), kind);
        make_key(&keys.join("stranger"), &["-t", "ed25519"]);
        let files = Tree::new()
            .file("Dockerfile", "FROM scratch\nCOPY a /from-context\n")
            .file("a", "behind ssh");
        Self {
            server: SshServer::start(&[&keys.join("key")]),
            repository: Repository::new(files),
            keys,
            home: TempDir::new(),
        }
    }

    /// The two ways to write the address.
    fn addresses(&self) -> [String; 2] {
        let path = self.repository.work().join(".git");
        let path = path.display();
        [
            format!("git@127.0.0.1:{path}"),
            format!("ssh://git@127.0.0.1{path}#main"),
        ]
    }

    fn key(&self, name: &str) -> String {
        format!("default={}", self.keys.join(name).display())
    }

    /// Runs `rbuild` where the server is, with a home of its own and without an agent.
    fn run(&self, command: &mut Command, agent: Option<&Path>) -> Finished {
        command.env("HOME", &*self.home).env_remove("SSH_AUTH_SOCK");
        if let Some(socket) = agent {
            command.env("SSH_AUTH_SOCK", socket);
        }
        run(&mut self.server.inside(command), LIMIT)
    }

    /// Builds an ADD of the address.
    fn add(&self, address: &str, words: &[&str], agent: Option<&Path>) -> (Place, Finished) {
        let place = Place::new(&format!("FROM scratch\nADD {address} /s/\n"));
        let out = place.dir().join("out");
        let spec = format!("type=local,dest={}", out.display());
        let mut all = vec!["-o", spec.as_str()];
        all.extend(words);
        let finished = self.run(&mut place.build_command(&all), agent);
        (place, finished)
    }

    /// Builds the repository as the context.
    fn context(&self, address: &str, words: &[&str], agent: Option<&Path>) -> (Place, Finished) {
        let place = Place::new("FROM nothing\n");
        let out = place.dir().join("out");
        let spec = format!("type=local,dest={}", out.display());
        let mut command = place.rbuild(&["build", "--progress", "plain", "-o", &spec]);
        command.args(words).arg(address);
        let finished = self.run(&mut command, agent);
        (place, finished)
    }

    fn known_hosts(&self) -> PathBuf {
        fs::create_dir_all(self.home.join(".ssh")).expect("make the folder");
        self.home.join(".ssh/known_hosts")
    }
}

#[track_caller]
fn assert_file(place: &Place, name: &str) {
    let path = place.dir().join("out").join(name);
    assert_eq!(fs::read_to_string(path).expect(name), "behind ssh");
    place.assert_intact();
}

#[test]
fn keys_in_files_and_agents_open_repositories() {
    if !granted(Privilege::Root) {
        return;
    }
    for kind in [
        &["-t", "ed25519"][..],
        &["-t", "rsa"],
        &["-t", "ecdsa", "-m", "PEM"],
    ] {
        let scene = Scene::new(kind);
        let agent = Agent::start(&scene.keys.join("key"));
        let (key, socket) = (scene.key("key"), agent.socket());
        for address in scene.addresses() {
            let (place, finished) = scene.add(&address, &["--ssh", &key], None);
            finished.expect_success();
            assert_file(&place, "s/a");
            let (place, finished) = scene.context(&address, &["--ssh", &key], None);
            finished.expect_success();
            assert_file(&place, "from-context");
        }
        let [address, _] = scene.addresses();
        let (place, finished) = scene.add(&address, &["--ssh", "default"], Some(&socket));
        finished.expect_success();
        assert_file(&place, "s/a");
        // The user's own agent comes along for a context that the user names.
        let (place, finished) = scene.context(&address, &[], Some(&socket));
        finished.expect_success();
        assert_file(&place, "from-context");
    }
}

#[test]
fn without_the_right_key_nobody_enters() {
    if !granted(Privilege::Root) {
        return;
    }
    let scene = Scene::new(&["-t", "ed25519"]);
    let [address, _] = scene.addresses();
    let agent = Agent::start(&scene.keys.join("key"));
    // Where ssh itself would look for keys: a build has what it is given.
    let own = scene.server.home_of_root().join(".ssh");
    fs::create_dir(&own).unwrap();
    fs::copy(scene.keys.join("key"), own.join("id_ed25519")).unwrap();
    let refused = |(place, finished): (Place, Finished)| {
        finished
            .expect_code(1)
            .expect_text("failed to fetch remote")
            .expect_text("Permission denied (publickey)")
            .expect_text("--ssh default=KEYFILE");
        place.assert_intact();
    };
    let stranger = scene.key("stranger");
    refused(scene.add(&address, &["--ssh", &stranger], None));
    refused(scene.context(&address, &["--ssh", &stranger], None));
    refused(scene.add(&address, &[], None));
    // A Dockerfile gets no agent that the command line does not offer.
    refused(scene.add(&address, &[], Some(&agent.socket())));
    let (_, finished) = scene.add(&address, &["--ssh", "default"], None);
    finished
        .expect_code(2)
        .expect_text("SSH_AUTH_SOCK is not set");
}

#[test]
fn an_unknown_server_is_believed_and_a_changed_one_is_not() {
    if !granted(Privilege::Root) {
        return;
    }
    let scene = Scene::new(&["-t", "ed25519"]);
    let [address, _] = scene.addresses();
    let key = scene.key("key");
    let add = || scene.add(&address, &["--ssh", &key], None);
    let known = scene.known_hosts();
    add().1.expect_success();
    assert!(!known.exists(), "nothing is written for the user");
    fs::write(&known, scene.server.known_host()).unwrap();
    add().1.expect_success();
    let stranger = fs::read_to_string(scene.keys.join("stranger.pub")).unwrap();
    fs::write(&known, format!("127.0.0.1 {stranger}")).unwrap();
    let (place, finished) = add();
    finished
        .expect_code(1)
        .expect_text("REMOTE HOST IDENTIFICATION HAS CHANGED")
        .expect_text("`ssh-keygen -R HOST` forgets the old one");
    place.assert_intact();
    // Revoked: no key of this server is to be believed.
    fs::write(&known, format!("@revoked {}", scene.server.known_host())).unwrap();
    add()
        .1
        .expect_code(1)
        .expect_text("Host key verification failed");
}
