//! From an assembled image to what a loopback registry serves.

use std::collections::BTreeMap;

use rbuild_exporter::Assembled;
use rbuild_registry::{LoopbackRegistry, ServeLimits, ServedDocument, ServedImage};

use super::Job;
use crate::{BuildError, ErrorKind, Result};

/// Serves an image until what is returned is dropped.
pub(super) fn serve(job: &Job<'_>, assembled: &Assembled) -> Result<LoopbackRegistry> {
    let store = job.engine.store().clone();
    LoopbackRegistry::start(image(assembled), store, ServeLimits::default())
        .map_err(|error| BuildError::caused(ErrorKind::Host, error))
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
