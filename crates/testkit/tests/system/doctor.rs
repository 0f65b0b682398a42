//! `rbuild doctor`: which places are tried, what is said of them, and that nothing secret is.

use std::fs;
use std::path::Path;

use rbuild_testkit::{
    Authority, Finished, Registry, RegistrySetup, RegistryTls, TempDir, rbuild_binary, run,
    run_with_input,
};
use serde_json::Value;

use crate::place::{LIMIT, busybox};

/// A machine with settings of its own.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        Self(TempDir::new())
    }

    fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.0.join("etc").join(path);
        let folder = path.parent().expect("a file has a folder");
        fs::create_dir_all(folder).expect("make the folder");
        fs::write(path, text).expect("write the file");
    }

    fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(rbuild_binary());
        command
            .args(words)
            .env("RBUILD_HOSTS_ROOT", self.0.path())
            .env("HOME", self.0.join("home"))
            .env("DOCKER_CONFIG", self.0.join("docker"));
        for name in ["XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DOCKER_AUTH_CONFIG"] {
            command.env_remove(name);
        }
        command
    }

    fn doctor(&self, words: &[&str]) -> Finished {
        let mut all = vec!["doctor"];
        all.extend(words);
        run(&mut self.command(&all), LIMIT)
    }
}

#[track_caller]
fn says(done: &Finished, wanted: &[&str]) {
    for wanted in wanted {
        assert!(done.stdout.contains(wanted), "no {wanted:?}\n{done}");
    }
}

#[test]
fn a_registry_that_serves_is_good() {
    let registry = Registry::start();
    let digest = registry.push_layout(busybox(), "team/busybox:1");
    let machine = Machine::new();
    let done = machine.doctor(&[&registry.host()]).expect_success();
    says(
        &done,
        &[
            "the registry itself",
            "wants no login",
            "plain HTTP",
            "Good",
        ],
    );
    let image = format!("{}/team/busybox:1", registry.host());
    let done = machine.doctor(&[&image]).expect_success();
    says(&done, &[digest.trim()]);
    let done = machine
        .doctor(&[&format!("{}/team/none", registry.host())])
        .expect_code(1);
    says(&done, &["not found", "MANIFEST_UNKNOWN", "Bad"]);
    drop(registry);
    let done = machine.doctor(&[&image]).expect_code(1);
    says(&done, &["Connection refused", "is it up?"]);
}

#[test]
fn a_login_is_traced_to_its_place() {
    let registry = Registry::start_with(&RegistrySetup {
        login: Some(("tester".to_owned(), "hunter2".to_owned())),
        ..RegistrySetup::default()
    });
    registry.push_layout_with(busybox(), "a:1", &["--dest-creds=tester:hunter2"]);
    let machine = Machine::new();
    let (host, image) = (registry.host(), format!("{}/a:1", registry.host()));
    let done = machine.doctor(&[&image]).expect_code(1);
    says(
        &done,
        &[
            "user name and password",
            "nobody in particular",
            "rbuild login",
            "Bad",
        ],
    );
    let words = ["login", "-u", "tester", "--password-stdin", &host];
    run_with_input(&mut machine.command(&words), b"hunter2", LIMIT).expect_success();
    let done = machine.doctor(&[&image]).expect_success();
    says(
        &done,
        &[
            "tester, from",
            "docker/config.json",
            "accepts tester",
            "Good",
        ],
    );
    assert!(!done.text().contains("hunter2"));
    // What is kept is not accepted any more.
    let wrong = format!(r#"{{"auths":{{"{host}":{{"username":"tester","password":"other"}}}}}}"#);
    fs::write(machine.0.join("docker/config.json"), wrong).expect("write it");
    let done = machine.doctor(&[&image]).expect_code(1);
    says(
        &done,
        &["refuses the login", "UNAUTHORIZED", "access token"],
    );
    assert!(!done.text().contains("\"other\""));
}

#[test]
fn authorities_and_mirrors_are_traced_to_their_files() {
    let authority = Authority::new();
    let (certificate, key) = authority.server();
    let registry = Registry::start_with(&RegistrySetup {
        tls: Some(RegistryTls {
            certificate,
            key,
            clients: None,
        }),
        ..RegistrySetup::default()
    });
    let host = registry.host();
    let machine = Machine::new();
    let other = fs::read(Authority::new().certificate()).expect("it was made");
    machine.put(&format!("docker/certs.d/{host}/ca.crt"), other);
    let done = machine.doctor(&[&host]).expect_code(1);
    says(&done, &["no trusted TLS connection", "certs.d", "Bad"]);
    let right = fs::read(authority.certificate()).expect("it was made");
    machine.put(&format!("docker/certs.d/{host}/ca.crt"), right);
    let table = format!(
        "[[registry]]\nlocation = \"{host}\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:1\"\n"
    );
    machine.put("containers/registries.conf", table);
    let done = machine.doctor(&["--json", &host]).expect_success();
    let report: Value = serde_json::from_str(&done.stdout).expect("it is JSON");
    let [mirror, itself] = report["places"]
        .as_array()
        .expect("there are places")
        .as_slice()
    else {
        panic!("{done}")
    };
    assert_eq!(
        (&mirror["mirror"], &mirror["good"]),
        (&true.into(), &false.into())
    );
    assert_eq!(
        (&itself["mirror"], &itself["good"]),
        (&false.into(), &true.into())
    );
    let ends_with = |value: &Value, end: &str| {
        let path = value.as_str().expect("a path is a text");
        assert!(Path::new(path).ends_with(end), "{path}");
    };
    ends_with(&mirror["toldBy"][0], "containers/registries.conf");
    ends_with(
        &itself["trust"]["authorities"][0],
        &format!("{host}/ca.crt"),
    );
    assert_eq!(report["good"], true);
}

#[test]
fn settings_that_make_no_sense_end_it() {
    let machine = Machine::new();
    machine.put("docker/daemon.json", "{");
    let done = machine.doctor(&["r.example"]).expect_code(1);
    assert!(done.stderr.contains("daemon.json"), "{done}");
    machine.doctor(&["A B"]).expect_code(2);
}
