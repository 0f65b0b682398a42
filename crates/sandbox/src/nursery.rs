//! The engine's handle on its nursery: start it, give it tasks, end it.
//!
//! The other side is `nursery_main`; what a step does before its program runs is `step`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rbuild_progress::{CancelToken, Stream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketType, shutdown};

use crate::role::{Role, stem_arguments};
use crate::spec::{StepExit, StepSpec};
use crate::stdio::{Output, StepIo};
use crate::task::{Outcome, Task};
use crate::wire::{self, Ended, Hello, Mapped, Start, TerminalOpen, TerminalTaken};
use crate::{Error, NurseryMode, Result};

/// How to start a nursery.
#[derive(Clone, Debug)]
pub struct NurseryConfig {
    /// Binary to re-execute, normally `/proc/self/exe`. Its `main` must call
    /// [`nursery_main`](crate::nursery_main) before anything else.
    pub helper: PathBuf,
    /// With which rights.
    pub mode: NurseryMode,
}

/// A running nursery. Clones share it; it ends with the last of them, and with the process at the latest.
#[derive(Clone)]
pub struct Nursery {
    inner: Arc<Inner>,
}

struct Inner {
    control: OwnedFd,
    keeper: Option<JoinHandle<()>>,
    mode: NurseryMode,
}

impl Drop for Inner {
    /// Hangs up, which ends the nursery and all in it, and waits for it to be gone.
    fn drop(&mut self) {
        shutdown(&self.control, Shutdown::Both).ok();
        if let Some(keeper) = self.keeper.take() {
            keeper.join().ok();
        }
    }
}

/// How long a helper may take to answer; only a binary that is no nursery ever does.
const ANSWER: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

impl Nursery {
    /// Starts a nursery and waits until it is ready, some milliseconds.
    ///
    /// Errors: [`Error::Start`] when the helper cannot be run or does not answer, [`Error::IdMap`] when the
    /// subordinate ids cannot be mapped.
    pub fn start(config: &NurseryConfig) -> Result<Self> {
        let failed = |detail: String| Error::Start {
            helper: config.helper.clone(),
            detail,
        };
        let (control, theirs) =
            wire::pair(SocketType::SEQPACKET).map_err(|e| failed(format!("make a socket: {e}")))?;
        let (pid, keeper) =
            keep(&config.helper, &config.mode, theirs).map_err(|e| failed(e.to_string()))?;
        // From here on dropping `inner` ends what was started.
        let inner = Inner {
            control,
            keeper: Some(keeper),
            mode: config.mode.clone(),
        };
        greet(&inner, pid, &failed)?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Returns the mode it was started with. In [`NurseryMode::SingleId`] files keep no owner but root,
    /// which deserves one warning per build and must be part of cache records.
    pub fn mode(&self) -> &NurseryMode {
        &self.inner.mode
    }

    /// Runs one job in a child of the nursery and returns its answer.
    ///
    /// Blocks; may be called from many threads at once. At most 251 descriptors. Cancellation kills the
    /// child and returns once it is gone.
    pub fn run_job(
        &self,
        request: &[u8],
        fds: &[BorrowedFd<'_>],
        cancel: &CancelToken,
    ) -> Result<Vec<u8>> {
        cancel.check()?;
        let task = self.begin(&Start::Job, request, fds)?;
        let outcome = task.follow(Vec::new(), &mut |_, _| {}, cancel)?;
        let Outcome { reply, ended, .. } = outcome.into_result()?;
        match (reply, ended) {
            (Some(reply), _) => Ok(reply),
            (None, ended) => Err(Error::Job {
                detail: format!("it ended without an answer: {}", describe(ended)),
            }),
        }
    }

    /// Runs one step and returns how its program ended.
    ///
    /// Blocks; may be called from many threads at once. Cancellation kills the step, all it started included,
    /// and returns once they are gone. Errors: [`Error::Setup`], [`Error::User`], [`Error::MissingSource`]
    /// when the program was not started. A program that does not exist is no error here: it is exit code 1
    /// with a line on standard error, as with Docker's runtime.
    pub fn run_step(
        &self,
        spec: &StepSpec,
        io: StepIo<'_>,
        cancel: &CancelToken,
    ) -> Result<StepExit> {
        self.run_step_holding(spec, io, &[], cancel)
    }

    /// As [`Nursery::run_step`]; the nursery holds copies of these descriptors as long as the step runs.
    ///
    /// For locks on what the step uses: when this process is killed, they are free only when the nursery
    /// goes, and with it the step, not a moment earlier. The step itself does not get them.
    pub fn run_step_holding(
        &self,
        spec: &StepSpec,
        io: StepIo<'_>,
        held: &[BorrowedFd<'_>],
        cancel: &CancelToken,
    ) -> Result<StepExit> {
        cancel.check()?;
        let request = serde_json::to_vec(spec).map_err(Error::Encode)?;
        let start = Start::Step {
            streams: io.streams(),
            network: spec.network,
            limits: spec.limits.clone(),
            held: held.len(),
        };
        let with_held =
            |fds: &[BorrowedFd<'_>]| self.begin(&start, &request, &[fds, held].concat());
        let outcome = match io {
            StepIo::Output { on_output } => {
                let (outputs, ends) = output_pipes()?;
                let fds: Vec<_> = ends.iter().map(AsFd::as_fd).collect();
                let task = with_held(&fds)?;
                // Else the streams would never end.
                drop(ends);
                task.follow(outputs, on_output, cancel)?
            }
            StepIo::Inherit {
                stdin,
                stdout,
                stderr,
            } => {
                let task = with_held(&[stdin, stdout, stderr])?;
                task.follow(Vec::new(), &mut |_, _| {}, cancel)?
            }
            StepIo::Terminal { on_open } => {
                let (ours, theirs) =
                    wire::pair(SocketType::SEQPACKET).map_err(wire_error("make a socket"))?;
                let task = with_held(&[theirs.as_fd()])?;
                // Else nobody would notice that the step is gone.
                drop(theirs);
                take_terminal(&ours, on_open, cancel);
                task.follow(Vec::new(), &mut |_, _| {}, cancel)?
            }
        };
        Ok(match outcome.into_result()?.ended {
            Ended::Code(code) => StepExit::Code(code),
            Ended::Signal(signal) => StepExit::Signal(signal),
            Ended::OutOfMemory => StepExit::OutOfMemory,
        })
    }

    /// Hands a task over.
    fn begin(&self, start: &Start, request: &[u8], fds: &[BorrowedFd<'_>]) -> Result<Task> {
        let (ours, theirs) = wire::pair(SocketType::STREAM).map_err(wire_error("make a socket"))?;
        let payload = wire::payload(request).map_err(wire_error("write a request"))?;
        let mut all = vec![theirs.as_fd(), payload.as_fd()];
        all.extend_from_slice(fds);
        wire::send(&self.inner.control, start, &all).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::Gone,
            _ => wire_error("send a request")(error),
        })?;
        Ok(Task::new(ours))
    }
}

/// Passes the master side of a step's terminal on, unless the step or the build ends before.
///
/// Says nothing of failures: following the task tells what became of it.
fn take_terminal(socket: &OwnedFd, on_open: &mut dyn FnMut(OwnedFd), cancel: &CancelToken) {
    let mut waiting = [
        PollFd::new(socket, PollFlags::IN),
        PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN),
    ];
    while let Err(Errno::INTR) = poll(&mut waiting, None) {}
    if cancel.is_cancelled() {
        return;
    }
    if let Ok(Some((TerminalOpen, fds))) = wire::receive(socket)
        && let Some(master) = fds.into_iter().next()
    {
        on_open(master);
        wire::send(socket, &TerminalTaken, &[]).ok();
    }
}

/// Returns a closure that names what was attempted.
pub(crate) fn wire_error(action: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Wire { action, source }
}

/// Makes the pipes for both outputs: the engine's ends, and the step's.
fn output_pipes() -> Result<(Vec<Output>, [OwnedFd; 2])> {
    let make = |stream| Output::pipe(stream).map_err(wire_error("make a pipe"));
    let (stdout, out) = make(Stream::Stdout)?;
    let (stderr, err) = make(Stream::Stderr)?;
    Ok((vec![stdout, stderr], [out, err]))
}

/// Says in words how a child ended.
fn describe(ended: Ended) -> String {
    match ended {
        Ended::Code(code) => format!("exit code {code}"),
        Ended::Signal(signal) => format!("killed by signal {signal}"),
        Ended::OutOfMemory => "out of memory".to_owned(),
    }
}

/// Starts the helper from a thread of its own and returns its process id.
///
/// The kernel sends the parent-death signal when the *thread* that forked ends (prctl(2)), so that thread
/// must outlive the nursery: it waits for it.
fn keep(helper: &Path, mode: &NurseryMode, socket: OwnedFd) -> io::Result<(u32, JoinHandle<()>)> {
    let mut command = Command::new(helper);
    command
        .arg0(Role::NAME)
        .args(stem_arguments(mode))
        .env_clear()
        .current_dir("/")
        // Interrupts of the terminal are for the engine: it decides what ends, and in which order.
        .process_group(0)
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit());
    let (sender, receiver) = mpsc::sync_channel(1);
    let keeper = thread::Builder::new()
        .name("rbuild-nursery".into())
        .spawn(move || {
            let spawned = command.spawn();
            // The command holds the nursery's end of the socket: while it lives, no hang-up is seen.
            drop(command);
            match spawned {
                Ok(mut child) => {
                    sender.send(Ok(child.id())).ok();
                    child.wait().ok();
                }
                Err(error) => {
                    sender.send(Err(error)).ok();
                }
            }
        })?;
    let pid = receiver.recv().map_err(io::Error::other)??;
    Ok((pid, keeper))
}

/// Waits for the nursery to be ready, writing its id maps when it asks for them.
fn greet(inner: &Inner, pid: u32, failed: &dyn Fn(String) -> Error) -> Result<()> {
    loop {
        let mut waiting = [PollFd::new(&inner.control, PollFlags::IN)];
        match poll(&mut waiting, Some(&ANSWER)) {
            Err(Errno::INTR) => continue,
            Err(error) => return Err(failed(format!("wait for its answer: {error}"))),
            Ok(0) => {
                return Err(failed(
                    "no answer; its main must call nursery_main() first".into(),
                ));
            }
            Ok(_) => {}
        }
        let hello = wire::receive::<Hello>(&inner.control)
            .map_err(|error| failed(format!("read its answer: {error}")))?;
        match hello.map(|(hello, _)| hello) {
            None => {
                return Err(failed(
                    "it ended without an answer; its main must call nursery_main() first".into(),
                ));
            }
            Some(Hello::Failed(detail)) => return Err(failed(detail)),
            Some(Hello::Unshared) => {
                inner.mode.write_maps(pid)?;
                wire::send(&inner.control, &Mapped, &[])
                    .map_err(|error| failed(format!("answer it: {error}")))?;
            }
            Some(Hello::Ready) => return Ok(()),
        }
    }
}
