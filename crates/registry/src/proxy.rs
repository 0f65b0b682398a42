//! Which proxy a request goes through: the rules of Docker's tools, which are those of Go.
//!
//! Source: golang.org/x/net/http/httpproxy, the documentation of `Config`.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

use crate::without_credentials;

/// Proxies, as addresses like `http://[USER:PASSWORD@]HOST:PORT`; `None` means a direct connection.
///
/// Hosts of this machine are always reached directly.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// For `http:` addresses.
    pub http: Option<String>,
    /// For `https:` addresses.
    pub https: Option<String>,
    /// Hosts to reach directly, separated by commas, as in `NO_PROXY`: a name with all below it, with a dot
    /// before it only those below; an address or a range of them; each also with a port; `*` is all.
    pub exceptions: Option<String>,
}

impl fmt::Debug for ProxyConfig {
    /// Never shows a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |address: &Option<String>| {
            let address = address.as_deref().map(with_scheme)?;
            Some(without_credentials(&address))
        };
        f.debug_struct("ProxyConfig")
            .field("http", &shown(&self.http))
            .field("https", &shown(&self.https))
            .field("exceptions", &self.exceptions)
            .finish()
    }
}

impl ProxyConfig {
    /// The proxy for an address, with a scheme before it; `None` is a direct connection, also for what is no
    /// address of the web.
    pub fn proxy_of(&self, address: &str) -> Option<String> {
        self.of_url(&Url::parse(address).ok()?)
    }

    pub(crate) fn of_url(&self, url: &Url) -> Option<String> {
        let proxy = match url.scheme() {
            "http" => self.http.as_deref(),
            "https" => self.https.as_deref(),
            _ => None,
        };
        let proxy = proxy.filter(|proxy| !proxy.is_empty())?;
        if self.is_direct(url) {
            return None;
        }
        Some(with_scheme(proxy))
    }

    fn is_direct(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else {
            return true;
        };
        let host = host.trim_matches(['[', ']']).trim_end_matches('.');
        let host = host.to_ascii_lowercase();
        let ip: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
            return true;
        }
        let port = url.port_or_known_default();
        let exceptions = self.exceptions.as_deref().unwrap_or_default();
        let mut entries = exceptions.split(',').map(str::trim);
        entries.any(|entry| is_exception(&entry.to_ascii_lowercase(), &host, ip, port))
    }
}

fn with_scheme(address: &str) -> String {
    match address.contains("://") {
        true => address.to_owned(),
        false => format!("http://{address}"),
    }
}

fn is_exception(entry: &str, host: &str, ip: Option<IpAddr>, port: Option<u16>) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((range, bits)) = entry.split_once('/') {
        return ip.is_some_and(|ip| is_within(ip, range, bits));
    }
    let (name, wanted) = with_port(entry);
    if name.is_empty() || wanted.is_some_and(|wanted| Some(wanted) != port) {
        return false;
    }
    if let Ok(address) = name.parse::<IpAddr>() {
        return ip == Some(address);
    }
    let below = name.trim_start_matches('*');
    match below.strip_prefix('.') {
        Some(parent) => is_below(host, parent),
        None => host == below || is_below(host, below),
    }
}

/// Splits a port off; an address of many colons has none unless it is in brackets.
fn with_port(entry: &str) -> (&str, Option<u16>) {
    let bare = |name: &'_ str| name.len() >= 2 && name.starts_with('[') && name.ends_with(']');
    if entry.parse::<IpAddr>().is_ok() {
        return (entry, None);
    }
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (entry, None),
        },
        None => (entry, None),
    };
    match bare(name) {
        true => (name.trim_matches(['[', ']']), port),
        false => (name, port),
    }
}

fn is_below(host: &str, parent: &str) -> bool {
    let rest = host.strip_suffix(parent);
    rest.is_some_and(|rest| rest.ends_with('.'))
}

fn is_within(ip: IpAddr, range: &str, bits: &str) -> bool {
    let (Ok(range), Ok(bits)) = (range.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (ip, range) {
        (IpAddr::V4(ip), IpAddr::V4(range)) if bits <= 32 => {
            let shift = |ip: std::net::Ipv4Addr| ip.to_bits().checked_shr(32 - bits);
            shift(ip) == shift(range)
        }
        (IpAddr::V6(ip), IpAddr::V6(range)) if bits <= 128 => {
            let shift = |ip: std::net::Ipv6Addr| ip.to_bits().checked_shr(128 - bits);
            shift(ip) == shift(range)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(exceptions: &str) -> ProxyConfig {
        ProxyConfig {
            http: Some("http://u:secret@plain:1".to_owned()),
            https: Some("v:geheim@safe:2".to_owned()),
            exceptions: Some(exceptions.to_owned()),
        }
    }

    #[test]
    fn the_scheme_chooses_the_proxy() {
        let of = |address| config("").proxy_of(address);
        assert_eq!(
            of("http://host/x").as_deref(),
            Some("http://u:secret@plain:1")
        );
        assert_eq!(
            of("https://host/x").as_deref(),
            Some("http://v:geheim@safe:2")
        );
        for direct in ["ssh://host/x", "git://host/x", "git@host:x", "host", ""] {
            assert_eq!(of(direct), None, "{direct}");
        }
        assert_eq!(ProxyConfig::default().proxy_of("http://host/"), None);
    }

    #[test]
    fn this_machine_is_reached_directly() {
        for host in [
            "localhost",
            "127.0.0.1:5000",
            "127.1.2.3",
            "[::1]:80",
            "LOCALHOST.",
        ] {
            let address = format!("http://{host}/");
            assert_eq!(config("").proxy_of(&address), None, "{host}");
        }
    }

    #[test]
    fn exceptions_are_names_addresses_ranges_and_ports() {
        let check = |exceptions: &str, host: &str, direct: bool| {
            let found = config(exceptions).proxy_of(&format!("http://{host}/"));
            assert_eq!(found.is_none(), direct, "{exceptions:?} {host}");
        };
        check("*", "any", true);
        check("a, example.com ,b", "example.com", true);
        check("example.com", "www.Example.com", true);
        check("example.com", "notexample.com", false);
        check(".example.com", "example.com", false);
        check(".example.com", "www.example.com", true);
        check("*.example.com", "www.example.com", true);
        check("*.example.com", "example.com", false);
        check("example.com:8080", "example.com:8080", true);
        check("example.com:8080", "example.com", false);
        check("example.com:80", "example.com", true);
        check("10.0.0.1", "10.0.0.1", true);
        check("10.0.0.1:81", "10.0.0.1", false);
        check("10.0.0.0/8", "10.200.3.4", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("0.0.0.0/0", "11.0.0.1", true);
        check("2001:db8::/32", "[2001:db8::7]", true);
        check("[2001:db8::7]:80", "[2001:db8::7]", true);
        check("2001:db8::7", "[2001:db8::8]", false);
        for nonsense in ["", ",,", "/", "10.0.0.0/99", "x/8", ":", "[", "[]"] {
            check(nonsense, "10.0.0.1", false);
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let text = format!("{:?}", config("a"));
        let shown = r#"Some("http://plain:1"), https: Some("http://safe:2")"#;
        assert!(text.contains(shown), "{text}");
    }
}
