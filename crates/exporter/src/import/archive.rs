//! Files of a tar, by name: one pass over the headers, then any file at any time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rbuild_layer::clean_path;
use rbuild_progress::CancelReader;
use rbuild_store::StagedFile;
use tar::EntryType;

use super::Input;
use super::files::{Files, Found};
use super::stdin::Stdin;
use crate::{Context, Error, Result};

/// Most files that are remembered: far more than an archive of images has.
const FILES_MAX: usize = 1_000_000;

/// Longest extended header or long name, in bytes.
const EXTENSION_MAX: u64 = 1 << 20;

/// Most links followed from one name.
const LINKS_MAX: usize = 8;

/// A tar whose files can be opened by name.
pub(super) struct TarFiles {
    file: Plain,
    path: PathBuf,
    entries: BTreeMap<Vec<u8>, Place>,
}

/// An uncompressed tar: the file itself, or a copy that goes when it is dropped.
enum Plain {
    Given(File),
    Copy(StagedFile),
}

impl Plain {
    fn file(&self) -> &File {
        match self {
            Self::Given(file) => file,
            Self::Copy(staged) => staged.file(),
        }
    }
}

enum Place {
    Bytes { offset: u64, size: u64 },
    Link(Vec<u8>),
}

impl TarFiles {
    /// Reads the headers of a tar. What is compressed or cannot be read twice is put uncompressed into
    /// the stage first.
    pub(super) fn open(input: &Input, cx: &Context<'_>) -> Result<Self> {
        let path = input.path();
        let plain = match input {
            Input::Stdin => Plain::Copy(uncompress(Stdin::new(cx.cancel), path, cx)?),
            Input::File(_) => plain_file(path, cx)?,
        };
        let entries = read_entries(plain.file(), path, cx)?;
        Ok(Self {
            file: plain,
            path: path.to_path_buf(),
            entries,
        })
    }

    /// Tells whether there is a file of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name.as_bytes()).is_some()
    }

    /// The whole tar, uncompressed.
    pub(super) fn whole(&self) -> io::Result<impl Read + Send> {
        let file = self.file.file();
        Ok(Part {
            file,
            at: 0,
            left: file.metadata()?.len(),
        })
    }

    fn find(&self, name: &[u8]) -> Option<(u64, u64)> {
        let mut name = name;
        for _ in 0..LINKS_MAX {
            match self.entries.get(name)? {
                Place::Bytes { offset, size } => return Some((*offset, *size)),
                Place::Link(target) => name = target,
            }
        }
        None
    }
}

/// A file as it is, or its uncompressed copy; of what is no regular file always a copy.
fn plain_file(path: &Path, cx: &Context<'_>) -> Result<Plain> {
    let file = File::open(path).map_err(Error::at("open", path))?;
    let meta = file.metadata().map_err(Error::at("stat", path))?;
    if meta.is_dir() {
        let reason = "it is a directory; oci:DIR names an OCI layout";
        return Err(Error::import(path, reason));
    }
    let compressed = || super::rootfs::compression_of(&file).map_err(Error::at("read", path));
    if meta.is_file() && compressed()?.is_none() {
        return Ok(Plain::Given(file));
    }
    Ok(Plain::Copy(uncompress(file, path, cx)?))
}

fn uncompress(from: impl Read + Send, path: &Path, cx: &Context<'_>) -> Result<StagedFile> {
    let staged = cx.store.stage_file()?;
    let mut reader = rbuild_layer::uncompressed(CancelReader::new(from, cx.cancel))
        .map_err(Error::at("read", path))?;
    let mut out = io::BufWriter::with_capacity(256 * 1024, staged.file());
    io::copy(&mut reader, &mut out)
        .and_then(|_| out.flush())
        .map_err(Error::at("uncompress", path))?;
    drop(out);
    Ok(staged)
}

/// Refuses extended headers and long names beyond any sense: they are read whole, and what is compressed
/// may unpack to many times the memory of the machine.
fn check_extensions(file: &File, path: &Path, cx: &Context<'_>) -> Result<()> {
    let mut archive = archive(file, path)?;
    let entries = archive.entries_with_seek().map_err(broken(path))?;
    for entry in entries.raw(true) {
        cx.cancel.check()?;
        let entry = entry.map_err(broken(path))?;
        let kind = entry.header().entry_type();
        let extends = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if extends && entry.size() > EXTENSION_MAX {
            let reason = format!("a header in it is longer than {EXTENSION_MAX} bytes");
            return Err(Error::import(path, reason));
        }
    }
    Ok(())
}

/// The tar from its beginning.
fn archive<'f>(file: &'f File, path: &Path) -> Result<tar::Archive<BufReader<&'f File>>> {
    let mut reader = BufReader::new(file);
    reader.rewind().map_err(Error::at("read", path))?;
    Ok(tar::Archive::new(reader))
}

fn broken(path: &Path) -> impl Fn(io::Error) -> Error + Copy {
    move |error| {
        // The text may go on with bytes of what is no header.
        let text = error.to_string();
        let reason = text.split([':', '\n']).next().unwrap_or_default();
        Error::import(path, format!("it is no sound tar: {reason}"))
    }
}

fn read_entries(file: &File, path: &Path, cx: &Context<'_>) -> Result<BTreeMap<Vec<u8>, Place>> {
    check_extensions(file, path, cx)?;
    let mut entries = BTreeMap::new();
    let length = file.metadata().map_err(Error::at("stat", path))?.len();
    let mut archive = archive(file, path)?;
    let broken = broken(path);
    for entry in archive.entries_with_seek().map_err(broken)? {
        cx.cancel.check()?;
        let entry = entry.map_err(broken)?;
        let Some(name) = clean(&entry.path_bytes()) else {
            continue;
        };
        let place = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let (offset, size) = (entry.raw_file_position(), entry.size());
                if offset.checked_add(size).is_none_or(|end| end > length) {
                    return Err(Error::import(path, "it is cut off"));
                }
                Place::Bytes { offset, size }
            }
            kind @ (EntryType::Symlink | EntryType::Link) => {
                let target = entry.link_name_bytes().unwrap_or_default();
                match link_target(&name, &target, kind) {
                    Some(target) => Place::Link(target),
                    None => continue,
                }
            }
            _ => continue,
        };
        if entries.len() >= FILES_MAX {
            return Err(Error::import(path, "it has too many files"));
        }
        // As when unpacking: a later entry replaces an earlier one.
        entries.insert(name, place);
    }
    Ok(entries)
}

/// Returns a name without `.` and empty parts; `None` if it leads out or nowhere.
fn clean(name: &[u8]) -> Option<Vec<u8>> {
    clean_path(name).ok().filter(|name| !name.is_empty())
}

/// Where a link leads, from the top of the archive. Symlinks are relative to where they are.
fn link_target(name: &[u8], target: &[u8], kind: EntryType) -> Option<Vec<u8>> {
    if kind == EntryType::Link || target.starts_with(b"/") {
        return clean(target);
    }
    let parent = rbuild_layer::path::parent(name);
    clean(&[parent, b"/", target].concat())
}

impl Files for TarFiles {
    fn open(&self, name: &str) -> Result<Option<Found<'_>>> {
        let Some(name) = clean(name.as_bytes()) else {
            return Err(Error::import(
                &self.path,
                format!("{name:?} leads out of it"),
            ));
        };
        let found = self.find(&name).map(|(offset, size)| Found {
            size,
            bytes: Box::new(Part {
                file: self.file.file(),
                at: offset,
                left: size,
            }),
        });
        Ok(found)
    }
}

/// A part of a file, read without moving its position: several may be read at once.
struct Part<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let Some(buf) = buf.get_mut(..most) else {
            return Ok(0);
        };
        let read = self.file.read_at(buf, self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        let check = |name: &str, target: &str, kind, expected: Option<&str>| {
            let found = link_target(name.as_bytes(), target.as_bytes(), kind);
            assert_eq!(
                found.as_deref(),
                expected.map(str::as_bytes),
                "{name} -> {target}"
            );
        };
        check(
            "b/layer.tar",
            "../a/layer.tar",
            EntryType::Symlink,
            Some("a/layer.tar"),
        );
        check("b/layer.tar", "./x", EntryType::Symlink, Some("b/x"));
        check("b/layer.tar", "../../etc/passwd", EntryType::Symlink, None);
        check(
            "b/layer.tar",
            "a/layer.tar",
            EntryType::Link,
            Some("a/layer.tar"),
        );
    }
}
