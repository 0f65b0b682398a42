//! Logins: checked, kept, found again in every place, forgotten; against a registry with a password.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rbuild_testkit::{Finished, Registry, RegistrySetup, run, run_with_input};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

use crate::place::{LIMIT, Place, busybox};

const USER: &str = "tester";
const PASSWORD: &str = "pass:wörd";

/// A registry with a password that holds busybox, and a Dockerfile that stands on it.
struct Closed {
    registry: Registry,
    place: Place,
}

impl Closed {
    fn new() -> Self {
        let setup = RegistrySetup {
            login: Some((USER.to_owned(), PASSWORD.to_owned())),
            ..RegistrySetup::default()
        };
        let registry = Registry::start_with(&setup);
        let credentials = format!("--dest-creds={USER}:{PASSWORD}");
        registry.push_layout_with(busybox(), "team/busybox:1", &[&credentials]);
        let place = Place::new(&format!(
            "FROM {}/team/busybox:1\nLABEL a=b\n",
            registry.host()
        ));
        Self { registry, place }
    }

    fn docker_config(&self) -> PathBuf {
        self.place.dir().join("docker/config.json")
    }

    /// `rbuild` with nothing of this machine's own credentials.
    fn rbuild(&self, words: &[&str], variables: &[(&str, &str)]) -> std::process::Command {
        let mut command = self.place.rbuild(words);
        self.closed_in(&mut command, variables);
        command
    }

    fn closed_in(&self, command: &mut std::process::Command, variables: &[(&str, &str)]) {
        command
            .env("HOME", self.place.dir().join("home"))
            .env("DOCKER_CONFIG", self.place.dir().join("docker"))
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("REGISTRY_AUTH_FILE")
            .env_remove("DOCKER_AUTH_CONFIG")
            .envs(variables.iter().copied());
    }

    fn login(&self, password: &str, variables: &[(&str, &str)]) -> Finished {
        let host = self.registry.host();
        let words = ["login", "-u", USER, "--password-stdin", &host];
        run_with_input(
            &mut self.rbuild(&words, variables),
            password.as_bytes(),
            LIMIT,
        )
    }

    fn build(&self, variables: &[(&str, &str)]) -> Finished {
        let mut command = self.place.build_command(&["--pull"]);
        self.closed_in(&mut command, variables);
        run(&mut command, LIMIT)
    }

    /// The text of a credential file for the registry.
    fn auth_file(&self) -> String {
        // base64 of USER:PASSWORD.
        let pair = "dGVzdGVyOnBhc3M6d8O2cmQ=";
        format!(
            r#"{{"auths":{{"{}":{{"auth":"{pair}"}}}}}}"#,
            self.registry.host()
        )
    }
}

#[test]
fn a_wrong_password_is_refused_and_not_kept() {
    let closed = Closed::new();
    let refused = closed.login("wrong", &[]).expect_code(1);
    assert!(refused.stderr.contains("refuses the login"), "{refused}");
    assert!(refused.stderr.contains("UNAUTHORIZED"), "{refused}");
    assert!(!closed.docker_config().exists());
    let denied = closed.build(&[]).expect_code(1);
    for wanted in ["pull access denied", "UNAUTHORIZED", "rbuild login"] {
        assert!(denied.stderr.contains(wanted), "{denied}");
    }
}

#[test]
fn a_login_is_checked_kept_used_and_forgotten() {
    let closed = Closed::new();
    let done = closed.login(&format!("{PASSWORD}\n"), &[]).expect_success();
    assert_eq!(done.stdout, "Login Succeeded\n");
    assert!(done.stderr.contains("kept unencrypted"), "{done}");
    assert!(!done.text().contains(PASSWORD));
    let mode = fs::metadata(closed.docker_config())
        .expect("the test's own files are fine")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    closed.build(&[]).expect_success();
    let host = closed.registry.host();
    let out = run(&mut closed.rbuild(&["logout", &host], &[]), LIMIT).expect_success();
    assert_eq!(
        out.stdout,
        format!("Removing login credentials for {host}\n")
    );
    let again = run(&mut closed.rbuild(&["logout", &host], &[]), LIMIT).expect_success();
    assert_eq!(again.stdout, format!("Not logged in to {host}\n"));
    closed.build(&[]).expect_code(1);
    closed.place.assert_intact();
}

#[test]
fn every_place_with_credentials_is_looked_at() {
    let closed = Closed::new();
    let text = closed.auth_file();
    let home = closed.place.dir().join("home/.config/containers/auth.json");
    let runtime = closed.place.dir().join("run");
    let named = closed.place.dir().join("named.json");
    let put = |path: &Path| {
        fs::create_dir_all(path.parent().expect("the test's own files are fine"))
            .expect("the test's own files are fine");
        fs::write(path, &text).expect("the test's own files are fine");
    };
    closed.build(&[]).expect_code(1);
    closed
        .build(&[("DOCKER_AUTH_CONFIG", &text)])
        .expect_success();
    put(&named);
    closed
        .build(&[(
            "REGISTRY_AUTH_FILE",
            named.to_str().expect("the test's own files are fine"),
        )])
        .expect_success();
    put(&runtime.join("containers/auth.json"));
    closed
        .build(&[(
            "XDG_RUNTIME_DIR",
            runtime.to_str().expect("the test's own files are fine"),
        )])
        .expect_success();
    put(&home);
    closed.build(&[]).expect_success();
    // The variable counts before the file: a wrong one is not passed over in silence.
    let wrong = text.replace("dGVzdGVy", "dGVzdGVz");
    closed
        .build(&[("DOCKER_AUTH_CONFIG", &wrong)])
        .expect_code(1)
        .expect_text("UNAUTHORIZED");
}

/// A helper that keeps what it is given in a file, and the folder that it is in.
fn helper(place: &Place, script: &str) -> PathBuf {
    let dir = place.dir().join("bin");
    fs::create_dir_all(&dir).expect("the test's own files are fine");
    let path = dir.join("docker-credential-kept");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("the test's own files are fine");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .expect("the test's own files are fine");
    dir
}

fn with_helper(closed: &Closed, script: &str) -> String {
    let dir = helper(&closed.place, script);
    fs::create_dir_all(
        closed
            .docker_config()
            .parent()
            .expect("the test's own files are fine"),
    )
    .expect("the test's own files are fine");
    fs::write(closed.docker_config(), r#"{"credsStore": "kept"}"#)
        .expect("the test's own files are fine");
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}", dir.display())
}

#[test]
fn a_helper_keeps_the_password_out_of_the_file() {
    let closed = Closed::new();
    let file = closed.place.dir().join("kept");
    let script = format!(
        "F={}\ncase $1 in store) cat > $F;; erase) rm -f $F;; \
         get) test -e $F || {{ echo credentials not found in native keychain; exit 1; }}; cat $F;; esac",
        file.display()
    );
    let path = with_helper(&closed, &script);
    let variables = [("PATH", path.as_str())];
    let done = closed.login(PASSWORD, &variables).expect_success();
    assert!(!done.stderr.contains("unencrypted"), "{done}");
    let config = fs::read_to_string(closed.docker_config()).expect("the test's own files are fine");
    assert!(config.contains(r#""credsStore": "kept""#), "{config}");
    assert!(!config.contains("\"auth\""), "{config}");
    closed.build(&variables).expect_success();
    let host = closed.registry.host();
    run(&mut closed.rbuild(&["logout", &host], &variables), LIMIT).expect_success();
    assert!(!file.exists());
    closed.build(&variables).expect_code(1);
}

#[test]
fn a_helper_that_hangs_is_stopped() {
    let closed = Closed::new();
    let path = with_helper(&closed, "exec sleep 600");
    let variables = [("PATH", path.as_str()), ("RBUILD_HELPER_TIMEOUT", "1")];
    let stopped = closed.build(&variables).expect_code(1);
    for wanted in [
        "docker-credential-kept",
        "did not answer within 1 s",
        "RBUILD_HELPER_TIMEOUT",
    ] {
        assert!(stopped.stderr.contains(wanted), "{stopped}");
    }
    closed.place.assert_intact();
}

#[test]
fn a_password_is_asked_for_and_not_shown() {
    let closed = Closed::new();
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags).expect("open a terminal");
    grantpt(&ours).expect("grant it");
    unlockpt(&ours).expect("unlock it");
    let theirs = ioctl_tiocgptpeer(&ours, flags).expect("open its other side");
    let side = || Stdio::from(theirs.try_clone().expect("duplicate"));
    let host = closed.registry.host();
    let mut command = closed.rbuild(&["login", &host], &[]);
    let mut child = command
        .stdin(side())
        .stdout(side())
        .stderr(side())
        .spawn()
        .expect("start it");
    drop((command, theirs));
    let mut screen = File::from(ours);
    let mut shown = String::new();
    let mut bytes = Vec::new();
    for (question, answer) in [("Username: ", USER), ("Password: ", PASSWORD)] {
        while !shown.ends_with(question) {
            let mut byte = [0];
            screen.read_exact(&mut byte).expect("it asks");
            bytes.push(byte[0]);
            shown = String::from_utf8_lossy(&bytes).into_owned();
        }
        screen
            .write_all(format!("{answer}\n").as_bytes())
            .expect("the test's own files are fine");
    }
    // EIO when it has ended.
    let mut byte = [0];
    while screen.read_exact(&mut byte).is_ok() {
        bytes.push(byte[0]);
    }
    let shown = String::from_utf8_lossy(&bytes);
    assert!(
        child
            .wait()
            .expect("the test's own files are fine")
            .success(),
        "{shown}"
    );
    assert!(shown.contains("Login Succeeded"), "{shown}");
    assert!(shown.contains(USER) && !shown.contains(PASSWORD), "{shown}");
}

#[test]
fn logins_that_make_no_sense_are_refused() {
    let closed = Closed::new();
    let host = closed.registry.host();
    let check = |words: &[&str], wanted: &str| {
        let mut all = vec!["login"];
        all.extend(words);
        let done = run(&mut closed.rbuild(&all, &[]), LIMIT).expect_code(2);
        assert!(done.stderr.contains(wanted), "{done}");
    };
    check(&["no-dot"], "HOST[:PORT]");
    check(&[&host], "no terminal to ask on");
    check(&["--password-stdin", &host], "--username");
    check(
        &["-u", USER, "--password-stdin", &host],
        "must not be empty",
    );
    check(&["-u", "a:b", "-p", "x", &host], "colon");
    let warned = run(
        &mut closed.rbuild(&["login", "-u", USER, "-p", PASSWORD, &host], &[]),
        LIMIT,
    );
    warned
        .expect_success()
        .expect_text("WARNING: --password shows");
}
