//! The final file system of a result as one tar.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use rbuild_layer::{FileView, LinkGroup, Node, NodeKind};
use rbuild_progress::{CancelReader, Meter};
use tar::EntryType;

use crate::context::Context;
use crate::output::Output;
use crate::tar_header::{TRAILER, TarEntry, padding};
use crate::walk::{Visitor, platform_dirs, walk};
use crate::{Error, ImageToExport, Result};

/// How a file system is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Whether each platform gets its own directory; by default if there are several.
    pub(crate) split: Option<bool>,
    /// Time given to every entry, in seconds.
    pub(crate) epoch: Option<i64>,
}

/// Writes the file systems of the images. The output is not finished.
pub(crate) fn write(
    images: &[ImageToExport],
    options: Options,
    output: &mut Output,
    cx: &Context<'_>,
) -> Result<()> {
    let name = output.name().to_path_buf();
    let meter = Meter::new(cx.sink, cx.vertex, "sending tarball", None);
    for (image, dir) in images.iter().zip(platform_dirs(images, options.split)) {
        let view = cx.layers.view(&image.layers, cx.cancel);
        let prefix = if dir.is_empty() {
            Vec::new()
        } else {
            format!("{dir}/").into_bytes()
        };
        if !prefix.is_empty() {
            let mut entry = TarEntry::new(EntryType::Directory, &prefix, 0o755);
            entry.mtime = options.epoch.unwrap_or(0);
            output
                .write_all(&entry.to_bytes())
                .map_err(Error::at("write", &name))?;
        }
        let links = HashMap::new();
        let epoch = options.epoch;
        let mut writer = Writer {
            view: &view,
            prefix,
            output,
            name: &name,
            links,
            epoch,
            meter: &meter,
            cx,
        };
        walk(&view, cx.cancel, &mut writer)?;
    }
    output
        .write_all(&TRAILER)
        .map_err(Error::at("write", &name))?;
    meter.finish();
    Ok(())
}

struct Writer<'a> {
    view: &'a dyn FileView,
    prefix: Vec<u8>,
    output: &'a mut Output,
    name: &'a PathBuf,
    /// First name of each file that may have several.
    links: HashMap<LinkGroup, Vec<u8>>,
    epoch: Option<i64>,
    meter: &'a Meter<'a>,
    cx: &'a Context<'a>,
}

impl Visitor for Writer<'_> {
    fn enter(&mut self, path: &[u8], node: &Node) -> Result<()> {
        let mut name = [self.prefix.as_slice(), path].concat();
        if node.is_dir() {
            name.push(b'/');
        }
        let leader = self.leader(&name, node);
        let Some(mut entry) = entry_of(&name, node, leader.as_deref()) else {
            return Ok(());
        };
        entry.mtime = self.epoch.unwrap_or(entry.mtime);
        self.put(&entry.to_bytes())?;
        if entry.size > 0 {
            self.copy(path, entry.size)?;
        }
        Ok(())
    }

    fn leave(&mut self, _: &[u8], _: &Node, _: &[Vec<u8>]) -> Result<()> {
        Ok(())
    }
}

impl Writer<'_> {
    /// Returns the name written before of the same file; otherwise remembers this one.
    fn leader(&mut self, name: &[u8], node: &Node) -> Option<Vec<u8>> {
        let group = node.links.filter(|_| !node.is_dir())?;
        match self.links.get(&group) {
            Some(leader) => Some(leader.clone()),
            None => {
                self.links.insert(group, name.to_vec());
                None
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.output
            .write_all(bytes)
            .map_err(Error::at("write", self.name))
    }

    fn copy(&mut self, path: &[u8], size: u64) -> Result<()> {
        let content = CancelReader::new(self.view.open(path)?, self.cx.cancel);
        // Never more than the header says; less is an error.
        let copied = io::copy(&mut content.take(size), self.output)
            .map_err(Error::at("write", self.name))?;
        if copied != size {
            let path = rbuild_layer::path::to_path(path);
            return Err(Error::io(
                "read",
                &path,
                io::ErrorKind::UnexpectedEof.into(),
            ));
        }
        self.meter.add(size);
        let (zeros, _) = TRAILER.split_at(padding(size));
        self.put(zeros)
    }
}

/// Describes a node; `None` for what a tar cannot hold.
fn entry_of<'a>(name: &'a [u8], node: &'a Node, leader: Option<&'a [u8]>) -> Option<TarEntry<'a>> {
    let kind = match (&node.kind, leader) {
        (NodeKind::Socket, _) => return None,
        (_, Some(_)) => EntryType::Link,
        (NodeKind::File { .. }, _) => EntryType::Regular,
        (NodeKind::Dir, _) => EntryType::Directory,
        (NodeKind::Symlink { .. }, _) => EntryType::Symlink,
        (NodeKind::Char { .. }, _) => EntryType::Char,
        (NodeKind::Block { .. }, _) => EntryType::Block,
        (NodeKind::Fifo, _) => EntryType::Fifo,
    };
    let mut entry = TarEntry::new(kind, name, node.mode);
    (entry.uid, entry.gid, entry.mtime) = (node.uid, node.gid, node.mtime.secs);
    entry.xattrs = Some(&node.xattrs);
    match &node.kind {
        _ if leader.is_some() => {}
        NodeKind::File { size } => entry.size = *size,
        NodeKind::Symlink { target } => entry.link = target,
        NodeKind::Char { major, minor } | NodeKind::Block { major, minor } => {
            entry.device = (*major, *minor)
        }
        _ => {}
    }
    if let Some(leader) = leader {
        entry.link = leader;
    }
    Some(entry)
}
