//! Keeps what runs in a step from overwriting the binary that set it up.
//!
//! A script whose interpreter is `/proc/self/exe` opens the nursery's binary, and may later write through
//! that descriptor (CVE-2019-5736). So the nursery is executed from a read-only mount that no path leads to,
//! or, on kernels that cannot make one, from a sealed copy in memory.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rbuild_sys::mount::{MountAttributes, Reach, add_attributes};
use rustix::fs::{CWD, MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::mount::{OpenTreeFlags, open_tree};

/// Returns a descriptor of this process' binary that can be executed and not written through.
pub(crate) fn protected() -> io::Result<OwnedFd> {
    read_only_mount().or_else(|_| sealed_copy())
}

/// Clones the mount of the binary as a detached, read-only one.
fn read_only_mount() -> io::Result<OwnedFd> {
    let mount = open_tree(
        CWD,
        "/proc/self/exe",
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )?;
    add_attributes(&mount, MountAttributes::READ_ONLY, Reach::Single)?;
    Ok(mount)
}

/// Copies the binary into memory and seals it.
fn sealed_copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(memfd_create("rbuild-nursery", flags)?);
    io::copy(&mut File::open("/proc/self/exe")?, &mut copy)?;
    fcntl_add_seals(
        &copy,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(copy.into())
}
