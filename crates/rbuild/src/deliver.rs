//! What happens to a finished image: kept in the store, named, written to the outputs.

use std::collections::BTreeSet;
use std::time::SystemTime;

use rbuild_exporter::{Export, ExportSpec, ImageToExport, export};
use rbuild_frontend::{Plan, PlanResult};
use rbuild_oci::{Digest, Platform, Reference};
use rbuild_progress::{CancelToken, Event, Sink, StatusUpdate, VertexKey};
use rbuild_worker::{Asked, FilesAsked, ImageAsked};

use crate::engine::Engine;
use crate::image_config::BuiltImage;
use crate::images::ImageRow;
use crate::outcome::StepCount;
use crate::step::announced;
use crate::{BuildError, BuildRequest, ErrorKind, Outcome, Result};

/// Keeps and exports the images of a build, one for each platform.
pub(crate) fn deliver(
    engine: &Engine,
    request: &BuildRequest,
    images: impl Iterator<Item = Result<BuiltImage>>,
    (plan, sink, cancel): (&Plan, &dyn Sink, &CancelToken),
) -> Result<Outcome> {
    let mut names = request.tags.clone();
    for spec in &request.outputs {
        if matches!(spec.export, Export::Image(_)) {
            names.extend(spec.image.names.iter().cloned());
        }
    }
    let (ready, ids) = match asked(request).image {
        ImageAsked::No => (images.collect::<Result<_>>()?, Vec::new()),
        ImageAsked::Yes => announced(sink, "exporting to image", |key| {
            let ready: Vec<BuiltImage> =
                status(sink, key, "exporting layers", || images.collect())?;
            let named = native(plan);
            let ids = keep(engine, &ready, (&names, named), (sink, key))?;
            Ok::<_, BuildError>((ready, ids))
        })?,
    };
    let mut exports = Vec::new();
    for spec in &request.outputs {
        if matches!(spec.export, Export::Image(_) | Export::CacheOnly) {
            continue;
        }
        let exportable: Vec<ImageToExport> = ready
            .iter()
            .zip(&plan.results)
            .map(|(image, result)| ImageToExport {
                config: image.config.clone(),
                layers: image.layers.clone(),
                names: request.tags.clone(),
                platform: result.platform.clone(),
            })
            .collect();
        exports.push(announced(sink, spec.export.vertex_name(), |key| {
            let mut spec = spec.clone();
            spec.epoch = plan.source_epoch;
            export(&spec, &exportable, &engine.context((sink, key, cancel)))
        })?);
    }
    let config = match ids.as_slice() {
        [id] => Some(id.clone()),
        _ => None,
    };
    let index = exports.iter().find_map(|made| made.index.clone());
    Ok(Outcome {
        image_id: config.clone().or(index),
        config,
        descriptor: exports.iter().find_map(|made| made.descriptor.clone()),
        names,
        steps: StepCount::default(),
        exports,
    })
}

/// Which of several platforms carries the names in the store: the one that runs here, else the first.
fn native(plan: &Plan) -> usize {
    let host = Platform::host();
    let runs_here = |result: &PlanResult| host.matches(&result.platform);
    plan.results.iter().position(runs_here).unwrap_or_default()
}

/// What the outputs of a build ask of the layers of its result.
pub(crate) fn asked(request: &BuildRequest) -> Asked {
    let exports = || request.outputs.iter().map(|spec| &spec.export);
    let is_files = |export: &Export| matches!(export, Export::Local { .. } | Export::Tar { .. });
    let is_image = |export: &Export| !is_files(export) && !matches!(export, Export::CacheOnly);
    // Without any output the image is kept in the store.
    let has_image =
        !request.tags.is_empty() || request.outputs.is_empty() || exports().any(is_image);
    let archives = request
        .outputs
        .iter()
        .filter(|spec| is_image(&spec.export) && !matches!(spec.export, Export::Image(_)));
    Asked {
        image: if has_image {
            ImageAsked::Yes
        } else {
            ImageAsked::No
        },
        compressions: archives
            .map(|spec| spec.image.layer_compression())
            .collect(),
        files: if exports().any(is_files) {
            FilesAsked::Yes
        } else {
            FilesAsked::No
        },
    }
}

/// Puts the images into the store, the one at `named` under the names; returns their ids.
fn keep(
    engine: &Engine,
    images: &[BuiltImage],
    (names, named): (&[Reference], usize),
    (sink, key): (&dyn Sink, &VertexKey),
) -> Result<Vec<Digest>> {
    let table = engine.image_table();
    let mut ids = Vec::new();
    for (at, image) in images.iter().enumerate() {
        let row = ImageRow {
            sizes: table.sizes(&image.layers)?,
            layers: image.layers.clone(),
            manifest: None,
        };
        let names = if at == named { names } else { &[] };
        let id = Digest::sha256_of(&image.config);
        status(sink, key, &format!("writing image {id}"), || {
            table.put(&image.config, &row, names)
        })?;
        for name in names {
            status(sink, key, &format!("naming to {name}"), || {
                Ok::<_, BuildError>(())
            })?;
        }
        ids.push(id);
    }
    Ok(ids)
}

/// Refuses outputs that cannot be written, before anything is built in vain.
pub(crate) fn check(request: &BuildRequest) -> Result<()> {
    let outputs = &request.outputs;
    ExportSpec::check_all(outputs)?;
    let pushes = outputs
        .iter()
        .any(|spec| matches!(&spec.export, Export::Image(image) if image.push));
    if pushes {
        return Err(BuildError::new(
            ErrorKind::Usage,
            "this version cannot push to a registry yet",
        )
        .help("write an archive with -o type=oci,dest=FILE and push it with skopeo copy"));
    }
    let platforms: BTreeSet<String> = request
        .platforms
        .iter()
        .map(|platform| platform.normalized().to_string())
        .collect();
    if platforms.len() > 1 {
        check_several_platforms(outputs)?;
    }
    Ok(())
}

/// A name in the store, and in a Docker archive, stands for an image of one platform.
fn check_several_platforms(outputs: &[ExportSpec]) -> Result<()> {
    let place = outputs
        .iter()
        .find_map(|spec| match spec.export {
            Export::DockerArchive { .. } | Export::DockerDir { .. } => Some("a docker output"),
            Export::Image(_) => Some("the store"),
            _ => None,
        })
        .or_else(|| outputs.is_empty().then_some("the store"));
    let Some(place) = place else { return Ok(()) };
    Err(BuildError::new(
        ErrorKind::Usage,
        format!("several platforms do not fit into {place}: a name there is an image of one platform"),
    )
    .help(
        "write them with -o type=oci,dest=FILE (an image index) or -o type=local,dest=DIR (files), or \
         build one platform at a time",
    ))
}

/// Tells of a part of a step while it is done.
fn status<T, E>(
    sink: &dyn Sink,
    key: &VertexKey,
    id: &str,
    work: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    let started = SystemTime::now();
    let update = |completed| {
        Event::Status(StatusUpdate {
            vertex: key.clone(),
            id: id.to_owned(),
            name: id.to_owned(),
            current: 0,
            total: None,
            started: Some(started),
            completed,
        })
    };
    sink.send(update(None));
    let done = work()?;
    sink.send(update(Some(SystemTime::now())));
    Ok(done)
}
