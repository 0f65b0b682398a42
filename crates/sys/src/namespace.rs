//! Leaving namespaces, and the id maps of user namespaces.
#![allow(unsafe_code)]

use std::fs;
use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::UnshareFlags;

use crate::process::SingleThreaded;

/// A set of namespace kinds, in the bits of clone(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespaces(libc::c_int);

impl Namespaces {
    /// No namespace.
    pub const NONE: Self = Self(0);
    /// User and group ids, and capabilities.
    pub const USER: Self = Self(libc::CLONE_NEWUSER);
    /// The mount table.
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS);
    /// Process ids; the first child is process 1.
    pub const PID: Self = Self(libc::CLONE_NEWPID);
    /// System V objects and POSIX message queues.
    pub const IPC: Self = Self(libc::CLONE_NEWIPC);
    /// Host name.
    pub const UTS: Self = Self(libc::CLONE_NEWUTS);
    /// The root of the cgroup tree.
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP);
    /// Network devices, addresses, ports, abstract sockets.
    pub const NETWORK: Self = Self(libc::CLONE_NEWNET);

    /// Returns the union of both sets.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the set as flags of clone(2).
    pub(crate) const fn bits(self) -> libc::c_int {
        self.0
    }
}

/// Moves the calling process into new namespaces.
///
/// With [`Namespaces::PID`] only later children are in the new one. Source: unshare(2).
pub fn unshare(_proof: &SingleThreaded, namespaces: Namespaces) -> io::Result<()> {
    let flags = UnshareFlags::from_bits_retain(namespaces.0.cast_unsigned());
    // SAFETY: the one hazard is CLONE_FILES with several threads: `Namespaces` cannot hold that flag, and the
    // proof says there is one thread. WHY: rustix marks the call unsafe for that flag alone.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

/// A range of ids that a user may map into a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First id, as the outer namespace counts.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// Maps id 0 of the calling process' new user namespace to `uid` and `gid`, and nothing else.
///
/// `uid` and `gid` are the ids the process had outside. Source: user_namespaces(7).
pub fn map_single_id(uid: Uid, gid: Gid) -> io::Result<()> {
    fs::write("/proc/self/uid_map", format!("0 {} 1", uid.as_raw()))?;
    // Without privilege over the outer namespace a group map is accepted only once setgroups is given up.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("0 {} 1", gid.as_raw()))
}
