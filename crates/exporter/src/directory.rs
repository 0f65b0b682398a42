//! The final file system of a result as plain files, owned by whoever runs the build.
//!
//! The directory may hold files already, also ones that an earlier, hostile result put there: nothing
//! is ever reached through a symlink below it. Modes, times and attributes are kept, owners are not.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rbuild_layer::{FileView, LinkGroup, Mtime, Node, NodeKind, path};
use rbuild_progress::{CancelReader, Event, Meter, WarningNote};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT,
    XattrFlags,
};
use rustix::io::Errno;

use crate::context::Context;
use crate::spec::Stale;
use crate::walk::{Visitor, platform_dirs, size_of, walk};
use crate::{Error, ImageToExport, Result, rootfs_tar};

/// How plain files are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) stale: Stale,
    pub(crate) rootfs: rootfs_tar::Options,
}

/// Writes the file systems of the images into `dest`, which is made if it is missing.
pub(crate) fn write(
    dest: &Path,
    images: &[ImageToExport],
    options: Options,
    cx: &Context<'_>,
) -> Result<()> {
    let dirs = platform_dirs(images, options.rootfs.split);
    if options.stale == Stale::Delete && images.len() > 1 && dirs.iter().any(String::is_empty) {
        return Err(Error::output(
            "mode=delete needs platform-split with several platforms",
        ));
    }
    for (image, dir) in images.iter().zip(&dirs) {
        let top = dest.join(dir);
        fs::create_dir_all(&top).map_err(Error::at("create", &top))?;
        let view = cx.layers.view(&image.layers, cx.cancel);
        let name = match dir.as_str() {
            "" => "copying files".to_owned(),
            _ => format!("copying files {}", image.platform),
        };
        let meter = Meter::new(cx.sink, cx.vertex, name, None);
        let mut writer = Writer::new(&view, &top, options, &meter, cx)?;
        walk(&view, cx.cancel, &mut writer)?;
        writer.tell_lost();
        meter.finish();
    }
    Ok(())
}

struct Writer<'a> {
    view: &'a dyn FileView,
    top: &'a Path,
    options: Options,
    meter: &'a Meter<'a>,
    cx: &'a Context<'a>,
    /// The top directory and those being written, outermost first.
    open: Vec<OwnedFd>,
    /// First name of each file that may have several.
    links: HashMap<LinkGroup, Vec<u8>>,
    /// Nodes and attributes that this user may not make.
    lost: Vec<PathBuf>,
}

impl Visitor for Writer<'_> {
    fn enter(&mut self, path: &[u8], node: &Node) -> Result<()> {
        self.make(path, node)
            .map_err(|failure| self.name_failure(path, failure))
    }

    fn leave(&mut self, path: &[u8], node: &Node, names: &[Vec<u8>]) -> Result<()> {
        let Some(dir) = self.open.pop() else {
            return Ok(());
        };
        self.finish_dir(&dir, path, node, names)
            .map_err(|failure| self.name_failure(path, failure))
    }
}

/// A failure that does not know its path yet.
enum Failure {
    System(io::Error),
    Layer(rbuild_layer::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

impl<'a> Writer<'a> {
    fn new(
        view: &'a dyn FileView,
        top: &'a Path,
        options: Options,
        meter: &'a Meter<'a>,
        cx: &'a Context<'a>,
    ) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(CWD, top, flags, Mode::empty());
        let opened = opened.map_err(|errno| Error::io("open", top, errno.into()))?;
        Ok(Self {
            view,
            top,
            options,
            meter,
            cx,
            open: vec![opened],
            links: HashMap::new(),
            lost: Vec::new(),
        })
    }

    fn make(&mut self, path: &[u8], node: &Node) -> Result<(), Failure> {
        let name = path::name(path);
        let Some(parent) = self.open.last() else {
            return Ok(());
        };
        if node.is_dir() {
            let dir = open_dir(parent, name)?;
            self.open.push(dir);
            return Ok(());
        }
        clear(parent, name)?;
        if let Some(group) = node.links {
            match self.links.get(&group) {
                Some(leader) if self.link(leader, name).is_ok() => return Ok(()),
                Some(_) => {}
                None => {
                    self.links.insert(group, path.to_vec());
                }
            }
        }
        let Some(parent) = self.open.last() else {
            return Ok(());
        };
        let made = match &node.kind {
            NodeKind::File { .. } => return self.make_file(path, node),
            NodeKind::Symlink { target } => rustix::fs::symlinkat(target.as_slice(), parent, name),
            NodeKind::Fifo => rustix::fs::mknodat(parent, name, FileType::Fifo, Mode::RUSR, 0),
            NodeKind::Char { major, minor } => {
                make_device(parent, name, FileType::CharacterDevice, (*major, *minor))
            }
            NodeKind::Block { major, minor } => {
                make_device(parent, name, FileType::BlockDevice, (*major, *minor))
            }
            NodeKind::Socket | NodeKind::Dir => return Ok(()),
        };
        match made {
            Err(Errno::PERM) => {
                self.lost.push(path::to_path(path));
                return Ok(());
            }
            made => made?,
        }
        let parent = self.open.last().map(AsFd::as_fd).ok_or(Errno::BADF)?;
        if !matches!(node.kind, NodeKind::Symlink { .. }) {
            // Just made under this name in a directory of ours, so not a symlink.
            rustix::fs::chmodat(parent, name, mode_of(node), AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(
            parent,
            name,
            &self.times(node),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    fn make_file(&mut self, path: &[u8], node: &Node) -> Result<(), Failure> {
        let parent = self.open.last().ok_or(Errno::BADF)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, path::name(path), flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = fs::File::from(file);
        let size = size_of(node);
        if size > 0 {
            let content = self.view.open(path).map_err(Failure::Layer)?;
            let copied = io::copy(
                &mut CancelReader::new(content, self.cx.cancel).take(size),
                &mut file,
            )?;
            self.meter.add(copied);
        }
        self.set_attributes(&file, path, node);
        // After the attributes: writing some of them clears set-id bits.
        rustix::fs::fchmod(&file, mode_of(node))?;
        Ok(rustix::fs::futimens(&file, &self.times(node))?)
    }

    /// Gives the file written first under `leader` a second name.
    fn link(&self, leader: &[u8], name: &[u8]) -> Result<(), Errno> {
        let (Some(top), Some(parent)) = (self.open.first(), self.open.last()) else {
            return Err(Errno::BADF);
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = match path::parent(leader) {
            b"" => b".",
            dir => dir,
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let dir = rustix::fs::openat2(top, dir, flags, Mode::empty(), resolve)?;
        rustix::fs::linkat(&dir, path::name(leader), parent, name, AtFlags::empty())
    }

    fn finish_dir(
        &mut self,
        dir: &OwnedFd,
        path: &[u8],
        node: &Node,
        names: &[Vec<u8>],
    ) -> Result<(), Failure> {
        if self.options.stale == Stale::Delete {
            remove_others(dir, names)?;
        }
        if path.is_empty() {
            // The top belongs to the user, who made or named it.
            return Ok(());
        }
        self.set_attributes(dir, path, node);
        rustix::fs::fchmod(dir, mode_of(node))?;
        Ok(rustix::fs::futimens(dir, &self.times(node))?)
    }

    fn set_attributes(&mut self, file: impl AsFd, path: &[u8], node: &Node) {
        for (name, value) in &node.xattrs {
            if rustix::fs::fsetxattr(&file, name.as_slice(), value, XattrFlags::empty()).is_err() {
                self.lost.push(path::to_path(path));
                return;
            }
        }
    }

    fn times(&self, node: &Node) -> Timestamps {
        let Mtime { secs, nanos } = self
            .options
            .rootfs
            .epoch
            .map_or(node.mtime, Mtime::from_secs);
        Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: secs,
                tv_nsec: nanos.into(),
            },
        }
    }

    /// Warns once of what could not be made, which no error is: an unprivileged user has no devices.
    fn tell_lost(&self) {
        if self.lost.is_empty() {
            return;
        }
        self.cx.sink.send(Event::Warning(WarningNote {
            vertex: Some(self.cx.vertex.clone()),
            short: format!(
                "{} devices or extended attributes could not be written",
                self.lost.len()
            ),
            detail: self
                .lost
                .iter()
                .take(10)
                .map(|path| path.display().to_string())
                .collect(),
            url: None,
            file: None,
            line: None,
            end_line: None,
        }));
    }

    fn name_failure(&self, path: &[u8], failure: Failure) -> Error {
        match failure {
            Failure::System(error) => {
                Error::io("write", &self.top.join(path::to_path(path)), error)
            }
            Failure::Layer(error) => error.into(),
        }
    }
}

fn mode_of(node: &Node) -> Mode {
    Mode::from_raw_mode(node.mode & 0o7777)
}

/// Opens the directory `name`, made if need be; what else has the name is removed.
fn open_dir(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(dir) => {
            // From an earlier result, which may have left it read-only; its mode is set at the end.
            rustix::fs::fchmod(&dir, Mode::RWXU).ok();
            Ok(dir)
        }
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
            clear(parent, name)?;
            rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
            Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
        }
        Err(errno) => Err(errno.into()),
    }
}

fn make_device(
    parent: &OwnedFd,
    name: &[u8],
    kind: FileType,
    device: (u32, u32),
) -> Result<(), Errno> {
    rustix::fs::mknodat(
        parent,
        name,
        kind,
        Mode::RUSR,
        rustix::fs::makedev(device.0, device.1),
    )
}

/// Removes what has a name, whatever it is.
fn clear(parent: &OwnedFd, name: &[u8]) -> Result<(), Failure> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {
            // Through the descriptor, so that no part of the path above is looked up again; the rest is
            // removed without following symlinks.
            let path = format!("/proc/self/fd/{}", parent.as_raw_fd());
            Ok(fs::remove_dir_all(
                Path::new(&path).join(path::to_path(name)),
            )?)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Removes everything in a directory but `names`, which are sorted.
fn remove_others(dir: &OwnedFd, names: &[Vec<u8>]) -> Result<(), Failure> {
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let wanted = |known: &Vec<u8>| known.as_slice().cmp(name);
        if name != b"." && name != b".." && names.binary_search_by(wanted).is_err() {
            clear(dir, name)?;
        }
    }
    Ok(())
}
