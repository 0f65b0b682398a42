//! The one door out: a spec and finished images in, files or a stream out.

use rbuild_oci::{Descriptor, Digest, Reference};

use crate::assemble::{Assembled, ImageToExport, assemble};
use crate::layout::{self, Flavour};
use crate::output::Output;
use crate::spec::{Dest, Export, ExportSpec};
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
    fn of(assembled: &Assembled, names: Vec<Reference>) -> Self {
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
/// [`Dest::Engine`], which [`write_archive`] serves.
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
            let (assembled, names, files) = layout_of(spec, images, cx)?;
            layout_dir::write(dest, &files, layout::entries(&assembled.top, &names), cx)?;
            Ok(Exported::of(&assembled, names))
        }
        Export::OciArchive { dest } | Export::DockerArchive { dest } => {
            write_archive(spec, images, dest, cx)
        }
    }
}

/// Writes the tar of an `oci` or `docker` output to `dest`, whatever place the spec names.
///
/// For callers that carry the tar on themselves, such as into a container engine.
///
/// Errors: as [`export`].
pub fn write_archive(
    spec: &ExportSpec,
    images: &[ImageToExport],
    dest: &Dest,
    cx: &Context<'_>,
) -> Result<Exported> {
    let mut output = Output::open(dest)?;
    let (assembled, names, files) = layout_of(spec, images, cx)?;
    archive::write(&files, &mut output, cx)?;
    output.finish()?;
    Ok(Exported::of(&assembled, names))
}

type LayoutOf = (Assembled, Vec<Reference>, Vec<layout::LayoutFile>);

fn layout_of(spec: &ExportSpec, images: &[ImageToExport], cx: &Context<'_>) -> Result<LayoutOf> {
    let flavour = match spec.export.kind() {
        "docker" => Flavour::Docker,
        _ => Flavour::Oci,
    };
    if flavour == Flavour::Docker && images.len() > 1 {
        return Err(Error::output(
            "docker exporter does not currently support exporting manifest lists",
        ));
    }
    let assembled = assemble(images, &spec.image, cx)?;
    let names = names(spec, images);
    let files = layout::files(&assembled, &names, flavour);
    Ok((assembled, names, files))
}

/// The names of the output, or else those of the build.
fn names(spec: &ExportSpec, images: &[ImageToExport]) -> Vec<Reference> {
    match (spec.image.names.as_slice(), images.first()) {
        ([], Some(image)) => image.names.clone(),
        (names, _) => names.to_vec(),
    }
}
