//! Images to registries: their content first, to all repositories; then the manifests; the tags last.
//!
//! Nothing is ever half-tagged: before the first tag is set, everything is everywhere.

mod command;
mod early;
mod homes;
mod pending;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;

use rbuild_exporter::{Assembled, AssembledImage, Document};
use rbuild_layer::{LayerId, LayerStore};
use rbuild_oci::{Descriptor, Digest, MediaType, Reference};
use rbuild_progress::{CancelToken, Meter, Sink, VertexKey};
use rbuild_registry::{Client, PushBlob, PushContext, Supply};

use crate::engine::Engine;
use crate::{BuildError, Result};

pub use command::PushedImage;
pub(crate) use command::push_recorded;
pub(crate) use early::Early;
pub(crate) use pending::Pending;
pub(crate) use target::{Called, Security, Target, check};

/// Largest manifest that is read back.
const MAX_DOCUMENT_BYTES: u64 = 8 << 20;

/// An image, and what may have to be fetched to push it.
pub(crate) struct Parcel<'a> {
    assembled: &'a Assembled,
    /// The layer that a blob is a form of.
    layers: BTreeMap<Digest, LayerId>,
}

impl<'a> Parcel<'a> {
    /// `stacks` are the layers of each image, in the order of its manifest.
    pub fn new<'s>(
        assembled: &'a Assembled,
        stacks: impl Iterator<Item = &'s [LayerId]>,
    ) -> Parcel<'a> {
        let pairs = assembled
            .images
            .iter()
            .zip(stacks)
            .flat_map(|(image, stack)| image.layers.iter().zip(stack));
        let layers = pairs.map(|(blob, layer)| (blob.digest.clone(), *layer));
        Parcel {
            assembled,
            layers: layers.collect(),
        }
    }

    /// Layers and configs, each once.
    fn content(&self) -> Vec<&Descriptor> {
        let of_image =
            |image: &'a AssembledImage| image.layers.iter().chain([&image.config.descriptor]);
        let others = self.assembled.others.iter();
        let mut seen = BTreeSet::new();
        self.assembled
            .images
            .iter()
            .flat_map(of_image)
            .chain(others.filter(|blob| !is_document(blob)))
            .filter(|blob| seen.insert(&blob.digest))
            .collect()
    }

    /// The document that a name stands for, and its bytes.
    fn top(&self) -> (&Descriptor, &[u8]) {
        let images = self.assembled.images.first().map(|image| &image.manifest);
        let document = self.assembled.index.as_ref().or(images);
        match document {
            Some(document) => (&document.descriptor, &document.bytes),
            None => (&self.assembled.top, &[]),
        }
    }
}

/// Pushes an image to a target, as a part of the step `key`.
pub(crate) fn push(
    engine: &Engine,
    (parcel, target): (&Parcel<'_>, &Target),
    (sink, key, cancel): (&dyn Sink, &VertexKey, &CancelToken),
) -> Result<()> {
    let pushing = Pushing {
        engine,
        parcel,
        target,
        sink,
        key,
        cancel,
    };
    let repositories = target.repositories();
    let layers = pushing.says("pushing layers".to_owned());
    for repository in &repositories {
        pushing.content_to(repository)?;
    }
    layers.finish();
    for repository in &repositories {
        pushing.children_to(repository)?;
    }
    target.names.iter().try_for_each(|name| pushing.name(name))
}

struct Pushing<'a> {
    engine: &'a Engine,
    parcel: &'a Parcel<'a>,
    target: &'a Target,
    sink: &'a dyn Sink,
    key: &'a VertexKey,
    cancel: &'a CancelToken,
}

impl<'a> Pushing<'a> {
    fn says(&self, what: String) -> Meter<'a> {
        Meter::new(self.sink, self.key, what, None)
    }

    fn client(&self, name: &Reference) -> Result<Client> {
        self.target.client(self.engine, name)
    }

    fn content_to(&self, repository: &Reference) -> Result<()> {
        let store = self.engine.store();
        let content = self.parcel.content();
        let blobs = content.iter().map(|blob| {
            let layer = self.parcel.layers.get(&blob.digest);
            wanted(self.engine, repository, (blob, layer))
        });
        let supply = LayerSupply {
            layers: self.engine.layers(),
            by_blob: &self.parcel.layers,
        };
        let cx = PushContext {
            store,
            supply: &supply,
            sink: self.sink,
            vertex: self.key,
            cancel: self.cancel,
        };
        let blobs = blobs.collect::<Result<Vec<_>>>()?;
        let client = self.client(repository)?;
        let pushed = client.push_blobs(repository, &blobs, &cx);
        pushed.map_err(|error| BuildError::push(repository, error))?;
        Ok(())
    }

    /// The manifests under an index; a single one goes with its name.
    fn children_to(&self, repository: &Reference) -> Result<()> {
        if self.parcel.assembled.index.is_none() {
            return Ok(());
        }
        let client = self.client(repository)?;
        for manifest in self.children()? {
            let digest = &manifest.descriptor.digest;
            let reference = repository.with_digest(digest.clone());
            let status = self.says(format!("pushing manifest {digest}"));
            client
                .push_manifest(
                    &reference,
                    &manifest.descriptor,
                    &manifest.bytes,
                    self.cancel,
                )
                .map_err(|error| BuildError::push(repository, error))?;
            status.finish();
        }
        Ok(())
    }

    /// What an index names, images and others, such as attestations.
    fn children(&self) -> Result<Vec<Document>> {
        let assembled = self.parcel.assembled;
        let images = assembled
            .images
            .iter()
            .map(|image| Ok(image.manifest.clone()));
        let others = assembled.others.iter().filter(|blob| is_document(blob));
        let others = others.map(|other| {
            let store = self.engine.store();
            Ok(Document {
                descriptor: other.clone(),
                bytes: store.read_blob(&other.digest, MAX_DOCUMENT_BYTES)?,
            })
        });
        images.chain(others).collect()
    }

    fn name(&self, name: &Reference) -> Result<()> {
        let (descriptor, bytes) = self.parcel.top();
        let pinned = name.with_digest(descriptor.digest.clone());
        let status = self.says(format!("pushing manifest for {pinned}"));
        let reference = self.target.document(name, &descriptor.digest)?;
        self.client(name)?
            .push_manifest(&reference, descriptor, bytes, self.cancel)
            .map_err(|error| BuildError::push(name, error))?;
        status.finish();
        Ok(())
    }
}

fn is_document(blob: &Descriptor) -> bool {
    matches!(blob.kind(), MediaType::Manifest | MediaType::Index)
}

/// A blob for a repository, with where it may be mounted from.
fn wanted(
    engine: &Engine,
    repository: &Reference,
    (blob, layer): (&Descriptor, Option<&LayerId>),
) -> Result<PushBlob> {
    let info = layer.map(|layer| engine.layers().info(layer)).transpose()?;
    let about = (&blob.digest, info.as_ref());
    Ok(PushBlob {
        descriptor: blob.clone(),
        mount_from: homes::homes(engine.store(), repository, about)?,
    })
}

/// Fetches pulled layers that a registry turned out not to have.
struct LayerSupply<'a> {
    layers: &'a LayerStore,
    by_blob: &'a BTreeMap<Digest, LayerId>,
}

impl Supply for LayerSupply<'_> {
    fn provide(
        &self,
        blob: &Descriptor,
        cancel: &CancelToken,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        match self.by_blob.get(&blob.digest) {
            Some(layer) if !self.layers.store().has_blob(&blob.digest) => {
                self.layers.fetch_original(layer, cancel)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
