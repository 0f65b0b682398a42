//! The system calls under a local context: everything by descriptor, below one directory.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::SystemTime;

use rbuild_layer::{ContentDigest, LinkGroup, Mtime, Node, NodeKind, Xattrs, path};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::Seen;
use crate::stat_cache::{FileStamp, Known, Slack, StatCache};
use crate::{Error, Result};

/// Largest set of names of extended attributes that the kernel returns, and largest value.
const XATTR_MAX: usize = 64 * 1024;

/// How much is read at once while digesting: large enough that BLAKE3 uses its widest vectors.
const READ_SIZE: usize = 1 << 20;

/// File systems whose clock is not this machine's, or coarse: NFS, SMB, CIFS, 9P, FUSE, FAT, exFAT.
const COARSE: [i64; 8] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x0102_1997,
    0x6573_5546,
    0x4d44,
    0x2011_bab0,
];

pub(super) fn open_root(dir: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::empty())
}

pub(super) fn slack(root: &OwnedFd) -> Result<Slack, Errno> {
    // The type's width differs between architectures.
    #[allow(clippy::unnecessary_cast)]
    let kind = rustix::fs::fstatfs(root)?.f_type as i64;
    Ok(if COARSE.contains(&kind) {
        Slack::Coarse
    } else {
        Slack::Fine
    })
}

/// Opens `file` below `root`; no component may be a symbolic link.
fn open_below(root: &OwnedFd, file: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let name = if file.is_empty() { &b"."[..] } else { file };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    loop {
        match rustix::fs::openat2(root, name, flags, Mode::empty(), resolve) {
            // A rename elsewhere made the kernel unsure whether the path stayed below the root.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// What is at `file`; `None` if nothing is, or if what leads there is no directory.
pub(super) fn stat(
    root: &OwnedFd,
    file: &[u8],
    stats: &StatCache,
    slack: Slack,
) -> Result<Option<Seen>, Errno> {
    // O_PATH with NO_SYMLINKS refuses a link at the end too, so the parent is opened, then the name
    // is looked at in it.
    let (dir, name) = (path::parent(file), path::name(file));
    let dir = match open_below(root, dir, OFlags::PATH | OFlags::DIRECTORY) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        other => other?,
    };
    if name.is_empty() {
        let meta = rustix::fs::fstat(&dir)?;
        return seen(dir.as_fd(), b".", &meta, stats, slack).map(Some);
    }
    match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e),
        Ok(meta) => seen(dir.as_fd(), name, &meta, stats, slack).map(Some),
    }
}

/// Everything in a directory with its metadata, sorted by name.
pub(super) fn list(
    root: &OwnedFd,
    dir: &[u8],
    stats: &StatCache,
    slack: Slack,
) -> Result<Vec<(Vec<u8>, Seen)>, Errno> {
    let fd = open_below(root, dir, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut found = Vec::new();
    for item in rustix::fs::Dir::read_from(&fd)? {
        let item = item?;
        let name = item.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        match rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            // Gone since it was listed.
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
            Ok(meta) => found.push((name.to_vec(), seen(fd.as_fd(), name, &meta, stats, slack)?)),
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn seen(
    dir: BorrowedFd<'_>,
    name: &[u8],
    meta: &Stat,
    stats: &StatCache,
    slack: Slack,
) -> Result<Seen, Errno> {
    let stamp = stamp(meta);
    let file_type = FileType::from_raw_mode(meta.st_mode);
    let xattrs = match stats.lookup(&stamp) {
        Some(known) => known.xattrs,
        None => {
            let read_at = SystemTime::now();
            let xattrs = xattrs(dir, name)?;
            let known = Known {
                content: None,
                xattrs: xattrs.clone(),
            };
            stats.remember(stamp, known, read_at, slack);
            xattrs
        }
    };
    let links = (meta.st_nlink > 1 && file_type != FileType::Directory)
        .then_some(LinkGroup(stamp.dev, stamp.ino));
    let node = Node {
        kind: kind(dir, name, meta, file_type)?,
        mode: meta.st_mode & 0o7777,
        uid: 0,
        gid: 0,
        mtime: Mtime {
            secs: stamp.mtime.0,
            nanos: stamp.mtime.1,
        },
        xattrs,
        links,
    };
    Ok(Seen { node, stamp })
}

fn kind(
    dir: BorrowedFd<'_>,
    name: &[u8],
    meta: &Stat,
    file_type: FileType,
) -> Result<NodeKind, Errno> {
    let (major, minor) = (
        rustix::fs::major(meta.st_rdev),
        rustix::fs::minor(meta.st_rdev),
    );
    Ok(match file_type {
        FileType::RegularFile => NodeKind::File {
            size: u64::try_from(meta.st_size).unwrap_or(0),
        },
        FileType::Directory => NodeKind::Dir,
        FileType::Symlink => NodeKind::Symlink {
            target: rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes(),
        },
        FileType::CharacterDevice => NodeKind::Char { major, minor },
        FileType::BlockDevice => NodeKind::Block { major, minor },
        FileType::Fifo => NodeKind::Fifo,
        _ => NodeKind::Socket,
    })
}

fn stamp(meta: &Stat) -> FileStamp {
    // The types' widths differ between architectures.
    #[allow(clippy::unnecessary_cast)]
    FileStamp {
        dev: meta.st_dev as u64,
        ino: meta.st_ino as u64,
        size: u64::try_from(meta.st_size).unwrap_or(0),
        mtime: (meta.st_mtime as i64, meta.st_mtime_nsec as u32),
        ctime: (meta.st_ctime as i64, meta.st_ctime_nsec as u32),
    }
}

/// Reads the attributes that may enter a layer.
fn xattrs(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Xattrs, Errno> {
    // Attributes cannot be read through an O_PATH descriptor itself, only through its name in
    // /proc, which leads to exactly the inode that was opened, links included.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Xattrs::new()),
        other => other?,
    };
    let proc_name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let mut names = [0u8; 1024];
    let listed = match rustix::fs::listxattr(&*proc_name, &mut names[..]) {
        Ok(0) | Err(Errno::NOTSUP | Errno::NOENT | Errno::ACCESS | Errno::PERM) => {
            return Ok(Xattrs::new());
        }
        Ok(n) => names.get(..n).unwrap_or_default().to_vec(),
        Err(Errno::RANGE) => {
            let mut large = vec![0u8; XATTR_MAX];
            let n = rustix::fs::listxattr(&*proc_name, &mut large[..])?;
            large.truncate(n);
            large
        }
        Err(e) => return Err(e),
    };
    let mut found = Xattrs::new();
    let wanted = listed.split(|b| *b == 0).filter(|n| enters_layer(n));
    for attr in wanted {
        let mut value = vec![0u8; XATTR_MAX];
        match rustix::fs::getxattr(&*proc_name, attr, &mut value[..]) {
            Ok(n) => {
                value.truncate(n);
                found.insert(attr.to_vec(), value);
            }
            Err(Errno::NODATA | Errno::NOTSUP | Errno::ACCESS | Errno::PERM) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

/// Labels, access lists and other systems' marks belong to the host, not to the file.
fn enters_layer(name: &[u8]) -> bool {
    let host = [&b"security.selinux"[..], b"security.ima", b"security.evm"].contains(&name);
    let foreign = [
        &b"system."[..],
        b"com.apple.",
        b"trusted.overlay.",
        b"user.overlay.",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix));
    !name.is_empty() && !host && !foreign
}

/// Opens a regular file that must still be what `expected` says.
pub(super) fn open_same(root: &OwnedFd, file: &[u8], expected: &FileStamp) -> Result<File> {
    let changed = || Error::Changed {
        path: path::to_path(file),
    };
    // NONBLOCK: what was a file may have become a pipe in the meantime.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match open_below(root, file, flags) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(changed()),
        other => other.map_err(|e| super::read_error("open", file, e))?,
    };
    let meta = rustix::fs::fstat(&fd).map_err(|e| super::read_error("look at", file, e))?;
    if stamp(&meta) != *expected {
        return Err(changed());
    }
    Ok(File::from(fd))
}

/// Digests a file's bytes; the file must stay the same from before to after.
pub(super) fn digest(
    root: &OwnedFd,
    file: &[u8],
    seen: &Seen,
    stats: &StatCache,
    slack: Slack,
) -> Result<ContentDigest> {
    let read_at = SystemTime::now();
    let mut open = open_same(root, file, &seen.stamp)?;
    let io = |e: std::io::Error| Error::Read {
        attempt: "read",
        path: path::to_path(file),
        source: e,
    };
    let mut hasher = blake3::Hasher::new();
    let room = usize::try_from(seen.stamp.size).unwrap_or(READ_SIZE);
    let mut buffer = vec![0u8; room.clamp(4096, READ_SIZE)];
    loop {
        let n = open.read(&mut buffer).map_err(io)?;
        if n == 0 {
            break;
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
    }
    let after = rustix::fs::fstat(&open).map_err(|e| super::read_error("look at", file, e))?;
    if stamp(&after) != seen.stamp {
        return Err(Error::Changed {
            path: path::to_path(file),
        });
    }
    let content = *hasher.finalize().as_bytes();
    let known = Known {
        content: Some(content),
        xattrs: seen.node.xattrs.clone(),
    };
    stats.remember(seen.stamp, known, read_at, slack);
    Ok(ContentDigest::from_bytes(content))
}
