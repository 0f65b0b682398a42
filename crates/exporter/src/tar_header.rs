//! Headers of tar archives written here: USTAR, with PAX records for what that cannot hold.
//!
//! For archives around images and for whole file systems. The bytes of layers are written elsewhere.

use std::collections::BTreeMap;

use tar::{EntryType, Header};

/// Size of a tar block in bytes.
const BLOCK: u64 = 512;

/// Largest size that USTAR holds: eleven octal digits.
const MAX_SIZE: u64 = (8 << 30) - 1;

/// Largest owner or device number that USTAR holds: seven octal digits.
const MAX_ID: u64 = (1 << 21) - 1;

/// What an entry says about itself; times in seconds, names without leading slash.
#[derive(Clone, Debug)]
pub(crate) struct TarEntry<'a> {
    pub(crate) kind: EntryType,
    /// Directories end in a slash.
    pub(crate) name: &'a [u8],
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Option<&'a BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl<'a> TarEntry<'a> {
    /// An entry of root's, of the epoch, empty.
    pub(crate) fn new(kind: EntryType, name: &'a [u8], mode: u32) -> Self {
        Self {
            kind,
            name,
            link: b"",
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 0,
            device: (0, 0),
            xattrs: None,
        }
    }

    /// Returns the header blocks; the content and its padding follow them.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut header = Header::new_ustar();
        let records = self.records(&mut header);
        let mut bytes = Vec::with_capacity(3 * BLOCK as usize);
        if !records.is_empty() {
            let mut pax = Header::new_ustar();
            pax.set_entry_type(EntryType::XHeader);
            set_name(&mut pax, b"PaxHeaders.0/entry");
            pax.set_mode(0o644);
            pax.set_uid(0);
            pax.set_gid(0);
            pax.set_mtime(0);
            pax.set_size(records.len() as u64);
            pax.set_cksum();
            bytes.extend_from_slice(pax.as_bytes());
            bytes.extend_from_slice(&records);
            bytes.resize(bytes.len() + padding(records.len() as u64), 0);
        }
        bytes.extend_from_slice(header.as_bytes());
        bytes
    }

    /// Fills the header and returns the PAX records for what did not fit, sorted by key.
    fn records(&self, header: &mut Header) -> Vec<u8> {
        let mut records: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut over = |key: &str, value: String| records.insert(key.into(), value.into_bytes());
        header.set_entry_type(self.kind);
        header.set_mode(self.mode & 0o7777);
        header.set_size(if self.size > MAX_SIZE { 0 } else { self.size });
        header.set_uid(fitting(self.uid, |id| over("uid", id)));
        header.set_gid(fitting(self.gid, |id| over("gid", id)));
        if self.size > MAX_SIZE {
            over("size", self.size.to_string());
        }
        match u64::try_from(self.mtime) {
            Ok(mtime) if mtime <= MAX_SIZE => header.set_mtime(mtime),
            _ => {
                header.set_mtime(0);
                over("mtime", self.mtime.to_string());
            }
        }
        if matches!(self.kind, EntryType::Char | EntryType::Block) {
            // Only the USTAR part of a header has them, and this is one.
            header.set_device_major(self.device.0).ok();
            header.set_device_minor(self.device.1).ok();
        }
        if !set_name(header, self.name) {
            records.insert(b"path".to_vec(), self.name.to_vec());
        }
        if !set_link(header, self.link) {
            records.insert(b"linkpath".to_vec(), self.link.to_vec());
        }
        for (name, value) in self.xattrs.into_iter().flatten() {
            records.insert([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone());
        }
        header.set_cksum();
        records
            .iter()
            .flat_map(|(key, value)| pax_record(key, value))
            .collect()
    }
}

/// Returns an id that fits, after telling `over` of one that does not.
fn fitting<R>(id: u32, over: impl FnOnce(String) -> R) -> u64 {
    let id = u64::from(id);
    if id <= MAX_ID {
        return id;
    }
    over(id.to_string());
    0
}

/// Puts a name into a header, split at a slash if it is long; tells whether all of it is there.
fn set_name(header: &mut Header, name: &[u8]) -> bool {
    let Some(ustar) = header.as_ustar_mut() else {
        return false;
    };
    let plain = name.iter().all(|byte| (1..0x80).contains(byte));
    let split = match name.len() {
        0..=100 => Some((&b""[..], name)),
        101..=256 => split(name),
        _ => None,
    };
    match split {
        Some((prefix, rest)) if plain => {
            fill(&mut ustar.prefix, prefix);
            fill(&mut ustar.name, rest);
            true
        }
        // Readers without PAX get at least the end of it.
        _ => {
            let ascii: Vec<u8> = name
                .iter()
                .copied()
                .filter(|byte| (1..0x80).contains(byte))
                .collect();
            fill(
                &mut ustar.name,
                ascii
                    .get(ascii.len().saturating_sub(100)..)
                    .unwrap_or_default(),
            );
            false
        }
    }
}

fn set_link(header: &mut Header, link: &[u8]) -> bool {
    let Some(ustar) = header.as_ustar_mut() else {
        return false;
    };
    let fits = link.len() <= 100 && link.iter().all(|byte| (1..0x80).contains(byte));
    if fits {
        fill(&mut ustar.linkname, link);
    }
    fits
}

/// Splits a name at the last slash that leaves at most 155 bytes before and 1 to 100 after it.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = name.iter().take(156).rposition(|byte| *byte == b'/')?;
    let (prefix, rest) = (name.get(..at)?, name.get(at + 1..)?);
    ((1..=100).contains(&rest.len()) && !prefix.is_empty()).then_some((prefix, rest))
}

fn fill(field: &mut [u8], text: &[u8]) {
    field.fill(0);
    for (to, from) in field.iter_mut().zip(text) {
        *to = *from;
    }
}

/// `length key=value\n`, where the length counts its own digits.
fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} ").as_bytes(), key, b"=", value, b"\n"].concat()
}

/// Zero bytes after content of this size.
pub(crate) fn padding(size: u64) -> usize {
    ((BLOCK - size % BLOCK) % BLOCK) as usize
}

/// What ends an archive.
pub(crate) const TRAILER: [u8; 2 * BLOCK as usize] = [0; 2 * BLOCK as usize];

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Writes one entry and reads it back with the `tar` crate.
    fn check(entry: &TarEntry<'_>, read: impl FnOnce(&mut tar::Entry<'_, &[u8]>)) {
        let mut bytes = entry.to_bytes();
        bytes.extend_from_slice(&TRAILER);
        assert_eq!(bytes.len() % 512, 0);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut found = archive.entries().unwrap().next().unwrap().unwrap();
        read(&mut found);
    }

    #[test]
    fn names_of_every_length_come_back() {
        for length in [1, 99, 100, 101, 155, 156, 200, 255, 256, 257, 300, 1000] {
            for name in [
                "x".repeat(length),
                "dir/".repeat(length / 4) + "f",
                "é".repeat(length.div_ceil(2)),
            ] {
                let entry = TarEntry::new(EntryType::Regular, name.as_bytes(), 0o644);
                check(&entry, |found| {
                    assert_eq!(&*found.path_bytes(), name.as_bytes())
                });
            }
        }
    }

    #[test]
    fn large_numbers_come_back() {
        let mut entry = TarEntry::new(EntryType::Symlink, b"a", 0o777);
        let link = "l".repeat(150);
        (entry.uid, entry.gid, entry.mtime, entry.link) = (u32::MAX, 1 << 21, -5, link.as_bytes());
        check(&entry, |found| {
            assert_eq!(&*found.link_name_bytes().unwrap(), link.as_bytes());
            let records: Vec<(String, String)> = found
                .pax_extensions()
                .unwrap()
                .unwrap()
                .map(|record| record.unwrap())
                .map(|record| {
                    (
                        record.key().unwrap().to_owned(),
                        record.value().unwrap().to_owned(),
                    )
                })
                .collect();
            let expected = [
                ("gid", "2097152"),
                ("linkpath", &link),
                ("mtime", "-5"),
                ("uid", "4294967295"),
            ];
            assert_eq!(
                records,
                expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
            );
        });
    }

    #[test]
    fn plain_entries_need_one_block() {
        let mut entry = TarEntry::new(EntryType::Regular, b"etc/hosts", 0o444);
        entry.size = 3;
        assert_eq!(entry.to_bytes().len(), 512);
        check(&entry, |found| {
            assert_eq!(found.header().mode().unwrap(), 0o444);
            assert_eq!(found.header().mtime().unwrap(), 0);
            assert_eq!(found.size(), 3);
            found.read_to_end(&mut Vec::new()).ok();
        });
    }

    #[test]
    fn attributes_are_records() {
        let xattrs = BTreeMap::from([(b"user.a".to_vec(), vec![0, 255])]);
        let mut entry = TarEntry::new(EntryType::Regular, b"f", 0o644);
        entry.xattrs = Some(&xattrs);
        let bytes = entry.to_bytes();
        let record = b"26 SCHILY.xattr.user.a=\x00\xff\n";
        assert_eq!(&bytes[512..512 + record.len()], record);
    }
}
