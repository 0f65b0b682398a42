//! How git reaches servers on the web: the proxies of the build, as variables of its environment.

use std::collections::BTreeMap;

use rbuild_registry::{ProxyConfig, without_credentials};

/// Hosts that are always reached directly, as git's library of HTTP names them.
const THIS_MACHINE: &str = "localhost,127.0.0.1,::1";

/// Proxies for one repository and its submodules.
pub(super) struct Network {
    /// Variables of git's environment; in lower case, the only one that counts for plain HTTP.
    pub(super) env: BTreeMap<&'static str, String>,
}

impl Network {
    /// What counts for `remote` is what counts for downloads; for its submodules, what git makes of the same
    /// settings.
    pub(super) fn of(config: &ProxyConfig, remote: &str) -> Self {
        let mut env = BTreeMap::new();
        for (name, proxy) in [("http_proxy", &config.http), ("https_proxy", &config.https)] {
            if let Some(proxy) = proxy.as_ref().filter(|proxy| !proxy.is_empty()) {
                env.insert(name, proxy.clone());
            }
        }
        if !env.is_empty() {
            let mut direct: Vec<&str> = vec![THIS_MACHINE];
            direct.extend(config.exceptions.as_deref());
            if config.proxy_of(remote).is_none() {
                direct.extend(host(remote));
            }
            env.insert("no_proxy", direct.join(","));
        }
        Self { env }
    }

    /// What git said, without the passwords of proxies.
    pub(super) fn without_passwords(&self, said: &str) -> String {
        let mut said = said.to_owned();
        for proxy in self.env.values() {
            let address = match proxy.contains("://") {
                true => proxy.clone(),
                false => format!("http://{proxy}"),
            };
            let shown = without_credentials(&address);
            if shown != address {
                said = said.replace(proxy, &shown);
            }
            let (_, rest) = address.split_once("://").unwrap_or_default();
            if let Some((login, _)) = rest.rsplit_once('@') {
                said = said.replace(&format!("{login}@"), "");
            }
        }
        said
    }
}

/// The host of an address on the web.
fn host(remote: &str) -> Option<&str> {
    let (_, rest) = remote.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    match host.strip_prefix('[') {
        Some(inner) => inner.split(']').next(),
        None => host.split(':').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ProxyConfig {
        ProxyConfig {
            http: Some("http://u:secret@p:1".to_owned()),
            https: Some("v:geheim@q:2".to_owned()),
            exceptions: Some("example.com,10.0.0.0/8".to_owned()),
        }
    }

    #[test]
    fn git_is_told_of_proxies_and_of_what_goes_without() {
        let direct = |remote: &str| Network::of(&config(), remote).env["no_proxy"].clone();
        let usual = "localhost,127.0.0.1,::1,example.com,10.0.0.0/8";
        assert_eq!(direct("http://other.org/x.git"), usual);
        assert_eq!(
            direct("http://10.1.2.3:80/x.git"),
            format!("{usual},10.1.2.3")
        );
        let network = Network::of(&config(), "https://other.org/x.git");
        assert_eq!(network.env["http_proxy"], "http://u:secret@p:1");
        assert_eq!(network.env["https_proxy"], "v:geheim@q:2");
        assert!(
            Network::of(&ProxyConfig::default(), "http://x/")
                .env
                .is_empty()
        );
    }

    #[test]
    fn passwords_are_taken_out_of_what_git_says() {
        let network = Network::of(&config(), "http://other.org/x.git");
        let said = "no proxy http://u:secret@p:1/ nor v:geheim@q:2 and u:secret@p";
        assert_eq!(
            network.without_passwords(said),
            "no proxy http://p:1/ nor http://q:2 and p"
        );
    }

    #[test]
    fn hosts_stand_between_login_and_port() {
        assert_eq!(host("http://u:p@[::1]:8/x"), Some("::1"));
        assert_eq!(host("http://u:p@h:8/x"), Some("h"));
        assert_eq!(host("https://h"), Some("h"));
        assert_eq!(host("git@h:x"), None);
    }
}
