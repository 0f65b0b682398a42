//! A registry with TLS from an authority of its own, and one with a token service.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rbuild_testkit::{
    Authority, Finished, Registry, RegistrySetup, RegistryTls, RegistryTokens, TokenKey, WebReply,
    WebServer, run, run_with_input,
};
use serde_json::json;

use crate::place::{LIMIT, Place, busybox};

/// A registry behind TLS that holds busybox, and a Dockerfile that stands on it.
pub struct Secure {
    pub authority: Authority,
    pub registry: Registry,
    place: Place,
}

impl Secure {
    pub fn new(clients: bool) -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.server();
        let tls = RegistryTls {
            certificate,
            key,
            clients: clients.then(|| authority.certificate()),
        };
        let registry = Registry::start_with(&RegistrySetup {
            tls: Some(tls),
            ..RegistrySetup::default()
        });
        let place = Place::new(&format!(
            "FROM {}/team/busybox:1\nLABEL a=b\n",
            registry.host()
        ));
        let secure = Self {
            authority,
            registry,
            place,
        };
        let (certificate, key) = secure.authority.client();
        let folder = secure.place.dir().join("skopeo");
        fs::create_dir(&folder).expect("the test's own files are fine");
        fs::copy(certificate, folder.join("client.cert")).expect("the test's own files are fine");
        fs::copy(key, folder.join("client.key")).expect("the test's own files are fine");
        let words = format!("--dest-cert-dir={}", folder.display());
        secure
            .registry
            .push_layout_with(busybox(), "team/busybox:1", &[&words]);
        secure
    }

    /// Writes a file of the machine's settings.
    fn put(&self, path: &str, text: &[u8]) {
        let path = self.place.dir().join("machine/etc").join(path);
        fs::create_dir_all(path.parent().expect("the test's own files are fine"))
            .expect("the test's own files are fine");
        fs::write(path, text).expect("the test's own files are fine");
    }

    fn forget(&self) {
        fs::remove_dir_all(self.place.dir().join("machine"))
            .expect("the test's own files are fine");
    }

    fn build(&self) -> Finished {
        build_with_settings(&self.place, &self.place.dir().join("machine"))
    }
}

fn build_with_settings(place: &Place, machine: &Path) -> Finished {
    let mut command = place.build_command(&["--pull"]);
    command
        .env("RBUILD_HOSTS_ROOT", machine)
        .env("HOME", place.dir().join("home"))
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("DOCKER_CONFIG");
    run(&mut command, LIMIT)
}

#[test]
fn an_authority_of_ones_own_is_found_in_each_family_of_settings() {
    let secure = Secure::new(false);
    let host = secure.registry.host();
    let ca = fs::read(secure.authority.certificate()).expect("the test's own files are fine");
    // Without a word a loopback registry is spoken to in plain HTTP, which this one refuses.
    secure.build().expect_code(1);
    for family in ["docker", "containers", "containerd"] {
        secure.put(&format!("{family}/certs.d/{host}/ca.crt"), &ca);
        secure.build().expect_success();
        secure.forget();
    }
    let text = format!("server = \"https://{host}\"\nca = \"mine.pem\"\n");
    secure.put(
        &format!("containerd/certs.d/{host}/hosts.toml"),
        text.as_bytes(),
    );
    secure.put(&format!("containerd/certs.d/{host}/mine.pem"), &ca);
    secure.build().expect_success();
    secure.place.assert_intact();
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_with_advice() {
    let secure = Secure::new(false);
    let host = secure.registry.host();
    let other = fs::read(Authority::new().certificate()).expect("the test's own files are fine");
    secure.put(&format!("docker/certs.d/{host}/ca.crt"), &other);
    let refused = secure.build().expect_code(1);
    for wanted in [
        "no trusted TLS connection",
        &host,
        "certs.d",
        "rbuild doctor",
    ] {
        assert!(refused.stderr.contains(wanted), "{refused}");
    }
    secure.forget();
    let text = format!(r#"{{"insecure-registries": ["{host}"]}}"#);
    secure.put("docker/daemon.json", text.as_bytes());
    secure.build().expect_success();
}

#[test]
fn a_client_certificate_is_shown_where_it_is_wanted() {
    let secure = Secure::new(true);
    let host = secure.registry.host();
    let ca = fs::read(secure.authority.certificate()).expect("the test's own files are fine");
    secure.put(&format!("docker/certs.d/{host}/ca.crt"), &ca);
    secure.build().expect_code(1);
    let (certificate, key) = secure.authority.client();
    for (file, end) in [(certificate, "cert"), (key, "key")] {
        let bytes = fs::read(file).expect("the test's own files are fine");
        secure.put(&format!("docker/certs.d/{host}/client.{end}"), &bytes);
    }
    secure.build().expect_success();
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let secure = Secure::new(false);
    let check = |path: &str, text: &str, wanted: &str| {
        secure.put(path, text.as_bytes());
        let refused = secure.build().expect_code(1);
        let file = path
            .rsplit_once('/')
            .expect("the test's own files are fine")
            .1;
        assert!(refused.stderr.contains(file), "{refused}");
        assert!(refused.stderr.contains(wanted), "{refused}");
        secure.forget();
    };
    check("docker/daemon.json", "{\n  nonsense", "line 2");
    check("containers/registries.conf", "\n[[registry", "line 2");
    let host = secure.registry.host();
    check(
        &format!("docker/certs.d/{host}/ca.crt"),
        "x",
        "no certificate",
    );
}

const ISSUER: &str = "test tokens";
const SERVICE: &str = "test registry";
/// base64 of tester:secret.
const BASIC: &str = "Basic dGVzdGVyOnNlY3JldA==";

/// A token service that knows one user. Tokens are good for `life`.
fn token_service(key: Arc<TokenKey>, life: Duration, given: Arc<AtomicUsize>) -> WebServer {
    WebServer::start(move |asked| {
        let known = asked.header("authorization") == Some(BASIC);
        if !known {
            let words = r#"{"errors":[{"code":"UNAUTHORIZED","message":"no such tester"}]}"#;
            return WebReply {
                status: 401,
                ..WebReply::of(words)
            };
        }
        given.fetch_add(1, Ordering::SeqCst);
        let scopes = asked.target.split(['?', '&']);
        let access: Vec<_> = scopes
            .filter_map(|pair| pair.strip_prefix("scope=repository%3A"))
            .filter_map(|scope| {
                let (name, actions) = scope.split_once("%3A")?;
                let actions: Vec<_> = actions.split("%2C").collect();
                let name = name.replace("%2F", "/");
                Some(json!({ "type": "repository", "name": name, "actions": actions }))
            })
            .collect();
        let token = key.token((ISSUER, SERVICE), &json!(access), life);
        WebReply::of(json!({ "token": token, "expires_in": life.as_secs() }).to_string())
    })
}

/// A registry that believes a token service only, and a place that builds on it.
pub fn registry_with_tokens(life: Duration) -> (Registry, WebServer, Place, Arc<AtomicUsize>) {
    let key = Arc::new(TokenKey::new());
    let given = Arc::new(AtomicUsize::new(0));
    let service = token_service(Arc::clone(&key), life, Arc::clone(&given));
    let registry = Registry::start_with(&RegistrySetup {
        tokens: Some(RegistryTokens {
            realm: service.url("/token"),
            issuer: ISSUER.to_owned(),
            service: SERVICE.to_owned(),
            certificates: key.certificate(),
        }),
        ..RegistrySetup::default()
    });
    registry.push_layout_with(busybox(), "team/busybox:1", &["--dest-creds=tester:secret"]);
    let place = Place::new(&format!(
        "FROM {}/team/busybox:1\nLABEL a=b\n",
        registry.host()
    ));
    (registry, service, place, given)
}

#[test]
fn tokens_of_a_real_service_are_asked_for_and_kept() {
    let (registry, service, place, given) = registry_with_tokens(Duration::from_secs(300));
    let docker = place.dir().join("docker");
    let command = |words: &[&str]| {
        let mut command = place.rbuild(words);
        command.env("DOCKER_CONFIG", &docker);
        command
    };
    let host = registry.host();
    let words = ["login", "-u", "tester", "--password-stdin", &host];
    let wrong = run_with_input(&mut command(&words), b"wrong", LIMIT).expect_code(1);
    assert!(wrong.stderr.contains("no such tester"), "{wrong}");
    run_with_input(&mut command(&words), b"secret", LIMIT).expect_success();
    let before = given.load(Ordering::SeqCst);
    let mut build = place.build_command(&["--pull"]);
    run(build.env("DOCKER_CONFIG", &docker), LIMIT).expect_success();
    // One token is enough for the manifest and the config.
    assert_eq!(given.load(Ordering::SeqCst) - before, 1);
    // The password went to the service alone, never to the registry; the service saw no token.
    let asked = service.asked();
    assert!(
        asked
            .iter()
            .all(|asked| asked.header("authorization") != Some("Bearer"))
    );
    place.assert_intact();
}
