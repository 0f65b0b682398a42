//! Small files in memory that are mounted into a step: secrets, `/etc/hosts`, `/etc/resolv.conf`.
//!
//! They lie on one tmpfs per step that no path leads to; each is bound by itself.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fchmod, mkdirat, openat};
use rustix::mount::MountAttrFlags;

use crate::attach::{Depth, attach_aside, clone_of, filesystem};
use crate::failure::During;
use crate::place::{self, Owner};
use crate::wire::Failure;

const STAGE: &str = "make files in memory";

/// The tmpfs of one step.
pub(crate) struct Memory {
    top: OwnedFd,
    files: usize,
}

impl Memory {
    /// Makes it, attached where no path leads.
    pub(crate) fn new() -> Result<Self, Failure> {
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        // Secrets should not reach the swap device; kernels before 6.4 and user namespaces refuse to promise it.
        let options = [("mode", Some("755")), ("noswap", None)];
        let top = filesystem(c"tmpfs", &options, attributes)
            .or_else(|_| filesystem(c"tmpfs", &options[..1], attributes))
            .during(STAGE, "tmpfs")?;
        attach_aside(&top).during(STAGE, "attach")?;
        Ok(Self { top, files: 0 })
    }

    /// Makes a file and returns a detached mount of it.
    pub(crate) fn file(
        &mut self,
        bytes: &[u8],
        mode: u32,
        owner: Owner,
    ) -> Result<OwnedFd, Failure> {
        let name = format!("file{}", self.files);
        self.files += 1;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let fd =
            openat(&self.top, &name, flags, Mode::from_raw_mode(0o600)).during(STAGE, &name)?;
        let mut file = File::from(fd);
        file.write_all(bytes).during(STAGE, "write")?;
        fchmod(&file, Mode::from_raw_mode(mode & 0o7777)).during(STAGE, "mode")?;
        if owner != (Owner { uid: 0, gid: 0 }) {
            place::chown(&file, owner).during(STAGE, "owner")?;
        }
        self.bind(&name)
    }

    /// Makes an empty directory that everybody may read.
    pub(crate) fn directory(&mut self) -> Result<OwnedFd, Failure> {
        let name = format!("dir{}", self.files);
        self.files += 1;
        mkdirat(&self.top, &name, Mode::from_raw_mode(0o755)).during(STAGE, &name)?;
        place::open_name(self.top.as_fd(), name.as_ref()).during(STAGE, &name)
    }

    /// Clones the mount at one name.
    fn bind(&self, name: &str) -> Result<OwnedFd, Failure> {
        let place = place::open_name(self.top.as_fd(), name.as_ref()).during(STAGE, name)?;
        clone_of(&place, Depth::Single).during(STAGE, name)
    }
}
