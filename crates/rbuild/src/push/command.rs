//! Pushing what the store has: an image by its name, and what an earlier push left unfinished.

use rbuild_exporter::{
    Assembled, AssembledImage, Document, ImageOptions, ImageToExport, assemble_named,
};
use rbuild_layer::LayerId;
use rbuild_oci::{Descriptor, Digest, Index, Manifest, MediaType, Reference};
use rbuild_progress::{CancelToken, Sink, VertexKey};

use super::pending::Pending;
use super::{Called, Parcel, Security, Target, push};
use crate::engine::Engine;
use crate::step::announced;
use crate::{BuildError, ErrorKind, ImageDetails, Result, StoredImage};

/// Largest manifest that is read back.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// An image that was pushed.
#[derive(Debug, Clone)]
pub struct PushedImage {
    /// The names that it has now.
    pub names: Vec<Reference>,
    /// Digest of its manifest or index.
    pub digest: Digest,
}

impl Engine {
    /// Pushes images of the store under their names.
    ///
    /// An image that came with a manifest is pushed with just that. Errors: a name that is not in the
    /// store, and those of the registry.
    pub fn push(
        &self,
        names: &[Reference],
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<Vec<PushedImage>> {
        let _running = self.running();
        self.recover((sink, cancel))?;
        let images = names.iter().map(|name| {
            let found = self.image_table().by_name(name)?;
            found.ok_or_else(|| BuildError::no_image(&name.familiar()))
        });
        // All are looked for before one is sent.
        let images = images.collect::<Result<Vec<_>>>()?;
        names
            .iter()
            .zip(images)
            .map(|(name, image)| {
                announced(sink, &format!("pushing {name}"), |key| {
                    self.push_one((name, &image), (sink, key, cancel))
                })
            })
            .collect()
    }

    /// Goes on with pushes that were begun and not ended; with names, only with those under one of them.
    ///
    /// Nothing is built. What the registry has is not sent again, and of large layers only the rest, if it
    /// still knows their upload.
    ///
    /// Errors: a name under which no push is unfinished; those of the registry.
    pub fn resume_push(
        &self,
        names: &[Reference],
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<Vec<PushedImage>> {
        let _running = self.running();
        self.recover((sink, cancel))?;
        let mut wanted = Vec::new();
        for pending in Pending::all(self.store())? {
            let target = pending.target()?;
            if names.is_empty() || target.names.iter().any(|name| names.contains(name)) {
                wanted.push((pending, target));
            }
        }
        let unknown = names
            .iter()
            .find(|name| !wanted.iter().any(|(_, target)| target.names.contains(name)));
        if let Some(name) = unknown {
            return Err(
                BuildError::build(format!("no push of {} is unfinished", name.familiar()))
                    .help("`rbuild push NAME` pushes what the store has under that name"),
            );
        }
        wanted
            .iter()
            .map(|(pending, target)| {
                let shown: Vec<String> = target.names.iter().map(ToString::to_string).collect();
                announced(sink, &format!("pushing {}", shown.join(", ")), |key| {
                    self.finish(pending, target, (sink, key, cancel))
                })
            })
            .collect()
    }

    fn push_one(
        &self,
        (name, stored): (&Reference, &StoredImage),
        cx: (&dyn Sink, &VertexKey, &CancelToken),
    ) -> Result<PushedImage> {
        let images = &stored.images;
        let _lease = self.lease_layers(images.iter().flat_map(|image| &image.layers))?;
        let assembled = match self.whole_as_it_came(stored)? {
            Some(assembled) => assembled,
            None => {
                let exported = images.iter().map(|image| ImageToExport {
                    config: image.config_bytes.clone(),
                    layers: image.layers.clone(),
                    names: vec![name.clone()],
                    platform: image.platform.clone(),
                });
                let exported: Vec<ImageToExport> = exported.collect();
                let options = ImageOptions::default();
                assemble_named(&exported, &options, &self.context(cx))?
            }
        };
        let target = Target {
            names: vec![name.clone()],
            called: Called::ByTag,
            security: Security::Configured,
        };
        let stacks: Vec<Vec<LayerId>> = images.iter().map(|image| image.layers.clone()).collect();
        push_recorded(self, (&assembled, &stacks), &target, cx)
    }

    /// What a name stands for with the documents that it came with, if they are all here, fit its layers,
    /// and name nothing else.
    fn whole_as_it_came(&self, stored: &StoredImage) -> Result<Option<Assembled>> {
        let mut images = Vec::new();
        for image in &stored.images {
            match self.as_it_came(image)? {
                Some(image) => images.push(image),
                None => return Ok(None),
            }
        }
        let (index, top) = match (stored.is_index(), images.as_slice()) {
            (false, [only]) => (None, only.manifest.descriptor.clone()),
            _ => match self.index_as_it_came(stored, &images)? {
                Some(index) => (Some(index.clone()), index.descriptor),
                None => return Ok(None),
            },
        };
        Ok(Some(Assembled {
            images,
            others: Vec::new(),
            index,
            top,
        }))
    }

    fn index_as_it_came(
        &self,
        stored: &StoredImage,
        images: &[AssembledImage],
    ) -> Result<Option<Document>> {
        let Some(digest) = stored.summary.manifest.as_ref() else {
            return Ok(None);
        };
        if !self.store().has_blob(digest) {
            return Ok(None);
        }
        let bytes = self.store().read_blob(digest, MAX_MANIFEST_BYTES)?;
        let Ok(index) = Index::from_bytes(&bytes) else {
            return Ok(None);
        };
        let named = index.manifests.iter().map(|entry| &entry.digest);
        let had = images.iter().map(|image| &image.manifest.descriptor.digest);
        let descriptor = Descriptor::of(&index.media_type, &bytes);
        Ok(named.eq(had).then_some(Document { descriptor, bytes }))
    }

    /// An image with the manifest that it came with, if that is still here and fits its layers.
    fn as_it_came(&self, image: &ImageDetails) -> Result<Option<AssembledImage>> {
        let Some(digest) = image.summary.manifest.as_ref() else {
            return Ok(None);
        };
        if !self.store().has_blob(digest) {
            return Ok(None);
        }
        let bytes = self.store().read_blob(digest, MAX_MANIFEST_BYTES)?;
        let Ok(manifest) = Manifest::from_bytes(&bytes) else {
            return Ok(None);
        };
        let is_whole = manifest.layers.len() == image.layers.len()
            && manifest.config.digest == image.summary.id
            && MediaType::of(&manifest.media_type) == MediaType::Manifest;
        let is_had = |(blob, layer): (&Descriptor, &LayerId)| {
            self.store().has_blob(&blob.digest)
                || self.layers().original(layer).is_ok_and(|found| {
                    found.is_some_and(|found| found.descriptor.digest == blob.digest)
                })
        };
        if !is_whole || !manifest.layers.iter().zip(&image.layers).all(is_had) {
            return Ok(None);
        }
        let descriptor = Descriptor::of(&manifest.media_type, &bytes);
        Ok(Some(AssembledImage {
            platform: image.platform.clone(),
            config: Document {
                descriptor: manifest.config,
                bytes: image.config_bytes.clone(),
            },
            manifest: Document { descriptor, bytes },
            layers: manifest.layers,
        }))
    }

    fn finish(
        &self,
        pending: &Pending,
        target: &Target,
        cx: (&dyn Sink, &VertexKey, &CancelToken),
    ) -> Result<PushedImage> {
        let stacks = pending.stacks();
        let _leases = stacks
            .iter()
            .map(|stack| self.lease_layers(stack))
            .collect::<Result<Vec<_>>>()?;
        let assembled = pending.assembled(self.store())?;
        push_recorded(self, (&assembled, &stacks), target, cx)
    }
}

/// Pushes an image, with a record of it as long as it is not done.
pub(crate) fn push_recorded(
    engine: &Engine,
    (assembled, stacks): (&Assembled, &[Vec<LayerId>]),
    target: &Target,
    cx: (&dyn Sink, &VertexKey, &CancelToken),
) -> Result<PushedImage> {
    let pending = Pending::of(assembled, stacks.iter().map(Vec::as_slice), target);
    pending.begin(engine.store())?;
    let parcel = Parcel::new(assembled, stacks.iter().map(Vec::as_slice));
    match push(engine, (&parcel, target), cx) {
        Err(error) if error.kind() != ErrorKind::Cancelled => {
            Err(error.help("`rbuild push --resume` goes on with it, without building again"))
        }
        outcome => {
            outcome?;
            pending.end(engine.store())?;
            Ok(PushedImage {
                names: target.names.clone(),
                digest: assembled.top.digest.clone(),
            })
        }
    }
}
