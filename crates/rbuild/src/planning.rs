//! From a request to a plan: the Dockerfile is read, parsed and lowered, and what that asks is answered.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use rbuild_dockerfile::Dockerfile;
use rbuild_dockerfile::check::CheckOptions;
use rbuild_frontend::{LowerRequest, Lowering, NamedContext, Plan, epoch_source, lower};
use rbuild_layer::LayerId;
use rbuild_oci::{Address, Digest, Pick, Place, Platform};
use rbuild_pattern::IgnoreSet;
use rbuild_progress::{CancelToken, Sink};
use rbuild_source::Pins;

use crate::answer::{Answers, Pinning};
use crate::elsewhere::{self, Elsewhere, Fetching};
use crate::lock::{self, InForce};
use crate::places::Places;
use crate::step::{announced, note_read};
use crate::warnings::Warnings;
use crate::{BuildError, BuildRequest, NamedContextInput, Result, intake};

/// A plan, and what belongs to it.
pub(crate) struct Planned {
    pub plan: Plan,
    pub checks: CheckOptions,
    pub places: Places,
    /// The layers of each image, by its manifest.
    pub images: BTreeMap<Digest, Vec<LayerId>>,
    pub dockerfile: intake::DockerfileText,
    /// What sources go by, where the build goes by a lock.
    pub pins: Option<Arc<Pins>>,
}

/// Reads the Dockerfile of a request and lowers it.
pub(crate) fn plan(fetching: &Fetching<'_>) -> Result<Planned> {
    let Fetching {
        engine,
        request,
        sink,
        cancel,
        ..
    } = *fetching;
    let (dockerfile, elsewhere) = definition(fetching)?;
    let places = Places::new(&dockerfile.name, &dockerfile.text);
    let parsed = rbuild_dockerfile::parse(&dockerfile.text);
    let mut warnings = Warnings::new(&parsed, &request.build_args, (&places, sink));
    if let Ok(warnings) = &mut warnings {
        warnings.of_parser(&parsed);
    }
    // What is wrong with the file goes before what is wrong with its directive.
    places.check_parsed(&parsed)?;
    let mut warnings = warnings?;
    let mut wanted = lower_request(request, elsewhere.as_ref())?;
    if elsewhere.is_none() {
        wanted.ignored = ignored(request, &dockerfile, sink);
    }
    let lock = lock::in_force(
        request,
        (&dockerfile, elsewhere.as_ref()),
        (engine, sink, cancel),
    )?;
    let pins = lock.as_ref().and_then(InForce::pins);
    if let Some(source) = epoch_source(&parsed.dockerfile, &wanted) {
        let pins = pins.clone().unwrap_or_default();
        wanted.named_epoch = elsewhere::time_of(&source, (fetching, &pins))?;
    }
    let stages = parsed.dockerfile.stages.iter();
    let stages = stages.filter_map(|stage| Some(stage.name.as_ref()?.text.clone()));
    let mut answers = Answers::new(
        (engine, fetching.lease),
        (request.pull, request.resolve),
        stages.collect(),
    )
    .pinned(lock.as_ref().map(|lock| lock as &dyn Pinning));
    let plan = lowered(
        &parsed.dockerfile,
        &wanted,
        &mut answers,
        (&mut warnings, sink, cancel),
    )?;
    if let Some(lock) = &lock {
        lock.check(&plan, &places)?;
    }
    warnings.of_frontend(&plan.warnings);
    let checks = warnings.finish()?;
    Ok(Planned {
        plan,
        checks,
        places,
        images: answers.into_layers(),
        dockerfile,
        pins,
    })
}

/// The Dockerfile of a request, and the context where that is no directory of this machine.
pub(crate) fn definition(
    fetching: &Fetching<'_>,
) -> Result<(intake::DockerfileText, Option<Elsewhere>)> {
    let (request, cancel) = (fetching.request, fetching.cancel);
    intake::check_contexts(request)?;
    let elsewhere = elsewhere::context(fetching)?;
    let name = intake::dockerfile_name(request);
    let load = format!("[internal] load build definition from {name}");
    let dockerfile = announced(fetching.sink, &load, |key| {
        let found = match &elsewhere {
            Some(found) => intake::dockerfile_elsewhere(request, found, (fetching.engine, cancel)),
            None => intake::dockerfile(request),
        }?;
        note_read(
            fetching.sink,
            key,
            "transferring dockerfile:",
            found.size_bytes,
        );
        Ok::<_, BuildError>(found)
    })?;
    Ok((dockerfile, elsewhere))
}

/// What the context leaves out, announced as BuildKit does.
fn ignored(
    request: &BuildRequest,
    dockerfile: &intake::DockerfileText,
    sink: &dyn Sink,
) -> Option<IgnoreSet> {
    let read = announced(sink, "[internal] load .dockerignore", |key| {
        let found = intake::ignored(request, dockerfile);
        if let Some((_, size_bytes)) = &found {
            note_read(sink, key, "transferring context:", *size_bytes);
        }
        Ok::<_, Infallible>(found)
    });
    let (set, _) = read.unwrap_or_default()?;
    (!set.is_empty()).then_some(set)
}

/// Lowers, and answers what lowering asks, until it is done.
fn lowered(
    tree: &Dockerfile,
    wanted: &LowerRequest,
    answers: &mut Answers<'_>,
    (warnings, sink, cancel): (&mut Warnings<'_>, &dyn Sink, &CancelToken),
) -> Result<Plan> {
    let places = warnings.places();
    loop {
        cancel.check()?;
        let step = lower(tree, wanted, answers.known()).map_err(|found| {
            warnings.of_frontend(&found);
            places.lowering_error(&found)
        })?;
        match step {
            Lowering::Done(plan) => return Ok(*plan),
            Lowering::Need(questions) => answers.answer(&questions, places, (sink, cancel))?,
        }
    }
}

/// What a request wants of the frontend.
pub(crate) fn lower_request(
    request: &BuildRequest,
    elsewhere: Option<&Elsewhere>,
) -> Result<LowerRequest> {
    let mut wanted = LowerRequest::new(Platform::host());
    wanted.context = elsewhere.map(|found| found.tree.clone());
    wanted.context_epoch = elsewhere.and_then(|found| found.epoch);
    wanted.target.clone_from(&request.target);
    wanted.build_args.clone_from(&request.build_args);
    wanted.labels.clone_from(&request.labels);
    wanted.platforms.clone_from(&request.platforms);
    wanted.no_cache.clone_from(&request.no_cache);
    wanted.extra_hosts.clone_from(&request.extra_hosts);
    wanted.network = request.network;
    wanted.shm_size = request.shm_size;
    wanted.ulimits.clone_from(&request.ulimits);
    wanted.entitlements = request.entitlements;
    for (name, input) in &request.contexts {
        let context = match input {
            NamedContextInput::Directory(_) => NamedContext::Local,
            NamedContextInput::Remote(address) => NamedContext::Remote(elsewhere::named(address)?),
            NamedContextInput::Image(reference) => NamedContext::Image(reference.clone()),
            NamedContextInput::Address(address) => NamedContext::Address(address.clone()),
            // Which manifest a tag stands for depends on the platform.
            NamedContextInput::Layout {
                dir,
                tag: Some(tag),
                digest: None,
            } => NamedContext::Address(Address::Layout(Place {
                path: dir.clone(),
                pick: Some(Pick::Tag(tag.clone())),
            })),
            NamedContextInput::Layout { dir, digest, .. } => NamedContext::Layout {
                dir: dir.to_string_lossy().into_owned(),
                digest: digest.clone(),
            },
        };
        wanted.contexts.insert(name.clone(), context);
    }
    Ok(wanted)
}
