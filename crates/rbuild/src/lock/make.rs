//! Making a lock, and checking one.
//!
//! The Dockerfile is lowered as for a build, all stages of it; what that asks for is what is locked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use rbuild_dockerfile::{Dockerfile, Span};
use rbuild_frontend::{
    Entitlements, Extent, ImagePlace, ImageQuestion, LowerRequest, Lowering, Plan, epoch_source,
    lower,
};
use rbuild_graph::ImageOrigin;
use rbuild_oci::{Address, Digest, Platform, Reference};
use rbuild_progress::{CancelToken, Sink};
use rbuild_source::{FoundImage, Freshness, ImagePin, Others};

use super::force::{pinned, stored};
use super::needs::{Source, sources};
use super::report::{LockChange, LockEntry, LockReport, What};
use super::stale::Written;
use super::{
    Lock, LockPolicy, LockProblem, LockRequest, LockUpdate, LockWriting, LockedCommit, LockedFile,
    LockedImage, LockedPlace, OtherEntries, Pinned, file,
};
use crate::answer::{Answered, Answers, Pinning, registry_answer};
use crate::elsewhere::{self, Fetching};
use crate::engine::Engine;
use crate::places::Places;
use crate::stand_in::made_up;
use crate::step::announced;
use crate::workers::Agents;
use crate::{BuildError, BuildRequest, ContextInput, ErrorKind, Result, planning};

/// Makes or checks the lock of a request.
pub(crate) fn lock(
    engine: &Engine,
    request: &LockRequest,
    sink: &dyn Sink,
    cancel: &CancelToken,
) -> Result<LockReport> {
    let build = build_of(request)?;
    let lease = Arc::new(engine.store().lease(&[])?.0);
    let fetching = Fetching {
        engine,
        request: &build,
        agents: &Agents::of(&build),
        lease: &lease,
        sink,
        cancel,
    };
    let (dockerfile, elsewhere) = planning::definition(&fetching)?;
    let path = file::place(&build, &dockerfile).ok_or(LockProblem::NoPlace)?;
    let old = existing(&path)?;
    let places = Places::new(&dockerfile.name, &dockerfile.text);
    let parsed = rbuild_dockerfile::parse(&dockerfile.text);
    places.check_parsed(&parsed)?;
    let mut wanted = planning::lower_request(&build, elsewhere.as_ref())?;
    if wanted.target.is_none() {
        wanted.extent = Extent::All;
    }
    let epoch = epoch_source(&parsed.dockerfile, &wanted);
    // What time it is does not matter here, only that there is one.
    wanted.named_epoch = epoch.is_some().then_some(0);
    let filling = Filling {
        engine,
        lock: &old,
        request,
        unseen: Mutex::default(),
    };
    let (plan, images) = asked(&parsed.dockerfile, &wanted, (&filling, &fetching), &places)?;
    let needs = Needs {
        images,
        sources: needed(&plan, (&fetching, epoch.as_ref()))?,
    };
    let mut making = Making {
        filling: &filling,
        fetching: &fetching,
        places: &places,
        lock: old.clone(),
        changes: BTreeSet::new(),
    };
    making.update(&needs)?;
    making.others(&needs, &Written::of(&parsed.dockerfile));
    let Making { lock, changes, .. } = making;
    if request.writing == LockWriting::Written && (lock != old || !path.exists()) {
        file::write(&path, &lock)?;
    }
    let unseen = filling
        .unseen
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(LockReport {
        path,
        entries: lock.images.len() + lock.files.len() + lock.commits.len(),
        changes: changes.into_iter().collect(),
        unseen: unseen.into_iter().collect(),
    })
}

/// The build that a lock is made for.
fn build_of(request: &LockRequest) -> Result<BuildRequest> {
    let mut build = request.build.clone();
    // Rights are for the build to ask about.
    build.entitlements = Entitlements {
        network_host: true,
        security_insecure: true,
    };
    build.lock.policy = LockPolicy::Ignored;
    if let (ContextInput::Remote(_), Some(path)) = (&build.context, &build.lock.file) {
        let mut old = existing(path)?;
        old.files.retain(|name, _| !request.update.hits(name));
        old.commits.retain(|name, _| !request.update.hits(name));
        build.lock.context = Some(Arc::new(old.pins(Others::Asked)));
    }
    Ok(build)
}

/// The lock as it is; an empty one where there is none.
fn existing(path: &std::path::Path) -> Result<Lock> {
    match file::read(path) {
        Err(error) if error.kind() == ErrorKind::Usage => Ok(Lock::default()),
        other => other,
    }
}

impl LockUpdate {
    /// Whether the entry of a name is made anew.
    fn hits(&self, name: &str) -> bool {
        let of_repository = |given: &str| {
            let rest = name.strip_prefix(given);
            rest.is_some_and(|rest| rest.starts_with('#'))
        };
        match self {
            LockUpdate::Missing => false,
            LockUpdate::All => true,
            LockUpdate::These(names) => names.iter().any(|given| {
                let given = rbuild_source::file_name(given);
                given == name || of_repository(&given)
            }),
        }
    }

    fn hits_image(&self, reference: &Reference) -> bool {
        match self {
            LockUpdate::These(names) => names
                .iter()
                .any(|given| Reference::parse(given).is_ok_and(|given| given == *reference)),
            LockUpdate::Missing | LockUpdate::All => self.hits(""),
        }
    }
}

/// What a build needs.
struct Needs {
    images: Vec<NeededImage>,
    sources: Vec<(Source, Vec<Span>)>,
}

struct NeededImage {
    reference: Reference,
    platform: Platform,
    pin: Pinned,
    spans: Vec<Span>,
}

/// What a plan and the contexts of its request need besides images.
fn needed(
    plan: &Plan,
    (fetching, epoch): (&Fetching<'_>, Option<&rbuild_frontend::RemoteTree>),
) -> Result<Vec<(Source, Vec<Span>)>> {
    let mut found: Vec<(Source, Vec<Span>)> = Vec::new();
    if let ContextInput::Remote(address) = &fetching.request.context {
        let source = Source::of_tree(&elsewhere::named(address)?);
        found.extend(source.map(|source| (source, Vec::new())));
    }
    found.extend(
        epoch
            .and_then(Source::of_tree)
            .map(|source| (source, Vec::new())),
    );
    let planned = sources(plan).into_iter();
    found.extend(planned.map(|(source, spans)| (source, spans.to_vec())));
    Ok(found)
}

/// The images that lowering asks for, by name, and the plan.
fn asked(
    tree: &Dockerfile,
    wanted: &LowerRequest,
    (filling, fetching): (&Filling<'_>, &Fetching<'_>),
    places: &Places,
) -> Result<(Plan, Vec<NeededImage>)> {
    let (request, sink, cancel) = (fetching.request, fetching.sink, fetching.cancel);
    let names = tree
        .stages
        .iter()
        .filter_map(|stage| Some(stage.name.as_ref()?.text.clone()));
    let kept = (fetching.engine, &**fetching.lease);
    let answers = Answers::new(kept, (request.pull, request.resolve), names.collect());
    let mut answers = answers.pinned(Some(filling));
    let mut spans: BTreeMap<ImageQuestion, Vec<Span>> = BTreeMap::new();
    let plan = loop {
        cancel.check()?;
        let step = lower(tree, wanted, answers.known());
        match step.map_err(|found| places.lowering_error(&found))? {
            Lowering::Done(plan) => break *plan,
            Lowering::Need(questions) => {
                answers.answer(&questions, places, (sink, cancel))?;
                spans.extend(
                    questions
                        .into_iter()
                        .map(|asked| (asked.image, asked.origins)),
                );
            }
        }
    };
    let known = answers.known().images.iter();
    let images = known.filter_map(|(question, answer)| {
        let (ImagePlace::Reference(reference) | ImagePlace::Address(Address::Registry(reference))) =
            &question.place
        else {
            return None;
        };
        let pin = match &answer.origin {
            ImageOrigin::Store { image_id } => Pinned::Store(Digest::parse(image_id).ok()?),
            _ => Pinned::Registry(ImagePin {
                root: answer
                    .pinned
                    .clone()
                    .unwrap_or_else(|| answer.manifest.clone()),
                manifest: answer.manifest.clone(),
            }),
        };
        // What the Dockerfile pins needs no lock.
        reference.digest().is_none().then(|| NeededImage {
            reference: reference.clone(),
            platform: question.platform.clone(),
            pin,
            spans: spans.get(question).cloned().unwrap_or_default(),
        })
    });
    Ok((plan, images.collect()))
}

/// Answers from the lock as it is, so that what is there stays.
struct Filling<'a> {
    engine: &'a Engine,
    lock: &'a Lock,
    request: &'a LockRequest,
    unseen: Mutex<BTreeSet<String>>,
}

impl Filling<'_> {
    fn by_root(
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

fn made_up_for(reference: &Reference, platform: &Platform) -> rbuild_frontend::ImageAnswer {
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

/// A lock in the making.
struct Making<'a> {
    filling: &'a Filling<'a>,
    fetching: &'a Fetching<'a>,
    places: &'a Places,
    lock: Lock,
    changes: BTreeSet<LockChange>,
}

impl Making<'_> {
    /// Brings in what is needed.
    fn update(&mut self, needs: &Needs) -> Result<()> {
        self.all_are_needed(needs)?;
        let is_check = self.filling.request.writing == LockWriting::Checked;
        let mut by_name: BTreeMap<&Reference, Vec<&NeededImage>> = BTreeMap::new();
        for image in &needs.images {
            by_name.entry(&image.reference).or_default().push(image);
        }
        for (reference, images) in by_name {
            match is_check {
                true => self.look_for(reference, &images),
                false => self.take_image(reference, &images)?,
            }
        }
        for (source, spans) in &needs.sources {
            self.take_source(source, spans, is_check)?;
        }
        Ok(())
    }

    /// Refuses names to update that are none.
    fn all_are_needed(&self, needs: &Needs) -> Result<()> {
        let LockUpdate::These(names) = &self.filling.request.update else {
            return Ok(());
        };
        for name in names {
            let one = LockUpdate::These(vec![name.clone()]);
            let image = || {
                needs
                    .images
                    .iter()
                    .any(|image| one.hits_image(&image.reference))
            };
            let source = || {
                needs
                    .sources
                    .iter()
                    .any(|(source, _)| one.hits(&source.name()))
            };
            if !image() && !source() {
                return Err(LockProblem::NotNeeded { name: name.clone() }.into());
            }
        }
        Ok(())
    }

    fn note(&mut self, what: What, name: String, entry: LockEntry) {
        self.changes.insert(LockChange {
            what,
            name,
            platform: None,
            entry,
        });
    }

    fn missing(&self, spans: &[Span]) -> LockEntry {
        let lines = spans.iter().map(|span| self.places.lines_of(*span).first);
        LockEntry::Missing {
            lines: lines.collect(),
        }
    }

    fn look_for(&mut self, reference: &Reference, images: &[&NeededImage]) {
        for image in images {
            let there = self.lock.images.get(reference);
            if there.is_none_or(|there| there.pin(&image.platform).is_none()) {
                self.changes.insert(LockChange {
                    what: What::Image,
                    name: reference.familiar(),
                    platform: Some(image.platform.clone()),
                    entry: self.missing(&image.spans),
                });
            }
        }
    }

    /// Enters an image for the platforms that are needed, and keeps it for others.
    fn take_image(&mut self, reference: &Reference, images: &[&NeededImage]) -> Result<()> {
        let old = self.lock.images.get(reference).cloned();
        let Some(place) = self.place_of(reference, images, old.as_ref())? else {
            return Ok(());
        };
        let shown = |place: &LockedPlace| match place {
            LockedPlace::Registry { root, .. } => root.to_string(),
            LockedPlace::Store(ids) => {
                let ids: Vec<String> = ids.values().map(ToString::to_string).collect();
                format!("{} (of the store)", ids.join(", "))
            }
        };
        let entry = match &old {
            None => Some(LockEntry::Added { to: shown(&place) }),
            Some(old) if shown(&old.place) != shown(&place) => Some(LockEntry::Moved {
                from: shown(&old.place),
                to: shown(&place),
            }),
            Some(_) => None,
        };
        match entry {
            Some(entry) => self.note(What::Image, reference.familiar(), entry),
            None => self.added_platforms(reference, old.as_ref(), &place),
        }
        let indirect = old.is_some_and(|old| old.indirect);
        let image = LockedImage { place, indirect };
        self.lock.images.insert(reference.clone(), image);
        Ok(())
    }

    fn added_platforms(
        &mut self,
        reference: &Reference,
        old: Option<&LockedImage>,
        place: &LockedPlace,
    ) {
        let (LockedPlace::Registry { platforms, .. } | LockedPlace::Store(platforms)) = place;
        for (platform, digest) in platforms {
            if old.is_none_or(|old| !old.platforms().contains(&platform)) {
                self.changes.insert(LockChange {
                    what: What::Image,
                    name: reference.familiar(),
                    platform: Some(platform.clone()),
                    entry: LockEntry::Added {
                        to: digest.to_string(),
                    },
                });
            }
        }
    }

    /// What an image is entered as; all manifests are of one index.
    fn place_of(
        &self,
        reference: &Reference,
        images: &[&NeededImage],
        old: Option<&LockedImage>,
    ) -> Result<Option<LockedPlace>> {
        let mut ids = BTreeMap::new();
        let mut root = None;
        let mut platforms = BTreeMap::new();
        for image in images {
            match &image.pin {
                Pinned::Store(id) => {
                    ids.insert(image.platform.clone(), id.clone());
                }
                Pinned::Registry(pin) => {
                    let root = root.get_or_insert_with(|| pin.root.clone());
                    let manifest = match pin.root == *root {
                        true => pin.manifest.clone(),
                        // The name went on between two questions.
                        false => self.manifest(reference, (&image.platform, root))?,
                    };
                    platforms.insert(image.platform.clone(), manifest);
                }
            }
        }
        let Some(root) = root else {
            if let Some(LockedPlace::Store(before)) = old.map(|old| &old.place) {
                for (platform, id) in before {
                    ids.entry(platform.clone()).or_insert_with(|| id.clone());
                }
            }
            return Ok((!ids.is_empty()).then_some(LockedPlace::Store(ids)));
        };
        if let Some(LockedPlace::Registry {
            root: old_root,
            platforms: before,
        }) = old.map(|old| &old.place)
        {
            for (platform, manifest) in before {
                if platforms.contains_key(platform) {
                    continue;
                }
                let manifest = match *old_root == root {
                    true => Some(manifest.clone()),
                    false => self.manifest_if_there(reference, (platform, &root))?,
                };
                platforms.extend(manifest.map(|manifest| (platform.clone(), manifest)));
            }
        }
        Ok(Some(LockedPlace::Registry { root, platforms }))
    }

    fn manifest(&self, reference: &Reference, of: (&Platform, &Digest)) -> Result<Digest> {
        let found = self.filling.by_root(reference, of, self.fetching.cancel)?;
        Ok(found.manifest)
    }

    /// The manifest for a platform that another build needed; the index may not have it any more.
    fn manifest_if_there(
        &self,
        reference: &Reference,
        (platform, root): (&Platform, &Digest),
    ) -> Result<Option<Digest>> {
        let engine = self.filling.engine;
        let found = engine.registry_images().find(
            engine.layers(),
            &reference.with_digest(root.clone()),
            platform,
            (Freshness::Remembered, self.fetching.cancel),
        );
        match found {
            Ok(found) => Ok(Some(found.manifest)),
            Err(rbuild_source::Error::Registry { source, .. })
                if matches!(*source, rbuild_registry::Error::NoPlatform { .. }) =>
            {
                Ok(None)
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Enters a file or a reference of a repository.
    fn take_source(&mut self, source: &Source, spans: &[Span], is_check: bool) -> Result<()> {
        let name = source.name();
        let what = match source {
            Source::File(_) => What::File,
            Source::Commit(_) => What::Git,
        };
        let before = match what {
            What::File => self
                .lock
                .files
                .get(&name)
                .map(|file| file.pin.blob.to_string()),
            _ => self
                .lock
                .commits
                .get(&name)
                .map(|commit| commit.pin.commit.clone()),
        };
        if is_check {
            if before.is_none() {
                let missing = self.missing(spans);
                self.note(what, name, missing);
            }
            return Ok(());
        }
        if before.is_some() && !self.filling.request.update.hits(&name) {
            return Ok(());
        }
        let to = self
            .resolved(source, &name)
            .map_err(|e| e.at(self.places.excerpts(spans)))?;
        match before {
            None => self.note(what, name, LockEntry::Added { to }),
            Some(from) if from != to => self.note(what, name, LockEntry::Moved { from, to }),
            Some(_) => {}
        }
        Ok(())
    }

    /// Asks what a source stands for, and enters that; returns it.
    fn resolved(&mut self, source: &Source, name: &str) -> Result<String> {
        let fetching = self.fetching;
        let worker = fetching.worker()?;
        let step = format!("[internal] lock {name}");
        match source {
            Source::File(op) => {
                let (pin, to) = announced(fetching.sink, &step, |key| {
                    let cx = fetching.remote((&worker, key));
                    let ready = fetching.engine.http().supply(op, &cx)?.0.ready(&cx)?;
                    let pin = rbuild_source::FilePin {
                        blob: ready.blob().clone(),
                        modified: ready.modified_secs(),
                    };
                    let to = pin.blob.to_string();
                    Ok::<_, BuildError>((pin, to))
                })?;
                let indirect = self.lock.files.get(name).is_some_and(|file| file.indirect);
                self.lock
                    .files
                    .insert(name.to_owned(), LockedFile { pin, indirect });
                Ok(to)
            }
            Source::Commit(op) => {
                let pin = announced(fetching.sink, &step, |key| {
                    let cx = fetching.remote((&worker, key));
                    Ok::<_, BuildError>(fetching.engine.git().pin(op, &cx)?)
                })?;
                let to = pin.commit.clone();
                let indirect = self
                    .lock
                    .commits
                    .get(name)
                    .is_some_and(|found| found.indirect);
                self.lock
                    .commits
                    .insert(name.to_owned(), LockedCommit { pin, indirect });
                Ok(to)
            }
        }
    }

    /// Says of the entries that were not needed what they are good for, and removes those that are not.
    fn others(&mut self, needs: &Needs, written: &Written) {
        let images: BTreeSet<&Reference> =
            needs.images.iter().map(|image| &image.reference).collect();
        let names: BTreeSet<String> = needs
            .sources
            .iter()
            .map(|(source, _)| source.name())
            .collect();
        let mut lock = std::mem::take(&mut self.lock);
        lock.images.retain(|name, image| {
            let is_written = written.image(name);
            image.indirect |= images.contains(name) && !is_written;
            let can = is_written || image.indirect;
            images.contains(name) || self.stays(What::Image, name.familiar(), can)
        });
        lock.files.retain(|name, file| {
            let is_written = written.address(name);
            file.indirect |= names.contains(name) && !is_written;
            let can = is_written || file.indirect;
            names.contains(name) || self.stays(What::File, name.clone(), can)
        });
        lock.commits.retain(|name, commit| {
            let is_written = written.address(name);
            commit.indirect |= names.contains(name) && !is_written;
            let can = is_written || commit.indirect;
            names.contains(name) || self.stays(What::Git, name.clone(), can)
        });
        self.lock = lock;
    }

    /// Whether an entry that is not needed stays; `can` is whether another build could need it.
    fn stays(&mut self, what: What, name: String, can: bool) -> bool {
        let request = self.filling.request;
        let is_check = request.writing == LockWriting::Checked;
        let entry = match (can, request.others) {
            (true, OtherEntries::Kept) => LockEntry::Unneeded,
            _ if is_check => LockEntry::Stale,
            _ => LockEntry::Removed,
        };
        let stays = entry != LockEntry::Removed;
        self.note(what, name, entry);
        stays
    }
}
