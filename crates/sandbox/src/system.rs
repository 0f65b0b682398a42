//! `/proc`, `/dev` and `/sys` of a step.
//!
//! All are mounts of our own, made before any of the image's code runs.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rbuild_sys::mount::{MountAttributes, Reach, add_attributes};
use rustix::fs::{Mode, OFlags, mkdirat, open, symlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::attach::{Depth, attach, clone_of, filesystem, make_read_only};
use crate::device;
use crate::failure::{During, setup};
use crate::place::{self, Kind};
use crate::role::Rung;
use crate::spec::Security;
use crate::wire::Failure;

const DEV_LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
    ("/proc/kcore", "core"),
];

/// Hidden paths: what leaks the host's state or lets a step change it. Source: containerd's and moby's
/// default OCI spec.
const MASKED_PROC: [&str; 10] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];
const MASKED_SYS: [&str; 2] = ["firmware", "devices/virtual/powercap"];
const READ_ONLY_PROC: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Size of `/dev/shm` unless asked for otherwise.
const SHM_DEFAULT: u64 = 64 << 20;

/// What the system mounts depend on.
pub(crate) struct System<'a> {
    /// Root of the step, attached.
    pub(crate) root: &'a OwnedFd,
    /// An empty directory, used to hide directories.
    pub(crate) empty: &'a OwnedFd,
    /// With which rights.
    pub(crate) rung: Rung,
    /// Whether anything is hidden.
    pub(crate) security: Security,
    /// Bytes of `/dev/shm`, 0 for the default; `None` where a mount of the step's own takes its place.
    pub(crate) shm_size: Option<u64>,
    /// Whether the network namespace is the step's own: only then may it have a sysfs of its own.
    pub(crate) own_network: bool,
}

/// Attributes of file systems that hold no programs.
fn inert() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
}

impl System<'_> {
    /// Mounts all of it.
    pub(crate) fn mount(&self) -> Result<(), Failure> {
        let proc = filesystem(c"proc", &[], inert()).map_err(|errno| self.explain_proc(errno))?;
        attach(&proc, &self.place("/proc")?).during("mount /proc", "attach")?;
        let dev = self.mount_dev()?;
        let sys = self.mount_sys()?;
        if self.security == Security::Sandbox {
            self.restrict(&proc, sys.as_ref(), &dev)?;
        }
        Ok(())
    }

    /// Opens a directory of the root.
    fn place(&self, path: &str) -> Result<OwnedFd, Failure> {
        const STAGE: &str = "find mount target";
        let place = place::open_in(self.root, path).during(STAGE, path)?;
        match Kind::of(&place).during(STAGE, path)? {
            Kind::Directory => Ok(place),
            Kind::File => Err(Errno::NOTDIR).during(STAGE, path),
        }
    }

    /// Says what to do where a fresh procfs is refused.
    fn explain_proc(&self, errno: Errno) -> Failure {
        let hint = match errno {
            Errno::PERM if self.rung.is_rootless() => {
                "; parts of /proc are hidden here, as in an unprivileged container: the kernel then refuses a \
                 fresh one (Docker: --security-opt systempaths=unconfined)"
            }
            _ => "",
        };
        setup("mount /proc", format!("{errno}{hint}"))
    }

    /// Mounts and fills `/dev`.
    fn mount_dev(&self) -> Result<OwnedFd, Failure> {
        const STAGE: &str = "mount /dev";
        let options = [("mode", Some("755")), ("size", Some("65536k"))];
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
        let dev = filesystem(c"tmpfs", &options, attributes).during(STAGE, "tmpfs")?;
        attach(&dev, &self.place("/dev")?).during(STAGE, "attach")?;
        device::make(&dev, self.rung, self.security).map_err(|detail| setup(STAGE, detail))?;
        for (target, name) in DEV_LINKS {
            symlinkat(target, &dev, name).during(STAGE, name)?;
        }
        let shm = match self.shm_size.unwrap_or(0) {
            0 => SHM_DEFAULT,
            size => size,
        };
        let shm = shm.to_string();
        // The group is Debian's and Alpine's tty; one that is not mapped is refused.
        let mut pts = vec![
            ("newinstance", None),
            ("ptmxmode", Some("0666")),
            ("mode", Some("0620")),
        ];
        if self.rung != Rung::SingleId {
            pts.push(("gid", Some("5")));
        }
        let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let below = [
            ("pts", c"devpts", pts.as_slice(), quiet),
            (
                "shm",
                c"tmpfs",
                &[("mode", Some("1777")), ("size", Some(&shm))],
                inert(),
            ),
            ("mqueue", c"mqueue", &[], inert()),
        ];
        for (name, kind, options, attributes) in below {
            mkdirat(&dev, name, Mode::from_raw_mode(0o755)).during(STAGE, name)?;
            if name == "shm" && self.shm_size.is_none() {
                continue;
            }
            let place = place::open_name(dev.as_fd(), name.as_ref()).during(STAGE, name)?;
            let mount = filesystem(kind, options, attributes).during(STAGE, name)?;
            attach(&mount, &place).during(STAGE, name)?;
        }
        Ok(dev)
    }

    /// Mounts `/sys`, read-only; a clone of the host's where a fresh one is refused.
    ///
    /// `None` where neither can be had, in a user namespace on kernels before 5.12: it stays empty then.
    fn mount_sys(&self) -> Result<Option<OwnedFd>, Failure> {
        const STAGE: &str = "mount /sys";
        let place = self.place("/sys")?;
        let read_only = match self.security {
            Security::Sandbox => MountAttrFlags::MOUNT_ATTR_RDONLY,
            Security::Insecure => MountAttrFlags::empty(),
        };
        let fresh = match self.rung.is_rootless() && !self.own_network {
            // A sysfs shows its network namespace, so the kernel wants rights over that one too.
            true => Err(Errno::PERM),
            false => filesystem(c"sysfs", &[], inert() | read_only),
        };
        if let Ok(sys) = fresh {
            attach(&sys, &place).during(STAGE, "attach")?;
            self.mount_cgroup(&sys, read_only);
            return Ok(Some(sys));
        }
        let sys = host_sys().during(STAGE, "clone the host's")?;
        if let Some(sys) = &sys {
            attach(sys, &place).during(STAGE, "attach")?;
        }
        Ok(sys)
    }

    /// Mounts the cgroup2 hierarchy as the step's namespace shows it, where the host uses that.
    ///
    /// Nothing is done where it cannot be had (version 1 hierarchies): the directory is empty then.
    fn mount_cgroup(&self, sys: &OwnedFd, read_only: MountAttrFlags) {
        if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            return;
        }
        let Ok(place) = place::open_in(sys, "fs/cgroup") else {
            return;
        };
        if let Ok(mount) = filesystem(c"cgroup2", &[], inert() | read_only) {
            attach(&mount, &place).ok();
        }
    }

    /// Hides and write-protects what a step has no business with.
    fn restrict(
        &self,
        proc: &OwnedFd,
        sys: Option<&OwnedFd>,
        dev: &OwnedFd,
    ) -> Result<(), Failure> {
        const STAGE: &str = "hide host paths";
        let null = place::open_name(dev.as_fd(), "null".as_ref()).during(STAGE, "/dev/null")?;
        for path in READ_ONLY_PROC {
            if let Some(place) = find(proc, path)? {
                let clone = clone_of(&place, Depth::Single).during(STAGE, path)?;
                attach(&clone, &place).during(STAGE, path)?;
                make_read_only(&clone).during(STAGE, path)?;
            }
        }
        let proc_paths = MASKED_PROC.iter().map(|path| (Some(proc), path));
        let sys_paths = MASKED_SYS.iter().map(|path| (sys, path));
        for (top, path) in proc_paths.chain(sys_paths) {
            let Some(top) = top else { continue };
            let Some(place) = find(top, path)? else {
                continue;
            };
            let kind = Kind::of(&place).during(STAGE, path)?;
            let source = match kind {
                Kind::Directory => self.empty,
                Kind::File => &null,
            };
            let cover = clone_of(source, Depth::Single).during(STAGE, path)?;
            attach(&cover, &place).during(STAGE, path)?;
            if kind == Kind::Directory {
                make_read_only(&cover).during(STAGE, path)?;
            }
        }
        Ok(())
    }
}

/// Clones the host's `/sys` with all that is mounted in it, read-only; `None` on kernels before 5.12.
///
/// All or nothing: what the host hides by mounts upon it must stay hidden, and each of them must be read-only.
fn host_sys() -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let clone = clone_of(&open("/sys", flags, Mode::empty())?, Depth::Recursive)?;
    match add_attributes(&clone, MountAttributes::READ_ONLY, Reach::Recursive) {
        Ok(()) => Ok(Some(clone)),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOSYS) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a path of a fresh kernel file system; `None` where this kernel does not have it.
fn find(top: &OwnedFd, path: &str) -> Result<Option<OwnedFd>, Failure> {
    match place::open_in(top, path) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
        Err(error) => Err(setup("hide host paths", format!("{path}: {error}"))),
    }
}
