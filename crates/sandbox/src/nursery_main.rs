//! The nursery's side: one thread, one `poll`, a child per task.
//!
//! Two programs run in a row, both this binary: the *stem* (`stem`), which the engine spawns, and the
//! *nursery*, process 1 of its pid namespace.

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::mpsc;

use rbuild_sys::process::{close_on_exec_from, exit_now, fork, fork_into, new_session_keyring};
use rbuild_sys::{Child, Forked, Namespaces, SingleThreaded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions, pidfd_send_signal, umask};
use rustix::stdio::{dup2_stdin, stdin};

use crate::cgroup::Group;
use crate::role::{Role, Rung};
use crate::seccomp::Filters;
use crate::spec::Network;
use crate::stem::{self, Failed, die_with_parent, doing, give_up};
use crate::step;
use crate::wire::{self, Ended, Failure, Frame, Hello, Start};

/// What the program wants done in the nursery beside steps.
pub trait Duties {
    /// Does one job and returns its answer. Runs in a forked child that ends with it, with the nursery's
    /// rights, in its mount and pid namespaces, with umask 0 and `/` as directory.
    ///
    /// The child is killed when the job is cancelled. A panic is reported as a failed job.
    fn job(&self, request: &[u8], fds: Vec<OwnedFd>) -> Vec<u8>;
}

/// Becomes the nursery if this process was started as one; returns at once if not.
///
/// Must be the first call in `main`: the process must not have started threads.
pub fn nursery_main(duties: &dyn Duties) {
    match Role::from_arguments(std::env::args_os()) {
        None => {}
        Some(Role::Stem { rung, engine }) => stem::run(rung, engine),
        Some(Role::Nursery { rung }) => nursery(rung, duties),
    }
}

/// One running child and the socket on which its engine thread listens.
struct Running {
    child: Child,
    socket: OwnedFd,
    group: Option<Group>,
    hung_up: bool,
    /// Locks on what a step uses.
    _held: Vec<OwnedFd>,
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
    // A step without filter could read the keys of whoever started the engine. Where there are no keys, or no
    // quota for one more keyring, nothing is lost: the filter refuses keyctl, and that is the barrier.
    new_session_keyring().ok();
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
        let mut fds: Vec<OwnedFd> = fds.collect();
        let mut held = Vec::new();
        let begun = match start {
            Start::Job => self.job(&socket, payload, fds),
            Start::Step {
                streams,
                network,
                limits,
                held: count,
            } => match Group::create(&limits) {
                Err(failure) => Err(failure),
                Ok(group) => self
                    .fork_step(network)
                    .map(|forked| match forked {
                        Forked::Parent(child) => {
                            held = fds.split_off(fds.len().saturating_sub(count));
                            child
                        }
                        Forked::Child => step::run(step::Task {
                            proof: self.proof,
                            rung: self.rung,
                            filters: self.filters,
                            payload,
                            streams,
                            // Without those that the nursery holds.
                            fds: fds.drain(..fds.len().saturating_sub(count)).collect(),
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
                _held: held,
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
