use super::*;
use crate::config::{ClientConfig, HostConfig, Scheme};
use crate::hosts::Wanted;

fn rules(hosts: &[(&str, Scheme)]) -> Rules {
    let mut config = ClientConfig::default();
    for (host, scheme) in hosts {
        let settings = HostConfig {
            scheme: *scheme,
            ..HostConfig::default()
        };
        config.hosts.insert((*host).to_owned(), settings);
    }
    Rules::read(Arc::new(config)).unwrap()
}

fn endpoints(rules: &Rules, host: &str) -> Vec<Endpoint> {
    let sites = rules.sites(host, "a", Wanted::Tag).unwrap();
    sites
        .iter()
        .flat_map(|site| Endpoint::of(site).unwrap())
        .collect()
}

fn bases(rules: &Rules, host: &str) -> Vec<String> {
    let all = endpoints(rules, host).into_iter();
    all.map(|endpoint| endpoint.base.to_string()).collect()
}

#[test]
fn https_everywhere_but_on_loopback_and_where_configured() {
    let none = rules(&[]);
    for (host, wanted) in [
        ("docker.io", "https://registry-1.docker.io/v2/"),
        ("ghcr.io", "https://ghcr.io/v2/"),
        ("example.com:5000", "https://example.com:5000/v2/"),
        ("10.0.0.1:5000", "https://10.0.0.1:5000/v2/"),
        ("localhost.example.com", "https://localhost.example.com/v2/"),
        ("127.0.0.1.example.com", "https://127.0.0.1.example.com/v2/"),
        ("localhost", "http://localhost/v2/"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/v2/"),
        ("127.1.2.3", "http://127.1.2.3/v2/"),
        ("[::1]:5000", "http://[::1]:5000/v2/"),
        ("[::1]", "http://[::1]/v2/"),
    ] {
        assert_eq!(bases(&none, host), [wanted]);
    }
    let some = rules(&[
        ("10.0.0.1:5000", Scheme::InsecureHttp),
        ("localhost:5000", Scheme::Https),
        ("lan", Scheme::Insecure),
    ]);
    assert_eq!(bases(&some, "10.0.0.1:5000"), ["http://10.0.0.1:5000/v2/"]);
    assert_eq!(bases(&some, "10.0.0.1"), ["https://10.0.0.1/v2/"]);
    assert_eq!(
        bases(&some, "localhost:5000"),
        ["https://localhost:5000/v2/"]
    );
    assert_eq!(bases(&some, "lan"), ["https://lan/v2/", "http://lan/v2/"]);
}

#[test]
fn plain_http_is_refused_off_loopback_and_from_afar() {
    let rules = rules(&[
        ("lan:80", Scheme::InsecureHttp),
        ("lan", Scheme::InsecureHttp),
    ]);
    let check = |host: &str, url: &str| {
        let endpoint = endpoints(&rules, host).remove(0);
        endpoint.check(&rules, &Url::parse(url).unwrap()).is_ok()
    };
    assert!(check("ghcr.io", "https://elsewhere/x"));
    assert!(!check("ghcr.io", "http://ghcr.io/x"));
    assert!(!check("ghcr.io", "http://127.0.0.1/x"));
    assert!(!check("127.0.0.1:1", "http://elsewhere/x"));
    assert!(check("127.0.0.1:1", "http://127.0.0.1:2/x"));
    assert!(check("ghcr.io", "http://lan/x"));
    assert!(check("lan:80", "http://lan/x"));
    assert!(!check("lan:80", "http://127.0.0.1:2375/x"));
    assert!(!check("lan:80", "http://localhost/x"));
    assert!(!check("ghcr.io", "file:///etc/passwd"));
}

#[test]
fn own_addresses_keep_their_scheme() {
    let rules = rules(&[]);
    let check = |host: &str, url: &str, wanted: &str| {
        let endpoint = endpoints(&rules, host).remove(0);
        let url = endpoint.with_own_scheme(Url::parse(url).unwrap());
        assert_eq!(url.as_str(), wanted);
    };
    check("ghcr.io", "http://ghcr.io/u?a=b", "https://ghcr.io/u?a=b");
    check("ghcr.io", "http://ghcr.io:443/u", "https://ghcr.io/u");
    check(
        "ghcr.io:8443",
        "http://ghcr.io:8443/u",
        "https://ghcr.io:8443/u",
    );
    check("ghcr.io", "http://ghcr.io:80/u", "https://ghcr.io/u");
    check("ghcr.io", "http://ghcr.io:8080/u", "http://ghcr.io:8080/u");
    check("ghcr.io", "http://elsewhere/u", "http://elsewhere/u");
    check(
        "127.0.0.1:5",
        "http://127.0.0.1:5/u",
        "http://127.0.0.1:5/u",
    );
}
