//! What goes into an index: the manifests behind a name, and where their blobs are.

use std::sync::Arc;

use rbuild_exporter::{ImageOptions, Platforms, assemble_kept};
use rbuild_oci::{
    Address, Descriptor, ImageConfig, Index, Manifest, MediaType, Platform, Reference,
};
use rbuild_progress::{CancelToken, Sink};
use rbuild_registry::Error as RegistryError;
use rbuild_store::Lease;

use crate::engine::Engine;
use crate::step::announced;
use crate::{BuildError, Result, StoredImage};

/// A document and the manifests in it.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    /// Media type, digest and size of what the name stands for.
    pub document: Descriptor,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it lists, or itself.
    pub parts: Vec<Part>,
    /// Keeps what the store has of it from collection until it is sent.
    pub lease: Option<Arc<Lease>>,
}

/// A manifest that an index lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// As it is listed: with its platform and annotations.
    pub entry: Descriptor,
    /// Where it is.
    pub origin: Origin,
}

/// Where a manifest and its blobs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// In a repository.
    Registry(Reference),
    /// In the store.
    Store,
}

/// Opens what an address stands for. A bare name is looked for in its registry, and in the store where that
/// does not have it.
pub(super) fn open(
    engine: &Engine,
    address: &Address,
    (sink, cancel): (&dyn Sink, &CancelToken),
) -> Result<Opened> {
    let text = match address {
        Address::Registry(reference) => return in_registry(engine, reference, cancel),
        Address::Name(text) => text,
        file => {
            let stored = engine.open_image(file, &Platforms::All, (sink, cancel))?;
            return in_store(engine, (&stored, &file.to_string()), (sink, cancel));
        }
    };
    let stored = |error: BuildError| match engine.stored(text) {
        Ok(stored) => in_store(engine, (&stored, text), (sink, cancel)),
        Err(_) => Err(error.help(format!("{text} is not in the store either"))),
    };
    let Ok(reference) = Reference::parse(text) else {
        return stored(BuildError::no_image(text));
    };
    match resolve(engine, &reference, cancel) {
        Err(
            error @ (RegistryError::UnknownManifest { .. }
            | RegistryError::UnknownRepository { .. }
            | RegistryError::Denied { .. }
            | RegistryError::Unreachable { .. }),
        ) => stored(error.into()),
        Err(error) => Err(error.into()),
        Ok(found) => from_registry(engine, &reference, found, cancel),
    }
}

/// Opens what a name stands for in its registry.
pub(super) fn in_registry(
    engine: &Engine,
    reference: &Reference,
    cancel: &CancelToken,
) -> Result<Opened> {
    let found = resolve(engine, reference, cancel)?;
    from_registry(engine, reference, found, cancel)
}

type Found = (Descriptor, Vec<u8>);

fn resolve(
    engine: &Engine,
    reference: &Reference,
    cancel: &CancelToken,
) -> Result<Found, RegistryError> {
    let client = engine.client().map_err(|error| RegistryError::NotAnImage {
        reference: reference.to_string(),
        reason: error.to_string(),
    })?;
    let found = client.resolve(reference, cancel)?;
    Ok((found.descriptor, found.bytes))
}

fn from_registry(
    engine: &Engine,
    reference: &Reference,
    (document, bytes): Found,
    cancel: &CancelToken,
) -> Result<Opened> {
    let origin = Origin::Registry(reference.clone());
    let parts = match document.kind() {
        MediaType::Index => listed(&bytes, reference, &origin)?,
        _ => {
            let manifest = parse_manifest(&bytes, &reference.to_string())?;
            let config = match MediaType::of(&manifest.config.media_type) {
                MediaType::Config => Some(engine.client()?.config_bytes(
                    reference,
                    &manifest.config,
                    cancel,
                )?),
                // An artifact: it is for no platform.
                _ => None,
            };
            let mut entry = document.clone();
            entry.platform = config.and_then(|config| platform_of(&config));
            vec![Part { entry, origin }]
        }
    };
    Ok(Opened {
        document,
        bytes,
        parts,
        lease: None,
    })
}

fn listed(bytes: &[u8], name: &Reference, origin: &Origin) -> Result<Vec<Part>> {
    let index = Index::from_bytes(bytes).map_err(|error| unreadable(&name.to_string(), &error))?;
    if index.manifests.iter().any(|entry| entry.kind().is_index()) {
        return Err(BuildError::build(format!("{name} lists further indexes"))
            .help("name what is in them by digest"));
    }
    let parts = index.manifests.into_iter().map(|entry| Part {
        entry,
        origin: origin.clone(),
    });
    Ok(parts.collect())
}

pub(super) fn parse_manifest(bytes: &[u8], name: &str) -> Result<Manifest> {
    Manifest::from_bytes(bytes).map_err(|error| unreadable(name, &error))
}

fn unreadable(name: &str, error: &rbuild_oci::Error) -> BuildError {
    BuildError::build(format!("{name} cannot be read: {error}"))
}

fn platform_of(config: &[u8]) -> Option<Platform> {
    let config = ImageConfig::from_bytes(config).ok()?;
    Some(config.platform().normalized()).filter(|platform| !platform.os.is_empty())
}

/// Makes the documents of an image in the store, with all blobs that they name.
fn in_store(
    engine: &Engine,
    (stored, what): (&StoredImage, &str),
    (sink, cancel): (&dyn Sink, &CancelToken),
) -> Result<Opened> {
    let kept = stored.kept(what, &[])?;
    let layers = stored.images.iter().flat_map(|image| &image.layers);
    let lease = engine.lease_layers(layers)?;
    let assembled = announced(sink, &format!("exporting {what}"), |key| {
        assemble_kept(
            &kept,
            &ImageOptions::default(),
            &engine.context((sink, key, cancel)),
        )
    })?;
    let origin = Origin::Store;
    let (document, parts) = match &assembled.index {
        Some(index) => {
            let listed = Index::from_bytes(&index.bytes);
            let listed = listed.map_err(|error| unreadable(what, &error))?.manifests;
            let parts = listed.into_iter().map(|entry| Part {
                entry,
                origin: origin.clone(),
            });
            (index, parts.collect())
        }
        None => {
            let image = assembled.images.first();
            let image = image.ok_or_else(|| BuildError::no_image(what))?;
            let mut entry = image.manifest.descriptor.clone();
            entry.platform = Some(image.platform.clone());
            (&image.manifest, vec![Part { entry, origin }])
        }
    };
    Ok(Opened {
        document: document.descriptor.clone(),
        bytes: document.bytes.clone(),
        parts,
        lease: Some(Arc::new(lease)),
    })
}
