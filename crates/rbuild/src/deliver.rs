//! What happens to a finished image: kept in the store, named, written to the outputs.

use std::collections::BTreeSet;

use rbuild_exporter::{Export, ExportSpec, ImageToExport, export};
use rbuild_frontend::{Plan, PlanResult};
use rbuild_oci::{Digest, Reference};
use rbuild_progress::{CancelToken, Sink, VertexKey};
use rbuild_worker::{Asked, FilesAsked, ImageAsked};

use crate::engine::Engine;
use crate::image_config::BuiltImage;
use crate::images::{ImageRow, IndexEntry, IndexRow};
use crate::load::{self, Loader};
use crate::outcome::StepCount;
use crate::step::{announced, status};
use crate::{BuildError, BuildRequest, ErrorKind, LoadedInto, Outcome, Result};

/// Keeps and exports the images of a build, one for each platform.
pub(crate) fn deliver(
    engine: &Engine,
    request: &BuildRequest,
    (images, loader): (impl Iterator<Item = Result<BuiltImage>>, Option<&Loader>),
    (plan, sink, cancel): (&Plan, &dyn Sink, &CancelToken),
) -> Result<Outcome> {
    let mut names = request.tags.clone();
    for spec in &request.outputs {
        if matches!(spec.export, Export::Image(_)) {
            names.extend(spec.image.names.iter().cloned());
        }
    }
    let (ready, kept) = match asked(request).image {
        ImageAsked::No => (images.collect::<Result<_>>()?, Kept::default()),
        ImageAsked::Yes => announced(sink, "exporting to image", |key| {
            let ready: Vec<BuiltImage> =
                status(sink, key, "exporting layers", || images.collect())?;
            let kept = keep(engine, &ready, (&plan.results, &names), (sink, key))?;
            Ok::<_, BuildError>((ready, kept))
        })?,
    };
    let (mut exports, mut loaded) = (Vec::new(), Vec::new());
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
        if let Some(loader) = loader.filter(|_| load::is_load(spec)) {
            let done = load::deliver(loader, (&exportable, spec), (engine, sink, cancel))?;
            exports.push(done.exported.clone().unwrap_or_default());
            loaded.push(done);
            continue;
        }
        exports.push(announced(sink, spec.export.vertex_name(), |key| {
            let mut spec = spec.clone();
            spec.epoch = plan.source_epoch;
            export(&spec, &exportable, &engine.context((sink, key, cancel)))
        })?);
    }
    let index = exports.iter().find_map(|made| made.index.clone());
    let exported = match (kept.index, &index) {
        // From now on that is its id.
        (Some(row), Some(document)) => Some(name_exported(engine, row, document, &names)?),
        (Some(row), None) => Some(row.id()),
        (None, _) => index,
    };
    // What an engine names the image by is what it can be run by there.
    let loaded_id = loaded.first().map(|loaded: &LoadedInto| loaded.id.clone());
    Ok(Outcome {
        image_id: loaded_id.or_else(|| kept.config.clone()).or(exported),
        config: kept.config,
        descriptor: exports.iter().find_map(|made| made.descriptor.clone()),
        names,
        steps: StepCount::default(),
        loaded,
        exports,
    })
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

/// What is in the store after a build.
#[derive(Default)]
struct Kept {
    /// The image of the only platform.
    config: Option<Digest>,
    /// The images of several.
    index: Option<IndexRow>,
}

/// Puts the images into the store: the only one under the names, or all of them together.
fn keep(
    engine: &Engine,
    images: &[BuiltImage],
    (results, names): (&[PlanResult], &[Reference]),
    (sink, key): (&dyn Sink, &VertexKey),
) -> Result<Kept> {
    let table = engine.image_table();
    let only = images.len() == 1;
    let mut entries = Vec::new();
    for (image, result) in images.iter().zip(results) {
        let row = ImageRow {
            sizes: table.sizes(&image.layers)?,
            layers: image.layers.clone(),
            manifest: None,
        };
        let id = Digest::sha256_of(&image.config);
        status(sink, key, &format!("writing image {id}"), || {
            table.put(&image.config, row, if only { names } else { &[] })
        })?;
        entries.push(IndexEntry {
            id,
            platform: result.platform.clone(),
            manifest: None,
        });
    }
    let mut kept = Kept::default();
    if only {
        kept.config = entries.pop().map(|entry| entry.id);
    } else {
        let row = IndexRow {
            images: entries,
            document: None,
            others: Vec::new(),
        };
        table.put_index(row.clone(), names)?;
        kept.index = Some(row);
    }
    for name in names {
        status(sink, key, &format!("naming to {name}"), || {
            Ok::<_, BuildError>(())
        })?;
    }
    Ok(kept)
}

/// Gives the images of several platforms the digest of the index that they were exported as.
fn name_exported(
    engine: &Engine,
    row: IndexRow,
    document: &Digest,
    names: &[Reference],
) -> Result<Digest> {
    let table = engine.image_table();
    let before = row.id();
    let row = IndexRow {
        document: Some(document.clone()),
        ..row
    };
    let id = table.put_index(row, names)?;
    table.forget_unnamed(&before)?;
    Ok(id)
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

/// A Docker archive holds images of one platform; in BuildKit's words.
fn check_several_platforms(outputs: &[ExportSpec]) -> Result<()> {
    let is_docker = |spec: &ExportSpec| {
        // An engine is asked what it can keep.
        !load::is_load(spec)
            && matches!(
                spec.export,
                Export::DockerArchive { .. } | Export::DockerDir { .. }
            )
    };
    if !outputs.iter().any(is_docker) {
        return Ok(());
    }
    Err(BuildError::new(
        ErrorKind::Usage,
        "docker exporter does not currently support exporting manifest lists",
    )
    .help(
        "write them with -o type=oci,dest=FILE (an image index) or -o type=local,dest=DIR (files), keep \
         them in the store with -t NAME, or build one platform at a time",
    ))
}
