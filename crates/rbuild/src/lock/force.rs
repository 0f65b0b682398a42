//! A lock in force: a build that goes by one.

use std::sync::Arc;

use rbuild_frontend::Plan;
use rbuild_oci::{Digest, Platform, Reference};
use rbuild_progress::{CancelToken, Event, Sink, WarningNote};
use rbuild_source::{Error, ImagePin, Others, Pins};

use super::needs::{Source, sources};
use super::{Lock, LockPolicy, LockProblem, Pinned, file};
use crate::answer::{Answered, Pinning, registry_answer, stored_answer};
use crate::elsewhere::Elsewhere;
use crate::engine::Engine;
use crate::intake::DockerfileText;
use crate::places::Places;
use crate::{BuildError, BuildRequest, ErrorKind, Result};

/// A lock that a build goes by.
pub(crate) struct InForce<'a> {
    engine: &'a Engine,
    lock: Lock,
    /// What messages call it.
    name: String,
    /// Whether what is not in it is refused.
    is_required: bool,
}

/// The lock that counts for a request; `None` if none does.
///
/// Errors: one is required and is not there; it cannot be read.
pub(crate) fn in_force<'a>(
    request: &BuildRequest,
    (dockerfile, elsewhere): (&DockerfileText, Option<&Elsewhere>),
    (engine, sink, cancel): (&'a Engine, &dyn Sink, &CancelToken),
) -> Result<Option<InForce<'a>>> {
    let is_required = match request.lock.policy {
        LockPolicy::Ignored => return Ok(None),
        LockPolicy::Names => false,
        LockPolicy::Required => true,
    };
    match found(request, (dockerfile, elsewhere), (engine, cancel)) {
        Ok((name, lock)) => Ok(Some(InForce {
            engine,
            lock,
            name,
            is_required,
        })),
        Err(error) if is_required || error.kind() == ErrorKind::Cancelled => Err(error),
        Err(error) if error.kind() == ErrorKind::Usage => Ok(None),
        Err(error) => {
            warn(sink, format!("LockIgnored: {error}"));
            Ok(None)
        }
    }
}

fn found(
    request: &BuildRequest,
    (dockerfile, elsewhere): (&DockerfileText, Option<&Elsewhere>),
    (engine, cancel): (&Engine, &CancelToken),
) -> Result<(String, Lock)> {
    if let Some(path) = file::place(request, dockerfile) {
        return Ok((file::shown(&path), file::read(&path)?));
    }
    let inside = dockerfile.inside.as_ref().zip(elsewhere);
    let (name, context) = inside.ok_or(LockProblem::NoPlace)?;
    let path = file::with_lock(name.as_ref());
    let text = path.to_string_lossy();
    let bytes = context.read(engine, &text, (file::MAX_BYTES, cancel))?;
    let bytes = bytes.ok_or_else(|| LockProblem::NoLock { path: path.clone() })?;
    let name = file::shown(&path);
    let lock = file::decode(&name, &bytes)?;
    Ok((name, lock))
}

/// What the main context is taken by, where that has to come from the network before its Dockerfile can be
/// read: by a lock outside of it.
pub(crate) fn context_pins(request: &BuildRequest) -> Result<Arc<Pins>> {
    if let Some(pins) = &request.lock.context {
        return Ok(Arc::clone(pins));
    }
    match (&request.lock.file, request.lock.policy) {
        (Some(path), LockPolicy::Required) => Ok(Arc::new(file::read(path)?.pins(Others::Refused))),
        _ => Ok(Arc::default()),
    }
}

impl InForce<'_> {
    /// What the sources of the build's steps go by; `None` if they ask.
    pub(crate) fn pins(&self) -> Option<Arc<Pins>> {
        self.is_required
            .then(|| Arc::new(self.lock.pins(Others::Refused)))
    }

    /// Refuses a plan with files or repositories that are not in the lock, before anything of it is done.
    pub(crate) fn check(&self, plan: &Plan, places: &Places) -> Result<()> {
        if !self.is_required {
            return Ok(());
        }
        for (source, origins) in sources(plan) {
            let name = source.name();
            let is_there = match source {
                Source::File(_) => self.lock.files.contains_key(&name),
                Source::Commit(_) => self.lock.commits.contains_key(&name),
            };
            if !is_there {
                return Err(self.no_entry(name).at(places.excerpts(origins)));
            }
        }
        Ok(())
    }

    fn no_entry(&self, what: String) -> BuildError {
        let file = self.name.clone();
        LockProblem::NoEntry { file, what }.into()
    }

    fn no_platform(
        &self,
        reference: &Reference,
        wanted: &Platform,
        there: Vec<&Platform>,
    ) -> BuildError {
        LockProblem::NoPlatform {
            file: self.name.clone(),
            image: reference.familiar(),
            wanted: Box::new(wanted.clone()),
            there: there.into_iter().cloned().collect(),
        }
        .into()
    }

    /// An image that must be the one of its pin.
    fn required(
        &self,
        reference: &Reference,
        (platform, pin): (&Platform, &Pinned),
        cancel: &CancelToken,
    ) -> Result<Answered> {
        match pin {
            Pinned::Store(id) => stored(self.engine, reference, id),
            Pinned::Registry(pin) => pinned(self.engine, reference, (platform, pin), cancel),
        }
    }

    /// An image as its pin says if it is here.
    fn preferred(
        &self,
        reference: &Reference,
        (platform, pin): (&Platform, &Pinned),
        (sink, cancel): (&dyn Sink, &CancelToken),
    ) -> Result<Option<Answered>> {
        let found = match pin {
            Pinned::Store(id) => stored(self.engine, reference, id).ok(),
            Pinned::Registry(pin) => {
                let images = self.engine.registry_images();
                let layers = self.engine.layers();
                let found = images.pinned_here(layers, reference, (platform, pin), cancel)?;
                found.map(registry_answer)
            }
        };
        if found.is_none() {
            warn(
                sink,
                format!(
                    "NotAsLocked: {} as in {} is not in the store; what was remembered of the name is taken",
                    reference.familiar(),
                    self.name
                ),
            );
        }
        Ok(found)
    }
}

impl Pinning for InForce<'_> {
    fn image(
        &self,
        reference: &Reference,
        platform: &Platform,
        (sink, cancel): (&dyn Sink, &CancelToken),
    ) -> Result<Option<Answered>> {
        // The Dockerfile itself pins it.
        if reference.digest().is_some() {
            return Ok(None);
        }
        let image = self.lock.images.get(reference);
        let pin = image.and_then(|image| image.pin(platform));
        match (image, pin, self.is_required) {
            (_, Some(pin), true) => self.required(reference, (platform, &pin), cancel).map(Some),
            (_, Some(pin), false) => self.preferred(reference, (platform, &pin), (sink, cancel)),
            (Some(image), None, true) => {
                Err(self.no_platform(reference, platform, image.platforms()))
            }
            (None, None, true) => Err(self.no_entry(format!("the image {}", reference.familiar()))),
            (_, None, false) => Ok(None),
        }
    }
}

/// The image of a pin, from the store or from its registry.
pub(super) fn pinned(
    engine: &Engine,
    reference: &Reference,
    (platform, pin): (&Platform, &ImagePin),
    cancel: &CancelToken,
) -> Result<Answered> {
    let images = engine.registry_images();
    let found = images.find_pinned(engine.layers(), reference, (platform, pin), cancel);
    let found = found.map_err(|error| {
        let is_of_registry = matches!(error, Error::Registry { .. } | Error::OtherManifest { .. });
        let help = is_of_registry.then(|| {
            let name = reference.familiar();
            format!("the lock has this digest; `rbuild lock --update={name}` locks what {name} stands for now")
        });
        BuildError::from(error).helps(help)
    })?;
    Ok(registry_answer(found))
}

/// The image of the store with an id.
pub(super) fn stored(engine: &Engine, reference: &Reference, id: &Digest) -> Result<Answered> {
    let gone = || LockProblem::NoStored {
        image: reference.familiar(),
        id: id.to_string(),
    };
    let found = engine.stored(&id.to_string()).map_err(|_| gone())?;
    let mut images = found.images.iter();
    let image = images.find(|image| image.summary.id == *id);
    Ok(stored_answer(image.ok_or_else(gone)?))
}

fn warn(sink: &dyn Sink, short: String) {
    sink.send(Event::Warning(WarningNote {
        vertex: None,
        short,
        detail: Vec::new(),
        url: None,
        file: None,
        line: None,
        end_line: None,
    }));
}
