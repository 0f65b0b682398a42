//! What happens to a finished image: kept in the store, pushed, written to the outputs.

use std::collections::BTreeSet;

use rbuild_exporter::{Export, ExportSpec, Exported, ImageToExport, assemble_named, export};
use rbuild_frontend::Plan;
use rbuild_oci::Digest;
use rbuild_progress::{CancelToken, Sink, VertexKey};
use rbuild_worker::{Asked, Cached, FilesAsked, ImageAsked};

use crate::engine::Engine;
use crate::image_config::BuiltImage;
use crate::kept::{self, Kept};
use crate::load::{self, Loader};
use crate::outcome::StepCount;
use crate::push::{self, Target, push_recorded};
use crate::step::{announced, status};
use crate::{BuildError, BuildRequest, ErrorKind, LoadedInto, Outcome, Result};

/// Keeps, exports, loads and pushes the images of a build, one for each platform.
///
/// A push that fails does not keep the files from being written; it is told at the end.
pub(crate) fn deliver(
    engine: &Engine,
    request: &BuildRequest,
    (images, loader): (impl Iterator<Item = Result<BuiltImage>>, Option<&Loader>),
    (plan, sink, cancel): (&Plan, &dyn Sink, &CancelToken),
) -> Result<Outcome> {
    let mut made = Made {
        exports: vec![None; request.outputs.len()],
        ..Made::default()
    };
    let mut exportable = Vec::new();
    match asked(request).image {
        ImageAsked::No => exportable = ready(request, images, plan)?,
        ImageAsked::Yes => {
            let done = announced(sink, "exporting to image", |key| {
                let layers = || ready(request, images, plan);
                exportable = status(sink, key, "exporting layers", layers)?;
                made.of_images((engine, request), &exportable, (sink, key, cancel))
            });
            match done {
                Err(error) if made.is_kept && error.kind() != ErrorKind::Cancelled => {
                    made.failure = Some(error);
                }
                done => done?,
            }
        }
    }
    for (spec, exported) in request.outputs.iter().zip(&mut made.exports) {
        if matches!(spec.export, Export::Image(_) | Export::CacheOnly) {
            continue;
        }
        if let Some(loader) = loader.filter(|_| load::is_load(spec)) {
            let done = load::deliver(loader, (&exportable, spec), (engine, sink, cancel))?;
            *exported = done.exported.clone();
            made.loaded.push(done);
            continue;
        }
        *exported = Some(announced(sink, spec.export.vertex_name(), |key| {
            let mut spec = spec.clone();
            spec.epoch = plan.source_epoch;
            export(&spec, &exportable, &engine.context((sink, key, cancel)))
        })?);
    }
    made.outcome(engine)
}

/// What has come of a build so far.
#[derive(Default)]
struct Made {
    kept: Kept,
    /// Ids of the images, kept or not.
    ids: Vec<Digest>,
    /// What each output wrote.
    exports: Vec<Option<Exported>>,
    loaded: Vec<LoadedInto>,
    /// Whether the images are in the store, as far as they are to be; what fails then is a push.
    is_kept: bool,
    /// Why something was not pushed.
    failure: Option<BuildError>,
}

impl Made {
    /// Keeps the images and pushes them; the first push that failed is the error, after all were tried.
    fn of_images(
        &mut self,
        (engine, request): (&Engine, &BuildRequest),
        images: &[ImageToExport],
        cx: (&dyn Sink, &VertexKey, &CancelToken),
    ) -> Result<()> {
        let mut pushes = Vec::new();
        for (at, spec) in request.outputs.iter().enumerate() {
            let Some(mut target) = Target::of(request, spec) else {
                continue;
            };
            let assembled = assemble_named(images, &spec.image, &engine.context(cx))?;
            let dangling = match &spec.export {
                Export::Image(image) => target.dangling(image).cloned(),
                _ => None,
            };
            let digest = assembled.top.digest.clone();
            target
                .names
                .extend(dangling.map(|name| name.with_digest(digest)));
            pushes.push((at, assembled, target));
        }
        let manifests: Vec<Digest> = match pushes.first() {
            Some((_, assembled, _)) => {
                let images = assembled.images.iter();
                images
                    .map(|image| image.manifest.descriptor.digest.clone())
                    .collect()
            }
            None => Vec::new(),
        };
        self.ids = images
            .iter()
            .map(|image| Digest::sha256_of(&image.config))
            .collect();
        if let Some(names) = kept::names(request) {
            self.kept = kept::keep(engine, (images, &manifests), names, (cx.0, cx.1))?;
        }
        self.is_kept = true;
        let stacks: Vec<_> = images.iter().map(|image| image.layers.clone()).collect();
        let mut failure = None;
        for (at, assembled, target) in pushes {
            match push_recorded(engine, (&assembled, &stacks), &target, cx) {
                Ok(_) => self.exports[at] = Some(Exported::of(&assembled, target.names)),
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn outcome(mut self, engine: &Engine) -> Result<Outcome> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let config = match self.ids.as_slice() {
            [id] => Some(id.clone()),
            _ => None,
        };
        let exports: Vec<Exported> = self.exports.into_iter().flatten().collect();
        let index = exports.iter().find_map(|made| made.index.clone());
        let kept = self.kept.id(engine, index.as_ref())?;
        let mut names = self.kept.names;
        for name in exports.iter().flat_map(|made| &made.names) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        // What an engine names the image by is what it can be run by there.
        let loaded_id = self.loaded.first().map(|loaded| loaded.id.clone());
        Ok(Outcome {
            image_id: loaded_id.or_else(|| config.clone()).or(kept),
            config,
            descriptor: exports.iter().find_map(|made| made.descriptor.clone()),
            names,
            steps: StepCount::default(),
            loaded: self.loaded,
            exports,
        })
    }
}

/// The images in the form that outputs take.
fn ready(
    request: &BuildRequest,
    images: impl Iterator<Item = Result<BuiltImage>>,
    plan: &Plan,
) -> Result<Vec<ImageToExport>> {
    let pairs = images.zip(&plan.results);
    pairs
        .map(|(image, result)| {
            let image = image?;
            Ok(ImageToExport {
                config: image.config.to_bytes(),
                layers: image.layers,
                names: request.tags.clone(),
                platform: result.platform.clone(),
            })
        })
        .collect()
}

/// What the outputs of a build ask of the layers of its result.
pub(crate) fn asked(request: &BuildRequest) -> Asked {
    let exports = || request.outputs.iter().map(|spec| &spec.export);
    let is_files = |export: &Export| matches!(export, Export::Local { .. } | Export::Tar { .. });
    let is_image = |export: &Export| !is_files(export) && !matches!(export, Export::CacheOnly);
    // Without any output the image is kept in the store.
    let has_image =
        !request.tags.is_empty() || request.outputs.is_empty() || exports().any(is_image);
    // The store is content with the plain tar.
    let is_compressed = |export: &Export| match export {
        Export::Image(image) => image.push,
        other => is_image(other),
    };
    let compressed = request
        .outputs
        .iter()
        .filter(|spec| is_compressed(&spec.export));
    Asked {
        image: if has_image {
            ImageAsked::Yes
        } else {
            ImageAsked::No
        },
        compressions: compressed
            .map(|spec| spec.image.layer_compression())
            .collect(),
        files: if exports().any(is_files) {
            FilesAsked::Yes
        } else {
            FilesAsked::No
        },
        cached: Cached::default(),
    }
}

/// Refuses outputs that cannot be written, before anything is built in vain.
pub(crate) fn check(request: &BuildRequest) -> Result<()> {
    let outputs = &request.outputs;
    ExportSpec::check_all(outputs)?;
    push::check(request)?;
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
        "push them with --push, write them with -o type=oci,dest=FILE (an image index) or -o \
         type=local,dest=DIR (files), keep them in the store with -t NAME, or build one platform at a time",
    ))
}
