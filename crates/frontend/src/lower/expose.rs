//! EXPOSE: ports that a container listens on; host parts are checked and left out.

use std::net::IpAddr;

use rbuild_dockerfile::instruction::ExposeInstruction;
use rbuild_dockerfile::quote::go_quote;

use super::Outcome;
use super::stage::StageCx;
use crate::go_text::plain_list;
use crate::stage::Command;
use crate::{Code, Diagnostic};

pub(super) fn lower(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    expose: &ExposeInstruction,
) -> Outcome {
    let mut texts = Vec::new();
    for word in &expose.ports {
        texts.extend(stage.expand_words(word, command)?);
    }
    let mut ports = Vec::new();
    for text in &texts {
        let found = parse_port(text)
            .map_err(|message| Diagnostic::error(Code::InvalidPort, command.span, message))?;
        warn(stage, command, text);
        ports.extend(found);
    }
    stage.state.note(format!("EXPOSE {}", plain_list(&ports)));
    stage.state.run_config().exposed_ports.extend(ports);
    Ok(())
}

fn warn(stage: &mut StageCx<'_, '_>, command: &Command<'_>, text: &str) {
    let (address, host, container) = split(text);
    let protocol = container
        .split_once('/')
        .map_or("", |(_, protocol)| protocol);
    if protocol.chars().any(char::is_uppercase) {
        let message =
            format!("Defined protocol '{text}' in EXPOSE instruction should be lowercase");
        let warning = Diagnostic::warning(Code::ExposeProtoCasing, command.span, message);
        stage.build.report(warning);
    }
    if !address.is_empty() || !host.is_empty() {
        let message = format!(
            "EXPOSE instruction should not define an IP address or host-port mapping, \
             found '{text}'"
        );
        let warning = Diagnostic::warning(Code::ExposeInvalidFormat, command.span, message);
        stage.build.report(warning);
    }
}

/// Reads `[ip:][hostport:]port[-port][/protocol]`; one entry `port/protocol` for each port.
fn parse_port(text: &str) -> Result<Vec<String>, String> {
    let invalid = |why: &str| format!("invalid port: {}: {why}", go_quote(text));
    let (address, host, container) = split(text);
    let (range, protocol) = match container.split_once('/') {
        Some((range, "" | "tcp")) => (range, "tcp".to_owned()),
        Some((range, protocol)) => (range, protocol.to_lowercase()),
        None => (container, "tcp".to_owned()),
    };
    if range.is_empty() {
        return Err(invalid("no port specified"));
    }
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(invalid(&format!("invalid proto: {protocol}")));
    }
    check_address(&address)?;
    let (first, last) =
        parse_range(range).ok_or_else(|| format!("invalid containerPort: {range}"))?;
    check_host(host, range, last - first)?;
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

/// Address, host port and container port; the address may hold colons itself.
fn split(text: &str) -> (String, &str, &str) {
    let Some((before, container)) = text.rsplit_once(':') else {
        return (String::new(), "", text);
    };
    match before.rsplit_once(':') {
        Some((address, host)) => (address.to_owned(), host, container),
        None => (String::new(), before, container),
    }
}

fn check_address(address: &str) -> Result<(), String> {
    let plain = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    if address.is_empty() || plain.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(format!("invalid IP address: {address}"))
}

fn check_host(host: &str, container: &str, size: u16) -> Result<(), String> {
    if host.is_empty() {
        return Ok(());
    }
    let (first, last) = parse_range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?;
    // One container port may be published on any of a range of host ports.
    if last - first == size || size == 0 {
        return Ok(());
    }
    Err(format!(
        "invalid ranges specified for container and host Ports: {container} and {host}"
    ))
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| -> Option<u16> {
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse().ok())?
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::parse_port;

    #[test]
    fn ports_and_ranges() {
        let check = |text, wanted: &[&str]| {
            assert_eq!(
                parse_port(text).as_deref(),
                Ok(&wanted.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()[..]),
                "{text}"
            );
        };
        check("80", &["80/tcp"]);
        check("80/UDP", &["80/udp"]);
        check("80/", &["80/tcp"]);
        check("8-9/sctp", &["8/sctp", "9/sctp"]);
        check("127.0.0.1:1-2:8-9", &["8/tcp", "9/tcp"]);
        check("1-2:8", &["8/tcp"]);
        check("[::1]:80:81", &["81/tcp"]);
        check("::::80", &["80/tcp"]);
    }

    #[test]
    fn what_is_no_port() {
        let check = |text, wanted: &str| assert_eq!(parse_port(text), Err(wanted.to_owned()));
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
