//! Images in the store: what was built, imported or tagged here, by id and by name.

use std::collections::BTreeMap;

use rbuild_layer::{Kind, LayerId, LayerStore};
use rbuild_oci::{Digest, ImageConfig, Platform, Reference};
use rbuild_progress::CancelToken;
use rbuild_store::{Change, Store, Table};
use serde::{Deserialize, Serialize};

use crate::{BuildError, Result};

/// Largest config that is read.
const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// Shortest prefix of an id that stands for the id.
const MIN_PREFIX: usize = 4;

/// What the store keeps of an image; the config itself is a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRow {
    /// The layers, lowest first.
    pub layers: Vec<LayerId>,
    /// Uncompressed content of each layer in bytes; of a layer nobody looked into, its blob's.
    pub sizes: Vec<u64>,
    /// The manifest it came with; `None` for what was built here and not exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
}

/// An image as a list shows it.
#[derive(Debug, Clone)]
pub struct ImageSummary {
    /// Digest of its config.
    pub id: Digest,
    /// Digest of the manifest that it came with.
    pub manifest: Option<Digest>,
    /// Its names, sorted.
    pub names: Vec<Reference>,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// Sum of its layers' uncompressed content.
    pub size_bytes: u64,
    /// What it runs on.
    pub platform: Platform,
}

/// An image with all that is known of it.
#[derive(Debug, Clone)]
pub struct ImageDetails {
    /// As in a list.
    pub summary: ImageSummary,
    /// Its config.
    pub config: ImageConfig,
    /// The config's bytes.
    pub config_bytes: Vec<u8>,
    /// Uncompressed content of each layer in bytes, lowest first.
    pub layer_sizes: Vec<u64>,
    pub(crate) layers: Vec<LayerId>,
}

/// What removing an image did.
#[derive(Debug, Clone, Default)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<Reference>,
    /// Images that are gone.
    pub deleted: Vec<Digest>,
}

/// The images of a store.
pub(crate) struct Images<'a> {
    pub store: &'a Store,
    pub layers: &'a LayerStore,
}

impl Images<'_> {
    /// What the row of an image with these layers says of their sizes.
    pub fn sizes(&self, layers: &[LayerId]) -> Result<Vec<u64>> {
        layers.iter().map(|layer| self.size(layer)).collect()
    }

    fn size(&self, layer: &LayerId) -> Result<u64> {
        let info = self.layers.info(layer)?;
        if info.index.is_none()
            && let Some(original) = &info.original
        {
            return Ok(original.descriptor.size);
        }
        let index = self.layers.index(layer, &CancelToken::new())?;
        let sizes = index.entries().iter().map(|entry| match entry.kind {
            Kind::File { size, .. } => size,
            _ => 0,
        });
        Ok(sizes.sum())
    }

    /// Keeps an image under its id and these names.
    pub fn put(&self, config: &[u8], row: &ImageRow, names: &[Reference]) -> Result<Digest> {
        let id = self.store.put_blob(config)?;
        let key = id.to_string();
        let bytes = serde_json::to_vec(row).map_err(BuildError::encode)?;
        let names: Vec<String> = names.iter().map(canonical).collect();
        let mut changes = vec![Change::Put(Table::Images, &key, &bytes)];
        changes.extend(
            names
                .iter()
                .map(|name| Change::Put(Table::Tags, name, key.as_bytes())),
        );
        self.store.transact(&changes)?;
        Ok(id)
    }

    /// Every image, newest first.
    pub fn all(&self) -> Result<Vec<ImageSummary>> {
        let names = self.names()?;
        let mut all = Vec::new();
        for (key, _) in self.store.list(Table::Images, "")? {
            if let Ok(id) = Digest::parse(&key)
                && let Some(details) = self.load(&id, &names)?
            {
                all.push(details.summary);
            }
        }
        all.sort_by(|a, b| (&b.created, &a.id).cmp(&(&a.created, &b.id)));
        Ok(all)
    }

    /// The image that a name stands for, if the store has it.
    pub fn by_name(&self, name: &Reference) -> Result<Option<ImageDetails>> {
        let Some(bytes) = self.store.get(Table::Tags, &canonical(name))? else {
            return Ok(None);
        };
        match std::str::from_utf8(&bytes)
            .ok()
            .and_then(|s| Digest::parse(s).ok())
        {
            Some(id) => self.load(&id, &self.names()?),
            None => Ok(None),
        }
    }

    /// The image that a person means: a name, an id, or the beginning of an id.
    pub fn find(&self, what: &str) -> Result<ImageDetails> {
        let missing = || BuildError::no_image(what);
        let hex = what.strip_prefix("sha256:").unwrap_or(what);
        let is_hex = hex.len() >= MIN_PREFIX && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if let Ok(name) = Reference::parse(what)
            && let Some(found) = self.by_name(&name)?
        {
            return Ok(found);
        }
        if !is_hex {
            return Err(missing());
        }
        let matching = self.store.list(Table::Images, &format!("sha256:{hex}"))?;
        match matching.as_slice() {
            [] => Err(missing()),
            [(key, _)] => {
                let id = Digest::parse(key).map_err(|_| missing())?;
                self.load(&id, &self.names()?)?.ok_or_else(missing)
            }
            several => Err(BuildError::ambiguous(what, several.len())),
        }
    }

    /// Gives an image one more name.
    pub fn tag(&self, id: &Digest, name: &Reference) -> Result<()> {
        let id = id.to_string();
        Ok(self
            .store
            .put(Table::Tags, &canonical(name), id.as_bytes())?)
    }

    /// Takes a name from an image, and the image with its last name.
    ///
    /// By id the image goes with all its names; with several names that has to be forced.
    pub fn remove(&self, what: &str, force: bool) -> Result<Removed> {
        let details = self.find(what)?;
        let summary = &details.summary;
        let by_name = Reference::parse(what)
            .ok()
            .filter(|name| summary.names.contains(name));
        let untagged = match by_name {
            Some(name) => vec![name],
            None if summary.names.len() > 1 && !force => {
                return Err(BuildError::still_named(what, &summary.names));
            }
            None => summary.names.clone(),
        };
        let mut removed = Removed {
            untagged,
            deleted: Vec::new(),
        };
        let keys: Vec<String> = removed.untagged.iter().map(canonical).collect();
        let id = summary.id.to_string();
        let mut changes: Vec<Change<'_>> = keys
            .iter()
            .map(|k| Change::Delete(Table::Tags, k))
            .collect();
        if removed.untagged.len() == summary.names.len() {
            changes.push(Change::Delete(Table::Images, &id));
            removed.deleted.push(summary.id.clone());
        }
        self.store.transact(&changes)?;
        Ok(removed)
    }

    fn names(&self) -> Result<BTreeMap<String, Vec<Reference>>> {
        let mut names: BTreeMap<String, Vec<Reference>> = BTreeMap::new();
        for (name, id) in self.store.list(Table::Tags, "")? {
            if let (Ok(name), Ok(id)) = (Reference::parse(&name), String::from_utf8(id)) {
                names.entry(id).or_default().push(name);
            }
        }
        Ok(names)
    }

    fn load(
        &self,
        id: &Digest,
        names: &BTreeMap<String, Vec<Reference>>,
    ) -> Result<Option<ImageDetails>> {
        let key = id.to_string();
        let Some(row) = self.store.get(Table::Images, &key)? else {
            return Ok(None);
        };
        let row: ImageRow = serde_json::from_slice(&row).map_err(BuildError::decode)?;
        let config_bytes = self.store.read_blob(id, MAX_CONFIG_BYTES)?;
        let config = ImageConfig::from_bytes(&config_bytes).map_err(BuildError::decode)?;
        Ok(Some(ImageDetails {
            summary: ImageSummary {
                id: id.clone(),
                manifest: row.manifest,
                names: names.get(&key).cloned().unwrap_or_default(),
                created: config.created.clone(),
                size_bytes: row.sizes.iter().sum(),
                platform: config.platform(),
            },
            config,
            config_bytes,
            layer_sizes: row.sizes,
            layers: row.layers,
        }))
    }
}

/// The name under which a reference is kept: with its tag, without a digest.
fn canonical(name: &Reference) -> String {
    let tag = name.tag().unwrap_or("latest");
    format!("{}:{tag}", name.name())
}
