//! EXPOSE: ports that a container listens on; host parts are checked and left out.

use rbuild_dockerfile::Word;
use rbuild_dockerfile::instruction::ExposeInstruction;
use rbuild_dockerfile::port::{parse_port, split_address};

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
        let parts = stage.expand_words(word, command)?;
        texts.extend(parts.into_iter().map(|text| (text, word)));
    }
    let mut ports = Vec::new();
    for (text, word) in &texts {
        let found = parse_port(text)
            .map_err(|e| Diagnostic::error(Code::InvalidPort, command.span, e.to_string()))?;
        warn(stage, command, (text, word));
        ports.extend(found);
    }
    stage.state.note(format!("EXPOSE {}", plain_list(&ports)));
    stage.state.run_config().exposed_ports.extend(ports);
    Ok(())
}

fn warn(stage: &mut StageCx<'_, '_>, command: &Command<'_>, (text, word): (&str, &Word)) {
    let (address, host, container) = split_address(text);
    let protocol = container
        .split_once('/')
        .map_or("", |(_, protocol)| protocol);
    if protocol.chars().any(char::is_uppercase) {
        let message =
            format!("Defined protocol '{text}' in EXPOSE instruction should be lowercase");
        let help = format!("Write `{}`.", text.to_lowercase());
        stage.warn(
            command,
            (Code::ExposeProtoCasing, message),
            (Some(word), &help),
        );
    }
    if !address.is_empty() || !host.is_empty() {
        let message = format!(
            "EXPOSE instruction should not define an IP address or host-port mapping, \
             found '{text}'"
        );
        let help = format!("Write `{container}`; who runs the image says where it is published.");
        stage.warn(
            command,
            (Code::ExposeInvalidFormat, message),
            (Some(word), &help),
        );
    }
}

#[cfg(test)]
mod tests {
    fn parse_port(text: &str) -> Result<Vec<String>, String> {
        super::parse_port(text).map_err(|e| e.to_string())
    }

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
