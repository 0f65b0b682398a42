//! From config and layers to the documents of an image: config, manifest, and an index over several.
//!
//! The documents and the layers' compressed forms are blobs of the store afterwards; where they go
//! from there is for others.

use std::collections::BTreeMap;

use rbuild_layer::{Compression, LayerId};
use rbuild_oci::{
    Compression as Format, Descriptor, Digest, ImageConfig, Index, Manifest, MediaType, Platform,
    Reference, media_type,
};
use rbuild_progress::Meter;

use crate::context::Context;
use crate::spec::{AnnotationPlace, Family, ImageOptions, NonDistributable};
use crate::{Error, Result};

/// Annotation key of the time an image was made.
pub(crate) const CREATED: &str = "org.opencontainers.image.created";

/// A finished image: its config and its layers, base first.
#[derive(Clone, Debug)]
pub struct ImageToExport {
    /// The config document, byte for byte; its diff ids are those of `layers`.
    pub config: Vec<u8>,
    /// The layers, base first.
    pub layers: Vec<LayerId>,
    /// The names the build gave it.
    pub names: Vec<Reference>,
    /// What it runs on.
    pub platform: Platform,
}

/// A document and what points to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Document {
    fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        Self {
            descriptor: Descriptor::of(media_type, &bytes),
            bytes,
        }
    }
}

/// One image with everything that its manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssembledImage {
    /// What it runs on.
    pub platform: Platform,
    /// Its config.
    pub config: Document,
    /// Its manifest.
    pub manifest: Document,
    /// The layers as the manifest lists them, base first, in the order of the image's own; in the store,
    /// but for those of [`assemble_named`] that were pulled.
    pub layers: Vec<Descriptor>,
}

/// One image, or several under an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembled {
    /// The images; at least one.
    pub images: Vec<AssembledImage>,
    /// The index over them; `None` for a single image.
    pub index: Option<Document>,
    /// What a layout or tag points to: index or manifest, with annotations and platform.
    pub top: Descriptor,
    /// Blobs that the index names besides images, such as attestations: content before manifests.
    pub others: Vec<Descriptor>,
}

impl Assembled {
    /// Every blob needed, each once: layers and configs before the manifests and indexes naming them.
    pub fn blobs(&self) -> Vec<&Descriptor> {
        let content = self
            .images
            .iter()
            .flat_map(|image| image.layers.iter().chain([&image.config.descriptor]));
        let manifests = self.images.iter().map(|image| &image.manifest.descriptor);
        let index = self.index.iter().map(|index| &index.descriptor);
        let mut seen = std::collections::BTreeSet::new();
        content
            .chain(&self.others)
            .chain(manifests)
            .chain(index)
            .filter(|blob| seen.insert(&blob.digest))
            .collect()
    }
}

/// Makes the documents of `images` and puts them into the store, with all their layers as asked for.
///
/// Several images are put under an index. Layers that were pulled stay as they came unless
/// `options.force_compression`. Blocks are compressed on the rayon pool, so it must not be
/// called from there; reports as BuildKit does.
///
/// Errors: [`Error::LayerCount`], [`Error::LayerContent`], [`Error::Output`] for annotations without a
/// place.
pub fn assemble(
    images: &[ImageToExport],
    options: &ImageOptions,
    cx: &Context<'_>,
) -> Result<Assembled> {
    assemble_with(images, options, LayerBytes::Here, cx)
}

/// As [`assemble`], but layers that stay as they were pulled are only named: their bytes may still be
/// where they came from.
///
/// For a push: the registry may have them, or take them over from another of its repositories.
pub fn assemble_named(
    images: &[ImageToExport],
    options: &ImageOptions,
    cx: &Context<'_>,
) -> Result<Assembled> {
    assemble_with(images, options, LayerBytes::Anywhere, cx)
}

/// Where the bytes of layers have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerBytes {
    /// In the store.
    Here,
    /// In the store, or where they were pulled from.
    Anywhere,
}

pub(crate) fn assemble_with(
    images: &[ImageToExport],
    options: &ImageOptions,
    bytes: LayerBytes,
    cx: &Context<'_>,
) -> Result<Assembled> {
    check_annotations(images, options)?;
    let options = with_working_family(options);
    let exporting = Meter::new(cx.sink, cx.vertex, "exporting layers", None);
    let layers = images
        .iter()
        .map(|image| layers_of(image, (&options, bytes), cx))
        .collect::<Result<Vec<_>>>()?;
    exporting.finish();
    let images = images
        .iter()
        .zip(layers)
        .map(|(image, layers)| assemble_one(image, layers, &options, cx))
        .collect::<Result<Vec<_>>>()?;
    let as_index = images.len() > 1;
    gather(images, as_index, &options, cx)
}

/// Puts images with their documents together: one alone, or under an index that is made for them.
pub(crate) fn gather(
    images: Vec<AssembledImage>,
    as_index: bool,
    options: &ImageOptions,
    cx: &Context<'_>,
) -> Result<Assembled> {
    let created = images
        .first()
        .and_then(|image| created_of(&image.config.bytes));
    let annotate = |place, platform: Option<&Platform>, into: &mut BTreeMap<String, String>| {
        into.extend(annotations(options, place, platform));
    };
    if let [image] = images.as_slice()
        && !as_index
    {
        let mut top = image.manifest.descriptor.clone();
        top.platform = Some(image.platform.clone());
        top.annotations
            .extend(created.map(|created| (CREATED.to_owned(), created)));
        annotate(
            AnnotationPlace::ManifestDescriptor,
            Some(&image.platform),
            &mut top.annotations,
        );
        return Ok(Assembled {
            images,
            index: None,
            top,
            others: Vec::new(),
        });
    }
    let index = index_of(&images, options);
    store(&index, "exporting manifest list", cx)?;
    let mut top = index.descriptor.clone();
    top.annotations
        .extend(created.map(|created| (CREATED.to_owned(), created)));
    annotate(AnnotationPlace::IndexDescriptor, None, &mut top.annotations);
    Ok(Assembled {
        images,
        index: Some(index),
        top,
        others: Vec::new(),
    })
}

fn check_annotations(images: &[ImageToExport], options: &ImageOptions) -> Result<()> {
    let for_index = |place| {
        matches!(
            place,
            AnnotationPlace::Index | AnnotationPlace::IndexDescriptor
        )
    };
    if images.len() == 1
        && options
            .annotations
            .iter()
            .any(|annotation| for_index(annotation.place))
    {
        return Err(Error::output(
            "index annotations not supported for single platform export",
        ));
    }
    match images {
        [] => Err(Error::output("there is no image to export")),
        _ => Ok(()),
    }
}

/// Docker's schema never had zstd in its registry of types: asking for both means the OCI family.
fn with_working_family(options: &ImageOptions) -> ImageOptions {
    let mut options = options.clone();
    if matches!(options.compression, Some(Compression::Zstd { .. })) {
        options.media_types = Family::Oci;
    }
    options
}

/// Brings every layer into the form asked for, one after the other.
///
/// The blocks of one layer are compressed on all cores. Several layers must not be handed to the
/// same pool: its threads would all wait for blocks that nobody is left to compress.
fn layers_of(
    image: &ImageToExport,
    (options, bytes): (&ImageOptions, LayerBytes),
    cx: &Context<'_>,
) -> Result<Vec<Descriptor>> {
    let config = parse_config(&image.config)?;
    let diff_ids = config.diff_ids();
    if diff_ids.len() != image.layers.len() {
        return Err(Error::LayerCount {
            in_config: diff_ids.len(),
            layers: image.layers.len(),
        });
    }
    image
        .layers
        .iter()
        .zip(diff_ids)
        .enumerate()
        .map(|(position, (layer, diff_id))| {
            cx.cancel.check()?;
            let descriptor = layer_blob(layer, (options, bytes), cx)?;
            let found = cx.layers.diff_id(layer, cx.cancel)?;
            if found != *diff_id {
                return Err(Error::LayerContent {
                    position,
                    expected: diff_id.clone(),
                    found,
                });
            }
            Ok(as_listed(&descriptor, options))
        })
        .collect()
}

fn layer_blob(
    layer: &LayerId,
    (options, bytes): (&ImageOptions, LayerBytes),
    cx: &Context<'_>,
) -> Result<Descriptor> {
    let compression = options.layer_compression();
    match cx.layers.original(layer)? {
        // Made by another machine for a build like this one: nobody chose its form for this image.
        Some(original)
            if original.index.is_some()
                && original.descriptor.kind().compression() != Some(compression.format()) =>
        {
            Ok(cx.layers.recompressed(layer, compression, cx.cancel)?)
        }
        None => Ok(cx.layers.compressed(layer, compression, cx.cancel)?),
        Some(original) if !stays_as_it_came(&original.descriptor, options) => {
            Ok(cx.layers.recompressed(layer, compression, cx.cancel)?)
        }
        Some(original) if bytes == LayerBytes::Anywhere => Ok(original.descriptor),
        Some(_) => Ok(cx.layers.fetch_original(layer, cx.cancel)?),
    }
}

/// Whether a layer that was pulled as this blob is a layer of the image just so.
pub fn stays_as_it_came(original: &Descriptor, options: &ImageOptions) -> bool {
    let came_as = original.kind();
    // What came as a plain tar was not compressed by anybody's choice: archives of `docker save` are so.
    let came_plain = came_as == MediaType::Layer(Format::None);
    let fits = came_as.compression() == Some(options.layer_compression().format());
    fits || !(options.force_compression || came_plain)
}

/// Returns a layer's descriptor with the media type of the family and nothing that is not its own.
fn as_listed(layer: &Descriptor, options: &ImageOptions) -> Descriptor {
    let compression = MediaType::of(&layer.media_type).compression();
    let is_marked = options.nondistributable == NonDistributable::Kept
        && MediaType::is_nondistributable(&layer.media_type);
    let media_type = match (compression, options.media_types) {
        (Some(compression), Family::Oci) if is_marked => compression.oci_nondistributable_layer(),
        (Some(compression), Family::Docker) if is_marked => {
            compression.docker_nondistributable_layer()
        }
        (Some(compression), Family::Oci) => compression.oci_layer(),
        (Some(compression), Family::Docker) => compression.docker_layer(),
        (None, _) => &layer.media_type,
    };
    Descriptor::new(media_type, layer.digest.clone(), layer.size)
}

fn assemble_one(
    image: &ImageToExport,
    layers: Vec<Descriptor>,
    options: &ImageOptions,
    cx: &Context<'_>,
) -> Result<AssembledImage> {
    let (manifest_type, config_type) = match options.media_types {
        Family::Oci => (media_type::OCI_MANIFEST, media_type::OCI_CONFIG),
        Family::Docker => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG),
    };
    let config = Document::new(config_type, image.config.clone());
    let mut manifest = Manifest::new(manifest_type, config.descriptor.clone(), layers.clone());
    manifest.annotations.extend(annotations(
        options,
        AnnotationPlace::Manifest,
        Some(&image.platform),
    ));
    let manifest = Document::new(manifest_type, manifest.to_bytes());
    store(&manifest, "exporting manifest", cx)?;
    store(&config, "exporting config", cx)?;
    Ok(AssembledImage {
        platform: image.platform.clone(),
        config,
        manifest,
        layers,
    })
}

fn index_of(images: &[AssembledImage], options: &ImageOptions) -> Document {
    let media_type = match options.media_types {
        Family::Oci => media_type::OCI_INDEX,
        Family::Docker => media_type::DOCKER_INDEX,
    };
    let manifests = images.iter().map(|image| {
        let mut descriptor = image.manifest.descriptor.clone();
        descriptor.platform = Some(image.platform.clone());
        descriptor.annotations.extend(annotations(
            options,
            AnnotationPlace::ManifestDescriptor,
            Some(&image.platform),
        ));
        descriptor
    });
    let mut index = Index::new(media_type, manifests.collect());
    index
        .annotations
        .extend(annotations(options, AnnotationPlace::Index, None));
    Document::new(media_type, index.to_bytes())
}

fn annotations<'a>(
    options: &'a ImageOptions,
    place: AnnotationPlace,
    platform: Option<&'a Platform>,
) -> impl Iterator<Item = (String, String)> + 'a {
    let here = move |wanted: &Option<Platform>| match (wanted, platform) {
        (Some(wanted), Some(platform)) => wanted.matches(platform),
        _ => true,
    };
    let wanted = options
        .annotations
        .iter()
        .filter(move |a| a.place == place && here(&a.platform));
    wanted.map(|annotation| (annotation.key.clone(), annotation.value.clone()))
}

/// Puts a document into the store and says so.
fn store(document: &Document, what: &str, cx: &Context<'_>) -> Result<Digest> {
    let size = document.descriptor.size;
    let meter = Meter::new(
        cx.sink,
        cx.vertex,
        format!("{what} {}", document.descriptor.digest),
        Some(size),
    );
    let digest = cx.store.put_blob(&document.bytes)?;
    meter.add(size);
    meter.finish();
    Ok(digest)
}

pub(crate) fn parse_config(bytes: &[u8]) -> Result<ImageConfig> {
    ImageConfig::from_bytes(bytes).map_err(|source| Error::Document {
        what: "config",
        source,
    })
}

/// The time in a config, in whole seconds as RFC 3339 has it.
fn created_of(config: &[u8]) -> Option<String> {
    let created = parse_config(config).ok()?.created?;
    let Some((seconds, rest)) = created.split_once('.') else {
        return Some(created);
    };
    let zone = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    Some(format!("{seconds}{zone}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn created_is_cut_to_seconds() {
        let check = |created: &str, expected: Option<&str>| {
            let config =
                format!("{{\"created\":{created},\"architecture\":\"amd64\",\"os\":\"linux\"}}");
            assert_eq!(
                created_of(config.as_bytes()).as_deref(),
                expected,
                "{created}"
            );
        };
        check(
            "\"2024-01-02T03:04:05.123456789Z\"",
            Some("2024-01-02T03:04:05Z"),
        );
        check(
            "\"2024-01-02T03:04:05.5+01:00\"",
            Some("2024-01-02T03:04:05+01:00"),
        );
        check("\"2024-01-02T03:04:05Z\"", Some("2024-01-02T03:04:05Z"));
        check("null", None);
    }

    #[test]
    fn layers_take_the_media_type_of_the_family() {
        let digest = Digest::sha256_of(b"x");
        let mut layer = Descriptor::new(media_type::DOCKER_LAYER_GZIP, digest.clone(), 1);
        layer.annotations.insert("k".into(), "v".into());
        let oci = Descriptor::new(media_type::OCI_LAYER_GZIP, digest.clone(), 1);
        let of = |media_types, nondistributable| ImageOptions {
            media_types,
            nondistributable,
            ..ImageOptions::default()
        };
        let plain = |family| of(family, NonDistributable::Plain);
        assert_eq!(as_listed(&layer, &plain(Family::Oci)), oci);
        let docker = Descriptor::new(media_type::DOCKER_LAYER_GZIP, digest, 1);
        assert_eq!(as_listed(&oci, &plain(Family::Docker)), docker);
        let foreign = Format::Gzip.docker_nondistributable_layer();
        let marked = Descriptor::new(foreign, oci.digest.clone(), 1);
        assert_eq!(as_listed(&marked, &plain(Family::Oci)), oci);
        let kept = of(Family::Oci, NonDistributable::Kept);
        let listed = as_listed(&marked, &kept).media_type;
        assert_eq!(listed, Format::Gzip.oci_nondistributable_layer());
        assert_eq!(as_listed(&layer, &kept), oci);
        let kept = of(Family::Docker, NonDistributable::Kept);
        assert_eq!(as_listed(&marked, &kept), marked);
    }
}
