//! The stub layer: places for mounts that the image does not have.
//!
//! A bind mount needs something to be mounted on. Making it in the step's root would put it into the layer
//! that the step becomes, and taking it away afterwards has deleted files of hosts (CVE-2024-23652). So what
//! is missing is made in a directory of its own that becomes the topmost lower: the step sees it, the upper
//! does not, and nothing is ever cleaned up inside a root.
//!
//! The directory lies beside the upper and not on a tmpfs: layers on two file systems make overlayfs give
//! files and directories different device numbers, which breaks `tar --one-file-system` and the like.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Mode, OFlags, Stat, Timespec, Timestamps, chmod, fstat, mkdirat, open, utimensat,
};
use rustix::io::Errno;

use crate::cgroup::random_name;
use crate::failure::{During, setup};
use crate::overlay::{Mounted, Stack};
use crate::place::{self, Kind, Owner};
use crate::role::Rung;
use crate::spec::RootSpec;
use crate::wire::Failure;

const STAGE: &str = "make mount targets";

/// A place that a mount needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Absolute path in the root.
    pub(crate) path: PathBuf,
    /// What must be there.
    pub(crate) kind: Kind,
    /// Whether it is made in any case.
    pub(crate) need: Need,
}

/// How much a place is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// It is made, with the directories above it.
    Always,
    /// It is made only in a directory that exists.
    InDirectory,
}

/// Makes the stub layer if any target is missing, and returns its directory.
pub(crate) fn layer(
    root: &RootSpec,
    targets: &[Target],
    rung: Rung,
) -> Result<Option<PathBuf>, Failure> {
    let view = view_of(root, rung)?;
    let mut stub = Stub {
        directory: None,
        root,
        rung,
        copied: Vec::new(),
    };
    for target in targets {
        let subject = target.path.display();
        let missing = match &view {
            Some(view) => place::walk(view, &target.path).during(STAGE, &subject)?,
            None => place::Walked {
                trail: Vec::new(),
                missing: names_of(&target.path),
            },
        };
        let far = missing.missing.len() > 1 && target.need == Need::InDirectory;
        if !missing.missing.is_empty() && !far {
            stub.add(view.as_ref(), &missing, target.kind)
                .map_err(|error| setup(STAGE, format!("{subject}: {error}")))?;
        }
    }
    stub.finish(view.as_ref()).during(STAGE, "times")
}

/// Returns the plain names of a path, for a root that has nothing.
fn names_of(path: &Path) -> Vec<OsString> {
    path.iter()
        .filter(|name| *name != "/" && *name != "." && *name != "..")
        .map(ToOwned::to_owned)
        .collect()
}

/// Mounts the lowers by themselves, to look at what the step would see; `None` if there are none.
fn view_of(root: &RootSpec, rung: Rung) -> Result<Option<OwnedFd>, Failure> {
    let lowers: Vec<&Path> = root.lowers.iter().map(PathBuf::as_path).collect();
    match lowers.as_slice() {
        [] => Ok(None),
        [only] => open(
            *only,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map(Some)
        .during(STAGE, only.display()),
        _ => {
            let stack = Stack {
                lowers,
                upper: None,
                rung,
            };
            let (Mounted::Detached(view) | Mounted::Aside(view)) = stack.mount()?;
            Ok(Some(view))
        }
    }
}

/// A stub layer in the making.
struct Stub<'a> {
    directory: Option<(PathBuf, OwnedFd)>,
    root: &'a RootSpec,
    rung: Rung,
    /// Trails of directories that exist in the view too, whose times are set at the end.
    copied: Vec<Vec<OsString>>,
}

impl Stub<'_> {
    /// Adds one target: the directories that exist, with their metadata, then what is missing.
    fn add(
        &mut self,
        view: Option<&OwnedFd>,
        walked: &place::Walked,
        kind: Kind,
    ) -> std::io::Result<()> {
        if let Some(view) = view
            && Kind::of(walked.end(view.as_fd()))? == Kind::File
        {
            return Err(Errno::NOTDIR.into());
        }
        let mut here = rustix::io::fcntl_dupfd_cloexec(self.open()?, 3)?;
        let mut trail = Vec::new();
        for (name, original) in &walked.trail {
            trail.push(name.clone());
            match mkdirat(&here, name, Mode::from_raw_mode(0o700)) {
                Ok(()) => {
                    here = place::open_name(here.as_fd(), name)?;
                    self.copy_metadata(original.as_fd(), &here)?;
                    self.copied.push(trail.clone());
                }
                Err(Errno::EXIST) => here = place::open_name(here.as_fd(), name)?,
                Err(error) => return Err(error.into()),
            }
        }
        let missing: PathBuf = walked.missing.iter().collect();
        place::ensure(&here, &missing, kind, Owner { uid: 0, gid: 0 })?;
        Ok(())
    }

    /// Returns the layer's directory, made at the first need.
    fn open(&mut self) -> std::io::Result<BorrowedFd<'_>> {
        if self.directory.is_none() {
            let parent = self.root.work.parent().ok_or(Errno::NOENT)?;
            let path = parent.join(format!("stub-{}", random_name()?));
            fs::create_dir(&path)?;
            chmod(&path, Mode::from_raw_mode(0o755))?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = open(&path, flags, Mode::empty())?;
            self.directory = Some((path, fd));
        }
        match &self.directory {
            Some((_, fd)) => Ok(fd.as_fd()),
            None => Err(Errno::BADF.into()),
        }
    }

    /// Gives a directory the owner, mode and extended attributes of the one it will hide: as the topmost
    /// layer that has it, its metadata is what the step sees and what a copy into the upper takes.
    fn copy_metadata(&self, original: BorrowedFd<'_>, copy: &OwnedFd) -> std::io::Result<()> {
        let stat = fstat(original)?;
        let owner = Owner {
            uid: stat.st_uid,
            gid: stat.st_gid,
        };
        match place::chown(copy, owner) {
            // Ids that are not mapped cannot be given; the step sees them as nobody's either way.
            Err(Errno::INVAL | Errno::PERM) if self.rung.is_rootless() => {}
            result => result?,
        }
        let path = proc_path(copy);
        chmod(&path, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        copy_xattrs(&proc_path(&original), &path)
    }

    /// Sets the times, which making entries has changed, and returns the directory.
    fn finish(self, view: Option<&OwnedFd>) -> rustix::io::Result<Option<PathBuf>> {
        let (Some((path, top)), Some(view)) = (&self.directory, view) else {
            return Ok(self.directory.map(|(path, _)| path));
        };
        for trail in &self.copied {
            let relative: PathBuf = trail.iter().collect();
            let original = fstat(place::open_in(view, &relative)?)?;
            let copy = place::open_in(top, &relative)?;
            utimensat(&copy, c"", &times(&original), AtFlags::EMPTY_PATH)?;
        }
        Ok(Some(path.clone()))
    }
}

/// Returns a path to an `O_PATH` descriptor's file, for calls that have no descriptor form.
fn proc_path(fd: &impl AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()).into()
}

/// Returns a file's times.
fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanos: u64| Timespec {
        tv_sec: seconds,
        // Below a thousand million.
        tv_nsec: nanos as _,
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Copies extended attributes, ACLs among them, without overlayfs' own and the host's label.
fn copy_xattrs(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut names = vec![0_u8; 64 * 1024];
    let length = match rustix::fs::listxattr(from, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names
        .get(..length)
        .unwrap_or_default()
        .split(|byte| *byte == 0)
    {
        let name = String::from_utf8_lossy(name);
        let skip = name.is_empty() || name == "security.selinux" || name.contains(".overlay.");
        if skip {
            continue;
        }
        let mut value = vec![0_u8; 64 * 1024];
        let size = rustix::fs::getxattr(from, &*name, &mut value)?;
        let value = value.get(..size).unwrap_or_default();
        match rustix::fs::setxattr(to, &*name, value, rustix::fs::XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
