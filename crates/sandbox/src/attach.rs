//! Detached mounts: made, tuned and attached by descriptor.
//!
//! Nothing here takes a path inside the step's root; places come as descriptors from `place`.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rbuild_sys::mount::{MountAttributes, Reach, add_attributes};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_remount,
    move_mount, open_tree,
};

/// Value of one mount option; `None` is a flag.
pub(crate) type MountOption<'a> = (&'a str, Option<&'a str>);

/// Mounts a file system, attached nowhere; its kind also serves as the name that `mount` and `df` show.
pub(crate) fn filesystem(
    kind: &CStr,
    options: &[MountOption<'_>],
    attributes: MountAttrFlags,
) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", kind)?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(&context, *key, *value)?,
            None => fsconfig_set_flag(&context, *key)?,
        }
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Which mounts a clone takes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Only the one.
    Single,
    /// What is mounted below as well.
    Recursive,
}

/// Clones the mount under a descriptor, as a bind mount does, attached nowhere.
pub(crate) fn clone_of(place: impl AsFd, depth: Depth) -> rustix::io::Result<OwnedFd> {
    let recursive = match depth {
        Depth::Single => OpenTreeFlags::empty(),
        Depth::Recursive => OpenTreeFlags::AT_RECURSIVE,
    };
    open_tree(
        place,
        c"",
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | recursive,
    )
}

/// Clones the mount at a path of the host.
pub(crate) fn clone_of_host(path: &Path) -> rustix::io::Result<OwnedFd> {
    open_tree(
        CWD,
        path,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )
}

/// Attaches a detached mount on a place. The descriptor goes on naming the mount.
pub(crate) fn attach(mount: impl AsFd, place: impl AsFd) -> rustix::io::Result<()> {
    move_mount(
        mount,
        c"",
        place,
        c"",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// Attaches a mount on top of the root of this mount namespace.
///
/// No path leads there, since lookups start below it: it is a place for mounts that must belong to the
/// namespace (older kernels clone and stack only those) and be seen by nobody. It goes away with the old root.
pub(crate) fn attach_aside(mount: impl AsFd) -> rustix::io::Result<()> {
    move_mount(
        mount,
        c"",
        CWD,
        c"/",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

/// Makes an *attached* mount read-only; needs the host's `/proc` on kernels before 5.12.
pub(crate) fn make_read_only(mount: impl AsFd) -> io::Result<()> {
    match add_attributes(&mount, MountAttributes::READ_ONLY, Reach::Single) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOSYS) => {
            let path = format!("/proc/self/fd/{}", mount.as_fd().as_raw_fd());
            Ok(mount_remount(
                path,
                MountFlags::BIND | MountFlags::RDONLY,
                "",
            )?)
        }
        result => result,
    }
}
