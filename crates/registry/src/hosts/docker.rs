//! Docker's `daemon.json`: mirrors of Docker's own registry, and registries without proper TLS.

use std::net::IpAddr;

use serde::Deserialize;

use super::address::Address;
use super::network::Network;

/// The settings that concern registries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Daemon {
    /// Mirrors of `docker.io`, in order.
    pub(crate) mirrors: Vec<Address>,
    /// `host[:port]` of registries that need not speak TLS, or need not prove who they are.
    hosts: Vec<String>,
    /// Networks of such registries.
    pub(crate) networks: Vec<Network>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "registry-mirrors")]
    mirrors: Option<Vec<String>>,
    #[serde(rename = "insecure-registries")]
    insecure: Option<Vec<String>>,
}

impl Daemon {
    /// Reads the file's text. Errors are texts that say what is wrong and where.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // An empty file is what some installers leave.
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut daemon = Self::default();
        for mirror in document.mirrors.unwrap_or_default() {
            let address = Address::parse(&mirror);
            daemon
                .mirrors
                .push(address.map_err(|error| format!("registry-mirrors: {error}"))?);
        }
        for entry in document.insecure.unwrap_or_default() {
            let bare = entry.split_once("://").map_or(&*entry, |(_, rest)| rest);
            match Network::parse(bare) {
                Some(network) => daemon.networks.push(network),
                None if bare.contains('/') || bare.is_empty() => {
                    return Err(format!(
                        "insecure-registries: {entry:?} is neither HOST[:PORT] nor a network"
                    ));
                }
                None => daemon.hosts.push(bare.to_ascii_lowercase()),
            }
        }
        Ok(daemon)
    }

    /// Whether a registry is named, by name or, if it is an address itself, by its network.
    pub(crate) fn names(&self, host: &str) -> bool {
        let bare = bare_host(host);
        let address = bare.parse::<IpAddr>().ok();
        self.hosts
            .iter()
            .any(|known| known.eq_ignore_ascii_case(host))
            || address.is_some_and(|address| self.holds(address))
    }

    /// Whether an address lies in one of the networks.
    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(address))
    }
}

/// A host without port and brackets.
pub(crate) fn bare_host(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, _)) if !host.ends_with(']') => name,
        _ => host,
    };
    name.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_and_insecure_registries_are_read() {
        let text = r#"{"debug": true, "registry-mirrors": ["https://m.example/", "http://10.0.0.1:5000"],
            "insecure-registries": ["lan:5000", "http://old:80", "10.1.0.0/16", "fd00::/8"]}"#;
        let daemon = Daemon::parse(text).unwrap();
        let mirrors: Vec<_> = daemon
            .mirrors
            .iter()
            .map(|m| (m.secure, &*m.host))
            .collect();
        assert_eq!(mirrors, [(true, "m.example"), (false, "10.0.0.1:5000")]);
        for host in [
            "lan:5000",
            "LAN:5000",
            "old:80",
            "10.1.2.3",
            "10.1.2.3:99",
            "[fd00::1]:5000",
        ] {
            assert!(daemon.names(host), "{host}");
        }
        for host in ["lan", "lan:5001", "10.2.0.1", "example.com"] {
            assert!(!daemon.names(host), "{host}");
        }
        assert_eq!(Daemon::parse("").unwrap(), Daemon::default());
        assert_eq!(Daemon::parse("{}").unwrap(), Daemon::default());
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let check = |text: &str, wanted: &str| {
            let error = Daemon::parse(text).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        };
        check("{\n  oops}", "line 2 column 3");
        check(
            r#"{"registry-mirrors": ["ftp://x"]}"#,
            "registry-mirrors: \"ftp://x\"",
        );
        check(
            r#"{"insecure-registries": ["x/y"]}"#,
            "insecure-registries: \"x/y\"",
        );
        check(r#"{"registry-mirrors": "x"}"#, "expected a sequence");
    }
}
