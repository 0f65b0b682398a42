//! PAX records: `length key=value\n`, one after the other.
//!
//! Source: POSIX pax, "pax Extended Header"; `SCHILY.xattr` as star, GNU tar and Go write it.

use crate::encode::{MAX_XATTR_BYTES, MAX_XATTRS};
use crate::header::XATTR_KEY;
use crate::{Error, Mtime, Result, Xattrs};

/// What records say about an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<Mtime>,
    pub(crate) xattrs: Xattrs,
    pub(crate) is_sparse: bool,
}

/// Reads all records. Errors: `Archive` for text that is no record, or a value that is no number.
pub(crate) fn parse_records(mut data: &[u8]) -> Result<Pax> {
    let mut pax = Pax::default();
    while !data.is_empty() {
        let (key, value, rest) = split_record(data).ok_or_else(|| bad("a damaged PAX record"))?;
        data = rest;
        apply(&mut pax, key, value)?;
    }
    Ok(pax)
}

fn split_record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = data.iter().position(|byte| *byte == b' ')?;
    let length: usize = text(data.get(..blank)?)?.parse().ok()?;
    let (record, rest) = data.split_at_checked(length)?;
    let record = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((record.get(..equals)?, record.get(equals + 1..)?, rest))
}

fn apply(pax: &mut Pax, key: &[u8], value: &[u8]) -> Result<()> {
    // An empty value takes back what an earlier record said.
    let kept = (!value.is_empty()).then_some(value);
    match key {
        b"path" => pax.path = kept.map(<[u8]>::to_vec),
        b"linkpath" => pax.link = kept.map(<[u8]>::to_vec),
        b"size" => pax.size = kept.map(number).transpose()?,
        b"uid" => pax.uid = kept.map(number).transpose()?,
        b"gid" => pax.gid = kept.map(number).transpose()?,
        b"mtime" => pax.mtime = kept.map(time).transpose()?,
        _ if key.starts_with(b"GNU.sparse.") => pax.is_sparse = true,
        _ => {
            if let Some(name) = key.strip_prefix(XATTR_KEY) {
                let fits = name.len() <= 255 && value.len() <= MAX_XATTR_BYTES;
                if !fits || pax.xattrs.len() >= MAX_XATTRS {
                    return Err(bad("an extended attribute is too large"));
                }
                pax.xattrs.insert(name.to_vec(), value.to_vec());
            }
        }
    }
    Ok(())
}

fn number(value: &[u8]) -> Result<u64> {
    text(value)
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| bad("a PAX record is no number"))
}

/// Seconds with a decimal fraction, perhaps negative: `-1.25` is 1.25 seconds before the epoch.
fn time(value: &[u8]) -> Result<Mtime> {
    let parse = || {
        let (negative, digits) = match value.strip_prefix(b"-") {
            Some(digits) => (true, digits),
            None => (false, value),
        };
        let (whole, fraction) = text(digits)?.split_once('.').unwrap_or((text(digits)?, ""));
        let is_number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return None;
        }
        let secs: i64 = whole.parse().ok()?;
        let nanos: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
        Some(match (negative, nanos) {
            (false, _) => Mtime { secs, nanos },
            (true, 0) => Mtime::from_secs(-secs),
            (true, _) => Mtime {
                secs: (-secs).checked_sub(1)?,
                nanos: 1_000_000_000 - nanos,
            },
        })
    };
    parse().ok_or_else(|| bad("a PAX record is no time"))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn bad(reason: &str) -> Error {
    Error::archive(b"", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_later_ones_win() {
        let pax = parse_records(b"10 path=a\n10 path=b\n21 SCHILY.xattr.k==\x00\n").unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"b"[..]));
        assert_eq!(
            pax.xattrs.get(&b"k"[..]).map(Vec::as_slice),
            Some(&b"=\0"[..])
        );
        let pax = parse_records(b"10 path=a\n8 path=\n").unwrap();
        assert_eq!(pax.path, None);
    }

    #[test]
    fn times_have_fractions_and_signs() {
        for (value, secs, nanos) in [
            ("5", 5, 0),
            ("5.25", 5, 250_000_000),
            ("5.1234567899", 5, 123_456_789),
            ("-1", -1, 0),
            ("-1.25", -2, 750_000_000),
        ] {
            let found = time(value.as_bytes()).unwrap();
            assert_eq!(found, Mtime { secs, nanos }, "{value}");
        }
        for value in ["", ".", "1.x", "--1", "1e5", "99999999999999999999"] {
            assert!(time(value.as_bytes()).is_err(), "{value}");
        }
    }

    #[test]
    fn damaged_records_are_errors() {
        for data in [
            "x",
            "5 a",
            "0 a=b\n",
            "3 a=b\n",
            "99 a=b\n",
            "6 a=bX",
            "-6 a=b\n",
            "5 ab\n",
            "12 size=12x\n",
            "9 uid=-1\n",
        ] {
            assert!(parse_records(data.as_bytes()).is_err(), "{data:?}");
        }
    }
}
