//! A step's root: layers, system mounts, its own mounts, and the move into it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, chmod, fstat, open};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use rustix::process::{fchdir, pivot_root};

use crate::attach::{Depth, attach, attach_aside, clone_of, filesystem, make_read_only};
use crate::failure::{During, setup};
use crate::memory::Memory;
use crate::network::{hosts_file, resolver_file};
use crate::overlay::{Mounted, Stack};
use crate::place::{self, Kind, Owner};
use crate::role::Rung;
use crate::spec::{MountSource, MountSpec, Network, StepSpec};
use crate::stub::{self, Need, Target};
use crate::system::System;
use crate::wire::Failure;

/// Longest host file that is passed on.
const MAX_HOST_FILE: u64 = 1 << 20;

/// apt drops to a user of its own for downloads and checks that it could; with one id it cannot.
const APT_FILE: &str = "/etc/apt/apt.conf.d/zz-rbuild-single-id";
const APT_TEXT: &str = "APT::Sandbox::User \"root\";\n";

/// A mount that is made and not yet attached.
struct Pending {
    target: PathBuf,
    mount: OwnedFd,
    kind: Kind,
    read_only: bool,
}

/// Mounts everything for a step; returns its root, attached on top of the old one and not yet entered.
pub(crate) fn mount(spec: &StepSpec, rung: Rung) -> Result<OwnedFd, Failure> {
    let mut memory = Memory::new()?;
    let empty = memory.directory()?;
    let mut pending = own_files(spec, rung, &mut memory)?;
    let mut wanted: Vec<&MountSpec> = spec.mounts.iter().collect();
    wanted.sort_by_key(|mount| depth(&mount.target));
    for mount in wanted {
        pending.push(prepare(mount, rung, &mut memory)?);
    }
    let root = mount_root(spec, rung, &pending)?;
    let system = System {
        root: &root,
        empty: &empty,
        rung,
        security: spec.security,
        shm_size: (!pending.iter().any(Pending::is_shm)).then_some(spec.shm_size),
        own_network: spec.network == Network::None,
    };
    system.mount()?;
    for mount in &pending {
        mount.attach(&root)?;
    }
    Ok(root)
}

/// Counts the names in a path.
fn depth(path: &str) -> usize {
    path.split('/').filter(|name| !name.is_empty()).count()
}

/// Prepares the files that every step gets.
fn own_files(spec: &StepSpec, rung: Rung, memory: &mut Memory) -> Result<Vec<Pending>, Failure> {
    let resolver = resolver_file(&host_file(c"/etc/resolv.conf")?, spec.network);
    let hosts = hosts_file(&spec.hostname, &spec.hosts);
    let mut files = vec![("/etc/resolv.conf", resolver), ("/etc/hosts", hosts)];
    if rung == Rung::SingleId {
        files.push((APT_FILE, APT_TEXT.to_owned()));
    }
    files
        .into_iter()
        .map(|(target, text)| {
            Ok(Pending {
                target: target.into(),
                mount: memory.file(text.as_bytes(), 0o644, Owner { uid: 0, gid: 0 })?,
                kind: Kind::File,
                read_only: true,
            })
        })
        .collect()
}

/// Reads a file of the host; empty if there is none.
fn host_file(path: &std::ffi::CStr) -> Result<String, Failure> {
    const STAGE: &str = "read host file";
    let top = open_directory("/".as_ref()).during(STAGE, "/")?;
    let bytes =
        place::read_small(&top, path, MAX_HOST_FILE).during(STAGE, path.to_string_lossy())?;
    Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
}

/// Makes one of the spec's mounts.
fn prepare(spec: &MountSpec, rung: Rung, memory: &mut Memory) -> Result<Pending, Failure> {
    const STAGE: &str = "prepare mount";
    let target = Path::new(&spec.target);
    let inside_proc = target.starts_with("/proc");
    if !target.is_absolute() || inside_proc || depth(&spec.target) == 0 {
        return Err(setup(
            STAGE,
            format!("{}: cannot be a mount target", spec.target),
        ));
    }
    let mut read_only = spec.read_only;
    let mount = match &spec.source {
        MountSource::Dir(path) => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            bind(
                spec,
                &path.to_string_lossy(),
                open(path, flags, Mode::empty()),
            )?
        }
        MountSource::Within {
            directory,
            inode,
            subpath,
        } => {
            let top = open_directory(directory).during(STAGE, directory.display())?;
            if let Some(expected) = inode {
                check_inode(&top, *expected, directory)?;
            }
            bind(spec, subpath, place::open_in(&top, subpath))?
        }
        MountSource::Overlay {
            lowers,
            subpath,
            upper,
        } => {
            read_only |= upper.is_none();
            let top = stacked(lowers, upper.as_ref(), rung, memory)?;
            bind(spec, subpath, place::open_in(&top, subpath))?
        }
        MountSource::Tmpfs { size, mode } => tmpfs(*size, *mode).during(STAGE, &spec.target)?,
        MountSource::Socket {
            path,
            mode,
            uid,
            gid,
        } => socket(path, *mode, owner_on(rung, (*uid, *gid)))?,
        MountSource::File {
            bytes,
            mode,
            uid,
            gid,
        } => memory.file(bytes, *mode, owner_on(rung, (*uid, *gid)))?,
    };
    Ok(Pending {
        target: target.to_owned(),
        kind: Kind::of(&mount).during(STAGE, &spec.target)?,
        mount,
        read_only,
    })
}

/// The owner that something made for a step can have.
fn owner_on(rung: Rung, (uid, gid): (u32, u32)) -> Owner {
    match rung {
        Rung::SingleId => Owner { uid: 0, gid: 0 },
        Rung::Root | Rung::Subordinate => Owner { uid, gid },
    }
}

/// Gives a socket its owner and mode, and clones the mount at it.
fn socket(path: &Path, mode: u32, owner: Owner) -> Result<OwnedFd, Failure> {
    const STAGE: &str = "prepare socket";
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = open(path, flags, Mode::empty()).during(STAGE, path.display())?;
    let stat = fstat(&found).during(STAGE, path.display())?;
    if place::file_type(&stat) != FileType::Socket {
        return Err(setup(STAGE, format!("{} is no socket", path.display())));
    }
    // Owner first: changing it clears set-id bits.
    place::chown(&found, owner).during(STAGE, "owner")?;
    let by_descriptor = format!("/proc/self/fd/{}", found.as_raw_fd());
    chmod(by_descriptor, Mode::from_raw_mode(mode & 0o7777)).during(STAGE, "mode")?;
    clone_of(&found, Depth::Single).during(STAGE, path.display())
}

/// Clones the mount at a source that was opened, or says that it is missing.
fn bind(
    spec: &MountSpec,
    path: &str,
    source: rustix::io::Result<OwnedFd>,
) -> Result<OwnedFd, Failure> {
    match source {
        Ok(source) => clone_of(&source, Depth::Single).during("prepare mount", path),
        Err(Errno::NOENT | Errno::NOTDIR) => Err(Failure::MissingSource {
            target: spec.target.clone(),
            path: path.to_owned(),
        }),
        Err(error) => Err(error).during("prepare mount", path),
    }
}

/// Makes an empty file system in memory.
fn tmpfs(size: Option<u64>, mode: u32) -> rustix::io::Result<OwnedFd> {
    let mode = format!("{mode:o}");
    let size = size.map(|size| size.to_string());
    let mut options = vec![("mode", Some(mode.as_str()))];
    options.extend(size.as_deref().map(|size| ("size", Some(size))));
    filesystem(c"tmpfs", &options, MountAttrFlags::MOUNT_ATTR_NOSUID)
}

/// Opens a directory of the host, or an already safe one.
fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Makes sure that a path still leads where it did.
fn check_inode(found: &OwnedFd, expected: (u64, u64), path: &Path) -> Result<(), Failure> {
    const STAGE: &str = "prepare mount";
    let stat = fstat(found).during(STAGE, path.display())?;
    if (stat.st_dev, stat.st_ino) != expected {
        let reason = format!("{} was exchanged while the build ran", path.display());
        return Err(setup(STAGE, reason));
    }
    Ok(())
}

/// Mounts the layers of one mount where no path leads.
fn stacked(
    lowers: &[PathBuf],
    upper: Option<&(PathBuf, PathBuf)>,
    rung: Rung,
    memory: &mut Memory,
) -> Result<OwnedFd, Failure> {
    const STAGE: &str = "prepare mount";
    let stack = Stack {
        lowers: lowers.iter().map(PathBuf::as_path).collect(),
        upper: upper.map(|(upper, work)| (upper.as_path(), work.as_path())),
        rung,
    };
    match (stack.lowers.as_slice(), stack.upper) {
        ([], None) => return memory.directory(),
        // overlayfs wants two layers; one is its own view.
        (&[only], None) | ([], Some((only, _))) => {
            return open_directory(only).during(STAGE, only.display());
        }
        _ => {}
    }
    match stack.mount()? {
        Mounted::Aside(top) => Ok(top),
        Mounted::Detached(top) => {
            attach_aside(&top).during(STAGE, "attach")?;
            Ok(top)
        }
    }
}

/// Mounts the root on top of the old one, with a stub layer for what the image lacks.
fn mount_root(spec: &StepSpec, rung: Rung, pending: &[Pending]) -> Result<OwnedFd, Failure> {
    let mut targets: Vec<Target> = ["/proc", "/dev", "/sys"]
        .map(|path| Target {
            path: path.into(),
            kind: Kind::Directory,
            need: Need::Always,
        })
        .into();
    // What lies below another mount must exist, or be made, in that one.
    let covered = |path: &Path, before: usize| {
        let system = ["/proc", "/dev", "/sys"].map(Path::new);
        let own = pending.iter().take(before).map(|p| p.target.as_path());
        system
            .into_iter()
            .chain(own)
            .any(|above| path.starts_with(above))
    };
    for (index, mount) in pending.iter().enumerate() {
        if !covered(&mount.target, index) {
            targets.push(Target {
                path: mount.target.clone(),
                kind: mount.kind,
                need: mount.need(),
            });
        }
    }
    let stub = stub::layer(&spec.root, &targets, rung)?;
    let mut lowers: Vec<&Path> = stub.iter().map(PathBuf::as_path).collect();
    lowers.extend(spec.root.lowers.iter().map(PathBuf::as_path));
    let stack = Stack {
        lowers,
        upper: Some((&spec.root.upper, &spec.root.work)),
        rung,
    };
    match stack.mount()? {
        Mounted::Aside(root) => Ok(root),
        Mounted::Detached(root) => {
            attach_aside(&root).during("attach root", "overlay")?;
            Ok(root)
        }
    }
}

impl Pending {
    /// Tells whether this stands for the system's own `/dev/shm`.
    fn is_shm(&self) -> bool {
        self.kind == Kind::Directory && self.target == Path::new("/dev/shm")
    }

    /// Tells how much the mount is needed.
    fn need(&self) -> Need {
        match self.target == Path::new(APT_FILE) {
            true => Need::InDirectory,
            false => Need::Always,
        }
    }

    /// Attaches the mount at its target in the root.
    fn attach(&self, root: &OwnedFd) -> Result<(), Failure> {
        const STAGE: &str = "attach mount";
        let subject = self.target.display();
        let place = match place::open_in(root, &self.target) {
            Err(Errno::NOENT) if self.need() == Need::InDirectory => return Ok(()),
            Err(Errno::NOENT) => {
                // Only below another mount: the stub layer has everything else.
                place::ensure(root, &self.target, self.kind, Owner { uid: 0, gid: 0 })
            }
            found => found,
        }
        .during(STAGE, &subject)?;
        match (self.kind, Kind::of(&place).during(STAGE, &subject)?) {
            (Kind::Directory, Kind::File) => {
                return Err(setup(STAGE, format!("{subject}: {}", Errno::NOTDIR)));
            }
            (Kind::File, Kind::Directory) => {
                return Err(setup(STAGE, format!("{subject}: {}", Errno::ISDIR)));
            }
            _ => {}
        }
        attach(&self.mount, &place).during(STAGE, &subject)?;
        if self.read_only {
            make_read_only(&self.mount).during(STAGE, &subject)?;
        }
        Ok(())
    }
}

/// Makes `root` the root of the calling process and lets go of the old one.
pub(crate) fn enter(root: &OwnedFd) -> Result<(), Failure> {
    const STAGE: &str = "pivot root";
    fchdir(root).during(STAGE, "enter")?;
    // Both names are the same directory: the old root ends up on top of the new one, whence it is taken
    // away, so that no directory for it is needed inside the image (pivot_root(2)).
    pivot_root(".", ".").during(STAGE, "pivot")?;
    // What was attached aside lies on top of the old root, one upon the other: each is taken away by itself.
    while is_covered(root).during(STAGE, "look for the old root")? {
        unmount(".", UnmountFlags::DETACH).during(STAGE, "let go of the old root")?;
    }
    rustix::process::chdir("/").during(STAGE, "enter /")
}

/// Tells whether something is mounted on top of the root of the calling process.
fn is_covered(root: &OwnedFd) -> rustix::io::Result<bool> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Going up from the root is the one step that ends on what is stacked upon it.
    let top = fstat(&open("/..", flags, Mode::empty())?)?;
    // The root's file system is mounted once, and its device number is its own.
    Ok(top.st_dev != fstat(root)?.st_dev)
}
