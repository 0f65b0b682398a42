//! Streams of unknown compression: gzip, zstd or none, told by their first bytes.

use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Bytes read ahead of the decoder.
const BUFFER: usize = 128 * 1024;

/// The uncompressed bytes of a stream whose first bytes tell how it is compressed.
///
/// Memory is bounded: zstd frames that ask for a window over 128 MiB are refused.
pub(crate) fn detect<R: Read + Send + 'static>(mut input: R) -> io::Result<Box<dyn Read + Send>> {
    let mut magic = Vec::with_capacity(ZSTD.len());
    (&mut input)
        .take(ZSTD.len() as u64)
        .read_to_end(&mut magic)?;
    let is_gzip = magic.starts_with(GZIP);
    let is_zstd = magic == ZSTD || is_skippable(&magic);
    let whole = Cursor::new(magic).chain(input);
    Ok(if is_gzip {
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, whole)))
    } else if is_zstd {
        let input = BufReader::with_capacity(BUFFER, whole);
        Box::new(zstd::stream::read::Decoder::with_buffer(input)?)
    } else {
        Box::new(whole)
    })
}

/// Uncompresses what is in memory. Errors: it is damaged, or has more than `limit` bytes then.
pub(crate) fn all(bytes: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut input = detect(Cursor::new(bytes.to_vec()))?.take(limit + 1);
    if input.read_to_end(&mut out)? as u64 > limit {
        let reason = format!("it unpacks to more than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(out)
}

/// The bytes as they are.
pub(crate) fn plain<R: Read + Send + 'static>(input: R) -> Box<dyn Read + Send> {
    Box::new(input)
}

/// Seekable zstd and estargz-like blobs may start with a frame of metadata.
fn is_skippable(magic: &[u8]) -> bool {
    matches!(magic, [0x50..=0x5f, 0x2a, 0x4d, 0x18])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        detect(Cursor::new(bytes.to_vec()))?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn each_form_is_recognised() {
        assert_eq!(read(b"plain").unwrap(), b"plain");
        assert_eq!(read(b"").unwrap(), b"");
        assert_eq!(read(&gzip(b"text")).unwrap(), b"text");
        assert_eq!(
            read(&zstd::encode_all(&b"text"[..], 1).unwrap()).unwrap(),
            b"text"
        );
    }

    #[test]
    fn members_and_frames_are_joined() {
        assert_eq!(read(&[gzip(b"a"), gzip(b"b")].concat()).unwrap(), b"ab");
        let frames = [
            vec![0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9],
            zstd::encode_all(&b"a"[..], 1).unwrap(),
            zstd::encode_all(&b"b"[..], 1).unwrap(),
        ];
        assert_eq!(read(&frames.concat()).unwrap(), b"ab");
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        let packed = zstd::encode_all(&[0; 1000][..], 1).unwrap();
        assert_eq!(all(&packed, 1000).unwrap(), [0; 1000]);
        assert!(all(&packed, 999).is_err());
    }

    #[test]
    fn truncation_is_an_error() {
        for whole in [
            gzip(&[7; 5000]),
            zstd::encode_all(&[7; 5000][..], 1).unwrap(),
        ] {
            assert!(read(&whole[..whole.len() - 3]).is_err());
        }
    }
}
