//! Lists of the files that a step read of an input: kept to say later which of them differ.
//!
//! A list has of each file what counts in its content digest (see `content`), bytes and attributes as
//! short digests. Two lists tell which files differ, not what is in them.

use std::collections::BTreeMap;
use std::io::Read;

use rbuild_layer::{FileView, Node, NodeKind};
use rbuild_progress::CancelToken;

use crate::select::Selection;
use crate::{Error, Result};

/// First bytes of an encoded list; the number changes with the encoding.
const VERSION: &[u8] = b"rbuild-listing 1\n";

/// Most files of a list: of a larger selection the rest is only counted.
const MOST: usize = 100_000;

/// Most files that a list can leave out: more than any file system has.
const MOST_LEFT_OUT: u64 = 1 << 48;

/// Most bytes that a list may unpack to: more is none of ours.
const MOST_BYTES: u64 = 64 << 20;

/// How hard lists are compressed: little, they are mostly digests.
const LEVEL: i32 = 3;

/// The files of an input, by their paths there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// What is known of each.
    pub files: BTreeMap<Vec<u8>, Listed>,
    /// How many more there were.
    pub left_out: u64,
}

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is.
    pub kind: ListedKind,
    /// Permission bits with set-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// First bytes of a digest over the extended attributes; 0 without any.
    pub attributes: u64,
}

/// What a file is, with what counts of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedKind {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// First bytes of the digest of its bytes.
        content: u64,
    },
    /// A directory.
    Dir,
    /// A symbolic link, with its text.
    Symlink(Vec<u8>),
    /// A device: `c` or `b`, major and minor number.
    Device(u8, u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Listing {
    /// Adds the files of a selection. Those that are in the list already stay as they are.
    ///
    /// Errors: as [`crate::content_of`].
    pub fn add(
        &mut self,
        view: &dyn FileView,
        selection: &Selection,
        cancel: &CancelToken,
    ) -> Result<()> {
        for item in selection.roots.iter().flat_map(|root| &root.items) {
            if self.files.len() >= MOST {
                self.left_out += 1;
                continue;
            }
            cancel.check()?;
            if !self.files.contains_key(&item.path) {
                let listed = listed(view, &item.path, &item.node)?;
                self.files.insert(item.path.clone(), listed);
            }
        }
        Ok(())
    }

    /// The list as compressed bytes.
    ///
    /// Errors: memory for the compressor is short.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = VERSION.to_vec();
        bytes.extend_from_slice(&self.left_out.to_le_bytes());
        for (path, file) in &self.files {
            text(&mut bytes, path);
            for number in [file.mode, file.uid, file.gid] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            bytes.extend_from_slice(&file.attributes.to_le_bytes());
            encode_kind(&mut bytes, &file.kind);
        }
        zstd::bulk::compress(&bytes, LEVEL).map_err(|source| Error::Listing { source })
    }

    /// Reads a list; `None` if the bytes are none, or one of another encoding.
    pub fn decode(bytes: &[u8]) -> Option<Listing> {
        let mut plain = Vec::new();
        let decoder = zstd::Decoder::new(bytes).ok()?;
        decoder.take(MOST_BYTES).read_to_end(&mut plain).ok()?;
        let mut rest = Rest(plain.strip_prefix(VERSION)?);
        let mut listing = Listing {
            left_out: rest.long()?,
            ..Listing::default()
        };
        if listing.left_out > MOST_LEFT_OUT {
            return None;
        }
        while !rest.0.is_empty() {
            if listing.files.len() >= MOST {
                return None;
            }
            let path = rest.text()?;
            let (mode, uid, gid) = (rest.number()?, rest.number()?, rest.number()?);
            let file = Listed {
                mode,
                uid,
                gid,
                attributes: rest.long()?,
                kind: rest.kind()?,
            };
            listing.files.insert(path, file);
        }
        Some(listing)
    }
}

fn listed(view: &dyn FileView, path: &[u8], node: &Node) -> Result<Listed> {
    let kind = match &node.kind {
        NodeKind::File { size } => ListedKind::File {
            size: *size,
            content: beginning(view.content(path)?.as_bytes()),
        },
        NodeKind::Dir => ListedKind::Dir,
        NodeKind::Symlink { target } => ListedKind::Symlink(target.clone()),
        NodeKind::Char { major, minor } => ListedKind::Device(b'c', *major, *minor),
        NodeKind::Block { major, minor } => ListedKind::Device(b'b', *major, *minor),
        NodeKind::Fifo => ListedKind::Fifo,
        NodeKind::Socket => ListedKind::Socket,
    };
    let mut attributes = Vec::new();
    for (name, value) in &node.xattrs {
        text(&mut attributes, name);
        text(&mut attributes, value);
    }
    Ok(Listed {
        kind,
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        attributes: match attributes.is_empty() {
            true => 0,
            false => beginning(blake3::hash(&attributes).as_bytes()),
        },
    })
}

fn beginning(digest: &[u8; 32]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

fn encode_kind(out: &mut Vec<u8>, kind: &ListedKind) {
    match kind {
        ListedKind::File { size, content } => {
            out.push(b'f');
            out.extend_from_slice(&size.to_le_bytes());
            out.extend_from_slice(&content.to_le_bytes());
        }
        ListedKind::Dir => out.push(b'd'),
        ListedKind::Symlink(target) => {
            out.push(b'l');
            text(out, target);
        }
        ListedKind::Device(tag, major, minor) => {
            out.push(*tag);
            out.extend_from_slice(&major.to_le_bytes());
            out.extend_from_slice(&minor.to_le_bytes());
        }
        ListedKind::Fifo => out.push(b'p'),
        ListedKind::Socket => out.push(b's'),
    }
}

/// Length first. No path or attribute is longer than the kernel lets it be.
fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&bytes[..length as usize]);
}

/// What is still to be read of a list.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn long(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text.to_vec())
    }

    fn kind(&mut self) -> Option<ListedKind> {
        let [tag] = self.take()?;
        Some(match tag {
            b'f' => ListedKind::File {
                size: self.long()?,
                content: self.long()?,
            },
            b'd' => ListedKind::Dir,
            b'l' => ListedKind::Symlink(self.text()?),
            b'c' | b'b' => ListedKind::Device(tag, self.number()?, self.number()?),
            b'p' => ListedKind::Fifo,
            b's' => ListedKind::Socket,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: u32, kind: ListedKind) -> Listed {
        Listed {
            kind,
            mode,
            uid: 1,
            gid: 2,
            attributes: 3,
        }
    }

    fn listing() -> Listing {
        let kinds = [
            ListedKind::File {
                size: 5,
                content: u64::MAX,
            },
            ListedKind::Dir,
            ListedKind::Symlink(b"../\xff\n".to_vec()),
            ListedKind::Device(b'c', 1, 2),
            ListedKind::Device(b'b', 1, 2),
            ListedKind::Fifo,
            ListedKind::Socket,
        ];
        let files = kinds.into_iter().enumerate();
        let named =
            files.map(|(n, kind)| (format!("d/{n}\x1b[2J").into_bytes(), file(0o644, kind)));
        Listing {
            files: named.collect(),
            left_out: 7,
        }
    }

    #[test]
    fn listing_survives_encoding() {
        let listing = listing();
        assert_eq!(Listing::decode(&listing.encode().unwrap()), Some(listing));
        let empty = Listing::default();
        assert_eq!(Listing::decode(&empty.encode().unwrap()), Some(empty));
    }

    #[test]
    fn other_bytes_are_no_listing() {
        let whole = listing().encode().unwrap();
        assert_eq!(Listing::decode(&whole[..whole.len() - 3]), None);
        let plain = zstd::bulk::decompress(&whole, 1 << 20).unwrap();
        for end in 0..plain.len() {
            let cut = zstd::bulk::compress(&plain[..end], 1).unwrap();
            // A cut between two files is a shorter list.
            if let Some(read) = Listing::decode(&cut) {
                assert!(read.files.len() < 7, "{end}");
            }
        }
        let mut bomb = VERSION.to_vec();
        bomb.resize((MOST_BYTES as usize) + 100, 0);
        let bomb = zstd::bulk::compress(&bomb, 1).unwrap();
        assert!(bomb.len() < 100_000);
        Listing::decode(&bomb);
        for bytes in [&b""[..], b"x", VERSION] {
            assert_eq!(Listing::decode(bytes), None);
        }
    }
}
