//! Images into and out of files.

use std::path::Path;

use rbuild_exporter::{
    Choice, Context, Dest, Export, ExportSpec, ImageOptions, ImageToExport, Source, export, import,
};
use rbuild_layer::LayerId;
use rbuild_oci::{Digest, Platform, Reference};
use rbuild_progress::{CancelToken, Sink, VertexKey};
use rbuild_store::Lease;

use crate::engine::Engine;
use crate::images::ImageRow;
use crate::step::announced;
use crate::{BuildError, ErrorKind, ImageDetails, ImageSummary, Result, StoredImage};

/// Kinds of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// An OCI image layout in a tar.
    Oci,
    /// What `docker load` reads.
    Docker,
}

impl Engine {
    /// Writes an image as an archive; `names` all mean the same one, and the archive carries them.
    ///
    /// Of an image of several platforms an OCI archive gets those of `platforms`, all if it is empty; a
    /// Docker archive gets the one, this machine's if none is named.
    ///
    /// Errors: a name that is not in the store, names of different images, a platform that is not there.
    pub fn save(
        &self,
        (names, platforms): (&[String], &[Platform]),
        (format, dest): (ArchiveFormat, &Dest),
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<()> {
        let _running = self.running();
        self.recover((sink, cancel))?;
        let Some((first, others)) = names.split_first() else {
            return Err(BuildError::new(ErrorKind::Usage, "no image is named"));
        };
        let stored = self.stored(first)?;
        for other in others {
            if self.stored(other)?.summary.id != stored.summary.id {
                return Err(BuildError::new(
                    ErrorKind::Usage,
                    format!("{first} and {other} are different images: save them one by one"),
                ));
            }
        }
        let images = chosen(&stored, first, (platforms, format))?;
        let layers: Vec<LayerId> = images
            .iter()
            .flat_map(|image| image.layers.clone())
            .collect();
        let _lease = self.lease_layers(&layers)?;
        let named = names.iter().filter_map(|name| Reference::parse(name).ok());
        let export_names: Vec<Reference> = named
            .filter(|name| stored.summary.names.contains(name))
            .collect();
        let dest = dest.clone();
        let spec = ExportSpec {
            export: match format {
                ArchiveFormat::Oci => Export::OciArchive { dest },
                ArchiveFormat::Docker => Export::DockerArchive { dest },
            },
            image: ImageOptions::default(),
            epoch: None,
            other: Default::default(),
        };
        let images: Vec<ImageToExport> = images
            .into_iter()
            .map(|image| ImageToExport {
                config: image.config_bytes.clone(),
                layers: image.layers.clone(),
                names: export_names.clone(),
                platform: image.platform.clone(),
            })
            .collect();
        announced(sink, spec.export.vertex_name(), |key| {
            export(&spec, &images, &self.context((sink, key, cancel)))
        })?;
        Ok(())
    }

    /// Takes an image in under a name: from an OCI layout (a directory or an archive), from what
    /// `docker save` wrote, or from the tar of a root file system.
    ///
    /// Errors: what is read is not a sound image; then nothing is named.
    pub fn import(
        &self,
        name: &Reference,
        file: &Path,
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<ImageSummary> {
        let _running = self.running();
        let choice = Choice::default();
        let source = if file.is_dir() {
            Source::LayoutDir {
                dir: file.to_owned(),
                choice,
            }
        } else {
            Source::File {
                path: file.to_owned(),
                choice,
            }
        };
        let shown = format!("importing {}", file.display());
        let image = announced(sink, &shown, |key| {
            import(&source, &self.context((sink, key, cancel)))
        })?;
        let table = self.image_table();
        let row = ImageRow {
            sizes: table.sizes(&image.layers)?,
            layers: image.layers,
            manifest: image.manifest,
        };
        let id = table.put(&image.config, row, std::slice::from_ref(name))?;
        self.summary(&id)
    }

    /// Keeps layers from collection until the lease is dropped.
    pub(crate) fn lease_layers(&self, layers: &[LayerId]) -> Result<Lease> {
        let (lease, _) = self.store().lease(&[])?;
        for layer in layers {
            self.layers().hold(layer, &lease)?;
        }
        Ok(lease)
    }

    fn summary(&self, id: &Digest) -> Result<ImageSummary> {
        Ok(self.stored(id.as_str())?.summary)
    }

    pub(crate) fn context<'a>(
        &'a self,
        (sink, vertex, cancel): (&'a dyn Sink, &'a VertexKey, &'a CancelToken),
    ) -> Context<'a> {
        Context {
            layers: self.layers(),
            store: self.store(),
            sink,
            vertex,
            cancel,
        }
    }
}

/// The images of a name that an archive is to hold.
fn chosen<'s>(
    stored: &'s StoredImage,
    what: &str,
    (platforms, format): (&[Platform], ArchiveFormat),
) -> Result<Vec<&'s ImageDetails>> {
    match (platforms, format) {
        ([], ArchiveFormat::Oci) => Ok(stored.images.iter().collect()),
        ([], ArchiveFormat::Docker) => Ok(vec![stored.pick(what, None)?]),
        (wanted, _) => wanted
            .iter()
            .map(|platform| stored.pick(what, Some(platform)))
            .collect(),
    }
}
