//! What this kernel and user may do, found out by doing it in a child that ends at once.
//!
//! A mounted file system, a sysctl or a kernel version proves nothing: container hosts hide, filter and
//! patch. Each probe forks a child into fresh namespaces and tries the very call that a build would make.
#![allow(unsafe_code)]

use std::io;

use rustix::fs::stat;
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::process::{Pid, WaitOptions, geteuid, waitpid};
use rustix::thread::{CapabilitySet, capabilities};

use crate::namespace::Namespaces;
use crate::process::{exit_now, raw_clone};

/// What is possible here; each answer carries the kernel's refusal.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// Effective user id 0 with `CAP_SYS_ADMIN`: namespaces can be made without a user namespace.
    pub admin: bool,
    /// A user namespace can be made.
    pub user_namespace: Result<(), Errno>,
    /// A fresh procfs can be mounted in the namespaces a step would have.
    pub proc_mount: Result<(), Errno>,
    /// A fresh sysfs can be mounted in a network namespace of our own.
    pub sysfs_mount: Result<(), Errno>,
    /// overlayfs is there and may be mounted.
    pub overlay: Result<(), Errno>,
    /// `clone3` answers (old container hosts refuse it; rbuild does without).
    pub clone3: bool,
}

impl Capabilities {
    /// Probes the running kernel for the calling user. Costs about a millisecond.
    pub fn probe() -> Self {
        let admin = is_admin();
        let base = match admin {
            true => Namespaces::MOUNT,
            false => Namespaces::MOUNT.and(Namespaces::USER),
        };
        Self {
            admin,
            user_namespace: user_namespace(),
            proc_mount: in_child(base.and(Namespaces::PID), || mount_fresh(c"proc")),
            sysfs_mount: in_child(base.and(Namespaces::NETWORK), || mount_fresh(c"sysfs")),
            overlay: in_child(base, || fsopen(c"overlay", FsOpenFlags::empty()).map(drop)),
            clone3: clone3_answers(),
        }
    }
}

/// Inode number of the first user namespace, the same on every kernel. Source: PROC_USER_INIT_INO of
/// include/uapi/linux/nsfs.h and include/linux/proc_ns.h.
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// Tells whether this process is in the first user namespace, where root's rights have no limit.
///
/// Inside any other one there is no making of device nodes, and no `trusted.*` attribute, whatever
/// capabilities a process has there.
pub fn in_first_user_namespace() -> bool {
    stat(c"/proc/self/ns/user").is_ok_and(|found| found.st_ino == FIRST_USER_NAMESPACE)
}

/// Makes a user namespace, in a child that ends at once; returns the kernel's refusal.
pub fn user_namespace() -> Result<(), Errno> {
    in_child(Namespaces::USER, || Ok(()))
}

/// Tells whether namespaces can be made without a user namespace.
pub fn is_admin() -> bool {
    geteuid().is_root()
        && capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Makes a detached mount of a file system that takes no options.
fn mount_fresh(kind: &std::ffi::CStr) -> Result<(), Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .map(drop)
}

/// Runs `attempt` in a child in new namespaces and returns its outcome.
///
/// `attempt` may only make system calls: the caller may have other threads, whose locks the child would
/// find taken for ever. (rustix calls the kernel directly; it allocates nothing for C strings.)
fn in_child(namespaces: Namespaces, attempt: fn() -> Result<(), Errno>) -> Result<(), Errno> {
    // SAFETY: no CLONE_VM and no CLONE_PIDFD; the child runs one of the functions of this file, which make
    // raw system calls only, and ends by `_exit`. WHY: rustix has no clone.
    match unsafe { raw_clone(namespaces.bits(), std::ptr::null_mut()) } {
        0 => exit_now(attempt().map_or_else(|error| error.raw_os_error() & 0xff, |()| 0)),
        raw if raw > 0 => outcome(raw),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// Waits for a probing child and reads its answer from the exit code.
fn outcome(raw: i32) -> Result<(), Errno> {
    let pid = Pid::from_raw(raw).ok_or(Errno::CHILD)?;
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(None) => return Err(Errno::CHILD),
            Ok(Some((_, status))) => {
                return match status.exit_status() {
                    Some(0) => Ok(()),
                    Some(code) => Err(Errno::from_raw_os_error(code)),
                    None => Err(Errno::CHILD),
                };
            }
        }
    }
}

/// Calls clone3 with a size that no kernel accepts: a kernel that has it answers `EINVAL`.
fn clone3_answers() -> bool {
    // SAFETY: size 0 is refused before the null pointer is read. WHY: rustix has no clone3.
    let result = unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<u8>(), 0_usize) };
    result == -1 && Errno::from_io_error(&io::Error::last_os_error()) == Some(Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_children_report_their_errno() {
        assert_eq!(in_child(Namespaces::NONE, || Ok(())), Ok(()));
        assert_eq!(
            in_child(Namespaces::NONE, || Err(Errno::ROFS)),
            Err(Errno::ROFS)
        );
    }

    #[test]
    fn probe_finds_itself_in_a_plain_process() {
        let host = Capabilities::probe();
        // A user namespace is what the other answers rest on when not root.
        if !host.admin && host.user_namespace.is_err() {
            assert!(host.overlay.is_err() && host.proc_mount.is_err());
        }
    }
}
