//! Images for a lock in the making: what is locked stays, what is not is looked up.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use rbuild_frontend::{ImageAnswer, ImagePlace, ImageQuestion};
use rbuild_oci::{Digest, Platform, Reference};
use rbuild_progress::{CancelToken, Sink};
use rbuild_source::{FoundImage, Freshness, ImagePin};

use super::force::{pinned, stored};
use super::{Lock, LockRequest, LockWriting, LockedPlace, Pinned};
use crate::answer::{Answered, Pinning, registry_answer};
use crate::engine::Engine;
use crate::stand_in::made_up;
use crate::{BuildError, Result};

/// Answers from the lock as it is, so that what is there stays.
pub(super) struct Filling<'a> {
    pub engine: &'a Engine,
    /// As it is.
    pub lock: &'a Lock,
    pub request: &'a LockRequest,
    unseen: Mutex<BTreeSet<String>>,
}

impl<'a> Filling<'a> {
    /// Of a lock as it is.
    pub(super) fn new((engine, request): (&'a Engine, &'a LockRequest), lock: &'a Lock) -> Self {
        Self {
            engine,
            lock,
            request,
            unseen: Mutex::default(),
        }
    }

    /// The images that a check could not look into.
    pub(super) fn into_unseen(self) -> Vec<String> {
        let unseen = self.unseen.into_inner();
        unseen
            .unwrap_or_else(PoisonError::into_inner)
            .into_iter()
            .collect()
    }

    /// The image for a platform of what a name is locked to.
    pub(super) fn by_root(
        &self,
        reference: &Reference,
        (platform, root): (&Platform, &Digest),
        cancel: &CancelToken,
    ) -> Result<FoundImage> {
        let found = self.engine.registry_images().find(
            self.engine.layers(),
            &reference.with_digest(root.clone()),
            platform,
            (Freshness::Remembered, cancel),
        );
        found.map_err(|error| {
            BuildError::from(error).help(format!(
                "the lock has {root} for other platforms; `rbuild lock --update={}` locks what the name stands for now",
                reference.familiar()
            ))
        })
    }

    /// What the store knows of an image; of what it does not know something is made up, since nobody is asked.
    fn seen(
        &self,
        reference: &Reference,
        platform: &Platform,
        cancel: &CancelToken,
    ) -> Result<Answered> {
        let pin = match reference.digest() {
            Some(digest) => Some(Pinned::Registry(ImagePin {
                root: digest.clone(),
                manifest: digest.clone(),
            })),
            None => self
                .lock
                .images
                .get(reference)
                .and_then(|image| image.pin(platform)),
        };
        let found = match &pin {
            None => return Ok((made_up_for(reference, platform), Vec::new())),
            Some(Pinned::Store(id)) => stored(self.engine, reference, id).ok(),
            Some(Pinned::Registry(pin)) => {
                let images = self.engine.registry_images();
                let found =
                    images.pinned_here(self.engine.layers(), reference, (platform, pin), cancel);
                found.unwrap_or_default().map(registry_answer)
            }
        };
        Ok(found.unwrap_or_else(|| {
            let mut unseen = self.unseen.lock().unwrap_or_else(PoisonError::into_inner);
            unseen.insert(reference.familiar());
            (made_up_for(reference, platform), Vec::new())
        }))
    }
}

fn made_up_for(reference: &Reference, platform: &Platform) -> ImageAnswer {
    made_up(&ImageQuestion {
        place: ImagePlace::Reference(reference.clone()),
        platform: platform.clone(),
    })
}

impl Pinning for Filling<'_> {
    fn image(
        &self,
        reference: &Reference,
        platform: &Platform,
        (_, cancel): (&dyn Sink, &CancelToken),
    ) -> Result<Option<Answered>> {
        if self.request.writing == LockWriting::Checked {
            return self.seen(reference, platform, cancel).map(Some);
        }
        let image = self.lock.images.get(reference);
        let Some(image) = image.filter(|_| !self.is_afresh(reference)) else {
            return Ok(None);
        };
        match (image.pin(platform), &image.place) {
            (Some(Pinned::Store(id)), _) => stored(self.engine, reference, &id).map(Some),
            (Some(Pinned::Registry(pin)), _) => {
                pinned(self.engine, reference, (platform, &pin), cancel).map(Some)
            }
            (None, LockedPlace::Registry { root, .. }) => {
                let found = self.by_root(reference, (platform, root), cancel)?;
                Ok(Some(registry_answer(found)))
            }
            (None, LockedPlace::Store(_)) => Ok(None),
        }
    }

    fn is_afresh(&self, reference: &Reference) -> bool {
        self.request.update.hits_image(reference)
    }
}
