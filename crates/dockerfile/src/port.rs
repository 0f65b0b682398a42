//! Port specifications of EXPOSE, after expansion.

use std::net::IpAddr;

use nom::bytes::complete::take_while1;
use nom::character::complete::char as one_char;
use nom::combinator::{all_consuming, map_res, opt};
use nom::error::Error;
use nom::sequence::preceded;
use nom::{IResult, Parser};

use crate::quote::go_quote;

/// Why a port specification is refused; the texts are BuildKit's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// There is no container port.
    #[error("invalid port: {}: no port specified", go_quote(.0))]
    Missing(String),
    /// The protocol is none of tcp, udp and sctp.
    #[error("invalid port: {}: invalid proto: {protocol}", go_quote(.text))]
    Protocol {
        /// The whole text.
        text: String,
        /// The protocol in lower case.
        protocol: String,
    },
    /// The address is no IP address.
    #[error("invalid IP address: {0}")]
    Address(String),
    /// The container port is no port and no range of ports.
    #[error("invalid containerPort: {0}")]
    Container(String),
    /// The host port is no port and no range of ports.
    #[error("invalid hostPort: {0}")]
    Host(String),
    /// The two ranges differ in length.
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges {
        /// The container ports.
        container: String,
        /// The host ports.
        host: String,
    },
}

/// Reads `[ip:][hostport:]port[-port][/protocol]`; the result has one entry `port/protocol` for
/// each port, lowest first. Address and host port are checked and left out.
///
/// Grammar: dockerfile.ebnf#port
pub fn parse_port(text: &str) -> Result<Vec<String>, PortError> {
    let (address, host, container) = split_address(text);
    let (range, protocol) = match container.split_once('/') {
        None | Some((_, "")) => (container.trim_end_matches('/'), "tcp".to_owned()),
        Some((range, protocol)) => (range, protocol.to_lowercase()),
    };
    if range.is_empty() {
        return Err(PortError::Missing(text.to_owned()));
    }
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        let text = text.to_owned();
        return Err(PortError::Protocol { text, protocol });
    }
    check_address(address)?;
    let (_, (first, last)) =
        port_range(range).map_err(|_| PortError::Container(range.to_owned()))?;
    if !host.is_empty() {
        let (_, (low, high)) = port_range(host).map_err(|_| PortError::Host(host.to_owned()))?;
        // One container port may be published on any of a range of host ports.
        if last - first != high - low && last != first {
            return Err(PortError::Ranges {
                container: range.to_owned(),
                host: host.to_owned(),
            });
        }
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

/// Splits address, host port and container port with its protocol; the first two may be empty, and
/// the address may hold colons.
pub fn split_address(text: &str) -> (&str, &str, &str) {
    match text.rsplit_once(':') {
        None => ("", "", text),
        Some((before, container)) => match before.rsplit_once(':') {
            None => ("", before, container),
            Some((address, host)) => (address, host, container),
        },
    }
}

fn check_address(address: &str) -> Result<(), PortError> {
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    if address.is_empty() || bare.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(PortError::Address(bare.to_owned()))
}

/// Reads `port` or `port-port`.
///
/// Grammar: dockerfile.ebnf#port-range
fn port_range(text: &str) -> IResult<&str, (u16, u16)> {
    let number = || {
        map_res(
            take_while1::<_, _, Error<&str>>(|ch: char| ch.is_ascii_digit()),
            str::parse::<u16>,
        )
    };
    let range = (number(), opt(preceded(one_char('-'), number())));
    map_res(all_consuming(range), |(first, last)| {
        let last = last.unwrap_or(first);
        if first <= last {
            Ok((first, last))
        } else {
            Err("descending")
        }
    })
    .parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = match parse_port(text) {
            Ok(ports) => ports.join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn ports_and_ranges() {
        check("80", "80/tcp");
        check("8-9/UDP", "8/udp 9/udp");
        check("[::1]:80:81", "81/tcp");
        check("1-2:8", "8/tcp");
        check("80/", "80/tcp");
    }

    #[test]
    fn errors_are_those_of_buildkit() {
        check("", "invalid port: \"\": no port specified");
        check("80/foo", "invalid port: \"80/foo\": invalid proto: foo");
        check("70000", "invalid containerPort: 70000");
        check("9-8", "invalid containerPort: 9-8");
        check("x:80", "invalid hostPort: x");
        check("localhost:1:80", "invalid IP address: localhost");
        check(
            "1-2:7-9",
            "invalid ranges specified for container and host Ports: 7-9 and 1-2",
        );
    }
}
