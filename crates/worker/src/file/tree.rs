//! Trees in memory, for tests.
//!
//! A tree is text, a line each: `path` + type and mode; `d755`, `f644=content`, `l=target`, `s600`, with
//! `@uid:gid` where it is not 0:0, and `#n` where lines are names of one file.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Arc;

use rbuild_layer::{
    ByteSource, ContentDigest, Error, FileView, LinkGroup, Mtime, Node, NodeKind, Result, path,
};

/// A tree in memory.
pub(super) struct Tree(BTreeMap<Vec<u8>, (Node, Vec<u8>)>);

impl Tree {
    /// Reads a tree.
    pub(super) fn new(text: &str) -> Tree {
        let mut all = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
            let (name, what) = line.split_once(' ').expect("path and type");
            let (what, group) = what.split_once('#').unwrap_or((what, ""));
            let (what, owner) = what.split_once('@').unwrap_or((what, "0:0"));
            let (uid, gid) = owner.split_once(':').expect("uid:gid");
            let (mode, body) = what[1..].split_once('=').unwrap_or((&what[1..], ""));
            let kind = match &what[..1] {
                "d" => NodeKind::Dir,
                "s" => NodeKind::Socket,
                "f" => NodeKind::File {
                    size: body.len() as u64,
                },
                _ => NodeKind::Symlink {
                    target: body.as_bytes().to_vec(),
                },
            };
            let node = Node {
                kind,
                mode: u32::from_str_radix(mode, 8).unwrap_or(0o777),
                uid: uid.parse().expect("uid"),
                gid: gid.parse().expect("gid"),
                mtime: Mtime::from_secs(1000),
                links: group.parse().ok().map(|group| LinkGroup(0, group)),
                ..Node::root()
            };
            all.insert(name.as_bytes().to_vec(), (node, body.as_bytes().to_vec()));
        }
        Tree(all)
    }

    /// A tree with one file of these bytes.
    pub(super) fn of_file(name: &str, bytes: Vec<u8>) -> Tree {
        let mut tree = Tree::new(&format!("{name} f644="));
        let (node, body) = tree.0.get_mut(name.as_bytes()).expect("it is there");
        node.kind = NodeKind::File {
            size: bytes.len() as u64,
        };
        *body = bytes;
        tree
    }

    fn get(&self, file: &[u8]) -> Result<&(Node, Vec<u8>)> {
        self.0.get(file).ok_or_else(|| Error::NotFound {
            path: path::to_path(file),
        })
    }
}

impl FileView for Tree {
    fn lstat(&self, file: &[u8]) -> Result<Option<Node>> {
        if file.is_empty() {
            return Ok(Some(Node::root()));
        }
        Ok(self.0.get(file).map(|(node, _)| node.clone()))
    }

    fn read_dir(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>> {
        let below = self.0.keys().filter(|file| path::parent(file) == dir);
        Ok(below.map(|file| path::name(file).to_vec()).collect())
    }

    fn content(&self, file: &[u8]) -> Result<ContentDigest> {
        Ok(ContentDigest::of(&self.get(file)?.1))
    }

    fn open(&self, file: &[u8]) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.get(file)?.1.clone())))
    }

    fn bytes(&self, file: &[u8]) -> Result<ByteSource> {
        Ok(ByteSource::Inline(Arc::from(self.get(file)?.1.clone())))
    }
}

/// A tar of these entries: name, mode, owner, and what they hold or link to.
pub(super) fn tar(entries: &[(&str, u32, u64, Result<&str, &str>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, mode, owner, what) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mode(*mode);
        header.set_uid(*owner);
        header.set_gid(*owner);
        header.set_mtime(3000 + owner);
        match what {
            Ok(body) => {
                header.set_size(body.len() as u64);
                builder.append_data(&mut header, name, body.as_bytes())
            }
            Err(leader) => {
                header.set_entry_type(tar::EntryType::Link);
                header.set_size(0);
                builder.append_link(&mut header, name, leader)
            }
        }
        .expect("write to memory");
    }
    builder.into_inner().expect("write to memory")
}
