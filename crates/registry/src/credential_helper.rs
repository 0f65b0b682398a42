//! Credential helpers: programs that speak Docker's little protocol.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rbuild_progress::{CancelToken, Cancelled};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;

use crate::credential::{Credential, CredentialError};
use crate::secret::Secret;

/// Most output that is read of a helper, in bytes.
const OUTPUT_LIMIT: usize = 64 * 1024;

/// What a helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// A child that does not outlive the value.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Asks `docker-credential-NAME get` about a server.
///
/// Blocks up to the limit, less if `cancel` is set. `None` if the helper knows nothing of the server.
pub(crate) fn get(
    name: &str,
    (server, limit): (&str, Duration),
    cancel: &CancelToken,
) -> Result<Option<Credential>, CredentialError> {
    let program = program(name)?;
    let call = Call {
        program: &program,
        action: "get",
        input: server,
        limit,
    };
    let (status, output) = call.run(cancel)?;
    answer(&program, status, &output)
}

/// Has `docker-credential-NAME store` keep a user's password.
pub(crate) fn store(
    name: &str,
    (server, username, password): (&str, &str, &Secret),
    limit: Duration,
    cancel: &CancelToken,
) -> Result<(), CredentialError> {
    // The names are the protocol's.
    let input = serde_json::json!({
        "ServerURL": server,
        "Username": username,
        "Secret": password.expose(),
    });
    let input = input.to_string();
    tell(name, ("store", &input), limit, cancel)
}

/// Has `docker-credential-NAME erase` forget what it keeps for a server.
pub(crate) fn erase(
    name: &str,
    server: &str,
    limit: Duration,
    cancel: &CancelToken,
) -> Result<(), CredentialError> {
    tell(name, ("erase", server), limit, cancel)
}

fn tell(
    name: &str,
    (action, input): (&str, &str),
    limit: Duration,
    cancel: &CancelToken,
) -> Result<(), CredentialError> {
    let program = program(name)?;
    let call = Call {
        program: &program,
        action,
        input,
        limit,
    };
    let (status, output) = call.run(cancel)?;
    match status.success() {
        true => Ok(()),
        // Erasing what is not there is done already.
        false if action == "erase" && says_not_found(&output) => Ok(()),
        false => Err(failed(&program, String::from_utf8_lossy(&output).trim())),
    }
}

/// The program of a helper. Errors: the name cannot be one.
fn program(name: &str) -> Result<String, CredentialError> {
    let program = format!("docker-credential-{name}");
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    // The name comes from a file and must not become a path.
    match !name.is_empty() && name.bytes().all(plain) {
        true => Ok(program),
        false => {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "not a helper's name");
            Err(CredentialError::Start { program, source })
        }
    }
}

/// One run of a helper.
struct Call<'a> {
    program: &'a str,
    action: &'a str,
    /// What it reads; may be a secret.
    input: &'a str,
    limit: Duration,
}

impl Call<'_> {
    fn run(&self, cancel: &CancelToken) -> Result<(ExitStatus, Vec<u8>), CredentialError> {
        let failed = |source| CredentialError::Start {
            program: self.program.to_owned(),
            source,
        };
        let mut child = start(self.program, (self.action, self.input)).map_err(failed)?;
        let deadline = Instant::now() + self.limit;
        let output = match read(&mut child, deadline, cancel) {
            Ok(Reading::Done(output)) => output,
            Ok(Reading::TimedOut) => {
                return Err(CredentialError::Slow {
                    program: self.program.to_owned(),
                    limit: self.limit,
                });
            }
            Err(_) if cancel.is_cancelled() => return Err(Cancelled.into()),
            Err(source) => return Err(failed(source)),
        };
        let status = child.0.wait().map_err(failed)?;
        Ok((status, output))
    }
}

fn start(program: &str, (action, text): (&str, &str)) -> io::Result<Guard> {
    let child = Command::new(program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Nothing but the command line may write to the terminal; the protocol's messages come on
        // standard output.
        .stderr(Stdio::null())
        .spawn()?;
    let mut child = Guard(child);
    if let Some(mut input) = child.0.stdin.take() {
        match input.write_all(text.as_bytes()) {
            // It may well answer without having read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            outcome => outcome?,
        }
    }
    Ok(child)
}

enum Reading {
    Done(Vec<u8>),
    TimedOut,
}

/// Reads standard output to its end and waits for the program's, for the deadline and the token together.
fn read(child: &mut Guard, deadline: Instant, cancel: &CancelToken) -> io::Result<Reading> {
    let mut output = Vec::new();
    let Some(mut stdout) = child.0.stdout.take() else {
        return Ok(Reading::Done(output));
    };
    while is_ready(&stdout, deadline, cancel)? {
        let mut piece = [0; 4096];
        match stdout.read(&mut piece)? {
            // It may go on without an output.
            0 => {
                let ended = pidfd_open(Pid::from_child(&child.0), PidfdFlags::empty())?;
                return Ok(match is_ready(&ended, deadline, cancel)? {
                    true => Reading::Done(output),
                    false => Reading::TimedOut,
                });
            }
            got => output.extend_from_slice(&piece[..got]),
        }
        if output.len() > OUTPUT_LIMIT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "too much output",
            ));
        }
    }
    Ok(Reading::TimedOut)
}

/// Waits until a descriptor is readable; false if it is not by the deadline. Fails once the token is set.
fn is_ready(fd: &impl AsFd, deadline: Instant, cancel: &CancelToken) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let left = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [
            PollFd::new(fd, PollFlags::IN),
            PollFd::new(cancel, PollFlags::IN),
        ];
        match poll(&mut fds, Some(&left)) {
            Err(rustix::io::Errno::INTR) => continue,
            outcome => outcome?,
        };
        cancel.check()?;
        if !fds[0].revents().is_empty() {
            return Ok(true);
        }
    }
}

fn answer(
    program: &str,
    status: ExitStatus,
    output: &[u8],
) -> Result<Option<Credential>, CredentialError> {
    if !status.success() {
        return match says_not_found(output) {
            true => Ok(None),
            false => Err(failed(program, String::from_utf8_lossy(output).trim())),
        };
    }
    let answer: Answer =
        serde_json::from_slice(output).map_err(|_| failed(program, "its answer is not JSON"))?;
    let secret = Secret::new(answer.secret);
    Ok(match (answer.username, secret.is_empty()) {
        (_, true) => None,
        (username, _) if username == "<token>" => Some(Credential::IdentityToken(secret)),
        (username, _) => Some(Credential::Password {
            username,
            password: secret,
        }),
    })
}

/// The text is part of the protocol: helpers have no other way to say it.
fn says_not_found(output: &[u8]) -> bool {
    String::from_utf8_lossy(output).contains("credentials not found")
}

fn failed(program: &str, message: &str) -> CredentialError {
    CredentialError::Helper {
        program: program.to_owned(),
        message: message.chars().take(200).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Runs a shell script as a helper.
    fn helper(
        script: &str,
        limit: Duration,
        cancel: &CancelToken,
    ) -> Result<Option<Credential>, CredentialError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("helper");
        // Written by another process: a fork of a test beside this one would hold the file open for
        // writing, and such a file cannot be started.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\" && chmod 755 \"$2\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", write, "sh", script]).arg(&path);
        assert!(shell.status().unwrap().success());
        let program = path.to_str().unwrap();
        let call = Call {
            program,
            action: "get",
            input: "r.example",
            limit,
        };
        let (status, output) = call.run(cancel)?;
        answer(program, status, &output)
    }

    #[test]
    fn answers_become_credentials() {
        let cancel = CancelToken::new();
        let echo = r#"read -r s || true; echo "{\"ServerURL\":\"$s\",\"Username\":\"u-$s\",\"Secret\":\"p\"}""#;
        let wanted = Credential::Password {
            username: "u-r.example".into(),
            password: Secret::new("p"),
        };
        assert_eq!(helper(echo, LONG, &cancel).unwrap(), Some(wanted));
        let token = r#"echo '{"Username":"<token>","Secret":"t"}'"#;
        let wanted = Credential::IdentityToken(Secret::new("t"));
        assert_eq!(helper(token, LONG, &cancel).unwrap(), Some(wanted));
    }

    #[test]
    fn unknown_servers_are_none_and_failures_are_told() {
        let cancel = CancelToken::new();
        let unknown = "echo 'credentials not found in native keychain'; exit 1";
        assert_eq!(helper(unknown, LONG, &cancel).unwrap(), None);
        let error = helper("echo 'key ring is locked'; exit 1", LONG, &cancel).unwrap_err();
        assert!(error.to_string().contains("key ring is locked"));
        let error = helper("echo hunter2", LONG, &cancel).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn slow_helpers_are_stopped() {
        let begin = Instant::now();
        let error = helper(
            "exec sleep 60",
            Duration::from_millis(50),
            &CancelToken::new(),
        );
        assert!(matches!(error, Err(CredentialError::Slow { .. })));
        let mute = "exec >&-; exec sleep 60";
        let error = helper(mute, Duration::from_millis(200), &CancelToken::new());
        assert!(matches!(error, Err(CredentialError::Slow { .. })));
        let cancel = CancelToken::new();
        cancel.cancel();
        let error = helper("exec sleep 60", LONG, &cancel);
        assert!(matches!(error, Err(CredentialError::Cancelled(_))));
        assert!(begin.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn endless_output_is_cut_off() {
        let error = helper("exec yes", LONG, &CancelToken::new());
        assert!(matches!(error, Err(CredentialError::Start { .. })));
    }
}
