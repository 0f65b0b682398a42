//! One tar header, byte for byte as Go's `archive/tar` writes it for BuildKit.
//!
//! USTAR where it can hold the entry, else a PAX record block before it. Equal bytes mean equal
//! diff ids, so that layers made by either builder can be the same. Source: Go, archive/tar,
//! writer.go, common.go (`allowedFormats`), strconv.go.

use crate::Xattrs;

/// Size of a tar block.
pub(crate) const BLOCK: usize = 512;

const NAME_SIZE: usize = 100;
const PREFIX_SIZE: usize = 155;

/// PAX key prefix of extended attributes.
pub(crate) const XATTR_KEY: &[u8] = b"SCHILY.xattr.";

/// What a header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) link: &'a [u8],
    pub(crate) flag: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) xattrs: &'a Xattrs,
}

impl Header<'_> {
    /// Appends the whole header: one block, or a record block, its records and one block.
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        let split = split_ustar(self.name);
        let records = self.records();
        if self.fits_ustar(split.is_some()) {
            let (prefix, name) = split.unwrap_or((b"", self.name));
            self.append_block(out, prefix, name, self.link);
            return;
        }
        if !records.is_empty() {
            append_records(out, self.name, &records);
        }
        self.append_block(out, b"", &ascii(self.name), &ascii(self.link));
    }

    /// Length of what `append` appends.
    pub(crate) fn len(&self) -> u64 {
        if self.fits_ustar(split_ustar(self.name).is_some()) {
            return BLOCK as u64;
        }
        let mut out = Vec::new();
        self.append(&mut out);
        out.len() as u64
    }

    fn fits_ustar(&self, splits: bool) -> bool {
        (is_plain(self.name, NAME_SIZE) || splits)
            && is_plain(self.link, NAME_SIZE)
            && self.xattrs.is_empty()
            && fits_octal(8, self.uid.into())
            && fits_octal(8, self.gid.into())
            && fits_octal(12, self.size)
            && u64::try_from(self.mtime).is_ok_and(|mtime| fits_octal(12, mtime))
    }

    /// The PAX records that this header needs, in key order.
    fn records(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut records = Vec::new();
        let mut add = |key: &[u8], value: Vec<u8>| records.push((key.to_vec(), value));
        for (name, value) in self.xattrs {
            add(&[XATTR_KEY, name].concat(), value.clone());
        }
        if !fits_octal(8, self.gid.into()) {
            add(b"gid", self.gid.to_string().into());
        }
        if !is_plain(self.link, NAME_SIZE) {
            add(b"linkpath", self.link.to_vec());
        }
        if !u64::try_from(self.mtime).is_ok_and(|mtime| fits_octal(12, mtime)) {
            add(b"mtime", self.mtime.to_string().into());
        }
        if !is_plain(self.name, NAME_SIZE) {
            add(b"path", self.name.to_vec());
        }
        if !fits_octal(12, self.size) {
            add(b"size", self.size.to_string().into());
        }
        if !fits_octal(8, self.uid.into()) {
            add(b"uid", self.uid.to_string().into());
        }
        records
    }

    fn append_block(&self, out: &mut Vec<u8>, prefix: &[u8], name: &[u8], link: &[u8]) {
        let mut block = [0; BLOCK];
        put_text(&mut block, 0, NAME_SIZE, name);
        put_octal(&mut block, 100, 8, self.mode.into());
        put_octal(&mut block, 108, 8, self.uid.into());
        put_octal(&mut block, 116, 8, self.gid.into());
        put_octal(&mut block, 124, 12, self.size);
        put_octal(&mut block, 136, 12, u64::try_from(self.mtime).unwrap_or(0));
        put_text(&mut block, 156, 1, &[self.flag]);
        put_text(&mut block, 157, NAME_SIZE, link);
        put_octal(&mut block, 329, 8, self.major.into());
        put_octal(&mut block, 337, 8, self.minor.into());
        put_text(&mut block, 345, PREFIX_SIZE, prefix);
        seal(&mut block);
        out.extend_from_slice(&block);
    }
}

/// The header of a record block and its records, padded.
fn append_records(out: &mut Vec<u8>, name: &[u8], records: &[(Vec<u8>, Vec<u8>)]) {
    let mut data = Vec::new();
    for (key, value) in records {
        append_record(&mut data, key, value);
    }
    let mut block = [0; BLOCK];
    let name = ascii(&record_name(name));
    let mut name = name.get(..NAME_SIZE).unwrap_or(&name);
    while let [start @ .., b'/'] = name {
        name = start;
    }
    put_text(&mut block, 0, NAME_SIZE, name);
    for (at, width) in [(100, 8), (108, 8), (116, 8), (136, 12)] {
        put_octal(&mut block, at, width, 0);
    }
    put_octal(&mut block, 124, 12, data.len() as u64);
    put_text(&mut block, 156, 1, b"x");
    seal(&mut block);
    out.extend_from_slice(&block);
    out.extend_from_slice(&data);
    out.resize(out.len() + padding(data.len() as u64) as usize, 0);
}

/// `dir/PaxHeaders.0/file`, as Go's `path.Split` and `path.Join` make it.
fn record_name(name: &[u8]) -> Vec<u8> {
    let cut = name
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |at| at + 1);
    let (dir, file) = name.split_at(cut);
    let parts = [dir.strip_suffix(b"/").unwrap_or(dir), b"PaxHeaders.0", file];
    let kept: Vec<&[u8]> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    kept.join(&b'/')
}

/// `length key=value\n`, where the length counts itself.
fn append_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut size = rest + rest.to_string().len();
    if rest + size.to_string().len() != size {
        size = rest + size.to_string().len();
    }
    out.extend_from_slice(size.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Zero bytes after `size` bytes up to the next block.
pub(crate) fn padding(size: u64) -> u64 {
    let block = BLOCK as u64;
    (block - size % block) % block
}

/// Splits a long name at a slash into what the prefix field and the name field can hold.
fn split_ustar(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME_SIZE || !name.iter().all(|byte| is_ascii(*byte)) {
        return None;
    }
    let mut length = name.len();
    if length > PREFIX_SIZE + 1 {
        length = PREFIX_SIZE + 1;
    } else if name.ends_with(b"/") {
        length -= 1;
    }
    let cut = name.get(..length)?.iter().rposition(|byte| *byte == b'/')?;
    let (prefix, rest) = name.split_at(cut);
    let suffix = rest.get(1..)?;
    let fits = cut > 0 && (1..=NAME_SIZE).contains(&suffix.len()) && prefix.len() <= PREFIX_SIZE;
    fits.then_some((prefix, suffix))
}

fn is_plain(text: &[u8], size: usize) -> bool {
    text.len() <= size && text.iter().all(|byte| is_ascii(*byte))
}

fn is_ascii(byte: u8) -> bool {
    byte != 0 && byte < 0x80
}

/// What is left of a text in a field that may hold ASCII only.
fn ascii(text: &[u8]) -> Vec<u8> {
    text.iter()
        .copied()
        .filter(|byte| is_ascii(*byte))
        .collect()
}

fn fits_octal(width: u32, value: u64) -> bool {
    value < 1 << ((width - 1) * 3)
}

fn put_text(block: &mut [u8; BLOCK], at: usize, width: usize, text: &[u8]) {
    let Some(field) = block.get_mut(at..at + width) else {
        return;
    };
    for (to, from) in field.iter_mut().zip(text) {
        *to = *from;
    }
    // A file whose name is cut right after a slash must not look like a directory to old readers.
    if text.len() > width && field.ends_with(b"/") {
        let kept = field
            .iter()
            .rposition(|byte| *byte != b'/')
            .map_or(0, |at| at + 1);
        if let Some(slash) = field.get_mut(kept) {
            *slash = 0;
        }
    }
}

fn put_octal(block: &mut [u8; BLOCK], at: usize, width: usize, value: u64) {
    let fits = fits_octal(width as u32, value);
    let digits = width - 1;
    let text = format!("{:0digits$o}", if fits { value } else { 0 });
    put_text(block, at, width, text.as_bytes());
}

/// Magic, version and checksum.
fn seal(block: &mut [u8; BLOCK]) {
    put_text(block, 257, 8, b"ustar\x0000");
    put_text(block, 148, 8, b"        ");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put_text(block, 148, 8, b"\0\0\0\0\0\0\0 ");
    put_octal(block, 148, 7, sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(name: &'a [u8], xattrs: &'a Xattrs) -> Header<'a> {
        Header {
            name,
            link: b"",
            flag: b'0',
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 5,
            mtime: 1_700_000_000,
            major: 0,
            minor: 0,
            xattrs,
        }
    }

    fn bytes(header: &Header<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        header.append(&mut out);
        assert_eq!(out.len() as u64, header.len());
        assert_eq!(out.len() % BLOCK, 0);
        out
    }

    #[test]
    fn fields_are_written_as_go_writes_them() {
        let none = Xattrs::new();
        let block = bytes(&header(b"etc/hosts", &none));
        assert_eq!(&block[..10], b"etc/hosts\0");
        assert_eq!(&block[100..108], b"0000644\0");
        assert_eq!(&block[124..136], b"00000000005\0");
        assert_eq!(&block[136..148], b"14524770400\0");
        assert_eq!(&block[148..156], b"011100\0 ");
        assert_eq!(&block[257..265], b"ustar\x0000");
        assert_eq!(&block[265..329], [0; 64]);
        assert_eq!(&block[329..345], b"0000000\x000000000\0");
    }

    #[test]
    fn long_names_split_at_a_slash_or_go_into_records() {
        let none = Xattrs::new();
        let name = format!("{}/{}", "d".repeat(120), "f".repeat(90));
        let block = bytes(&header(name.as_bytes(), &none));
        assert_eq!(block.len(), BLOCK);
        assert_eq!(&block[345..465], "d".repeat(120).as_bytes());
        let name = "x".repeat(101);
        let block = bytes(&header(name.as_bytes(), &none));
        assert_eq!(block.len(), 3 * BLOCK);
        assert_eq!(block[156], b'x');
        let record = format!("111 path={name}\n");
        assert_eq!(&block[BLOCK..BLOCK + record.len()], record.as_bytes());
        assert_eq!(&block[2 * BLOCK..2 * BLOCK + 100], &name.as_bytes()[..100]);
    }

    #[test]
    fn non_ascii_names_go_into_records() {
        let none = Xattrs::new();
        let block = bytes(&header("d/é".as_bytes(), &none));
        assert_eq!(&block[..16], b"d/PaxHeaders.0\0\0");
        assert_eq!(&block[BLOCK..BLOCK + 14], "13 path=d/é\n\0".as_bytes());
        assert_eq!(&block[2 * BLOCK..2 * BLOCK + 3], b"d/\0");
    }

    #[test]
    fn record_lengths_count_themselves() {
        for (value, expected) in [(90, "97 "), (91, "98 "), (92, "99 "), (93, "101 ")] {
            let mut out = Vec::new();
            append_record(&mut out, b"pa", &vec![b'v'; value]);
            assert!(out.starts_with(expected.as_bytes()), "{value}");
            assert_eq!(out.len().to_string(), expected.trim());
        }
    }

    #[test]
    fn large_ids_sizes_and_odd_times_use_records() {
        let none = Xattrs::new();
        let mut large = header(b"f", &none);
        large.uid = 2_097_152;
        large.size = 8 << 30;
        large.mtime = -1;
        let block = bytes(&large);
        let text = String::from_utf8_lossy(&block[BLOCK..2 * BLOCK]).into_owned();
        let text = text.trim_end_matches('\0');
        assert_eq!(text, "12 mtime=-1\n19 size=8589934592\n15 uid=2097152\n");
        assert_eq!(&block[2 * BLOCK + 108..2 * BLOCK + 116], b"0000000\0");
        large.uid = 2_097_151;
        large.size = (8 << 30) - 1;
        large.mtime = 0;
        assert_eq!(bytes(&large).len(), BLOCK);
    }

    #[test]
    fn attributes_are_sorted_records() {
        let mut xattrs = Xattrs::new();
        xattrs.insert(b"user.b".to_vec(), b"2".to_vec());
        xattrs.insert(b"security.capability".to_vec(), vec![0, 255]);
        let block = bytes(&header(b"bin/", &xattrs));
        let first = b"39 SCHILY.xattr.security.capability=\x00\xff\n";
        assert_eq!(&block[BLOCK..BLOCK + first.len()], first);
        assert_eq!(&block[..17], b"bin/PaxHeaders.0\0");
    }
}
