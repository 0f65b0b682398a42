//! Answers to what lowering must know: images by name, in a layout, in a registry.
//!
//! A name is looked for in the store first (what was built, loaded, imported or tagged here), then in its
//! registry, unless the build says otherwise. Pulled images have no name in the store.

use std::collections::BTreeMap;
use std::path::Path;

use rbuild_dockerfile::suggest;
use rbuild_exporter::{Layout, Platforms};
use rbuild_frontend::{ImageAnswer, ImagePlace, ImageQuestion, Known, Question};
use rbuild_graph::ImageOrigin;
use rbuild_layer::LayerId;
use rbuild_oci::{Address, Digest, ImageConfig, Pick, Platform, Reference};
use rbuild_progress::{CancelToken, Sink, VertexKey};
use rbuild_source::{FoundImage, Freshness};
use rbuild_store::Lease;

use crate::engine::Engine;
use crate::places::Places;
use crate::step::{announced, status};
use crate::{BuildError, ImageDetails, PullPolicy, ResolveOrder, Result, StoredImage};

/// How often an image is looked for whose layers are collected at the same time.
const LOOKS: u32 = 5;

/// An image that was found, and its layers.
pub(crate) type Answered = (ImageAnswer, Vec<LayerId>);

/// Somebody who knows beforehand what names of registries stand for.
pub(crate) trait Pinning: Sync {
    /// The image that a name stands for; `None` if it is to be looked for.
    fn image(
        &self,
        reference: &Reference,
        platform: &Platform,
        reporting: (&dyn Sink, &CancelToken),
    ) -> Result<Option<Answered>>;

    /// Whether the registry is to be asked, whatever is remembered of a name.
    fn is_afresh(&self, _reference: &Reference) -> bool {
        false
    }
}

/// The answers of one build.
pub(crate) struct Answers<'a> {
    engine: &'a Engine,
    lease: &'a Lease,
    pull: PullPolicy,
    resolve: ResolveOrder,
    pinning: Option<&'a dyn Pinning>,
    stages: Vec<String>,
    known: Known,
    layers: BTreeMap<Digest, Vec<LayerId>>,
}

/// What a question came to.
struct Found {
    question: ImageQuestion,
    answer: ImageAnswer,
    layers: Vec<LayerId>,
}

impl<'a> Answers<'a> {
    /// Nothing is known yet. What is found is kept from collection by `lease`; `stages` are the names that an image's name may be a slip of.
    pub(crate) fn new(
        (engine, lease): (&'a Engine, &'a Lease),
        (pull, resolve): (PullPolicy, ResolveOrder),
        stages: Vec<String>,
    ) -> Answers<'a> {
        Answers {
            engine,
            lease,
            pull,
            resolve,
            pinning: None,
            stages,
            known: Known::new(),
            layers: BTreeMap::new(),
        }
    }

    /// The same for whom names stand for what somebody knows beforehand.
    pub(crate) fn pinned(self, pinning: Option<&'a dyn Pinning>) -> Answers<'a> {
        Answers { pinning, ..self }
    }

    /// What is known so far.
    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// The layers of every image that was found, by manifest digest.
    pub(crate) fn into_layers(self) -> BTreeMap<Digest, Vec<LayerId>> {
        self.layers
    }

    /// Answers questions, several at once where there are several.
    pub(crate) fn answer(
        &mut self,
        questions: &[Question],
        places: &Places,
        (sink, cancel): (&dyn Sink, &CancelToken),
    ) -> Result<()> {
        let ask = |question: &Question| {
            self.find(&question.image, (sink, cancel))
                .map_err(|e| e.at(places.excerpts(&question.origins)))
        };
        let found: Vec<Result<Found>> = match questions {
            [one] => vec![ask(one)],
            several => std::thread::scope(|scope| {
                let ask = &ask;
                let running: Vec<_> = several
                    .iter()
                    .map(|question| scope.spawn(move || ask(question)))
                    .collect();
                running
                    .into_iter()
                    .map(|thread| {
                        thread.join().unwrap_or_else(|_| {
                            Err(BuildError::build("looking for an image broke off"))
                        })
                    })
                    .collect()
            }),
        };
        for found in found {
            let found = found?;
            self.layers
                .insert(found.answer.manifest.clone(), found.layers);
            self.known.images.insert(found.question, found.answer);
        }
        Ok(())
    }

    /// Finds an image, and keeps its layers; once more if they were collected between.
    fn find(
        &self,
        question: &ImageQuestion,
        (sink, cancel): (&dyn Sink, &CancelToken),
    ) -> Result<Found> {
        for _ in 0..LOOKS {
            let found = self.look_up(question, (sink, cancel))?;
            if self.hold(&found.layers)? {
                return Ok(found);
            }
        }
        Err(BuildError::pruned_meanwhile("a base image"))
    }

    /// Whether the layers are known; from now on they stay.
    fn hold(&self, layers: &[LayerId]) -> Result<bool> {
        let store = self.engine.layers();
        for layer in layers {
            // One that has lost its bytes is told of by whoever needs them.
            if !store.hold(layer, self.lease)? && store.find(layer)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn look_up(
        &self,
        question: &ImageQuestion,
        (sink, cancel): (&dyn Sink, &CancelToken),
    ) -> Result<Found> {
        let shown = match &question.place {
            ImagePlace::Reference(reference) => reference.to_string(),
            ImagePlace::Layout { dir, .. } => format!("oci-layout://{dir}"),
            ImagePlace::Address(Address::Registry(reference)) => reference.to_string(),
            ImagePlace::Address(address) => address.to_string(),
        };
        let name = format!("[internal] load metadata for {shown}");
        let (answer, layers) = announced(sink, &name, |key| match &question.place {
            ImagePlace::Reference(reference) => {
                match self.beforehand(reference, question, (sink, cancel))? {
                    Some(found) => Ok(found),
                    None => self.by_name(reference, question, (sink, key, cancel)),
                }
            }
            ImagePlace::Address(Address::Registry(reference)) => {
                match self.beforehand(reference, question, (sink, cancel))? {
                    Some(found) => Ok(found),
                    None => self.in_registry(reference, question, (sink, key, cancel)),
                }
            }
            ImagePlace::Layout { dir, digest } => {
                let pick = digest.clone().map(Pick::Digest);
                self.in_layout((Path::new(dir), pick.as_ref()), question, cancel)
            }
            ImagePlace::Address(Address::Layout(place)) => {
                self.in_layout((&place.path, place.pick.as_ref()), question, cancel)
            }
            ImagePlace::Address(address) => {
                let wanted = Platforms::These(vec![question.platform.clone()]);
                let opened = self.engine.open_image(address, &wanted, (sink, cancel))?;
                Ok(stored_answer(opened.shown()))
            }
        })?;
        Ok(Found {
            question: question.clone(),
            answer,
            layers,
        })
    }

    fn beforehand(
        &self,
        reference: &Reference,
        question: &ImageQuestion,
        reporting: (&dyn Sink, &CancelToken),
    ) -> Result<Option<Answered>> {
        match self.pinning {
            Some(pinning) => pinning.image(reference, &question.platform, reporting),
            None => Ok(None),
        }
    }

    fn by_name(
        &self,
        reference: &Reference,
        question: &ImageQuestion,
        (sink, key, cancel): (&dyn Sink, &VertexKey, &CancelToken),
    ) -> Result<Answered> {
        let stored = match self.resolve {
            ResolveOrder::Registry => None,
            ResolveOrder::StoreFirst | ResolveOrder::Store => self.stored(reference)?,
        };
        let fitting = stored
            .as_ref()
            .and_then(|stored| own(stored, &question.platform));
        match (fitting, self.resolve) {
            (Some(image), _) => {
                let what = format!("resolve {reference} in the store");
                status(sink, key, &what, || {
                    Ok::<_, BuildError>(stored_answer(image))
                })
            }
            (None, ResolveOrder::Store) => {
                Err(not_stored(reference, stored.as_ref(), &question.platform))
            }
            (None, order) => {
                let found = self.in_registry(reference, question, (sink, key, cancel));
                found.map_err(|error| match (order, &stored) {
                    (ResolveOrder::Registry, _) => error.help(
                        "--resolve=registry leaves the store out; without it names there go first",
                    ),
                    (_, Some(stored)) => error.help(format!(
                        "the store has it, but not for {}: {}",
                        question.platform,
                        platforms(stored)
                    )),
                    (_, None) => hint(error, reference, &self.stages),
                })
            }
        }
    }

    /// What the store has under a name, or under the digest in it.
    fn stored(&self, reference: &Reference) -> Result<Option<StoredImage>> {
        let table = self.engine.image_table();
        match reference.digest() {
            Some(digest) => table.by_document(digest),
            None => table.by_name(reference),
        }
    }

    fn in_registry(
        &self,
        reference: &Reference,
        question: &ImageQuestion,
        (sink, key, cancel): (&dyn Sink, &VertexKey, &CancelToken),
    ) -> Result<Answered> {
        let is_afresh = self.pinning.is_some_and(|known| known.is_afresh(reference));
        let freshness = match self.pull {
            PullPolicy::Missing if !is_afresh => Freshness::Remembered,
            PullPolicy::Missing | PullPolicy::Always => Freshness::Ask,
        };
        let what = format!("resolve {reference} in its registry");
        let found = status(sink, key, &what, || {
            self.engine.registry_images().find(
                self.engine.layers(),
                reference,
                &question.platform,
                (freshness, cancel),
            )
        })?;
        Ok(registry_answer(found))
    }

    fn in_layout(
        &self,
        (dir, pick): (&Path, Option<&Pick>),
        question: &ImageQuestion,
        cancel: &CancelToken,
    ) -> Result<Answered> {
        let layout = Layout::open(dir)?;
        let found = layout.resolve(pick, &question.platform)?;
        let layers = layout.register(&found, (self.engine.layers(), cancel))?;
        let config = ImageConfig::from_bytes(&found.config).map_err(BuildError::decode)?;
        let answer = ImageAnswer {
            manifest: found.manifest.digest,
            pinned: None,
            diff_ids: config.diff_ids().to_vec(),
            config,
            origin: ImageOrigin::Layout {
                dir: dir.to_string_lossy().into_owned(),
            },
        };
        Ok((answer, layers))
    }
}

/// The answer for an image of a registry.
pub(crate) fn registry_answer(found: FoundImage) -> Answered {
    let answer = ImageAnswer {
        pinned: (found.root != found.manifest).then_some(found.root),
        manifest: found.manifest,
        diff_ids: found.config.diff_ids().to_vec(),
        config: found.config,
        origin: ImageOrigin::Registry,
    };
    (answer, found.layers)
}

/// The answer for an image whose layers are in the store.
pub(crate) fn stored_answer(image: &ImageDetails) -> Answered {
    let id = &image.summary.id;
    let answer = ImageAnswer {
        manifest: id.clone(),
        pinned: None,
        diff_ids: image.config.diff_ids().to_vec(),
        config: image.config.clone(),
        origin: ImageOrigin::Store {
            image_id: id.to_string(),
        },
    };
    (answer, image.layers.clone())
}

/// The image of the store that a base stands for. A plain one is taken whatever it runs on, as Docker
/// does and warns of; of several there must be one that fits.
fn own<'s>(stored: &'s StoredImage, wanted: &Platform) -> Option<&'s ImageDetails> {
    match stored.is_index() {
        true => stored.serving(wanted),
        false => stored.images.first(),
    }
}

fn platforms(stored: &StoredImage) -> String {
    let there = stored.summary.platforms.iter();
    let there: Vec<String> = there.map(ToString::to_string).collect();
    there.join(", ")
}

fn not_stored(
    reference: &Reference,
    stored: Option<&StoredImage>,
    wanted: &Platform,
) -> BuildError {
    let name = reference.familiar();
    let help = "--resolve=store leaves registries out; `rbuild images` lists what is in the store";
    match stored {
        Some(stored) => {
            BuildError::no_platform(&name, wanted, &stored.summary.platforms).help(help)
        }
        None => BuildError::build(format!("{name} is not in the store")).help(help),
    }
}

/// A name that is found nowhere is often a stage's, or one that exists only locally.
fn hint(error: BuildError, reference: &Reference, stages: &[String]) -> BuildError {
    let name = reference.familiar();
    let error = match stage_hint(name.strip_suffix(":latest").unwrap_or(&name), stages) {
        Some(hint) => error.help(hint),
        None => error,
    };
    error.help(format!(
        "{name} is not in the local store either; `rbuild import {name} FILE` puts an image there, \
         --build-context {name}=oci-layout://DIR maps the name to a directory"
    ))
}

/// What to say if a stage of this or a similar name may be meant.
fn stage_hint(name: &str, stages: &[String]) -> Option<String> {
    /// Among shorter names everything is similar.
    const SHORTEST: usize = 4;
    if stages.iter().any(|stage| stage == name) {
        return Some(format!(
            "stage {name} begins further down; only stages above can be built on"
        ));
    }
    let stages: Vec<&str> = stages.iter().map(String::as_str).collect();
    let near = suggest::nearest(name, &stages).filter(|_| name.len() >= SHORTEST)?;
    Some(format!("did you mean the stage {near}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_nearly_stages_are_noticed() {
        let stages = ["build", "rt"].map(String::from);
        let hint = |name| stage_hint(name, &stages).unwrap_or_default();
        assert_eq!(hint("biuld"), "did you mean the stage build?");
        assert!(hint("build").starts_with("stage build begins further down"));
        assert_eq!(hint("rs"), "");
        assert_eq!(hint("debian"), "");
    }
}
