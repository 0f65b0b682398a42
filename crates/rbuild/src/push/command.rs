//! Pushing what the store has: an image by its name, and what an earlier push left unfinished.

use rbuild_exporter::{Assembled, ImageOptions, assemble_kept_named};
use rbuild_layer::LayerId;
use rbuild_oci::{Digest, Reference};
use rbuild_progress::{CancelToken, Sink, VertexKey};

use super::pending::Pending;
use super::{Called, Parcel, Security, Target, push};
use crate::engine::Engine;
use crate::step::announced;
use crate::{BuildError, ErrorKind, Result, StoredImage};

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
    /// An image that came with a manifest or index is pushed with just that. Errors: a name that is not in the
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
    /// Errors: a name under which no push is unfinished; the first of those of the registries, after all
    /// were tried.
    pub fn resume_push(
        &self,
        names: &[Reference],
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<Vec<PushedImage>> {
        let _running = self.running();
        self.recover((sink, cancel))?;
        let wanted = self.unfinished(names)?;
        let (mut pushed, mut failure) = (Vec::new(), None);
        for (pending, target) in &wanted {
            let shown: Vec<String> = target.names.iter().map(ToString::to_string).collect();
            let done = announced(sink, &format!("pushing {}", shown.join(", ")), |key| {
                self.finish(pending, target, (sink, key, cancel))
            });
            match done {
                Ok(image) => pushed.push(image),
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        match failure {
            None => Ok(pushed),
            Some(error) => Err(error.help("`rbuild push --forget NAME` gives a push up for good")),
        }
    }

    /// Forgets pushes that were begun and not ended; with names, only those under one of them. Returns the
    /// names that they had. What has arrived at a registry stays there.
    ///
    /// Errors: a name under which no push is unfinished.
    pub fn forget_pushes(&self, names: &[Reference]) -> Result<Vec<Reference>> {
        let mut forgotten = Vec::new();
        for (pending, target) in self.unfinished(names)? {
            pending.end(self.store())?;
            forgotten.extend(target.names);
        }
        Ok(forgotten)
    }

    fn unfinished(&self, names: &[Reference]) -> Result<Vec<(Pending, Target)>> {
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
        Ok(wanted)
    }

    fn push_one(
        &self,
        (name, stored): (&Reference, &StoredImage),
        cx: (&dyn Sink, &VertexKey, &CancelToken),
    ) -> Result<PushedImage> {
        let _lease = self.lease_layers(stored.images.iter().flat_map(|image| &image.layers))?;
        let kept = stored.kept(&name.familiar(), &[])?;
        let assembled = assemble_kept_named(&kept, &ImageOptions::default(), &self.context(cx))?;
        let stacks: Vec<_> = stored
            .images
            .iter()
            .map(|image| image.layers.clone())
            .collect();
        let target = Target {
            names: vec![name.clone()],
            called: Called::ByTag,
            security: Security::Configured,
        };
        push_recorded(self, (&assembled, &stacks), &target, cx)
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
            .map(|stack| self.lease_layers(stack.iter()))
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
