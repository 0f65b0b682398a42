//! Where a registry is reached: API host, scheme, mirrors.

use std::net::IpAddr;

use reqwest::Url;

use crate::config::{ClientConfig, Scheme};
use crate::{Error, Result};

/// A registry or mirror at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The host as references and credentials name it.
    pub(crate) host: String,
    /// Address of the API, ending in a slash.
    base: Url,
}

impl Endpoint {
    /// Makes the address of `host`. Errors: [`Error::Protocol`] if it is not an address.
    pub(crate) fn new(config: &ClientConfig, host: &str) -> Result<Self> {
        let api_host = match host {
            // The name in references is that of a web site; the registry answers here.
            "docker.io" => "registry-1.docker.io",
            host => host,
        };
        let scheme = match scheme(config, host) {
            Scheme::InsecureHttp => "http",
            Scheme::Auto if is_loopback(host_without_port(host)) => "http",
            Scheme::Auto | Scheme::Https => "https",
        };
        let base = Url::parse(&format!("{scheme}://{api_host}/v2/")).map_err(|source| {
            Error::Protocol {
                host: host.to_owned(),
                reason: format!("not an address: {source}"),
            }
        })?;
        Ok(Self {
            host: host.to_owned(),
            base,
        })
    }

    /// All places to ask for content of `domain`, mirrors first.
    pub(crate) fn all(config: &ClientConfig, domain: &str) -> Result<Vec<Self>> {
        let mirrors = config.hosts.get(domain).map(|host| host.mirrors.as_slice());
        let names = mirrors.unwrap_or_default().iter().map(String::as_str);
        names
            .chain([domain])
            .map(|host| Self::new(config, host))
            .collect()
    }

    /// Address of something in the API; `path` is made of checked names only.
    pub(crate) fn url(&self, path: &str) -> Result<Url> {
        self.base.join(path).map_err(|source| Error::Protocol {
            host: self.host.clone(),
            reason: format!("{path:?} is not an address: {source}"),
        })
    }

    /// Whether credentials of this registry may go to `url`: same scheme, host and port.
    pub(crate) fn is_origin_of(&self, url: &Url) -> bool {
        self.base.origin() == url.origin()
    }

    /// The address as it was meant, if it is this registry's own with `http` in place of `https`.
    ///
    /// A registry behind a proxy that ends TLS writes such ones when nobody told it of the proxy. The
    /// bytes go where they would have gone, only not in the clear.
    pub(crate) fn with_own_scheme(&self, mut url: Url) -> Url {
        let is_downgraded = self.base.scheme() == "https" && url.scheme() == "http";
        let ports = (url.port(), self.base.port());
        let same_port = ports.0 == ports.1 || (ports == (Some(443), None));
        if is_downgraded && same_port && url.host() == self.base.host() {
            // Between these two it cannot fail.
            url.set_scheme("https").ok();
        }
        url
    }

    /// Refuses plain HTTP to where it is not allowed.
    ///
    /// Allowed are hosts configured for it, and loopback hosts if this endpoint itself is spoken to
    /// in plain HTTP: a registry elsewhere has no business with our loopback.
    pub(crate) fn check(&self, config: &ClientConfig, url: &Url) -> Result<()> {
        let host = authority(url);
        let allowed = match url.scheme() {
            "https" => true,
            "http" => {
                let to_loopback = url.host_str().is_some_and(is_loopback);
                self.is_origin_of(url)
                    || scheme(config, &host) == Scheme::InsecureHttp
                    || (to_loopback && self.base.scheme() == "http")
            }
            _ => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(Error::PlainHttp { host })
        }
    }
}

fn scheme(config: &ClientConfig, host: &str) -> Scheme {
    config
        .hosts
        .get(host)
        .map(|settings| settings.scheme)
        .unwrap_or_default()
}

/// Host and port of an address, as messages show them.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn host_without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, _)) if !host.ends_with(']') => name,
        _ => host,
    }
}

/// Whether a host, without port, is this machine: 127/8, ::1 or `localhost`.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostConfig;

    fn base(config: &ClientConfig, host: &str) -> String {
        Endpoint::new(config, host).unwrap().base.to_string()
    }

    #[test]
    fn https_everywhere_but_on_loopback_and_where_configured() {
        let mut config = ClientConfig::default();
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
            assert_eq!(base(&config, host), wanted);
        }
        let insecure = HostConfig {
            scheme: Scheme::InsecureHttp,
            mirrors: Vec::new(),
        };
        config.hosts.insert("10.0.0.1:5000".into(), insecure);
        let secure = HostConfig {
            scheme: Scheme::Https,
            mirrors: Vec::new(),
        };
        config.hosts.insert("localhost:5000".into(), secure);
        assert_eq!(base(&config, "10.0.0.1:5000"), "http://10.0.0.1:5000/v2/");
        assert_eq!(base(&config, "10.0.0.1"), "https://10.0.0.1/v2/");
        assert_eq!(
            base(&config, "localhost:5000"),
            "https://localhost:5000/v2/"
        );
    }

    #[test]
    fn plain_http_is_refused_off_loopback_and_from_afar() {
        let mut config = ClientConfig::default();
        let insecure = HostConfig {
            scheme: Scheme::InsecureHttp,
            mirrors: Vec::new(),
        };
        config.hosts.insert("lan:80".into(), insecure.clone());
        config.hosts.insert("lan".into(), insecure);
        let check = |host: &str, url: &str| {
            let endpoint = Endpoint::new(&config, host).unwrap();
            endpoint.check(&config, &Url::parse(url).unwrap()).is_ok()
        };
        assert!(check("ghcr.io", "https://elsewhere/x"));
        assert!(!check("ghcr.io", "http://ghcr.io/x"));
        assert!(!check("ghcr.io", "http://127.0.0.1/x"));
        assert!(!check("127.0.0.1:1", "http://elsewhere/x"));
        assert!(check("127.0.0.1:1", "http://127.0.0.1:2/x"));
        assert!(check("ghcr.io", "http://lan/x"));
        assert!(!check("ghcr.io", "file:///etc/passwd"));
    }

    #[test]
    fn own_addresses_keep_their_scheme() {
        let config = ClientConfig::default();
        let check = |host: &str, url: &str, wanted: &str| {
            let endpoint = Endpoint::new(&config, host).unwrap();
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

    #[test]
    fn mirrors_come_first() {
        let mut config = ClientConfig::default();
        let mirrors = vec!["localhost:1".to_owned(), "mirror.example".to_owned()];
        let settings = HostConfig {
            scheme: Scheme::Auto,
            mirrors,
        };
        config.hosts.insert("docker.io".into(), settings);
        let all = Endpoint::all(&config, "docker.io").unwrap();
        let hosts: Vec<&str> = all.iter().map(|endpoint| endpoint.host.as_str()).collect();
        assert_eq!(hosts, ["localhost:1", "mirror.example", "docker.io"]);
    }
}
