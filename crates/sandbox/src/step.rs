//! What a forked child does until the step's program runs: an ordered list of small steps.
//!
//! It is process 1 of its pid namespace and alone in its mount, IPC and UTS namespaces. Whatever fails goes
//! back over the task socket by the name of the step that failed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rbuild_sys::namespace::unshare;
use rbuild_sys::network::loopback_up;
use rbuild_sys::process::{close_on_exec_from, default_signals, exit_now};
use rbuild_sys::{Namespaces, SingleThreaded};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{fchdir, ioctl_tiocsctty, setsid, umask};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stderr};
use rustix::system::sethostname;

use crate::cgroup::Group;
use crate::failure::{During, setup};
use crate::nursery_main::catching;
use crate::place::{self, Kind, Owner};
use crate::program::{NotStarted, Prepared, environment};
use crate::role::Rung;
use crate::seccomp::Filters;
use crate::spec::{Network, StepSpec};
use crate::user::{Database, Identity};
use crate::wire::{self, Failure, Frame, Streams};
use crate::{identity, rlimit, rootfs, terminal};

/// Longest `/etc/passwd` and `/etc/group` that are read.
const MAX_USER_FILE: u64 = 10 << 20;

/// A step handed to a freshly forked child.
pub(crate) struct Task<'a> {
    /// The child has one thread, as its parent.
    pub(crate) proof: &'a SingleThreaded,
    /// The nursery's rights.
    pub(crate) rung: Rung,
    /// System call filters.
    pub(crate) filters: &'a Filters,
    /// The encoded spec.
    pub(crate) payload: OwnedFd,
    /// What the descriptors are.
    pub(crate) streams: Streams,
    /// Descriptors for the standard streams.
    pub(crate) fds: Vec<OwnedFd>,
    /// Where failures go.
    pub(crate) socket: &'a OwnedFd,
    /// Group to join.
    pub(crate) group: Option<&'a Group>,
}

/// Sets everything up and executes the step's program.
pub(crate) fn run(task: Task<'_>) -> ! {
    let socket = task.socket;
    let started = catching(|| Ok(start(task))).unwrap_or_else(|panic| Err(setup("set up", panic)));
    let failure = match started {
        Err(failure) => failure,
        Ok(not_started) => {
            let line = format!("{}\n", not_started.message);
            // To the step's own standard error, which is in place by now.
            rustix::io::write(stderr(), line.as_bytes()).ok();
            exit_now(not_started.code)
        }
    };
    wire::write_frame(socket, &Frame::Failed(failure)).ok();
    exit_now(1)
}

/// The list. Returns only if the program cannot be executed.
fn start(task: Task<'_>) -> Result<NotStarted, Failure> {
    let payload = wire::read_payload(task.payload).during("read spec", "payload")?;
    let spec: StepSpec = serde_json::from_slice(&payload).during("read spec", "payload")?;
    drop(payload);

    join_group(task.proof, task.group)?;
    let root = rootfs::mount(&spec, task.rung)?;
    let user = lookup_user(&root, &spec)?;
    let directory = open_cwd(&root, &spec.cwd, owner_of(&user, task.rung))?;
    rootfs::enter(&root)?;
    drop(root);
    sethostname(spec.hostname.as_bytes()).during("set host name", &spec.hostname)?;
    if spec.network == Network::None {
        loopback_up().during("bring up loopback", "lo")?;
    }
    rlimit::set(&spec.ulimits)?;
    let program = Prepared::new(&spec.args, &environment(&spec.env, &user.home))?;
    // A session of its own: no signal of the engine's terminal reaches it.
    setsid().during("make a session", "process")?;
    // Before ids change, as in Docker's runtime: root may enter what the user cannot.
    fchdir(&directory).during("enter working directory", &spec.cwd)?;
    drop(directory);
    connect(task.streams, &task.fds, owner_of(&user, task.rung))?;
    umask(Mode::from_raw_mode(0o022));
    identity::assume(&spec, task.rung, &user, task.filters)?;
    default_signals().during("reset signals", "process")?;
    close_on_exec_from(3).during("close descriptors", "process")?;
    Ok(program.start())
}

/// Joins the limiting group, then hides the rest of the cgroup tree.
fn join_group(proof: &SingleThreaded, group: Option<&Group>) -> Result<(), Failure> {
    if let Some(group) = group {
        group.join()?;
    }
    match unshare(proof, Namespaces::CGROUP) {
        // A kernel without cgroups has none to hide.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(()),
        result => result.during("make namespaces", "cgroup"),
    }
}

/// Looks the user up in the image's own files.
fn lookup_user(root: &OwnedFd, spec: &StepSpec) -> Result<Identity, Failure> {
    let read = |path| match place::read_small(root, path, MAX_USER_FILE) {
        Ok(bytes) => Ok(bytes.unwrap_or_default()),
        Err(error) => Err(error.to_string()),
    };
    let database = Database {
        passwd: read(c"/etc/passwd"),
        group: read(c"/etc/group"),
    };
    database.resolve(&spec.user)
}

/// Returns who owns what is made for the user.
fn owner_of(user: &Identity, rung: Rung) -> Owner {
    match rung {
        Rung::SingleId => Owner { uid: 0, gid: 0 },
        _ => Owner {
            uid: user.uid,
            gid: user.gid,
        },
    }
}

/// Opens the working directory, making what is missing of it.
///
/// Links to `/proc/self/fd/…` lead nowhere: they are walked as text, inside the root (CVE-2024-21626).
fn open_cwd(root: &OwnedFd, cwd: &str, owner: Owner) -> Result<OwnedFd, Failure> {
    const STAGE: &str = "open working directory";
    if !cwd.starts_with('/') {
        return Err(setup(STAGE, format!("{cwd:?} is not absolute")));
    }
    place::ensure(root, Path::new(cwd), Kind::Directory, owner).during(STAGE, cwd)
}

/// Puts the standard streams in place.
fn connect(streams: Streams, fds: &[OwnedFd], owner: Owner) -> Result<(), Failure> {
    const STAGE: &str = "connect standard streams";
    let (null, terminal);
    let (stdin, stdout, stderr) = match (streams, fds) {
        (Streams::Output, [stdout, stderr]) => {
            null = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .during(STAGE, "/dev/null")?;
            // Else another user could not open /dev/stdout, which opens the pipe anew.
            for pipe in [stdout, stderr] {
                place::chown(pipe, owner).ok();
            }
            (null.as_fd(), stdout.as_fd(), stderr.as_fd())
        }
        (Streams::Inherit, [stdin, stdout, stderr]) => {
            (stdin.as_fd(), stdout.as_fd(), stderr.as_fd())
        }
        (Streams::Terminal, [socket]) => {
            terminal = terminal::make(socket, owner)?;
            let slave = &terminal;
            ioctl_tiocsctty(slave).during(STAGE, "controlling terminal")?;
            (slave.as_fd(), slave.as_fd(), slave.as_fd())
        }
        _ => return Err(setup(STAGE, "wrong number of descriptors")),
    };
    dup2_stdin(stdin).during(STAGE, "input")?;
    dup2_stdout(stdout).during(STAGE, "output")?;
    dup2_stderr(stderr).during(STAGE, "error")
}
