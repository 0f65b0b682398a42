//! The one door out: a spec and finished images in, files or a stream out.

use std::fs::File;
use std::path::Path;

use rbuild_oci::{Descriptor, Digest, Reference};

use crate::assemble::{Assembled, ImageToExport, assemble};
use crate::kept::{KeptImage, assemble_kept};
use crate::layout::{self, Flavour};
use crate::output::Output;
use crate::spec::{Dest, Export, ExportSpec, ImageOptions};
use crate::{Context, Error, Result, archive, directory, layout_dir, rootfs_tar};

/// What an export made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// The manifest, or the index of several, with annotations; `None` without an image.
    pub descriptor: Option<Descriptor>,
    /// Digest of the manifest, if there is one image.
    pub manifest: Option<Digest>,
    /// Digest of the config, if there is one image: the image id.
    pub config: Option<Digest>,
    /// Digest of the index, if there are several images.
    pub index: Option<Digest>,
    /// The names it was given.
    pub names: Vec<Reference>,
}

impl Exported {
    /// What there is to tell of an image that was assembled and got these names.
    pub fn of(assembled: &Assembled, names: Vec<Reference>) -> Self {
        let single = match assembled.images.as_slice() {
            [image] => Some(image),
            _ => None,
        };
        Self {
            descriptor: Some(assembled.top.clone()),
            manifest: single.map(|image| image.manifest.descriptor.digest.clone()),
            config: single.map(|image| image.config.descriptor.digest.clone()),
            index: assembled
                .index
                .as_ref()
                .map(|index| index.descriptor.digest.clone()),
            names,
        }
    }
}

/// Carries out one output of a build.
///
/// `images` holds one image per platform, at least one. For [`Export::Image`] the image is assembled in
/// the store; naming and pushing it is for the caller.
///
/// Errors: [`Error::Output`] when the place cannot be used, for several images in a Docker tar, and for
/// [`Dest::Engine`], which is for the caller and an [`EngineArchive`].
pub fn export(spec: &ExportSpec, images: &[ImageToExport], cx: &Context<'_>) -> Result<Exported> {
    spec.check()?;
    match &spec.export {
        Export::CacheOnly => Ok(Exported::default()),
        Export::Local { dest, stale, split } => {
            let rootfs = rootfs_tar::Options {
                split: *split,
                epoch: spec.epoch,
            };
            directory::write(
                dest,
                images,
                directory::Options {
                    stale: *stale,
                    rootfs,
                },
                cx,
            )?;
            Ok(Exported::default())
        }
        Export::Tar { dest, split } => {
            let mut output = Output::open(dest)?;
            let options = rootfs_tar::Options {
                split: *split,
                epoch: spec.epoch,
            };
            rootfs_tar::write(images, options, &mut output, cx)?;
            output.finish()?;
            Ok(Exported::default())
        }
        Export::Image(_) => {
            let assembled = assemble(images, &spec.image, cx)?;
            Ok(Exported::of(&assembled, names(spec, images)))
        }
        Export::OciDir { dest } | Export::DockerDir { dest } => {
            let image = layout_of(spec, images, cx)?;
            write_dir(
                dest,
                std::slice::from_ref(&image),
                flavour(&spec.export),
                cx,
            )?;
            Ok(Exported::of(&image.assembled, image.names))
        }
        Export::OciArchive { dest } | Export::DockerArchive { dest } => {
            write_archive(spec, images, dest, cx)
        }
    }
}

/// An image as the tar that `docker load` reads, for callers that carry it into a container engine.
#[derive(Debug)]
pub struct EngineArchive {
    files: Vec<layout::LayoutFile>,
}

impl EngineArchive {
    /// The archive of an image with these names.
    pub fn of(assembled: &Assembled, names: &[Reference]) -> Self {
        let image = layout::Named {
            assembled: assembled.clone(),
            names: names.to_vec(),
            tag: None,
        };
        Self {
            files: layout::files(std::slice::from_ref(&image), Flavour::Docker),
        }
    }

    /// Its length in bytes.
    pub fn size_bytes(&self) -> u64 {
        archive::size(&self.files)
    }

    /// Writes it into a pipe or socket, which messages call `name`.
    ///
    /// Errors: [`Error::Io`] also where the other side has closed.
    pub fn send(&self, into: File, name: &str, cx: &Context<'_>) -> Result<()> {
        let mut output = Output::through(into, name);
        archive::write(&self.files, &mut output, cx)?;
        output.finish()
    }
}

fn write_archive(
    spec: &ExportSpec,
    images: &[ImageToExport],
    dest: &Dest,
    cx: &Context<'_>,
) -> Result<Exported> {
    let mut output = Output::open(dest)?;
    let image = layout_of(spec, images, cx)?;
    let files = layout::files(std::slice::from_ref(&image), flavour(&spec.export));
    archive::write(&files, &mut output, cx)?;
    output.finish()?;
    Ok(Exported::of(&image.assembled, image.names))
}

/// An image to be saved, and what it is called there.
#[derive(Clone, Debug)]
pub struct SavedImage {
    /// The image.
    pub image: KeptImage,
    /// Its names.
    pub names: Vec<Reference>,
    /// What a layout calls it instead, whatever text that is.
    pub tag: Option<String>,
}

/// Writes images from the store, each under its names, into one layout or archive, with the documents
/// they came with where those still fit.
///
/// Errors: [`Error::Output`] for several platforms in an archive for Docker and for outputs that hold no
/// images; else as [`export`].
pub fn save(export: &Export, images: &[SavedImage], cx: &Context<'_>) -> Result<Vec<Exported>> {
    let flavour = flavour(export);
    let docker = flavour == Flavour::Docker;
    if docker && images.iter().any(|saved| saved.image.images.len() > 1) {
        return Err(several_for_docker());
    }
    let options = ImageOptions::default();
    let assembled = |saved: &SavedImage| {
        Ok::<_, Error>(layout::Named {
            assembled: assemble_kept(&saved.image, &options, cx)?,
            names: saved.names.clone(),
            tag: saved.tag.clone(),
        })
    };
    let write_tar = |dest: &Dest| {
        let mut output = Output::open(dest)?;
        let images = images.iter().map(assembled).collect::<Result<Vec<_>>>()?;
        archive::write(&layout::files(&images, flavour), &mut output, cx)?;
        output.finish()?;
        Ok::<_, Error>(images)
    };
    let written: Vec<layout::Named> = match export {
        Export::OciArchive { dest } | Export::DockerArchive { dest } => write_tar(dest)?,
        Export::OciDir { dest } | Export::DockerDir { dest } => {
            let images = images.iter().map(assembled).collect::<Result<Vec<_>>>()?;
            write_dir(dest, &images, flavour, cx)?;
            images
        }
        _ => return Err(Error::output("images are saved as a layout or an archive")),
    };
    let written = written.into_iter();
    Ok(written
        .map(|image| Exported::of(&image.assembled, image.names))
        .collect())
}

fn write_dir(
    dest: &Path,
    images: &[layout::Named],
    flavour: Flavour,
    cx: &Context<'_>,
) -> Result<()> {
    let files = layout::files(images, flavour);
    layout_dir::write(dest, &files, layout::all_entries(images), cx)
}

fn flavour(export: &Export) -> Flavour {
    match export.kind() {
        "docker" => Flavour::Docker,
        _ => Flavour::Oci,
    }
}

fn several_for_docker() -> Error {
    Error::output("docker exporter does not currently support exporting manifest lists")
}

fn layout_of(
    spec: &ExportSpec,
    images: &[ImageToExport],
    cx: &Context<'_>,
) -> Result<layout::Named> {
    if flavour(&spec.export) == Flavour::Docker && images.len() > 1 {
        return Err(several_for_docker());
    }
    let assembled = assemble(images, &spec.image, cx)?;
    Ok(layout::Named {
        assembled,
        names: names(spec, images),
        tag: None,
    })
}

/// The names of the output, or else those of the build.
fn names(spec: &ExportSpec, images: &[ImageToExport]) -> Vec<Reference> {
    match (spec.image.names.as_slice(), images.first()) {
        ([], Some(image)) => image.names.clone(),
        (names, _) => names.to_vec(),
    }
}
