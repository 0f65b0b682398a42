//! The door in: image layouts, archives of `docker save`, and plain root file systems.
//!
//! Nothing that is read is trusted: every blob must have the digest and size it is named by, every
//! layer the diff id its config claims, names stay inside the archive, and documents have a limit.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rbuild_layer::{LayerId, LayerStore, PulledLayer};
use rbuild_oci::{Descriptor, DiffId, Digest, ImageConfig, Platform, Reference};
use rbuild_progress::{CancelToken, Meter};

use crate::{Context, Error, Result};

mod archive;
mod docker;
mod files;
mod layout;
mod rootfs;
mod unpacked;

pub use layout::{Layout, LayoutFetch, ResolvedImage};

/// What to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An OCI image layout as a directory.
    LayoutDir {
        /// The directory.
        dir: PathBuf,
        /// Which image of it.
        choice: Choice,
    },
    /// A tar: an OCI image layout, what `docker save` wrote, or a root file system; compressed or not.
    File {
        /// The file.
        path: PathBuf,
        /// Which image of it; unused for a root file system.
        choice: Choice,
    },
}

impl Source {
    /// The path of it.
    pub fn path(&self) -> &Path {
        match self {
            Self::LayoutDir { dir, .. } => dir,
            Self::File { path, .. } => path,
        }
    }
}

/// Which image is meant where there may be several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The tag or name it has there.
    pub tag: Option<String>,
    /// Its digest; wins over the tag.
    pub digest: Option<Digest>,
    /// The platform; `None` means that of this machine.
    pub platform: Option<Platform>,
}

/// An image whose layers are in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedImage {
    /// The config document, byte for byte.
    pub config: Vec<u8>,
    /// The layers, base first.
    pub layers: Vec<LayerId>,
    /// What it runs on.
    pub platform: Platform,
    /// Digest of its manifest, where it came with one.
    pub manifest: Option<Digest>,
    /// Names it had there.
    pub names: Vec<Reference>,
}

/// Reads an image and registers its layers in the store, verified.
///
/// Errors: [`Error::Import`] and [`Error::MissingBlob`] for what is no sound image, a layer error for
/// bytes that are not what the config claims. Blobs that were taken in before a failure stay in the
/// store, unused.
pub fn import(source: &Source, cx: &Context<'_>) -> Result<ImportedImage> {
    let name = format!("importing {}", source.path().display());
    let meter = Meter::new(cx.sink, cx.vertex, name, None);
    let image = match source {
        Source::LayoutDir { dir, choice } => {
            let layout = Layout::open(dir)?;
            layout.import(choice, &meter, cx)?
        }
        Source::File { path, choice } => import_file(path, choice, &meter, cx)?,
    };
    meter.finish();
    Ok(image)
}

fn import_file(
    path: &Path,
    choice: &Choice,
    meter: &Meter<'_>,
    cx: &Context<'_>,
) -> Result<ImportedImage> {
    let archive = archive::TarFiles::open(path, cx)?;
    if archive.has(crate::layout::INDEX) {
        return Layout::of(Box::new(archive), path)?.import(choice, meter, cx);
    }
    if archive.has(crate::layout::DOCKER_MANIFEST) {
        return docker::import(&archive, path, choice, meter, cx);
    }
    rootfs::import(path, choice, meter, cx)
}

/// Origin of layers that can be had nowhere else.
const ORIGIN: &str = "import";

/// Reads and checks a config against the number of layers that came with it.
fn checked_config(bytes: &[u8], layers: usize, path: &Path) -> Result<ImageConfig> {
    let config = crate::assemble::parse_config(bytes)?;
    let named = config.diff_ids().len();
    if named != layers {
        return Err(Error::import(
            path,
            format!("its config names {named} layers, {layers} came with it"),
        ));
    }
    Ok(config)
}

/// Registers layers whose blobs are in the store, and reads each one that is not known yet: a blob
/// must be what the config says of it.
fn take_in(
    diff_ids: &[DiffId],
    blobs: &[Descriptor],
    origin: &str,
    cx: &Context<'_>,
) -> Result<Vec<LayerId>> {
    let layers = register(diff_ids, blobs, origin, (cx.layers, cx.cancel))?;
    layers
        .par_iter()
        .try_for_each(|layer| cx.layers.index(layer, cx.cancel).map(drop))?;
    Ok(layers)
}

/// Registers a stack, base first, without looking at any blob.
fn register(
    diff_ids: &[DiffId],
    blobs: &[Descriptor],
    origin: &str,
    (store, cancel): (&LayerStore, &CancelToken),
) -> Result<Vec<LayerId>> {
    let mut parent = None;
    let mut layers = Vec::with_capacity(diff_ids.len());
    for (diff_id, blob) in diff_ids.iter().zip(blobs) {
        let layer = PulledLayer {
            parent: parent.take(),
            diff_id: diff_id.clone(),
            descriptor: Descriptor::new(&*blob.media_type, blob.digest.clone(), blob.size),
            origin: origin.to_owned(),
        };
        layers.push(store.pulled(&layer, cancel)?);
        parent = Some(layer.chain());
    }
    Ok(layers)
}
