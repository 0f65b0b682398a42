//! `/etc/hosts` and `/etc/resolv.conf` of a step.
//!
//! Text in, text out; which namespace a step is in is decided where it is forked.

use std::net::IpAddr;

use crate::spec::Network;

/// Name servers for a network of its own whose host has only local ones.
const PUBLIC_SERVERS: &str = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";

/// Returns `/etc/hosts`.
pub(crate) fn hosts_file(hostname: &str, extra: &[(String, String)]) -> String {
    let mut text =
        format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (address, name) in extra {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

/// Returns `/etc/resolv.conf`, given the host's.
///
/// In the host's network namespace its resolver is reached as the host reaches it, a local one included: the
/// file is kept. Elsewhere 127.0.0.53 is another machine, so servers on the loopback device go out.
pub(crate) fn resolver_file(host: &str, network: Network) -> String {
    if network != Network::None {
        return host.to_owned();
    }
    let mut text = String::new();
    let mut servers = 0;
    for line in host.lines() {
        match name_server(line) {
            Some(address) if address.is_loopback() => continue,
            Some(_) => servers += 1,
            None => {}
        }
        text.push_str(line);
        text.push('\n');
    }
    if servers == 0 {
        text.push_str(PUBLIC_SERVERS);
    }
    text
}

/// Reads a `nameserver` line's address, without its zone.
fn name_server(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace();
    if words.next()? != "nameserver" {
        return None;
    }
    words.next()?.split('%').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_file_is_the_one_of_docker() {
        let extra = [("10.0.0.1".to_owned(), "db".to_owned())];
        assert_eq!(
            hosts_file("buildkitsandbox", &extra),
            "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.1\tdb\n"
        );
    }

    #[test]
    fn local_servers_leave_only_with_the_network() {
        let host = "# c\nsearch lan\nnameserver 127.0.0.53\nnameserver ::1\nnameserver fe80::1%eth0\noptions edns0\n";
        assert_eq!(resolver_file(host, Network::Default), host);
        assert_eq!(
            resolver_file(host, Network::None),
            "# c\nsearch lan\nnameserver fe80::1%eth0\noptions edns0\n"
        );
        assert_eq!(
            resolver_file("nameserver 127.0.0.53\n", Network::None),
            PUBLIC_SERVERS
        );
    }
}
