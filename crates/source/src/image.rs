//! Base images in registries: what a name stands for, remembered for a while, and its layers.
//!
//! Finding an image brings its manifest and config only. Its layers are registered with the store by
//! chain id; their bytes come when something needs them, through [`RegistryFetch`].

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rbuild_layer::{Fetch, LayerId, LayerStore, PulledLayer};
use rbuild_oci::{Descriptor, DiffId, Digest, ImageConfig, Manifest, Platform, Reference};
use rbuild_progress::CancelToken;
use rbuild_registry::{LazyClient, Reach};
use rbuild_store::{Store, Table};
use serde::{Deserialize, Serialize};

use crate::pins::ImagePin;
use crate::{Error, Result};

/// Largest manifest and config that are read back.
const MAX_DOCUMENT_BYTES: u64 = 8 << 20;

/// Whether what was remembered of a tag is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// For as long as the registry's word is believed.
    Remembered,
    /// No: ask the registry.
    Ask,
}

/// An image that was found.
#[derive(Debug, Clone)]
pub struct FoundImage {
    /// Digest of the manifest for the platform.
    pub manifest: Digest,
    /// What the name itself stands for: an index, or the manifest.
    pub root: Digest,
    /// The image's config.
    pub config: ImageConfig,
    /// The config's digest: the image's id.
    pub id: Digest,
    /// The layers, lowest first; registered, not fetched.
    pub layers: Vec<LayerId>,
}

/// What a registry said about a name.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Memo {
    root: Digest,
    manifest: Digest,
    config: Digest,
    /// Seconds since 1970.
    asked_at: u64,
}

/// The manifest and config that a row leads to.
pub(crate) fn documents_of(row: &[u8]) -> Option<(Digest, Digest)> {
    let memo: Memo = serde_json::from_slice(row).ok()?;
    Some((memo.manifest, memo.config))
}

/// How long what a registry said of a tag is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagMemory {
    /// How long it is believed without asking again.
    pub age: Duration,
    /// Whether the registry may be asked; if not, any age is good enough.
    pub reach: Reach,
}

impl Default for TagMemory {
    /// An hour.
    fn default() -> Self {
        TagMemory {
            age: Duration::from_secs(3600),
            reach: Reach::Network,
        }
    }
}

/// Finds images in registries.
pub struct RegistryImages {
    store: Arc<Store>,
    client: Arc<LazyClient>,
    memory: TagMemory,
}

impl RegistryImages {
    /// Images are remembered in `store`.
    pub fn new(store: Arc<Store>, client: Arc<LazyClient>, memory: TagMemory) -> RegistryImages {
        RegistryImages {
            store,
            client,
            memory,
        }
    }

    /// Finds the image that `reference` names for `platform`, and registers its layers.
    ///
    /// A digest reference that was seen before is answered without a request, whatever
    /// `freshness` says. Errors: [`Error::Registry`], [`Error::Image`] if the image's documents
    /// contradict each other, [`Error::Store`], [`Error::Layer`].
    pub fn find(
        &self,
        layers: &LayerStore,
        reference: &Reference,
        platform: &Platform,
        (freshness, cancel): (Freshness, &CancelToken),
    ) -> Result<FoundImage> {
        let key = format!("{reference} {platform}");
        let memo = match self.remembered(&key, reference, freshness)? {
            Some(memo) => memo,
            None => self.ask(&key, reference, (platform, cancel))?,
        };
        match self.registered(layers, reference, (&memo, cancel)) {
            // Collected since it was looked at; what is asked for now is kept.
            Err(Error::Store(rbuild_store::Error::MissingBlob { .. })) => {
                let memo = self.ask(&key, reference, (platform, cancel))?;
                self.registered(layers, reference, (&memo, cancel))
            }
            other => other,
        }
    }

    /// Finds the image of a pin, and registers its layers; the registry is asked, by digest, only for what is
    /// not here.
    ///
    /// Errors: [`Error::OtherManifest`]; else as [`Self::find`].
    pub fn find_pinned(
        &self,
        layers: &LayerStore,
        reference: &Reference,
        (platform, pin): (&Platform, &ImagePin),
        cancel: &CancelToken,
    ) -> Result<FoundImage> {
        if let Some(found) = self.pinned_here(layers, reference, (platform, pin), cancel)? {
            return Ok(found);
        }
        let pinned = reference.with_digest(pin.root.clone());
        let key = format!("{pinned} {platform}");
        let memo = self.ask(&key, &pinned, (platform, cancel))?;
        if memo.manifest != pin.manifest {
            return Err(Error::OtherManifest {
                reference: pinned.to_string(),
                platform: platform.to_string(),
                found: memo.manifest,
                locked: pin.manifest.clone(),
            });
        }
        self.registered(layers, reference, (&memo, cancel))
    }

    /// The image of a pin, if its documents are here; nobody is asked.
    ///
    /// Errors: as [`Self::find`].
    pub fn pinned_here(
        &self,
        layers: &LayerStore,
        reference: &Reference,
        (platform, pin): (&Platform, &ImagePin),
        cancel: &CancelToken,
    ) -> Result<Option<FoundImage>> {
        let read = match self.store.read_blob(&pin.manifest, MAX_DOCUMENT_BYTES) {
            Err(rbuild_store::Error::MissingBlob { .. }) => return Ok(None),
            other => other?,
        };
        let Ok(manifest) = Manifest::from_bytes(&read) else {
            return Err(Error::Image {
                reference: reference.with_digest(pin.manifest.clone()).to_string(),
                reason: "what has this digest is no manifest of an image".to_owned(),
            });
        };
        if !self.store.has_blob(&manifest.config.digest) {
            return Ok(None);
        }
        let memo = Memo {
            root: pin.manifest.clone(),
            manifest: pin.manifest.clone(),
            config: manifest.config.digest,
            asked_at: now(),
        };
        // Keeps the documents. That the root leads to them is the pin's word alone: it goes into no row.
        let key = format!("{} {platform}", reference.with_digest(pin.manifest.clone()));
        if self.store.get(Table::Remotes, &key)?.is_none()
            && let Ok(bytes) = serde_json::to_vec(&memo)
        {
            self.store.put(Table::Remotes, &key, &bytes)?;
        }
        match self.registered(layers, reference, (&memo, cancel)) {
            Err(Error::Store(rbuild_store::Error::MissingBlob { .. })) => Ok(None),
            found => Ok(Some(FoundImage {
                root: pin.root.clone(),
                ..found?
            })),
        }
    }

    fn remembered(
        &self,
        key: &str,
        reference: &Reference,
        freshness: Freshness,
    ) -> Result<Option<Memo>> {
        let Some(bytes) = self.store.get(Table::Remotes, key)? else {
            return Ok(None);
        };
        let Ok(memo) = serde_json::from_slice::<Memo>(&bytes) else {
            return Ok(None);
        };
        let pinned = reference.digest().is_some();
        let offline = self.memory.reach == Reach::Offline;
        // A clock that was put back makes nothing young.
        let age = now().checked_sub(memo.asked_at);
        let young = age.is_some_and(|age| age < self.memory.age.as_secs());
        let usable = pinned || offline || (freshness == Freshness::Remembered && young);
        let here = self.store.has_blob(&memo.manifest) && self.store.has_blob(&memo.config);
        Ok((usable && here).then_some(memo))
    }

    fn ask(
        &self,
        key: &str,
        reference: &Reference,
        (platform, cancel): (&Platform, &CancelToken),
    ) -> Result<Memo> {
        let failed = |e: rbuild_registry::Error| match e {
            rbuild_registry::Error::Cancelled(_) => Error::Cancelled,
            other => Error::Registry {
                reference: reference.to_string(),
                source: Box::new(other),
            },
        };
        if self.memory.reach == Reach::Offline {
            return Err(Error::Offline {
                what: reference.to_string(),
            });
        }
        let client = self.client.get().map_err(Error::Credentials)?;
        let found = client
            .manifest_for(reference, platform, cancel)
            .map_err(failed)?;
        let config = client
            .config_bytes(reference, &found.manifest.config, cancel)
            .map_err(failed)?;
        let manifest = self.store.put_blob(&found.bytes)?;
        let config = self.store.put_blob(&config)?;
        let memo = Memo {
            root: found.root.digest,
            manifest,
            config,
            asked_at: now(),
        };
        if let Ok(bytes) = serde_json::to_vec(&memo) {
            self.store.put(Table::Remotes, key, &bytes)?;
        }
        Ok(memo)
    }

    fn registered(
        &self,
        layers: &LayerStore,
        reference: &Reference,
        (memo, cancel): (&Memo, &CancelToken),
    ) -> Result<FoundImage> {
        let contradiction = |reason: String| Error::Image {
            reference: reference.to_string(),
            reason,
        };
        let bytes = self.store.read_blob(&memo.manifest, MAX_DOCUMENT_BYTES)?;
        let manifest = Manifest::from_bytes(&bytes).map_err(|e| contradiction(e.to_string()))?;
        let bytes = self.store.read_blob(&memo.config, MAX_DOCUMENT_BYTES)?;
        let config = ImageConfig::from_bytes(&bytes).map_err(|e| contradiction(e.to_string()))?;
        let pairs = pairs(&manifest.layers, config.diff_ids()).map_err(contradiction)?;
        let layers = register(layers, &pairs, (&reference.name(), cancel))?;
        Ok(FoundImage {
            manifest: memo.manifest.clone(),
            root: memo.root.clone(),
            id: memo.config.clone(),
            config,
            layers,
        })
    }
}

fn pairs<'a>(
    layers: &'a [Descriptor],
    diff_ids: &'a [DiffId],
) -> Result<Vec<(&'a Descriptor, &'a DiffId)>, String> {
    if layers.len() != diff_ids.len() {
        return Err(format!(
            "its manifest has {} layers, its config {}",
            layers.len(),
            diff_ids.len()
        ));
    }
    Ok(layers.iter().zip(diff_ids).collect())
}

/// Registers the layers of an image, lowest first, with where their blobs can be had.
fn register(
    layers: &LayerStore,
    pairs: &[(&Descriptor, &DiffId)],
    (origin, cancel): (&str, &CancelToken),
) -> Result<Vec<LayerId>> {
    let mut stack = Vec::with_capacity(pairs.len());
    let mut parent = None;
    for (descriptor, diff_id) in pairs {
        let layer = PulledLayer {
            parent: parent.take(),
            diff_id: (*diff_id).clone(),
            descriptor: (*descriptor).clone(),
            origin: origin.to_owned(),
        };
        stack.push(layers.pulled(&layer, cancel)?);
        parent = Some(layer.chain());
    }
    Ok(stack)
}

/// Brings layer blobs from the registries that they were found in.
pub struct RegistryFetch {
    store: Arc<Store>,
    client: Arc<LazyClient>,
}

impl RegistryFetch {
    /// Blobs go to `store`.
    pub fn new(store: Arc<Store>, client: Arc<LazyClient>) -> RegistryFetch {
        RegistryFetch { store, client }
    }
}

impl Fetch for RegistryFetch {
    fn fetch(
        &self,
        descriptor: &Descriptor,
        origin: &str,
        progress: &dyn Fn(u64),
        cancel: &CancelToken,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let reference = Reference::parse(origin)?;
        let client = self.client.get()?;
        Ok(client.fetch_telling((&reference, descriptor), &self.store, progress, cancel)?)
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |age| age.as_secs())
}
