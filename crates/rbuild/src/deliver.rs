//! What happens to a finished image: kept in the store, named, written to the outputs.

use rbuild_exporter::{Export, ExportSpec, ImageToExport, export};
use rbuild_frontend::Plan;
use rbuild_oci::{Digest, Reference};
use rbuild_progress::{CancelToken, Event, Sink, StatusUpdate, VertexKey};
use std::time::SystemTime;

use crate::engine::Engine;
use crate::image_config::BuiltImage;
use crate::images::ImageRow;
use crate::outcome::StepCount;
use crate::step::announced;
use crate::{BuildError, BuildRequest, Outcome, Result};

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
    let (ready, id) = announced(sink, "exporting to image", |key| {
        let ready: Vec<BuiltImage> = status(sink, key, "exporting layers", || images.collect())?;
        let id = keep(engine, &ready, &names, (sink, key))?;
        Ok::<_, BuildError>((ready, id))
    })?;
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
    Ok(Outcome {
        image_id: id,
        descriptor: exports.iter().find_map(|made| made.descriptor.clone()),
        names,
        steps: StepCount::default(),
        exports,
    })
}

/// Puts the image into the store; of several platforms the first one carries the names.
fn keep(
    engine: &Engine,
    images: &[BuiltImage],
    names: &[Reference],
    (sink, key): (&dyn Sink, &VertexKey),
) -> Result<Option<Digest>> {
    let table = engine.image_table();
    let mut first = None;
    for (at, image) in images.iter().enumerate() {
        let row = ImageRow {
            sizes: table.sizes(&image.layers)?,
            layers: image.layers.clone(),
            manifest: None,
        };
        let names = if at == 0 { names } else { &[] };
        let id = Digest::sha256_of(&image.config);
        status(sink, key, &format!("writing image {id}"), || {
            table.put(&image.config, &row, names)
        })?;
        for name in names {
            status(sink, key, &format!("naming to {name}"), || {
                Ok::<_, BuildError>(())
            })?;
        }
        first.get_or_insert(id);
    }
    Ok(first)
}

/// Refuses outputs that cannot be written, before anything is built in vain.
pub(crate) fn check(outputs: &[ExportSpec]) -> Result<()> {
    ExportSpec::check_all(outputs)?;
    let pushes = outputs
        .iter()
        .any(|spec| matches!(&spec.export, Export::Image(image) if image.push));
    if pushes {
        return Err(BuildError::new(
            crate::ErrorKind::Usage,
            "this version cannot push to a registry yet",
        )
        .help("write an archive with -o type=oci,dest=FILE and push it with skopeo copy"));
    }
    Ok(())
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
