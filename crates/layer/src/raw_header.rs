//! The fields of a tar header block, as whoever wrote it left them.
//!
//! Source: POSIX ustar; GNU tar, "Basic Tar Format"; star's use of the prefix field.

use crate::header::BLOCK;

/// The fields of a header block.
pub(crate) struct Raw<'a>(pub(crate) &'a [u8; BLOCK]);

impl Raw<'_> {
    fn field(&self, at: usize, width: usize) -> &[u8] {
        self.0.get(at..at + width).unwrap_or_default()
    }

    pub(crate) fn flag(&self) -> u8 {
        self.0.get(156).copied().unwrap_or_default()
    }

    pub(crate) fn name(&self) -> Vec<u8> {
        let name = until_nul(self.field(0, 100));
        if self.field(257, 6) != b"ustar\0" {
            return name;
        }
        // star keeps times where ustar has the end of the prefix, and says so in the last bytes.
        let width = if self.field(508, 4) == b"tar\0" {
            131
        } else {
            155
        };
        let prefix = until_nul(self.field(345, width));
        if prefix.is_empty() {
            return name;
        }
        [prefix.as_slice(), b"/", &name].concat()
    }

    pub(crate) fn link(&self) -> Vec<u8> {
        until_nul(self.field(157, 100))
    }

    pub(crate) fn number(&self, at: usize, width: usize) -> Option<i64> {
        parse_number(self.field(at, width))
    }

    /// Old tools summed signed bytes.
    pub(crate) fn checksum_fits(&self) -> bool {
        let Some(stated) = self.number(148, 8) else {
            return false;
        };
        let summed = |value: fn(u8) -> i64| -> i64 {
            let in_sum = |at| !(148..156).contains(&at);
            let bytes = self.0.iter().enumerate();
            let rest: i64 = bytes
                .filter(|(at, _)| in_sum(*at))
                .map(|(_, byte)| value(*byte))
                .sum();
            rest + 8 * i64::from(b' ')
        };
        stated == summed(i64::from) || stated == summed(|byte| i64::from(byte as i8))
    }
}

/// Octal with blanks and NULs around it, or binary with the highest bit set.
fn parse_number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (at, byte) in field.iter().enumerate() {
            let byte = match (at, negative) {
                (0, false) => byte & 0x7f,
                _ => *byte,
            };
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).ok();
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field
        .iter()
        .position(|byte| !blank(byte))
        .unwrap_or(field.len());
    let digits = field.get(start..).unwrap_or_default();
    let digits = digits.split(blank).next().unwrap_or_default();
    digits.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// Reads up to `count` pieces of a sparse map; a piece with an empty offset ends it.
pub(crate) fn read_extents(
    block: &[u8; BLOCK],
    at: usize,
    count: usize,
    extents: &mut Vec<(u64, u64)>,
) -> Option<()> {
    for piece in 0..count {
        let start = at + piece * 24;
        let offset = block.get(start..start + 12)?;
        let length = block.get(start + 12..start + 24)?;
        if offset.first() == Some(&0) {
            break;
        }
        let offset = u64::try_from(parse_number(offset)?).ok()?;
        let length = u64::try_from(parse_number(length)?).ok()?;
        if length > 0 {
            extents.push((offset, length));
        }
    }
    Some(())
}

/// A field up to its first NUL byte.
pub(crate) fn until_nul(field: &[u8]) -> Vec<u8> {
    field
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_three_forms() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"  644 \0 ", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"77777777", Some(0o77777777)),
            (b"\x80\0\0\0\xff\xff\xff\xff", Some(0xffff_ffff)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"0000008\0", None),
            (b"-000001\0", None),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(parse_number(field), expected, "{field:?}");
        }
    }
}
