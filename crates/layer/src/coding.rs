//! Archives as people bring them: plain, gzip, zstd, bzip2 or xz, told by their first bytes.
//!
//! Layers of images use fewer of these; what they are read with is in `decompress`.

use std::io::{self, BufReader, Read};

/// Bytes read ahead of a decoder.
const BUFFER: usize = 256 * 1024;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// As bzip2 writes it.
    Bzip2,
    /// The xz container.
    Xz,
}

impl Coding {
    /// Tells by the first bytes; `None` is uncompressed.
    pub fn of(magic: &[u8]) -> Option<Self> {
        let marks: [(&[u8], Self); 4] = [
            (&[0x1f, 0x8b], Self::Gzip),
            (&[0x28, 0xb5, 0x2f, 0xfd], Self::Zstd),
            (b"BZh", Self::Bzip2),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Self::Xz),
        ];
        marks
            .into_iter()
            .find(|(mark, _)| magic.starts_with(mark))
            .map(|(_, coding)| coding)
    }
}

/// The uncompressed bytes of a stream; memory is bounded whatever the stream asks for.
pub fn uncompressed<'a>(mut input: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut magic = Vec::new();
    input.by_ref().take(6).read_to_end(&mut magic)?;
    let coding = Coding::of(&magic);
    let whole = BufReader::with_capacity(BUFFER, io::Cursor::new(magic).chain(input));
    Ok(match coding {
        None => Box::new(whole),
        Some(Coding::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        Some(Coding::Zstd) => Box::new(zstd::stream::read::Decoder::with_buffer(whole)?),
        Some(Coding::Bzip2) => Box::new(bzip2::bufread::MultiBzDecoder::new(whole)),
        Some(Coding::Xz) => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(whole)),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn every_coding_is_told_and_read() {
        let text = b"some text that is long enough".repeat(10);
        let gzip = {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&text).unwrap();
            encoder.finish().unwrap()
        };
        let zstd = zstd::encode_all(text.as_slice(), 1).unwrap();
        let bzip2 = {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(&text).unwrap();
            encoder.finish().unwrap()
        };
        let xz = {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(&text).unwrap();
            encoder.finish().unwrap()
        };
        for bytes in [text.clone(), gzip, zstd, bzip2, xz] {
            let mut found = Vec::new();
            uncompressed(bytes.as_slice())
                .unwrap()
                .read_to_end(&mut found)
                .unwrap();
            assert_eq!(found, text);
        }
        let mut nothing = Vec::new();
        uncompressed(io::empty())
            .unwrap()
            .read_to_end(&mut nothing)
            .unwrap();
        assert!(nothing.is_empty());
    }
}
