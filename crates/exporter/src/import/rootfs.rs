//! A plain root file system in a tar, as an image of one layer; and what tells compressions apart.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rbuild_layer::Coding;
use rbuild_oci::{Descriptor, DiffId, History, ImageConfig, Platform, media_type};
use rbuild_progress::{CancelReader, Meter};

use super::archive::TarFiles;
use super::{Imported, ImportedImage, Platforms, take_in};
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
    archive: &TarFiles,
    path: &Path,
    platforms: &Platforms,
    (meter, cx): (&Meter<'_>, &Context<'_>),
) -> Result<Vec<Imported>> {
    let platform = match platforms {
        Platforms::All | Platforms::Native => Platform::host(),
        Platforms::These(wanted) => match wanted.as_slice() {
            [one] => one.clone(),
            several => {
                let reason = format!(
                    "a root file system is for one platform, not {}",
                    several.len()
                );
                return Err(Error::import(path, reason));
            }
        },
    };
    let input = archive.whole().map_err(Error::at("read", path))?;
    let mut input = CancelReader::new(input, cx.cancel);
    // Uncompressed, so that its digest is the diff id, and whatever it was packed with is of no matter.
    let mut ingest = cx.store.ingest()?;
    let copied = io::copy(&mut input, &mut ingest).and_then(|_| ingest.flush());
    copied.map_err(Error::at("copy", path))?;
    let (digest, size) = ingest.commit(None)?;
    meter.add(size);
    let diff_id = DiffId(digest.clone());
    let blob = Descriptor::new(media_type::OCI_LAYER, digest, size);
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
    Ok(vec![Imported {
        names: Vec::new(),
        images: vec![ImportedImage {
            config: config.to_bytes(),
            layers,
            platform,
            manifest: None,
        }],
        index: None,
    }])
}
