//! Images into and out of files.

use std::path::Path;

use rbuild_exporter::{
    Choice, Context, Dest, Export, ExportSpec, ImageOptions, ImageToExport, Source, export, import,
};
use rbuild_layer::LayerId;
use rbuild_oci::{Digest, Reference};
use rbuild_progress::{CancelToken, Sink, VertexKey};
use rbuild_store::Lease;

use crate::engine::Engine;
use crate::images::ImageRow;
use crate::step::announced;
use crate::{BuildError, ErrorKind, ImageSummary, Result};

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
    /// Errors: a name that is not in the store, names of different images.
    pub fn save(
        &self,
        names: &[String],
        (format, dest): (ArchiveFormat, &Dest),
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<()> {
        let _running = self.running();
        self.recover((sink, cancel))?;
        let Some((first, others)) = names.split_first() else {
            return Err(BuildError::new(ErrorKind::Usage, "no image is named"));
        };
        let image = self.image(first)?;
        for other in others {
            if self.image(other)?.summary.id != image.summary.id {
                return Err(BuildError::new(
                    ErrorKind::Usage,
                    format!("{first} and {other} are different images: save them one by one"),
                ));
            }
        }
        let _lease = self.lease_layers(&image.layers)?;
        let named = names.iter().filter_map(|name| Reference::parse(name).ok());
        let export_names = named
            .filter(|name| image.summary.names.contains(name))
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
        let images = [ImageToExport {
            config: image.config_bytes,
            layers: image.layers,
            names: export_names,
            platform: image.summary.platform,
        }];
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
        let id = table.put(&image.config, &row, std::slice::from_ref(name))?;
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
        Ok(self.image(&id.to_string())?.summary)
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
