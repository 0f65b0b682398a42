//! What a layer shall hold before it exists: entries, and where each file's bytes come from.

use crate::{ByteSource, Compression, ContentDigest, Entry, Kind, LayerId};

/// In which form a layer of files is made. Its diff id is taken on the way, whichever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form<'a> {
    /// The tar.
    Blob,
    /// The tar, and the same compressed, in one pass over the files.
    Compressed(Compression),
    /// A directory that a step can run on; no tar is stored.
    Tree {
        /// The layers below it, lowest first: implied parents look as they do there.
        below: &'a [LayerId],
    },
}

/// A layer to be made by `LayerStore::commit_files`.
///
/// Entries may come in any order; each path once. Missing parents become implied directories,
/// which the tar does not hold: give those that shall be in it.
#[derive(Clone, Debug, Default)]
pub struct NewLayer {
    /// What the layer shall hold.
    pub entries: Vec<NewEntry>,
}

/// One entry of a layer to be made.
#[derive(Clone, Debug)]
pub struct NewEntry {
    pub(crate) entry: Entry,
    pub(crate) bytes: Option<ByteSource>,
    pub(crate) content: Content,
}

/// What is known about a file's bytes before they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The entry has their digest; other bytes are an error.
    Known,
    /// Only their number; the digest is taken on the way.
    Learn,
}

impl NewEntry {
    /// An entry that has no bytes: everything but regular files of some size.
    pub fn plain(entry: Entry) -> Self {
        Self {
            entry,
            bytes: None,
            content: Content::Known,
        }
    }

    /// A regular file whose digest is in the entry. Its bytes are verified on the way.
    pub fn file(entry: Entry, bytes: ByteSource) -> Self {
        Self {
            entry,
            bytes: Some(bytes),
            content: Content::Known,
        }
    }

    /// A regular file of known size whose digest is taken while it is read.
    ///
    /// The digest in the entry does not count; the committed index has the real one.
    pub fn learned(entry: Entry, bytes: ByteSource) -> Self {
        Self {
            entry,
            bytes: Some(bytes),
            content: Content::Learn,
        }
    }

    /// A regular file with these bytes; `entry.kind` is set from them.
    pub fn inline(mut entry: Entry, bytes: impl Into<std::sync::Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        entry.kind = Kind::File {
            size: bytes.len() as u64,
            content: ContentDigest::of(&bytes),
        };
        Self::file(entry, ByteSource::Inline(bytes))
    }

    /// The entry as it was given.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl From<Entry> for NewEntry {
    fn from(entry: Entry) -> Self {
        Self::plain(entry)
    }
}
