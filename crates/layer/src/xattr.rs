//! Extended attributes: which ones belong to a layer, and reading and writing them by descriptor.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr, removexattr, setxattr};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::Xattrs;
use crate::encode::MAX_XATTR_BYTES;

/// Which extended attributes mark overlay's opaque directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OverlayNamespace {
    /// `trusted.overlay.*`: root in the initial user namespace.
    Trusted,
    /// `user.overlay.*`, mounts with `userxattr`: everybody else.
    User,
}

impl OverlayNamespace {
    /// Name of the attribute that makes a directory opaque; its value is `y`.
    pub(crate) fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }

    fn prefix(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.",
            Self::User => b"user.overlay.",
        }
    }
}

/// Whether an attribute belongs to a layer.
///
/// Left out: SELinux labels and `system.*`, which describe the host, overlay's own marks, and names
/// with `=`, which a PAX record cannot hold.
pub fn is_kept(name: &[u8]) -> bool {
    name != b"security.selinux"
        && !name.starts_with(b"system.")
        && !name.starts_with(OverlayNamespace::Trusted.prefix())
        && !name.starts_with(OverlayNamespace::User.prefix())
        && !name.contains(&b'=')
        && !name.is_empty()
}

/// What overlay itself noted on a directory or file of an upper.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OverlayMarks {
    /// Hides what is below.
    pub(crate) opaque: bool,
    /// The entry is a redirect or holds metadata only: its real content is elsewhere.
    pub(crate) elsewhere: bool,
}

/// The attributes of an open file that belong to a layer, and overlay's marks.
///
/// A file system without attributes has none.
pub(crate) fn read_open(
    fd: impl AsFd,
    namespace: OverlayNamespace,
) -> io::Result<(Xattrs, OverlayMarks)> {
    let names = grow(|buffer| flistxattr(&fd, buffer))?;
    collect(&names, namespace, |name| {
        grow(|buffer| fgetxattr(&fd, name, buffer))
    })
}

/// Sets attributes on an open file.
///
/// What the file system or the user's rights do not allow is left out, as containerd does: the
/// index keeps it.
pub(crate) fn write_open(fd: impl AsFd, xattrs: &Xattrs) -> io::Result<()> {
    write(xattrs, |name, value| {
        fsetxattr(&fd, name, value, XattrFlags::empty())
    })
}

/// Sets attributes on what an `O_PATH` descriptor stands for: links and devices.
pub(crate) fn write_path(fd: impl AsFd, xattrs: &Xattrs) -> io::Result<()> {
    let path = proc_path(&fd)?;
    write(xattrs, |name, value| {
        setxattr(&path, name, value, XattrFlags::empty())
    })
}

fn write(
    xattrs: &Xattrs,
    mut set: impl FnMut(&CString, &[u8]) -> rustix::io::Result<()>,
) -> io::Result<()> {
    for (name, value) in xattrs {
        match set(&CString::new(name.as_slice())?, value) {
            Ok(()) => {}
            Err(errno @ (Errno::PERM | Errno::NOTSUP)) => {
                let name = String::from_utf8_lossy(name);
                tracing::debug!(%name, %errno, "extended attribute is left out");
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Takes file capabilities away from what an `O_PATH` descriptor stands for.
pub(crate) fn remove_capability(fd: impl AsFd) -> io::Result<()> {
    match removexattr(proc_path(&fd)?, "security.capability") {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Marks an open directory as opaque.
pub(crate) fn set_opaque(fd: impl AsFd, namespace: OverlayNamespace) -> io::Result<()> {
    Ok(fsetxattr(
        fd,
        namespace.opaque(),
        b"y",
        XattrFlags::empty(),
    )?)
}

/// The magic link of a descriptor: it leads to exactly that inode, a symbolic link included.
fn proc_path(fd: &impl AsFd) -> io::Result<CString> {
    let number = fd.as_fd().as_raw_fd();
    Ok(CString::new(format!("/proc/self/fd/{number}"))?)
}

fn collect(
    names: &[u8],
    namespace: OverlayNamespace,
    mut get: impl FnMut(&CString) -> io::Result<Vec<u8>>,
) -> io::Result<(Xattrs, OverlayMarks)> {
    let mut xattrs = Xattrs::new();
    let mut marks = OverlayMarks::default();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        if let Some(mark) = name.strip_prefix(namespace.prefix()) {
            match mark {
                b"opaque" => marks.opaque = get(&CString::new(name)?)? == b"y",
                b"redirect" | b"metacopy" => marks.elsewhere = true,
                _ => {}
            }
        } else if is_kept(name) {
            let value = get(&CString::new(name)?)?;
            xattrs.insert(name.to_vec(), value);
        }
    }
    Ok((xattrs, marks))
}

/// Calls with a larger buffer until it suffices.
fn grow(mut call: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < MAX_XATTR_BYTES => {
                buffer.resize(MAX_XATTR_BYTES, 0);
            }
            Err(Errno::NOTSUP | Errno::NODATA | Errno::NOSYS) => return Ok(Vec::new()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_describes_the_host_stays_out() {
        for (name, kept) in [
            ("security.capability", true),
            ("user.note", true),
            ("security.selinux", false),
            ("system.posix_acl_access", false),
            ("trusted.overlay.opaque", false),
            ("user.overlay.origin", false),
            ("user.a=b", false),
            ("", false),
        ] {
            assert_eq!(is_kept(name.as_bytes()), kept, "{name}");
        }
    }

    #[test]
    fn attributes_round_trip_where_the_file_system_has_them() {
        let file = tempfile::tempfile().unwrap();
        let mut xattrs = Xattrs::new();
        xattrs.insert(b"user.note".to_vec(), vec![7; 1000]);
        if write_open(&file, &xattrs).is_err() {
            eprintln!("skipped: the file system has no user attributes");
            return;
        }
        let (read, marks) = read_open(&file, OverlayNamespace::User).unwrap();
        assert_eq!(read, xattrs);
        assert_eq!(marks, OverlayMarks::default());
    }
}
