//! Mounting a stack of layers.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, open, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount,
};
use rustix::process::{chdir, fchdir};

use crate::failure::During;
use crate::role::Rung;
use crate::wire::Failure;

const STAGE: &str = "mount overlay";
/// fsconfig(2) takes values shorter than this.
const MAX_VALUE: usize = 256;

/// Every option that a distribution may have set otherwise, explicitly: a redirect or a metadata-only copy
/// in an upper would be read as a whole file by whoever reads the layer.
const OPTIONS: [(&str, &str); 5] = [
    ("redirect_dir", "nofollow"),
    ("metacopy", "off"),
    ("index", "off"),
    ("xino", "off"),
    ("nfs_export", "off"),
];

/// Layers to be mounted.
pub(crate) struct Stack<'a> {
    /// Lower directories, top first.
    pub(crate) lowers: Vec<&'a Path>,
    /// Upper and work directories.
    pub(crate) upper: Option<(&'a Path, &'a Path)>,
    /// Decides where overlayfs keeps its marks.
    pub(crate) rung: Rung,
}

impl Stack<'_> {
    /// Mounts the stack, attached nowhere, or attached aside on kernels before 6.5.
    ///
    /// Without an upper the mount is read-only, and overlayfs wants two lowers at least.
    pub(crate) fn mount(&self) -> Result<Mounted, Failure> {
        match self.mount_by_context() {
            Err(Errno::INVAL) => self
                .mount_by_string()
                .map(Mounted::Aside)
                .during(STAGE, self.describe()),
            result => result.map(Mounted::Detached).during(STAGE, self.describe()),
        }
    }

    /// Names the stack in an error.
    fn describe(&self) -> String {
        match self.upper {
            Some((upper, _)) => format!("{} layers below {}", self.lowers.len(), upper.display()),
            None => format!("{} layers", self.lowers.len()),
        }
    }

    /// Mounts with one fsconfig call per layer (`lowerdir+`, Linux 6.5): no limit on their total length.
    fn mount_by_context(&self) -> rustix::io::Result<OwnedFd> {
        let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let mut names = Names::default();
        fsconfig_set_string(&context, "source", "overlay")?;
        for lower in &self.lowers {
            fsconfig_set_string(&context, "lowerdir+", names.short(lower)?)?;
        }
        if let Some((upper, work)) = self.upper {
            fsconfig_set_string(&context, "upperdir", names.short(upper)?)?;
            fsconfig_set_string(&context, "workdir", names.short(work)?)?;
            // An upper is read back right after the step, by us: nothing is gained by syncing it to disk, and
            // without this the unmount does.
            fsconfig_set_flag(&context, "volatile")?;
        }
        for (key, value) in OPTIONS {
            fsconfig_set_string(&context, key, value)?;
        }
        if self.rung.is_rootless() {
            fsconfig_set_flag(&context, "userxattr")?;
        }
        fsconfig_create(&context)?;
        fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )
    }

    /// Mounts with mount(2), whose options must fit one page: layers are named by descriptor, relative to
    /// `/proc/self/fd`, four bytes each.
    fn mount_by_string(&self) -> rustix::io::Result<OwnedFd> {
        let mut names = Names::default();
        let mut number = |path: &Path| -> rustix::io::Result<String> {
            Ok(names.open(path)?.as_raw_fd().to_string())
        };
        let lowers = self
            .lowers
            .iter()
            .map(|lower| number(lower))
            .collect::<rustix::io::Result<Vec<_>>>()?;
        let mut data = format!("lowerdir={}", lowers.join(":"));
        if let Some((upper, work)) = self.upper {
            let (upper, work) = (number(upper)?, number(work)?);
            data.push_str(&format!(",upperdir={upper},workdir={work},volatile"));
        }
        for (key, value) in OPTIONS {
            data.push_str(&format!(",{key}={value}"));
        }
        if self.rung.is_rootless() {
            data.push_str(",userxattr");
        }
        let here = open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        chdir("/proc/self/fd")?;
        let data = std::ffi::CString::new(data).map_err(|_| Errno::INVAL)?;
        let mounted = mount(
            "overlay",
            "/",
            "overlay",
            MountFlags::empty(),
            Some(data.as_c_str()),
        );
        fchdir(&here)?;
        mounted?;
        // Going up from the root is the one step that ends on what is stacked upon it.
        openat(
            CWD,
            "/..",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    }
}

/// A mounted stack.
pub(crate) enum Mounted {
    /// Attached nowhere.
    Detached(OwnedFd),
    /// Attached on top of the old root, where no path leads.
    Aside(OwnedFd),
}

/// Descriptors behind short names of directories.
#[derive(Default)]
struct Names {
    open: Vec<OwnedFd>,
}

impl Names {
    /// Opens a directory and keeps it open until after the mount.
    fn open(&mut self, path: &Path) -> rustix::io::Result<&OwnedFd> {
        let fd = open(
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        self.open.push(fd);
        self.open.last().ok_or(Errno::BADF)
    }

    /// Returns the path itself if it is short enough, else one through a descriptor.
    fn short(&mut self, path: &Path) -> rustix::io::Result<PathBuf> {
        if path.as_os_str().as_bytes().len() < MAX_VALUE {
            return Ok(path.to_owned());
        }
        let fd = self.open(path)?.as_raw_fd();
        Ok(format!("/proc/self/fd/{fd}").into())
    }
}
