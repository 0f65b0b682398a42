//! From an assembled image to what a loopback registry serves. Layers of a base whose bytes are not here
//! are fetched only when the engine asks for them: it may have them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rbuild_exporter::{Assembled, ImageToExport};
use rbuild_layer::{LayerId, LayerStore};
use rbuild_oci::Digest;
use rbuild_progress::CancelToken;
use rbuild_registry::{
    BlobSource, LoopbackRegistry, ServeLimits, ServedDocument, ServedImage, Traffic,
};
use rbuild_store::Store;

use super::Job;
use crate::{BuildError, ErrorKind, Result};

/// A registry with the image of a job.
pub(super) struct Serving {
    // Dropped after the fetches were told to end, which its threads wait for.
    registry: LoopbackRegistry,
    blobs: Arc<Blobs>,
}

/// Blobs of the store, and those of pulled layers from where they came.
struct Blobs {
    store: Arc<Store>,
    layers: LayerStore,
    by_digest: BTreeMap<Digest, LayerId>,
    cancel: CancelToken,
    /// Why the first fetch failed: the engine sees a connection that ends.
    failure: Mutex<Option<BuildError>>,
}

impl Serving {
    /// Serves an image until what is returned is dropped.
    pub(super) fn start(job: &Job<'_>, assembled: &Assembled) -> Result<Serving> {
        let failed = |error: io::Error| BuildError::caused(ErrorKind::Host, error);
        let blobs = Arc::new(Blobs {
            store: job.engine.store().clone(),
            layers: job.engine.layers().clone(),
            by_digest: layers(job.images, assembled),
            cancel: CancelToken::try_new().map_err(failed)?,
            failure: Mutex::default(),
        });
        let registry =
            LoopbackRegistry::start(image(assembled), blobs.clone(), ServeLimits::default())
                .map_err(|error| BuildError::caused(ErrorKind::Host, error))?;
        Ok(Serving { registry, blobs })
    }

    /// `HOST:PORT/NAME@DIGEST`.
    pub(super) fn reference(&self) -> String {
        format!("{}@{}", self.registry.name(), self.registry.digest())
    }

    /// `HOST:PORT/NAME`.
    pub(super) fn name(&self) -> String {
        self.registry.name()
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.registry.traffic()
    }

    /// Why a layer could not be served, if one could not.
    pub(super) fn failure(&self) -> Option<BuildError> {
        let mut failure = self.blobs.failure.lock();
        let failure = failure.as_mut().map(|failure| failure.take());
        failure.unwrap_or_else(|poisoned| poisoned.get_mut().take())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.blobs.cancel.cancel();
    }
}

impl BlobSource for Blobs {
    fn open(&self, digest: &Digest) -> io::Result<File> {
        self.find(digest).map_err(|error| {
            let text = error.to_string();
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error);
            io::Error::other(text)
        })
    }
}

impl Blobs {
    fn find(&self, digest: &Digest) -> Result<File> {
        match (self.store.open_blob(digest), self.by_digest.get(digest)) {
            (Err(rbuild_store::Error::MissingBlob { .. }), Some(layer)) => {
                self.layers.fetch_original(layer, &self.cancel)?;
                Ok(self.store.open_blob(digest)?)
            }
            (found, _) => Ok(found?),
        }
    }
}

/// The layers by the digests that the manifests list.
fn layers(images: &[ImageToExport], assembled: &Assembled) -> BTreeMap<Digest, LayerId> {
    let both = images.iter().zip(&assembled.images);
    let layers = both.flat_map(|(image, listed)| image.layers.iter().zip(&listed.layers));
    layers
        .map(|(layer, listed)| (listed.digest.clone(), *layer))
        .collect()
}

fn image(assembled: &Assembled) -> ServedImage {
    let manifests = assembled.images.iter().map(|image| &image.manifest);
    let documents: BTreeMap<_, _> = manifests
        .chain(&assembled.index)
        .map(|document| {
            let served = ServedDocument {
                media_type: document.descriptor.media_type.clone(),
                bytes: document.bytes.clone(),
            };
            (document.descriptor.digest.clone(), served)
        })
        .collect();
    let blobs = assembled.blobs().into_iter();
    ServedImage {
        top: assembled.top.digest.clone(),
        blobs: blobs
            .filter(|blob| !documents.contains_key(&blob.digest))
            .map(|blob| (blob.digest.clone(), blob.size))
            .collect(),
        documents,
    }
}
