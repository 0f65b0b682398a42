//! The door in: image layouts, archives of `docker save`, and plain root file systems.
//!
//! Nothing that is read is trusted: every blob must have the digest and size it is named by, every
//! layer the diff id its config claims, names stay inside the archive, and documents have a limit.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rbuild_layer::{LayerId, LayerStore, PulledLayer};
use rbuild_oci::{Descriptor, DiffId, Digest, ImageConfig, Pick, Platform, Reference};
use rbuild_progress::{CancelToken, Meter};

use crate::{Context, Error, Result};

mod archive;
mod bring;
mod docker;
mod files;
mod group;
mod index;
mod layout;
mod rootfs;
mod stdin;
mod unpacked;

pub use bring::LayoutFetch;
pub use layout::{Layout, ResolvedImage};

/// What to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An OCI image layout as a directory.
    LayoutDir(PathBuf),
    /// A tar, compressed or not.
    Tar {
        /// Where it is.
        input: Input,
        /// What it may be.
        form: Form,
    },
}

/// Where a tar is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// In a file.
    File(PathBuf),
    /// On standard input.
    Stdin,
}

/// What a tar may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An OCI image layout.
    Oci,
    /// What `docker save` writes.
    Docker,
    /// Either of the two.
    Images,
    /// Either of the two, or else a root file system.
    Any,
}

/// Which images are meant where there may be several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// By name.
    pub which: Which,
    /// By platform.
    pub platforms: Platforms,
}

/// Which images are meant, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// This one; `None` is the only one there, or the one tagged `latest`.
    One(Option<Pick>),
}

/// Which images are meant, by platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// All that are there.
    All,
    /// The one for this machine.
    Native,
    /// One for each of these; at least one.
    These(Vec<Platform>),
}

impl Selection {
    /// One image for this machine.
    pub fn one(pick: Option<Pick>) -> Self {
        Self {
            which: Which::One(pick),
            platforms: Platforms::Native,
        }
    }

    /// Everything there is.
    pub fn all() -> Self {
        Self {
            which: Which::All,
            platforms: Platforms::All,
        }
    }
}

/// One image, or one of several platforms, whose layers are in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Names it had there.
    pub names: Vec<Reference>,
    /// The images, one for each platform; at least one.
    pub images: Vec<ImportedImage>,
    /// The index they came under, if all it names came along.
    pub index: Option<ImportedIndex>,
}

/// An index of several images, a blob of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedIndex {
    /// Its digest.
    pub document: Digest,
    /// Blobs of manifests in it that are no images, such as attestations: content before manifests.
    pub others: Vec<Descriptor>,
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
    /// Digest of its manifest, a blob of the store, where it came with one.
    pub manifest: Option<Digest>,
}

/// Reads images and registers their layers in the store, verified.
///
/// Errors: [`Error::Import`] and [`Error::MissingBlob`] for what is no sound image, a layer error for
/// bytes that are not what the config claims. Blobs that were taken in before a failure stay in the
/// store, unused.
pub fn import(source: &Source, wanted: &Selection, cx: &Context<'_>) -> Result<Vec<Imported>> {
    let path = match source {
        Source::LayoutDir(dir) => dir,
        Source::Tar { input, .. } => input.path(),
    };
    let name = format!("importing {}", path.display());
    let meter = Meter::new(cx.sink, cx.vertex, name, None);
    let images = match source {
        Source::LayoutDir(dir) => Layout::open(dir)?.import(wanted, &meter, cx)?,
        Source::Tar { input, form } => import_tar(input, *form, wanted, (&meter, cx))?,
    };
    meter.finish();
    Ok(images)
}

impl Input {
    /// What to call it in messages.
    fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Stdin => Path::new("standard input"),
        }
    }
}

fn import_tar(
    input: &Input,
    form: Form,
    wanted: &Selection,
    (meter, cx): (&Meter<'_>, &Context<'_>),
) -> Result<Vec<Imported>> {
    let path = input.path();
    let archive = archive::TarFiles::open(input, cx)?;
    let (oci, docker) = (
        archive.has(crate::layout::INDEX),
        archive.has(crate::layout::DOCKER_MANIFEST),
    );
    // What is both is read as the layout, which has digests of its own.
    match form {
        Form::Oci if !oci => Err(Error::import(
            path,
            "it is no OCI archive: it has no index.json",
        )),
        Form::Docker if !docker => Err(Error::import(
            path,
            "it is no archive of Docker: it has no manifest.json",
        )),
        _ if oci => Layout::of(Box::new(archive), path)?.import(wanted, meter, cx),
        _ if docker => docker::import(&archive, path, wanted, (meter, cx)),
        Form::Any => rootfs::import(&archive, path, &wanted.platforms, (meter, cx)),
        _ => Err(Error::import(
            path,
            "it has no images: neither index.json nor manifest.json is in it",
        )),
    }
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
