//! The stem: what the engine spawns, and what becomes the nursery's parent.
//!
//! It leaves the engine's namespaces, forks once into a new pid namespace, and waits. The child executes this
//! binary again, from a read-only mount that only it sees.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rbuild_sys::namespace::{map_single_id, unshare};
use rbuild_sys::process::{close_on_exec_from, exec, exit_now, fork_into};
use rbuild_sys::{Child, Forked, Namespaces, SingleThreaded};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getgid, getppid, getuid, set_parent_process_death_signal,
    umask, waitid,
};
use rustix::stdio::{dup2_stdin, stdin};

use crate::own_binary;
use crate::role::{Rung, nursery_arguments};
use crate::wire::{self, Hello, Mapped};

/// Reports on the control socket why there will be no nursery, and ends.
pub(crate) fn give_up(control: &OwnedFd, action: &str, error: &dyn std::fmt::Display) -> ! {
    wire::send(control, &Hello::Failed(format!("{action}: {error}")), &[]).ok();
    exit_now(1)
}

/// Leaves the engine's namespaces, forks the nursery, and waits for it.
pub(crate) fn run(rung: Rung, engine: i32) -> ! {
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
pub(crate) type Failed = (&'static str, std::io::Error);

/// Names what failed.
pub(crate) fn doing<E: Into<std::io::Error>>(action: &'static str) -> impl Fn(E) -> Failed {
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
pub(crate) fn die_with_parent() -> rustix::io::Result<()> {
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
