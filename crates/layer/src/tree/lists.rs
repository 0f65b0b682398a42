//! The lists that jobs are given and answer with, as bytes for descriptors.

use std::fs::File;
use std::io::{Read, Write};

use crate::encode::{Input, put_bytes, put_number};
use crate::index::MAX_ENTRIES;
use crate::path::{self, MAX_PATH};
use crate::{ContentDigest, Entry, Error, Result};

/// Largest list that is read, in bytes.
const MAX_LIST_BYTES: u64 = 8 << 30;

/// A file whose bytes are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadItem {
    /// Position of the tree.
    pub(crate) root: usize,
    /// Path in it.
    pub(crate) path: Vec<u8>,
    /// How many bytes it must have.
    pub(crate) size: u64,
}

/// What an unpacked tree takes from below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Amended {
    /// An entry: a directory that gets this metadata, or something that is made.
    pub(crate) entry: Entry,
}

/// Reads a whole list from a descriptor.
pub(super) fn read_list(mut file: File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    (&mut file)
        .take(MAX_LIST_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::io("read", "the list of a job", source))?;
    Ok(bytes)
}

/// Writes a whole list to a descriptor.
pub(super) fn write_list(mut file: File, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes)
        .map_err(|source| Error::io("write", "the answer of a job", source))
}

/// Paths of files to hash.
pub(crate) fn encode_paths<'a>(paths: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, paths.len() as u64);
    for path in paths {
        put_bytes(&mut out, path);
    }
    out
}

pub(super) fn decode_paths(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut input = Input(bytes);
    let count = input.count(MAX_ENTRIES)?;
    let mut paths = Vec::with_capacity(count.min(bytes.len() / 2));
    for _ in 0..count {
        paths.push(checked_path(&mut input)?);
    }
    Ok(paths)
}

/// Digests in the order of the paths.
pub(super) fn encode_digests(digests: &[ContentDigest]) -> Vec<u8> {
    digests
        .iter()
        .flat_map(|digest| *digest.as_bytes())
        .collect()
}

/// Reads the answer to a list of `count` paths.
pub(crate) fn decode_digests(bytes: &[u8], count: usize) -> Result<Vec<ContentDigest>> {
    let (digests, rest) = bytes.as_chunks::<32>();
    if digests.len() != count || !rest.is_empty() {
        return Err(Error::TreeWork {
            reason: "the answer does not fit the list of files".to_owned(),
        });
    }
    Ok(digests
        .iter()
        .copied()
        .map(ContentDigest::from_bytes)
        .collect())
}

/// Files whose bytes are wanted.
pub(crate) fn encode_reads(items: &[ReadItem]) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, items.len() as u64);
    for item in items {
        put_number(&mut out, item.root as u64);
        put_bytes(&mut out, &item.path);
        put_number(&mut out, item.size);
    }
    out
}

pub(super) fn decode_reads(bytes: &[u8]) -> Result<Vec<ReadItem>> {
    let mut input = Input(bytes);
    let count = input.count(MAX_ENTRIES)?;
    let mut items = Vec::with_capacity(count.min(bytes.len() / 3));
    for _ in 0..count {
        items.push(ReadItem {
            root: input.count(usize::MAX)?,
            path: checked_path(&mut input)?,
            size: input.number()?,
        });
    }
    Ok(items)
}

/// What a tree takes from below.
pub(crate) fn encode_amended(items: &[Amended]) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, items.len() as u64);
    for item in items {
        crate::encode::put_entry(&mut out, b"", &item.entry);
    }
    out
}

pub(super) fn decode_amended(bytes: &[u8]) -> Result<Vec<Amended>> {
    let mut input = Input(bytes);
    let count = input.count(MAX_ENTRIES)?;
    let mut items = Vec::with_capacity(count.min(bytes.len() / 10));
    for _ in 0..count {
        let entry = input.entry(b"")?;
        items.push(Amended { entry });
    }
    Ok(items)
}

fn checked_path(input: &mut Input<'_>) -> Result<Vec<u8>> {
    let bytes = input.bytes(MAX_PATH)?;
    path::check(bytes).map_err(Error::index)?;
    Ok(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Mtime};

    #[test]
    fn lists_round_trip() {
        let paths: Vec<&[u8]> = vec![b"a", b"b/c"];
        let encoded = encode_paths(paths.iter().copied());
        assert_eq!(decode_paths(&encoded).unwrap(), paths);
        let items = vec![ReadItem {
            root: 3,
            path: b"x".to_vec(),
            size: u64::MAX,
        }];
        assert_eq!(decode_reads(&encode_reads(&items)).unwrap(), items);
        let entry = Entry::new("d", Kind::dir(), 0o1777, Mtime::from_secs(-4));
        let amended = vec![Amended { entry }];
        assert_eq!(decode_amended(&encode_amended(&amended)).unwrap(), amended);
        let digests = [ContentDigest::of(b"1"), ContentDigest::of(b"2")];
        let encoded = encode_digests(&digests);
        assert_eq!(decode_digests(&encoded, 2).unwrap(), digests);
        assert!(decode_digests(&encoded, 3).is_err());
    }

    #[test]
    fn lists_with_paths_that_climb_are_refused() {
        let paths: [&[u8]; 1] = [b"../x"];
        assert!(decode_paths(&encode_paths(paths.into_iter())).is_err());
    }
}
