//! Running an engine's own client: its output within a limit, its end with the cancel token.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rbuild_progress::CancelToken;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::{BuildError, ErrorKind, Result};

/// Most bytes that are kept of each output.
const MAX_OUTPUT: usize = 64 << 10;

/// How long a client that is told to stop may take to put its house in order.
const GRACE: Duration = Duration::from_millis(800);

/// A program, and what of the environment is kept from it.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) without: &'static [&'static str],
}

/// How a program ended and what it said.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Ran {
    /// Its last words, for a message.
    pub(super) fn complaint(&self) -> String {
        let said = if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        let last = said
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty());
        match (last, self.code) {
            (Some(last), _) => last.chars().take(500).collect(),
            (None, Some(code)) => format!("it ended with {code} and said nothing"),
            (None, None) => "it was killed and said nothing".to_owned(),
        }
    }

    pub(super) fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

/// Runs a program without input.
///
/// Errors: of kind `Host` if it cannot be started; cancelled.
pub(super) fn run(program: &Program, args: &[&str], cancel: &CancelToken) -> Result<Ran> {
    let mut child = Running::start(program, args, Stdio::null())?;
    child.read(cancel)
}

/// Runs a program with an input, which `write` writes. That it takes no more of it is told by how it
/// ends: then the error of `write` does not count.
pub(super) fn feed(
    program: &Program,
    args: &[&str],
    write: impl FnOnce(File) -> Result<()>,
    cancel: &CancelToken,
) -> Result<Ran> {
    let mut child = Running::start(program, args, Stdio::piped())?;
    let input = child.child.stdin.take();
    let input = input.ok_or_else(|| BuildError::build("a child without its input"))?;
    let input = File::from(OwnedFd::from(input));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let ran = child.read(cancel);
            if ran.is_err() {
                // Else `write` would be stuck for as long as a child that takes nothing lives.
                child.child.kill().ok();
            }
            ran
        });
        let written = write(input);
        let ran = reader
            .join()
            .unwrap_or_else(|_| Err(BuildError::build("reading a program's output broke off")))?;
        match ran.is_success() {
            true => written.map(|()| ran),
            false => Ok(ran),
        }
    })
}

/// A child that does not outlive the value.
struct Running {
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Running {
    fn start(program: &Program, args: &[&str], input: Stdio) -> Result<Self> {
        let mut command = Command::new(&program.path);
        for name in program.without {
            command.env_remove(name);
        }
        let child = command
            .args(args)
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                BuildError::new(
                    ErrorKind::Host,
                    format!("start {}: {error}", program.path.display()),
                )
            })?;
        Ok(Self { child })
    }

    /// Reads both outputs to their ends and waits for the program.
    fn read(&mut self, cancel: &CancelToken) -> Result<Ran> {
        let broken =
            |error: io::Error| BuildError::build(format!("read a program's output: {error}"));
        let out = self
            .child
            .stdout
            .take()
            .map(|pipe| File::from(OwnedFd::from(pipe)));
        let err = self
            .child
            .stderr
            .take()
            .map(|pipe| File::from(OwnedFd::from(pipe)));
        let mut pipes = [(out, Vec::new()), (err, Vec::new())];
        let mut deadline = None;
        while pipes.iter().any(|(pipe, _)| pipe.is_some()) {
            if cancel.is_cancelled() && deadline.is_none() {
                self.stop();
                deadline = Some(Instant::now() + GRACE);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            wait(&pipes, cancel, deadline);
            for (pipe, kept) in &mut pipes {
                read_some(pipe, kept).map_err(broken)?;
            }
        }
        cancel.check()?;
        let status = self.child.wait().map_err(broken)?;
        let [(_, stdout), (_, stderr)] = pipes;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Ran {
            code: status.code(),
            stdout: text(stdout),
            stderr: text(stderr),
        })
    }

    fn stop(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Not waited for yet, so the number is still its own.
            kill_process(pid, Signal::TERM).ok();
        }
    }
}

type Pipe = (Option<File>, Vec<u8>);

/// Waits until a pipe has something, the token is set or the time is over.
fn wait(pipes: &[Pipe; 2], cancel: &CancelToken, deadline: Option<Instant>) {
    let mut fds: Vec<PollFd<'_>> = pipes
        .iter()
        .filter_map(|(pipe, _)| pipe.as_ref())
        .map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN))
        .collect();
    let left = deadline.map(|deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        }
    });
    // Once it is set it stays readable, and would wake us for ever.
    if deadline.is_none() {
        fds.push(PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN));
    }
    // An interrupted wait comes round again.
    poll(&mut fds, left.as_ref()).ok();
}

/// Reads what is there, without waiting; closes the pipe at its end.
fn read_some(pipe: &mut Option<File>, kept: &mut Vec<u8>) -> io::Result<()> {
    let Some(file) = pipe else { return Ok(()) };
    let zero = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(&*file, PollFlags::IN)];
    if poll(&mut fds, Some(&zero)).unwrap_or(0) == 0 {
        return Ok(());
    }
    let mut piece = [0; 4096];
    match file.read(&mut piece) {
        Ok(0) => *pipe = None,
        Ok(got) => {
            // The end of what it says matters most.
            kept.extend_from_slice(&piece[..got]);
            let over = kept.len().saturating_sub(MAX_OUTPUT);
            kept.drain(..over);
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn sh() -> Program {
        Program {
            path: "/bin/sh".into(),
            without: &["UNWANTED"],
        }
    }

    fn shell(script: &str, cancel: &CancelToken) -> Result<Ran> {
        run(&sh(), &["-c", script], cancel)
    }

    #[test]
    fn both_outputs_and_the_code_are_told() {
        let ran = shell(
            "echo out; echo 'first\nlast' >&2; exit 3",
            &CancelToken::new(),
        )
        .unwrap();
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), "out\n"));
        assert_eq!(ran.complaint(), "last");
        let ran = shell("exit 4", &CancelToken::new()).unwrap();
        assert_eq!(ran.complaint(), "it ended with 4 and said nothing");
        let much = shell("yes | head -c 1000000; echo end", &CancelToken::new()).unwrap();
        assert!(much.stdout.len() <= MAX_OUTPUT && much.stdout.ends_with("end\n"));
    }

    #[test]
    fn a_program_that_hangs_ends_with_the_token() {
        let cancel = CancelToken::new();
        let begin = Instant::now();
        std::thread::scope(|scope| {
            let hanging = scope.spawn(|| shell("trap '' TERM; sleep 60 & wait; wait", &cancel));
            cancel.wait(Duration::from_millis(100)).unwrap();
            cancel.cancel();
            let error = hanging.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cancelled);
        });
        assert!(begin.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_that_takes_no_input_ends_with_the_token() {
        let cancel = CancelToken::new();
        let begin = Instant::now();
        let write = |mut file: File| {
            cancel.cancel();
            let written = file.write_all(&vec![b'x'; 1 << 20]);
            written.map_err(|error| BuildError::build(error.to_string()))
        };
        let deaf = ["-c", "trap '' TERM; exec sleep 60"];
        let error = feed(&sh(), &deaf, write, &cancel).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(begin.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn input_goes_in_and_a_program_that_takes_none_says_why() {
        let cancel = CancelToken::new();
        let write = |bytes: usize| {
            move |mut file: File| {
                file.write_all(&vec![b'x'; bytes])
                    .map_err(|error| BuildError::build(error.to_string()))
            }
        };
        let ran = feed(&sh(), &["-c", "wc -c"], write(1 << 20), &cancel).unwrap();
        assert_eq!(ran.stdout.trim(), "1048576");
        let refuse = ["-c", "echo no room >&2; exit 1"];
        let ran = feed(&sh(), &refuse, write(1 << 20), &cancel).unwrap();
        assert_eq!(
            (ran.is_success(), ran.complaint()),
            (false, "no room".to_owned())
        );
    }
}
