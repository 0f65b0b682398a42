//! A plain root file system in a tar, as an image of one layer; and what tells compressions apart.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rbuild_oci::{Descriptor, DiffId, History, ImageConfig, Platform, media_type};
use rbuild_progress::{CancelReader, Meter};

use super::{Choice, ImportedImage, register};
use crate::{Context, Error, Result};

/// Bytes read ahead of a decoder.
const BUFFER: usize = 256 * 1024;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Coding {
    /// Tells by the first bytes; `None` is uncompressed.
    fn of(magic: &[u8]) -> Option<Self> {
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

/// The media type of a layer that begins like this.
pub(super) fn layer_type(magic: &[u8]) -> &'static str {
    match Coding::of(magic) {
        Some(Coding::Gzip) => media_type::OCI_LAYER_GZIP,
        Some(Coding::Zstd) => media_type::OCI_LAYER_ZSTD,
        _ => media_type::OCI_LAYER,
    }
}

/// How a file is compressed, by its first bytes.
pub(super) fn compression_of(file: &File) -> io::Result<Option<Coding>> {
    let mut magic = [0; 6];
    let read = file.read_at(&mut magic, 0)?;
    Ok(Coding::of(magic.get(..read).unwrap_or_default()))
}

/// The uncompressed bytes of a stream; memory is bounded whatever the stream asks for.
pub(super) fn uncompressed<'a>(mut input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
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

/// Imports a tar of files as the only layer of an image that says nothing else.
pub(super) fn import(
    path: &Path,
    choice: &Choice,
    meter: &Meter<'_>,
    cx: &Context<'_>,
) -> Result<ImportedImage> {
    let file = File::open(path).map_err(Error::at("open", path))?;
    let input = uncompressed(CancelReader::new(file, cx.cancel));
    let mut input = input.map_err(Error::at("read", path))?;
    // Uncompressed, so that its digest is the diff id, and whatever it was packed with is of no matter.
    let mut ingest = cx.store.ingest()?;
    let copied = io::copy(&mut input, &mut ingest).and_then(|_| ingest.flush());
    copied.map_err(Error::at("copy", path))?;
    let (digest, size) = ingest.commit(None)?;
    meter.add(size);
    let diff_id = DiffId(digest.clone());
    let blob = Descriptor::new(media_type::OCI_LAYER, digest, size);
    let platform = choice.platform.clone().unwrap_or_else(Platform::host);
    let layers = register(std::slice::from_ref(&diff_id), &[blob], super::ORIGIN, cx)?;
    let mut config = ImageConfig::new(&platform);
    config.rootfs.diff_ids = Some(vec![diff_id]);
    let comment = format!(
        "imported from {}",
        path.file_name().unwrap_or_default().to_string_lossy()
    );
    config.history.push(History {
        comment,
        ..History::default()
    });
    Ok(ImportedImage {
        config: config.to_bytes(),
        layers,
        platform,
        manifest: None,
        names: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
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
