//! Credential helpers: programs that speak Docker's little protocol.

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rbuild_progress::{CancelToken, Cancelled};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
/// Blocks up to `limit`, less if `cancel` is set. `None` if the helper knows nothing of the server.
pub(crate) fn ask(
    name: &str,
    server: &str,
    limit: Duration,
    cancel: &CancelToken,
) -> Result<Option<Credential>, CredentialError> {
    let program = format!("docker-credential-{name}");
    // The name comes from a file and must not become a path.
    if name.is_empty()
        || !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "not a helper's name");
        return Err(CredentialError::Start { program, source });
    }
    run(program, server, limit, cancel)
}

fn run(
    program: String,
    server: &str,
    limit: Duration,
    cancel: &CancelToken,
) -> Result<Option<Credential>, CredentialError> {
    let failed = |source| CredentialError::Start {
        program: program.clone(),
        source,
    };
    let mut child = start(&program, server).map_err(failed)?;
    let deadline = Instant::now() + limit;
    let output = match read(&mut child, deadline, cancel) {
        Ok(Reading::Done(output)) => output,
        Ok(Reading::TimedOut) => return Err(CredentialError::Slow { program, limit }),
        Err(_) if cancel.is_cancelled() => return Err(Cancelled.into()),
        Err(source) => return Err(failed(source)),
    };
    let status = child.0.wait().map_err(failed)?;
    answer(&program, status, &output)
}

fn start(program: &str, server: &str) -> io::Result<Guard> {
    let child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Nothing but the command line may write to the terminal; the protocol's messages come on
        // standard output.
        .stderr(Stdio::null())
        .spawn()?;
    let mut child = Guard(child);
    if let Some(mut input) = child.0.stdin.take() {
        match input.write_all(server.as_bytes()) {
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

/// Reads standard output to its end, waiting for it, the deadline and the token together.
fn read(child: &mut Guard, deadline: Instant, cancel: &CancelToken) -> io::Result<Reading> {
    let mut output = Vec::new();
    let Some(mut stdout) = child.0.stdout.take() else {
        return Ok(Reading::Done(output));
    };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Reading::TimedOut);
        }
        let left = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let stop = cancel.as_fd();
        let mut fds = [
            PollFd::new(&stdout, PollFlags::IN),
            PollFd::new(&stop, PollFlags::IN),
        ];
        match poll(&mut fds, Some(&left)) {
            Err(rustix::io::Errno::INTR) => continue,
            outcome => outcome?,
        };
        if cancel.is_cancelled() {
            return Err(Cancelled.into());
        }
        if fds[0].revents().is_empty() {
            continue;
        }
        let mut piece = [0; 4096];
        match stdout.read(&mut piece)? {
            0 => return Ok(Reading::Done(output)),
            got => output.extend_from_slice(&piece[..got]),
        }
        if output.len() > OUTPUT_LIMIT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "too much output",
            ));
        }
    }
}

fn answer(
    program: &str,
    status: ExitStatus,
    output: &[u8],
) -> Result<Option<Credential>, CredentialError> {
    let failed = |message: &str| {
        let message = message.chars().take(200).collect();
        CredentialError::Helper {
            program: program.to_owned(),
            message,
        }
    };
    if !status.success() {
        let text = String::from_utf8_lossy(output);
        // The text is part of the protocol: helpers have no other way to say it.
        return match text.contains("credentials not found") {
            true => Ok(None),
            false => Err(failed(text.trim())),
        };
    }
    let answer: Answer =
        serde_json::from_slice(output).map_err(|_| failed("its answer is not JSON"))?;
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
        run(
            path.to_str().unwrap().to_owned(),
            "r.example",
            limit,
            cancel,
        )
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
