//! A plain root file system in a tar, as an image of one layer; and what tells compressions apart.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rbuild_layer::{Coding, uncompressed};
use rbuild_oci::{Descriptor, DiffId, History, ImageConfig, Platform, media_type};
use rbuild_progress::{CancelReader, Meter};

use super::{Choice, ImportedImage, take_in};
use crate::{Context, Error, Result};

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
    let layers = take_in(std::slice::from_ref(&diff_id), &[blob], super::ORIGIN, cx)?;
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
