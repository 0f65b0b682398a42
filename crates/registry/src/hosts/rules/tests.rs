use super::super::{DockerFiles, PodmanFiles};
use super::*;
use crate::config::HostConfig;

/// A directory in which the files of all families have their places.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn ca(&self, path: &str) {
        let pem = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../testdata/registry/ca.pem"
        );
        self.write(path, &std::fs::read_to_string(pem).unwrap());
    }

    fn config(&self) -> ClientConfig {
        let at = |path: &str| vec![self.0.path().join(path)];
        ClientConfig {
            host_files: HostFiles {
                podman: PodmanFiles {
                    registries: at("containers/registries.conf"),
                    drop_ins: at("containers/registries.conf.d"),
                    certificates: at("containers/certs.d"),
                },
                containerd: at("containerd/certs.d"),
                docker: DockerFiles {
                    daemon: at("docker/daemon.json"),
                    certificates: at("docker/certs.d"),
                },
            },
            ..ClientConfig::default()
        }
    }

    fn rules(&self) -> Result<Rules> {
        Rules::read(Arc::new(self.config()))
    }

    fn sites(&self, domain: &str, path: &str, wanted: Wanted) -> Vec<String> {
        let sites = self.rules().unwrap().sites(domain, path, wanted).unwrap();
        sites.iter().map(shown).collect()
    }
}

fn shown(site: &Site) -> String {
    let speech = match (site.speech, site.tls.verify) {
        (Speech::Tls, Verify::Yes) => "https",
        (Speech::Tls, Verify::No) => "https!",
        (Speech::Plain, _) => "http",
        (Speech::Either, _) => "any",
    };
    let namespace = site.namespace.as_ref().map(|name| format!("?ns={name}"));
    let namespace = namespace.unwrap_or_default();
    format!(
        "{speech}://{}{}/{}{namespace}",
        site.host, site.api, site.repository
    )
}

#[test]
fn without_files_there_is_the_registry_itself() {
    let machine = Machine::new();
    assert_eq!(
        machine.sites("docker.io", "library/x", Wanted::Tag),
        ["https://docker.io/v2/library/x"]
    );
}

#[test]
fn docker_mirrors_are_for_its_own_registry() {
    let machine = Machine::new();
    let text = r#"{"registry-mirrors": ["https://m.example", "http://n.example:5000/p"],
        "insecure-registries": ["lan:5000", "m.example"]}"#;
    machine.write("docker/daemon.json", text);
    assert_eq!(
        machine.sites("docker.io", "library/x", Wanted::Tag),
        [
            "https!://m.example/v2/library/x",
            "http://n.example:5000/p/v2/library/x",
            "https://docker.io/v2/library/x",
        ]
    );
    assert_eq!(
        machine.sites("quay.io", "x", Wanted::Tag),
        ["https://quay.io/v2/x"]
    );
    assert_eq!(
        machine.sites("lan:5000", "x", Wanted::Tag),
        ["any://lan:5000/v2/x"]
    );
    assert_eq!(
        machine.sites("docker.io", "x", Wanted::Registry),
        ["https://docker.io/v2/x"]
    );
}

#[test]
fn names_in_a_network_without_tls_are_looked_up() {
    let machine = Machine::new();
    machine.write(
        "docker/daemon.json",
        r#"{"insecure-registries": ["127.0.0.0/8"]}"#,
    );
    assert_eq!(
        machine.sites("localhost:1", "x", Wanted::Tag),
        ["any://localhost:1/v2/x"]
    );
    assert_eq!(
        machine.sites("no.invalid", "x", Wanted::Tag),
        ["https://no.invalid/v2/x"]
    );
}

#[test]
fn containerd_hosts_come_in_order_and_by_what_they_serve() {
    let machine = Machine::new();
    let text = r#"
        server = "https://registry-1.docker.io"
        [host."https://both.example"]
        [host."http://digests.example"]
        capabilities = ["pull"]
        [host."https://odd.example/api"]
        skip_verify = true
        override_path = true
    "#;
    machine.write("containerd/certs.d/docker.io/hosts.toml", text);
    let tags = machine.sites("docker.io", "a/b", Wanted::Tag);
    assert_eq!(
        tags,
        [
            "https://both.example/v2/a/b?ns=docker.io",
            "https!://odd.example/api/a/b?ns=docker.io",
            "https://docker.io/v2/a/b",
        ]
    );
    assert_eq!(machine.sites("docker.io", "a/b", Wanted::Digest).len(), 4);
    assert_eq!(
        machine.sites("quay.io", "a", Wanted::Tag),
        ["https://quay.io/v2/a"]
    );
    machine.write(
        "containerd/certs.d/_default/hosts.toml",
        "[host.\"http://all.example:5000\"]\n",
    );
    assert_eq!(
        machine.sites("quay.io", "a", Wanted::Tag),
        [
            "http://all.example:5000/v2/a?ns=quay.io",
            "https://quay.io/v2/a"
        ]
    );
}

#[test]
fn podman_wins_over_containerd_and_that_over_docker() {
    let machine = Machine::new();
    machine.write(
        "docker/daemon.json",
        r#"{"registry-mirrors": ["https://docker.example"]}"#,
    );
    let hosts = "[host.\"https://containerd.example\"]\n";
    machine.write("containerd/certs.d/docker.io/hosts.toml", hosts);
    let first = |machine: &Machine| machine.sites("docker.io", "x", Wanted::Tag).remove(0);
    assert_eq!(
        first(&machine),
        "https://containerd.example/v2/x?ns=docker.io"
    );
    let table = "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"podman.example/hub\"\n";
    machine.write("containers/registries.conf.d/50-hub.conf", table);
    assert_eq!(first(&machine), "https://podman.example/v2/hub/x");
    let mut config = machine.config();
    let own = HostConfig {
        mirrors: vec!["own.example".to_owned()],
        ..HostConfig::default()
    };
    config.hosts.insert("docker.io".to_owned(), own);
    let rules = Rules::read(Arc::new(config)).unwrap();
    let sites = rules.sites("docker.io", "x", Wanted::Tag).unwrap();
    assert_eq!(shown(&sites[0]), "https://own.example/v2/x");
}

#[test]
fn podman_moves_and_blocks() {
    let machine = Machine::new();
    let text = r#"
        [[registry]]
        prefix = "example.com/team"
        location = "inner:5000/t"
        insecure = true
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "mirror.example"
        [[registry]]
        location = "bad.example"
        blocked = true
        [[registry]]
        location = "lax.example"
        insecure = true
    "#;
    machine.write("containers/registries.conf", text);
    assert_eq!(
        machine.sites("example.com", "team/x", Wanted::Tag),
        ["any://inner:5000/v2/t/x"]
    );
    assert_eq!(
        machine.sites("example.com", "team/x", Wanted::Digest),
        ["https://mirror.example/v2/x", "any://inner:5000/v2/t/x"]
    );
    assert_eq!(
        machine.sites("lax.example", "x", Wanted::Tag),
        ["any://lax.example/v2/x"]
    );
    let rules = machine.rules().unwrap();
    let error = rules.sites("bad.example", "x", Wanted::Tag).unwrap_err();
    assert!(error.to_string().contains("registries.conf"), "{error}");
    assert!(rules.allows_plain("lax.example") && !rules.allows_plain("example.com"));
}

#[test]
fn authorities_add_up_and_stay_with_their_host() {
    let machine = Machine::new();
    machine.ca("docker/certs.d/reg.example:5000/ca.crt");
    machine.ca("containers/certs.d/reg.example:5000/other.crt");
    machine.ca("containerd/certs.d/two.example/ca.crt");
    let rules = machine.rules().unwrap();
    let roots = |host: &str| {
        let sites = rules.sites(host, "x", Wanted::Tag).unwrap();
        sites[0].tls.root_files.len()
    };
    // The same authority twice is one.
    assert_eq!(roots("reg.example:5000"), 1);
    assert_eq!(roots("two.example"), 1);
    assert_eq!(roots("reg.example"), 0);
    // A loopback host with a certificate speaks TLS.
    machine.ca("docker/certs.d/localhost:5000/ca.crt");
    assert_eq!(
        machine.sites("localhost:5000", "x", Wanted::Tag),
        ["https://localhost:5000/v2/x"]
    );
}

#[test]
fn what_is_for_all_registries_is_not_for_where_they_lead() {
    let machine = Machine::new();
    for name in ["server.pem", "server.key.pem"] {
        let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/registry");
        let pem = std::fs::read_to_string(Path::new(pem).join(name)).unwrap();
        machine.write(&format!("containerd/certs.d/_default/{name}"), &pem);
        machine.write(&format!("containerd/certs.d/named.example/{name}"), &pem);
    }
    machine.ca("containerd/certs.d/_default/ca.pem");
    machine.ca("containerd/certs.d/named.example/ca.pem");
    let text =
        "ca = \"ca.pem\"\nclient = [[\"server.pem\", \"server.key.pem\"]]\nskip_verify = true\n";
    machine.write("containerd/certs.d/_default/hosts.toml", text);
    machine.write("containerd/certs.d/named.example/hosts.toml", text);
    let rules = machine.rules().unwrap();
    let told = |tls: &Tls| (tls.roots.len(), tls.identity.is_some(), tls.verify);
    let all = (1, true, Verify::No);
    let site = rules.sites("any.example", "x", Wanted::Tag).unwrap();
    assert_eq!(told(&site[0].tls), all);
    let foreign = |host| told(&rules.foreign_tls(host).unwrap());
    assert_eq!(foreign("storage.example"), (1, false, Verify::Yes));
    assert_eq!(foreign("named.example"), all);
}

#[test]
fn a_file_that_makes_no_sense_is_named() {
    let check = |path: &str, text: &str, wanted: &str| {
        let machine = Machine::new();
        machine.write(path, text);
        let found = machine
            .rules()
            .and_then(|rules| rules.sites("docker.io", "x", Wanted::Tag));
        let error = found.unwrap_err().to_string();
        assert!(error.contains(path) && error.contains(wanted), "{error}");
    };
    check("docker/daemon.json", "{", "line 1");
    check("containers/registries.conf", "[[registry", "line 1");
    check("containerd/certs.d/docker.io/hosts.toml", "x = ", "line 1");
    let missing = "ca = \"none.crt\"\n";
    let machine = Machine::new();
    machine.write("containerd/certs.d/docker.io/hosts.toml", missing);
    let rules = machine.rules().unwrap();
    let error = rules.sites("docker.io", "x", Wanted::Tag).unwrap_err();
    assert!(error.to_string().contains("none.crt"), "{error}");
}
