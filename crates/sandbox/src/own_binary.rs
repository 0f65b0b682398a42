//! Keeps what runs in a step from overwriting the binary that set it up.
//!
//! A script whose interpreter is `/proc/self/exe` opens the nursery's binary, and may later write through
//! that descriptor (CVE-2019-5736). So the nursery is executed from a read-only mount that no path leads to,
//! or, on kernels that cannot make one, from a sealed copy in memory.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rbuild_sys::mount::{MountAttributes, Reach, add_attributes};
use rustix::fs::{
    CWD, MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, fstat, memfd_create, open, stat,
};
use rustix::mount::{OpenTreeFlags, open_tree};

/// Returns a descriptor of this process' binary that can be executed and not written through.
pub(crate) fn protected() -> io::Result<OwnedFd> {
    read_only_mount().or_else(|_| sealed_copy())
}

/// Clones the mount of the binary as a detached, read-only one.
///
/// By name: `/proc/self/exe` itself leads into the mount namespace that this process was started in, whose
/// mounts cannot be cloned here. A name that leads to another file by now is no use.
fn read_only_mount() -> io::Result<OwnedFd> {
    let path = std::fs::read_link("/proc/self/exe")?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let named = fstat(&open(&path, flags, Mode::empty())?)?;
    let running = stat("/proc/self/exe")?;
    if (named.st_dev, named.st_ino) != (running.st_dev, running.st_ino) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mount = open_tree(
        CWD,
        &path,
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
