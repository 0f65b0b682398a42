//! Running a program to its end, or to a time limit.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// How a program ended and what it printed.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The status; a program stopped at the limit has ended by SIGKILL.
    pub status: ExitStatus,
    /// Standard output, bytes that are not UTF-8 replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// Whether the time limit ended it.
    pub timed_out: bool,
    /// Wall time from start to end.
    pub elapsed: Duration,
    what: String,
}

impl Finished {
    /// Returns the exit code, if it ended by exiting.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Returns both outputs, standard output first.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Panics with all it printed unless it exited 0.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert!(self.status.success(), "{self}");
        self
    }

    /// Panics with all it printed unless it exited with `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{self}");
        self
    }

    /// Panics with all it printed unless one of its outputs holds `fragment`.
    #[track_caller]
    pub fn expect_text(self, fragment: &str) -> Self {
        let found = self.stdout.contains(fragment) || self.stderr.contains(fragment);
        assert!(found, "no {fragment:?} in what it printed\n{self}");
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = match (self.timed_out, self.status.code(), self.status.signal()) {
            (true, ..) => "ran into the time limit".to_owned(),
            (_, Some(code), _) => format!("exited {code}"),
            (_, _, signal) => format!("died by signal {signal:?}"),
        };
        writeln!(f, "`{}` {end} after {:?}", self.what, self.elapsed)?;
        writeln!(f, "--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }
}

/// Runs `command` without standard input for at most `limit`.
///
/// It is put into a process group of its own; at the limit the whole group is killed.
pub fn run(command: &mut Command, limit: Duration) -> Finished {
    run_with_input(command, b"", limit)
}

/// As [`run`], with these bytes as standard input.
pub fn run_with_input(command: &mut Command, input: &[u8], limit: Duration) -> Finished {
    let what = describe(command);
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("start `{what}`: {error}"));
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let input = input.to_vec();
    // The program may end without reading: a broken pipe is its own affair.
    let feeder = thread::spawn(move || drop(stdin.write_all(&input)));
    let stdout = drain(child.stdout.take().expect("standard output is piped"));
    let stderr = drain(child.stderr.take().expect("standard error is piped"));
    let timed_out = !ends_within(&child, limit);
    if timed_out && let Some(group) = Pid::from_raw(child.id().cast_signed()) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = child
        .wait()
        .unwrap_or_else(|error| panic!("wait for `{what}`: {error}"));
    let _ = feeder.join();
    Finished {
        status,
        stdout: stdout.join().expect("the reader does not panic"),
        stderr: stderr.join().expect("the reader does not panic"),
        timed_out,
        elapsed: started.elapsed(),
        what,
    }
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

fn drain(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What arrived before an error is still worth showing.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits by descriptor, so that nothing sleeps and no signal is missed.
pub(crate) fn ends_within(child: &Child, limit: Duration) -> bool {
    let Some(pid) = Pid::from_raw(child.id().cast_signed()) else {
        return true;
    };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true;
    };
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("wait for a child: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_code_are_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "cat; echo err >&2; exit 3"]);
        let done = run_with_input(&mut command, b"in\n", Duration::from_secs(10)).expect_code(3);
        assert_eq!(
            (done.stdout.as_str(), done.stderr.as_str()),
            ("in\n", "err\n")
        );
        assert!(!done.timed_out);
    }

    #[test]
    fn the_limit_kills_the_whole_group() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & sleep 600"]);
        let done = run(&mut command, Duration::from_millis(50));
        assert!(done.timed_out && done.elapsed < Duration::from_secs(60));
    }
}
