//! Making a lock, and checking one.
//!
//! The Dockerfile is lowered as for a build, all stages of it; what that asks for is what is locked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rbuild_dockerfile::{Dockerfile, Span};
use rbuild_frontend::{
    Entitlements, Extent, ImageAnswer, ImagePlace, ImageQuestion, LowerRequest, Lowering, Plan,
    RemoteTree, epoch_source, lower,
};
use rbuild_graph::ImageOrigin;
use rbuild_oci::{Address, Digest};
use rbuild_progress::{CancelToken, Sink};
use rbuild_source::{ImagePin, Others};

use super::entries::{Making, NeededImage, Needs};
use super::filling::Filling;
use super::needs::{Source, sources};
use super::report::{LockChange, LockReport};
use super::stale::Written;
use super::{Lock, LockPolicy, LockProblem, LockRequest, LockWriting, LockedPlace, Pinned, file};
use crate::answer::Answers;
use crate::elsewhere::{self, Elsewhere, Fetching};
use crate::engine::Engine;
use crate::intake::DockerfileText;
use crate::places::Places;
use crate::workers::Agents;
use crate::{BuildRequest, ContextInput, ErrorKind, Result, planning};

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
    let filling = Filling::new((engine, request), &old);
    let from = (&dockerfile, elsewhere.as_ref());
    let (lock, changes) = entries(&filling, &fetching, from)?;
    if request.writing == LockWriting::Written && (lock != old || !path.exists()) {
        file::write(&path, &lock)?;
    }
    Ok(LockReport {
        path,
        entries: lock.images.len() + lock.files.len() + lock.commits.len(),
        changes,
        of_store: of_store(&lock),
        unseen: filling.into_unseen(),
    })
}

/// The images that only stores have which got them.
fn of_store(lock: &Lock) -> Vec<String> {
    let images = lock.images.iter();
    let images = images.filter(|(_, image)| matches!(image.place, LockedPlace::Store(_)));
    images.map(|(name, _)| name.familiar()).collect()
}

/// The entries that a Dockerfile is to have, and what is new about them.
fn entries(
    filling: &Filling<'_>,
    fetching: &Fetching<'_>,
    (dockerfile, elsewhere): (&DockerfileText, Option<&Elsewhere>),
) -> Result<(Lock, Vec<LockChange>)> {
    let places = Places::new(&dockerfile.name, &dockerfile.text);
    let parsed = rbuild_dockerfile::parse(&dockerfile.text);
    places.check_parsed(&parsed)?;
    let mut wanted = planning::lower_request(fetching.request, elsewhere)?;
    if wanted.target.is_none() {
        wanted.extent = Extent::All;
    }
    let epoch = epoch_source(&parsed.dockerfile, &wanted);
    // What time it is does not matter here, only that there is one.
    wanted.named_epoch = epoch.is_some().then_some(0);
    let found = asked(&parsed.dockerfile, &wanted, (filling, fetching), &places);
    let several = wanted.extent == Extent::All && parsed.dockerfile.stages.len() > 1;
    let help = several.then_some("with --target only what one stage needs is locked");
    let (plan, images) = found.map_err(|error| match error.kind() {
        ErrorKind::Build => error.helps(help),
        _ => error,
    })?;
    let needs = Needs {
        images,
        sources: needed(&plan, (fetching, epoch.as_ref()))?,
    };
    let mut making = Making::new(filling, (fetching, &places));
    making.update(&needs)?;
    making.others(&needs, &Written::of(&parsed.dockerfile));
    Ok(making.done())
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
fn existing(path: &Path) -> Result<Lock> {
    match file::read(path) {
        Err(error) if error.kind() == ErrorKind::Usage => Ok(Lock::default()),
        other => other,
    }
}

/// What a plan and the contexts of its request need besides images.
fn needed(
    plan: &Plan,
    (fetching, epoch): (&Fetching<'_>, Option<&RemoteTree>),
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
        let spans = spans.get(question).cloned().unwrap_or_default();
        needed_image(question, answer, spans)
    });
    Ok((plan, images.collect()))
}

/// What is to be locked of an image; `None` if the Dockerfile pins it, or it is no name.
fn needed_image(
    question: &ImageQuestion,
    answer: &ImageAnswer,
    spans: Vec<Span>,
) -> Option<NeededImage> {
    let reference = match &question.place {
        ImagePlace::Reference(reference) | ImagePlace::Address(Address::Registry(reference)) => {
            reference
        }
        ImagePlace::Layout { .. } | ImagePlace::Address(_) => return None,
    };
    if reference.digest().is_some() {
        return None;
    }
    let pin = match &answer.origin {
        ImageOrigin::Store { image_id } => Pinned::Store(Digest::parse(image_id).ok()?),
        ImageOrigin::Registry | ImageOrigin::Layout { .. } => {
            let root = answer.pinned.as_ref().unwrap_or(&answer.manifest);
            Pinned::Registry(ImagePin {
                root: root.clone(),
                manifest: answer.manifest.clone(),
            })
        }
    };
    Some(NeededImage {
        reference: reference.clone(),
        platform: question.platform.normalized(),
        pin,
        spans,
    })
}
