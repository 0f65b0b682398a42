//! Proxies: for steps from the settings of Docker's client, for the engine from the environment.

use std::collections::BTreeMap;
use std::path::Path;

use rbuild::ProxyConfig;
use serde_json::Value;

/// Settings under `proxies.default` of `config.json`, and the build arguments that they become.
const SETTINGS: [(&str, &str); 5] = [
    ("httpProxy", "HTTP_PROXY"),
    ("httpsProxy", "HTTPS_PROXY"),
    ("noProxy", "NO_PROXY"),
    ("ftpProxy", "FTP_PROXY"),
    ("allProxy", "ALL_PROXY"),
];

/// The build arguments, each in upper and in lower case; none if there is no such file or setting.
///
/// A file that cannot be read is an error only where credentials are needed.
pub fn proxies(docker_config: &Path) -> BTreeMap<String, String> {
    let config: Option<Value> = std::fs::read(docker_config.join("config.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut found = BTreeMap::new();
    for (setting, name) in SETTINGS {
        let value = config
            .as_ref()
            .and_then(|config| config["proxies"]["default"][setting].as_str())
            .filter(|value| !value.is_empty());
        if let Some(value) = value {
            found.insert(name.to_owned(), value.to_owned());
            found.insert(name.to_ascii_lowercase(), value.to_owned());
        }
    }
    found
}

/// Proxies for registries, downloads and git: variables in upper case or, where there is none, in lower case.
pub fn of_network() -> ProxyConfig {
    let either = |name: &str| {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        set(name).or_else(|| set(&name.to_ascii_lowercase()))
    };
    ProxyConfig {
        http: either("HTTP_PROXY"),
        https: either("HTTPS_PROXY"),
        exceptions: either("NO_PROXY"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_arguments_in_both_cases() {
        let dir = rbuild_testkit::TempDir::new();
        assert!(proxies(dir.path()).is_empty());
        let text = r#"{"auths":{},"proxies":{"default":{"httpProxy":"http://p:1","noProxy":""}}}"#;
        std::fs::write(dir.path().join("config.json"), text).unwrap();
        let found: Vec<_> = proxies(dir.path()).into_iter().collect();
        let expected = [("HTTP_PROXY", "http://p:1"), ("http_proxy", "http://p:1")];
        assert_eq!(found, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        std::fs::write(dir.path().join("config.json"), "{").unwrap();
        assert!(proxies(dir.path()).is_empty());
    }
}
