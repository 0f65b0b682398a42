//! Trees as text: one line for each entry, so that a difference can be read.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::image::hex;
use crate::tree::{inode, link_target};

/// The entries of a directory by path: kind, mode, owner, size, content and link groups.
///
/// Times are left out. Two trees are alike for an image exactly if their listings are equal.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Listing {
    lines: BTreeMap<String, String>,
}

impl Listing {
    /// Reads everything below `root`; `root` itself is not an entry.
    pub fn of(root: impl AsRef<Path>) -> Self {
        let mut walk = Walk::default();
        walk.dir(root.as_ref(), "")
            .unwrap_or_else(|error| panic!("list {}: {error}", root.as_ref().display()));
        Self { lines: walk.lines }
    }

    /// Returns the line of one path, without the path.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.lines.get(path).map(String::as_str)
    }

    /// Returns the paths, sorted by bytes.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.lines.keys().map(String::as_str)
    }

    /// Returns what differs from `other` as lines with `-` (only here) and `+` (only there); empty if equal.
    pub fn difference(&self, other: &Self) -> String {
        let mut out = String::new();
        let paths: std::collections::BTreeSet<_> = self.paths().chain(other.paths()).collect();
        for path in paths {
            let (here, there) = (self.get(path), other.get(path));
            if here == there {
                continue;
            }
            for (sign, line) in [('-', here), ('+', there)] {
                if let Some(line) = line {
                    out.push_str(&format!("{sign} {path} {line}\n"));
                }
            }
        }
        out
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, line) in &self.lines {
            writeln!(f, "{path} {line}")?;
        }
        Ok(())
    }
}

/// Panics with the differing lines unless both directories hold the same entries.
pub fn assert_same_tree(left: impl AsRef<Path>, right: impl AsRef<Path>) {
    let difference = Listing::of(left).difference(&Listing::of(right));
    assert!(difference.is_empty(), "the trees differ:\n{difference}");
}

#[derive(Default)]
struct Walk {
    lines: BTreeMap<String, String>,
    leaders: BTreeMap<(u64, u64), String>,
}

impl Walk {
    fn dir(&mut self, dir: &Path, prefix: &str) -> io::Result<()> {
        let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let path = format!("{prefix}{}", text(name.as_bytes()));
            let meta = entry.metadata()?;
            let line = self.line(&entry.path(), &path, &meta)?;
            self.lines.insert(path.clone(), line);
            if meta.is_dir() {
                self.dir(&entry.path(), &format!("{path}/"))?;
            }
        }
        Ok(())
    }

    fn line(&mut self, at: &Path, path: &str, meta: &fs::Metadata) -> io::Result<String> {
        let kind = meta.file_type();
        let head = format!("{:04o} {}:{}", meta.mode() & 0o7777, meta.uid(), meta.gid());
        let mut line = if kind.is_dir() {
            format!("dir {head}")
        } else if kind.is_symlink() {
            format!(
                "link {}:{} -> {}",
                meta.uid(),
                meta.gid(),
                text(&link_target(at)?)
            )
        } else if kind.is_file() {
            let digest = Sha256::digest(fs::read(at)?);
            let short = hex(&digest[..6]);
            format!("file {head} {} {short}", meta.len())
        } else if kind.is_fifo() {
            format!("fifo {head}")
        } else if kind.is_socket() {
            format!("socket {head}")
        } else {
            let name = if kind.is_char_device() {
                "char"
            } else {
                "block"
            };
            let (major, minor) = (
                rustix::fs::major(meta.rdev()),
                rustix::fs::minor(meta.rdev()),
            );
            format!("{name} {head} {major},{minor}")
        };
        if !kind.is_dir() && meta.nlink() > 1 {
            let leader = self
                .leaders
                .entry(inode(meta))
                .or_insert_with(|| path.to_owned());
            if leader != path {
                line = format!("{line} = {leader}");
            }
        }
        line.push_str(&xattrs(at)?);
        Ok(line)
    }
}

/// Returns the extended attributes that belong to an image, as ` name=hex` each.
fn xattrs(path: &Path) -> io::Result<String> {
    let mut names = vec![0; 64 * 1024];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut sorted: Vec<String> = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(text)
        .filter(|name| name != "security.selinux")
        .collect();
    sorted.sort();
    let mut out = String::new();
    for name in sorted {
        let mut value = vec![0; 64 * 1024];
        let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value)?;
        let hex: String = value[..length].iter().map(|b| format!("{b:02x}")).collect();
        out.push_str(&format!(" {name}={hex}"));
    }
    Ok(out)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TempDir, Tree};

    #[test]
    fn listing_tells_kind_mode_content_and_links() {
        let dir = TempDir::new();
        Tree::new()
            .file("a", "x")
            .hardlink("b", "a")
            .dir("d")
            .mode(0o700)
            .symlink("d/l", "../a")
            .write_to(&dir);
        let (uid, gid) = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        let listing = Listing::of(&dir);
        let content = "1 2d711642b726";
        assert_eq!(
            listing.get("a"),
            Some(format!("file 0644 {uid}:{gid} {content}").as_str())
        );
        assert_eq!(
            listing.get("b"),
            Some(format!("file 0644 {uid}:{gid} {content} = a").as_str())
        );
        assert_eq!(
            listing.get("d"),
            Some(format!("dir 0700 {uid}:{gid}").as_str())
        );
        assert_eq!(
            listing.get("d/l"),
            Some(format!("link {uid}:{gid} -> ../a").as_str())
        );
    }

    #[test]
    fn difference_names_both_sides() {
        let (one, two) = (TempDir::new(), TempDir::new());
        Tree::new()
            .file("same", "1")
            .file("gone", "2")
            .write_to(&one);
        Tree::new()
            .file("same", "1")
            .file("new", "3")
            .write_to(&two);
        let difference = Listing::of(&one).difference(&Listing::of(&two));
        let starts: Vec<_> = difference.lines().map(|line| &line[..5]).collect();
        assert_eq!(starts, ["- gon", "+ new"]);
    }
}
