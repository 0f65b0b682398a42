//! The nursery's side: how the re-executed binary becomes process 1 of its pid namespace, and its loop.
//!
//! Two programs run in a row, both this binary. The *stem* is what the engine spawns: it leaves the engine's
//! namespaces, forks once into a new pid namespace, and waits. The child executes the binary again, from a
//! read-only mount that only it sees, and is the *nursery*: one thread, one `poll`, a child per task.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process;
use std::sync::mpsc;

use rbuild_sys::namespace::{map_single_id, unshare};
use rbuild_sys::process::{close_on_exec_from, exec, exit_now, fork, fork_into};
use rbuild_sys::{Child, Forked, Namespaces, SingleThreaded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getgid, getppid, getuid, pidfd_send_signal,
    set_parent_process_death_signal, umask, waitid,
};
use rustix::stdio::{dup2_stdin, stdin};

use crate::NurseryMode;
use crate::cgroup::Group;
use crate::own_binary;
use crate::seccomp::Filters;
use crate::spec::Network;
use crate::step;
use crate::wire::{self, Ended, Failure, Frame, Hello, Mapped, Start};

/// What the program wants done in the nursery beside steps.
pub trait Duties {
    /// Does one job and returns its answer. Runs in a forked child that ends with it, with the nursery's
    /// rights, in its mount and pid namespaces, with umask 0 and `/` as directory.
    ///
    /// The child is killed when the job is cancelled. A panic is reported as a failed job.
    fn job(&self, request: &[u8], fds: Vec<OwnedFd>) -> Vec<u8>;
}

/// Changes when the two sides of the socket no longer understand each other.
const PROTOCOL: &str = "1";

/// Which rights a nursery has; the ranges of ids do not matter to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rung {
    /// Root in the initial user namespace, or as good as that.
    Root,
    /// Many ids in a user namespace.
    Subordinate,
    /// One id in a user namespace.
    SingleId,
}

impl Rung {
    /// Its word on the command line.
    fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Subordinate => "subordinate",
            Self::SingleId => "single-id",
        }
    }

    /// Reads its word.
    fn from_word(word: &str) -> Option<Self> {
        [Self::Root, Self::Subordinate, Self::SingleId]
            .into_iter()
            .find(|rung| rung.word() == word)
    }

    /// Tells whether there is a user namespace of our own.
    pub(crate) fn is_rootless(self) -> bool {
        self != Self::Root
    }
}

impl From<&NurseryMode> for Rung {
    fn from(mode: &NurseryMode) -> Self {
        match mode {
            NurseryMode::Root => Self::Root,
            NurseryMode::Subordinate { .. } => Self::Subordinate,
            NurseryMode::SingleId => Self::SingleId,
        }
    }
}

/// As what this binary was started.
pub(crate) enum Role {
    /// By an engine with this process id.
    Stem { rung: Rung, engine: i32 },
    /// By a stem.
    Nursery { rung: Rung },
}

impl Role {
    /// Argument 0 of both.
    pub(crate) const NAME: &str = "rbuild-nursery";

    /// Recognises the command lines made by [`stem_arguments`] and [`nursery_arguments`]; no other.
    fn from_arguments(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut next = || arguments.next()?.into_string().ok();
        if next()? != Self::NAME {
            return None;
        }
        let role = next()?;
        if next()? != PROTOCOL {
            return None;
        }
        let rung = Rung::from_word(&next()?)?;
        match role.as_str() {
            "stem" => Some(Self::Stem {
                rung,
                engine: next()?.parse().ok()?,
            }),
            "nursery" => Some(Self::Nursery { rung }),
            _ => None,
        }
    }
}

/// Returns the arguments, after the name, that an engine gives to its stem.
pub(crate) fn stem_arguments(mode: &NurseryMode) -> [String; 4] {
    let engine = process::id().to_string();
    ["stem", PROTOCOL, Rung::from(mode).word(), &engine].map(str::to_owned)
}

/// Returns all arguments that a stem gives to its nursery.
fn nursery_arguments(rung: Rung) -> [&'static str; 4] {
    [Role::NAME, "nursery", PROTOCOL, rung.word()]
}

/// Becomes the nursery if this process was started as one; returns at once if not.
///
/// Must be the first call in `main`: the process must not have started threads.
pub fn nursery_main(duties: &dyn Duties) {
    match Role::from_arguments(std::env::args_os()) {
        None => {}
        Some(Role::Stem { rung, engine }) => stem(rung, engine),
        Some(Role::Nursery { rung }) => nursery(rung, duties),
    }
}

/// Reports on the control socket why there will be no nursery, and ends.
fn give_up(control: &OwnedFd, action: &str, error: &dyn std::fmt::Display) -> ! {
    wire::send(control, &Hello::Failed(format!("{action}: {error}")), &[]).ok();
    exit_now(1)
}

/// Leaves the engine's namespaces, forks the nursery, and waits for it.
fn stem(rung: Rung, engine: i32) -> ! {
    let Ok(control) = rustix::io::fcntl_dupfd_cloexec(stdin(), 3) else {
        exit_now(1)
    };
    let child = match prepare(rung, engine, &control) {
        Ok(child) => child,
        Err((action, error)) => give_up(&control, action, &error),
    };
    // The nursery alone must hold the socket, or nobody would notice that it is gone.
    drop(control);
    if let Ok(null) = open("/dev/null", OFlags::RDWR, Mode::empty()) {
        dup2_stdin(&null).ok();
    }
    wait_for(&child);
    exit_now(0)
}

/// What failed, and how.
type Failed = (&'static str, std::io::Error);

/// Names what failed.
fn doing<E: Into<std::io::Error>>(action: &'static str) -> impl Fn(E) -> Failed {
    move |error| (action, error.into())
}

/// The stem's work up to the fork; in the child it does not return.
fn prepare(rung: Rung, engine: i32, control: &OwnedFd) -> Result<Child, Failed> {
    let proof = SingleThreaded::prove().map_err(doing("start with one thread"))?;
    close_on_exec_from(3).map_err(doing("mark descriptors"))?;
    umask(Mode::empty());
    let namespaces = match rung.is_rootless() {
        true => Namespaces::USER.and(Namespaces::MOUNT),
        false => Namespaces::MOUNT,
    };
    // Asked before: inside, they read as nobody.
    let (uid, gid) = (getuid(), getgid());
    unshare(&proof, namespaces).map_err(doing("make namespaces"))?;
    match rung {
        Rung::Root => {}
        Rung::SingleId => map_single_id(uid, gid).map_err(doing("map one id"))?,
        Rung::Subordinate => await_maps(control).map_err(doing("wait for id maps"))?,
    }
    die_with_parent().map_err(doing("ask for the parent's death"))?;
    // The engine may have died before the line above; then nobody would tell.
    if getppid().map(Pid::as_raw_pid) != Some(engine) {
        exit_now(1);
    }
    // Mounts made here stay here, while those that the host makes or undoes arrive: a file system that the
    // host unmounts must not stay busy for as long as a build runs.
    mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .map_err(doing("turn mount propagation off"))?;
    let binary = own_binary::protected().map_err(doing("protect the own binary"))?;
    match fork_into(&proof, Namespaces::PID).map_err(doing("make a pid namespace"))? {
        Forked::Parent(child) => Ok(child),
        Forked::Child => Err(doing("execute the nursery")(execute(rung, &binary))),
    }
}

/// Tells the engine that the id maps can be written, and waits until they are.
fn await_maps(control: &OwnedFd) -> std::io::Result<()> {
    wire::send(control, &Hello::Unshared, &[])?;
    match wire::receive::<Mapped>(control)? {
        Some(_) => Ok(()),
        None => exit_now(1),
    }
}

/// Has the kernel kill this process when its parent (thread) ends. Never changes ids after this: that would
/// clear it (prctl(2)).
fn die_with_parent() -> rustix::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
}

/// Executes the nursery from a descriptor; returns only on failure.
fn execute(rung: Rung, binary: &OwnedFd) -> Errno {
    if let Err(error) = die_with_parent() {
        return error;
    }
    // The name is looked up before descriptors close on exec.
    let path = CString::new(format!("/proc/self/fd/{}", binary.as_raw_fd())).unwrap_or_default();
    let arguments: Vec<CString> = nursery_arguments(rung)
        .iter()
        .filter_map(|argument| CString::new(*argument).ok())
        .collect();
    exec(&path, &arguments, &[])
}

/// Waits for a child to end.
fn wait_for(child: &Child) {
    while let Err(Errno::INTR) = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED) {
    }
}

/// One running child and the socket on which its engine thread listens.
struct Running {
    child: Child,
    socket: OwnedFd,
    group: Option<Group>,
    hung_up: bool,
}

/// The nursery's loop.
fn nursery(rung: Rung, duties: &dyn Duties) -> ! {
    let Ok(control) = rustix::io::fcntl_dupfd_cloexec(stdin(), 3) else {
        exit_now(1)
    };
    let proof = match enter(&control) {
        Ok(proof) => proof,
        Err((action, error)) => give_up(&control, action, &error),
    };
    // Built once, before any fork: each step finds it in its copy of this memory.
    let filters = Filters::new(rung);
    let mut running: Vec<Running> = Vec::new();
    loop {
        let heard = match wait(&control, &running) {
            Ok(heard) => heard,
            Err(error) => give_up(&control, "wait", &error),
        };
        hang_up(&mut running, &heard.children);
        reap(&mut running);
        if heard.control {
            match wire::receive::<Start>(&control) {
                // Process 1 of a pid namespace takes all others with it.
                Ok(None) => exit_now(0),
                // A malformed request cannot be answered; closing its descriptors tells its sender.
                Err(_) => {}
                Ok(Some((start, fds))) => {
                    let begun = Begin {
                        proof: &proof,
                        rung,
                        filters: &filters,
                        duties,
                    };
                    begun.task(start, fds, &mut running);
                }
            }
        }
    }
}

/// Settles in: one thread, no socket as standard input, ready.
fn enter(control: &OwnedFd) -> Result<SingleThreaded, Failed> {
    let proof = SingleThreaded::prove().map_err(doing("start with one thread"))?;
    let null = open("/dev/null", OFlags::RDWR, Mode::empty()).map_err(doing("open /dev/null"))?;
    dup2_stdin(&null).map_err(doing("replace standard input"))?;
    close_on_exec_from(3).map_err(doing("mark descriptors"))?;
    die_with_parent().map_err(doing("ask for the parent's death"))?;
    umask(Mode::empty());
    wire::send(control, &Hello::Ready, &[]).map_err(doing("answer"))?;
    Ok(proof)
}

/// What a wait found.
struct Woken {
    control: bool,
    /// Per running child, in order.
    children: Vec<Event>,
}

/// What happened to one child.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Nothing,
    HungUp,
}

/// Waits for a request, a hang-up or the end of a child.
fn wait(control: &OwnedFd, running: &[Running]) -> rustix::io::Result<Woken> {
    let mut waiting = vec![PollFd::new(control, PollFlags::IN)];
    for task in running {
        waiting.push(PollFd::new(&task.child.pidfd, PollFlags::IN));
        // Once hung up it would be ready for ever: no events asked for. POLLHUP still arrives when both ends
        // are closed, for the short time until the killed child is reaped.
        let events = match task.hung_up {
            true => PollFlags::empty(),
            false => PollFlags::RDHUP,
        };
        waiting.push(PollFd::new(&task.socket, events));
    }
    while let Err(error) = poll(&mut waiting, None) {
        if error != Errno::INTR {
            return Err(error);
        }
    }
    let mut ready = waiting.iter().map(|waiting| !waiting.revents().is_empty());
    let control = ready.next().unwrap_or(false);
    let children = running
        .iter()
        .map(|_| match (ready.next(), ready.next()) {
            // Ended: it is about to be reaped, and its number free for others.
            (Some(true), _) => Event::Nothing,
            (_, Some(true)) => Event::HungUp,
            _ => Event::Nothing,
        })
        .collect();
    Ok(Woken { control, children })
}

/// Kills children whose engine thread hung up.
fn hang_up(running: &mut [Running], events: &[Event]) {
    for (task, event) in running.iter_mut().zip(events) {
        if *event == Event::HungUp {
            task.hung_up = true;
            pidfd_send_signal(&task.child.pidfd, Signal::KILL).ok();
        }
    }
}

/// Reaps all that ended and reports those that are tasks.
///
/// The others were left behind by a job: as process 1 the nursery is their parent now.
fn reap(running: &mut Vec<Running>) {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        let Some(at) = running.iter().position(|task| task.child.pid == pid) else {
            continue;
        };
        let task = running.swap_remove(at);
        let ended = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ended::Code(code),
            (None, Some(9)) if task.group.as_ref().is_some_and(Group::ran_out_of_memory) => {
                Ended::OutOfMemory
            }
            (None, signal) => Ended::Signal(signal.unwrap_or(0)),
        };
        wire::write_frame(&task.socket, &Frame::Ended(ended)).ok();
    }
}

/// What is needed to begin a task.
struct Begin<'a> {
    proof: &'a SingleThreaded,
    rung: Rung,
    filters: &'a Filters,
    duties: &'a dyn Duties,
}

impl Begin<'_> {
    /// Forks a child for a request; failures go back on its task socket.
    fn task(&self, start: Start, fds: Vec<OwnedFd>, running: &mut Vec<Running>) {
        let mut fds = fds.into_iter();
        let (Some(socket), Some(payload)) = (fds.next(), fds.next()) else {
            return;
        };
        let fds: Vec<OwnedFd> = fds.collect();
        let begun = match start {
            Start::Job => self.job(&socket, payload, fds),
            Start::Step {
                streams,
                network,
                limits,
            } => match Group::create(&limits) {
                Err(failure) => Err(failure),
                Ok(group) => self
                    .fork_step(network)
                    .map(|forked| match forked {
                        Forked::Parent(child) => child,
                        Forked::Child => step::run(step::Task {
                            proof: self.proof,
                            rung: self.rung,
                            filters: self.filters,
                            payload,
                            streams,
                            fds,
                            socket: &socket,
                            group: group.as_ref(),
                        }),
                    })
                    .map(|child| (child, group)),
            },
        };
        match begun {
            Ok((child, group)) => running.push(Running {
                child,
                socket,
                group,
                hung_up: false,
            }),
            Err(failure) => {
                wire::write_frame(&socket, &Frame::Failed(failure)).ok();
            }
        }
    }

    /// Forks into the namespaces of a step.
    fn fork_step(&self, network: Network) -> Result<Forked, Failure> {
        let mut namespaces = Namespaces::MOUNT
            .and(Namespaces::PID)
            .and(Namespaces::IPC)
            .and(Namespaces::UTS);
        if network == Network::None {
            namespaces = namespaces.and(Namespaces::NETWORK);
        }
        fork_into(self.proof, namespaces).map_err(|error| Failure::Setup {
            stage: "make namespaces".into(),
            detail: error.to_string(),
        })
    }

    /// Forks the child of a job.
    fn job(
        &self,
        socket: &OwnedFd,
        payload: OwnedFd,
        fds: Vec<OwnedFd>,
    ) -> Result<(Child, Option<Group>), Failure> {
        match fork(self.proof) {
            Ok(Forked::Parent(child)) => Ok((child, None)),
            Ok(Forked::Child) => {
                let done = catching(|| {
                    let request = wire::read_payload(payload).map_err(|e| e.to_string())?;
                    Ok(self.duties.job(&request, fds))
                });
                let frame = match done {
                    Ok(reply) => Frame::Reply(reply),
                    Err(detail) => Frame::Failed(Failure::Job(detail)),
                };
                exit_now(i32::from(wire::write_frame(socket, &frame).is_err()))
            }
            Err(error) => Err(Failure::Setup {
                stage: "fork".into(),
                detail: error.to_string(),
            }),
        }
    }
}

/// Runs `work`, turning a panic into an error with its text and place.
///
/// Printing it, as the default hook does, would put it into the terminal that belongs to the engine.
pub(crate) fn catching<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let (sender, receiver) = mpsc::channel();
    set_hook(Box::new(move |panic| {
        sender.send(panic.to_string()).ok();
    }));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(receiver
            .try_recv()
            .unwrap_or_else(|_| "panicked".to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(words: &[&str]) -> Option<Role> {
        Role::from_arguments(words.iter().map(OsString::from))
    }

    #[test]
    fn only_our_own_command_lines_make_a_nursery() {
        let stem = stem_arguments(&NurseryMode::SingleId);
        let mut words = vec![Role::NAME];
        words.extend(stem.iter().map(String::as_str));
        assert!(
            matches!(role(&words), Some(Role::Stem { rung: Rung::SingleId, engine }) if engine > 0)
        );
        assert!(matches!(
            role(&nursery_arguments(Rung::Root)),
            Some(Role::Nursery { rung: Rung::Root })
        ));
        assert!(role(&["rbuild", "stem", PROTOCOL, "root", "1"]).is_none());
        assert!(role(&[Role::NAME]).is_none());
        assert!(role(&[Role::NAME, "nursery", "0", "root"]).is_none());
        assert!(role(&[Role::NAME, "nursery", PROTOCOL, "king"]).is_none());
    }
}
