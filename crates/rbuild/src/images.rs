//! Images in the store: what was built, imported or tagged here, by id and by name.
//!
//! A name stands for an image of one platform, or for several by platform.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_layer::{Kind, LayerId, LayerStore};
use rbuild_oci::{Descriptor, Digest, ImageConfig, Platform, Reference};
use rbuild_progress::CancelToken;
use rbuild_store::{Store, Table};

use crate::{BuildError, Result};

mod change;
mod row;
#[cfg(test)]
mod tests;

pub(crate) use row::{ImageRow, IndexEntry, IndexRow, Row};

/// Largest config that is read.
const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// Shortest prefix of an id that stands for the id.
const MIN_PREFIX: usize = 4;

/// An image as a list shows it.
#[derive(Debug, Clone)]
pub struct ImageSummary {
    /// Digest of its config; of several platforms that of their index, or of a list of their configs.
    pub id: Digest,
    /// Digest of the manifest or index that it came with.
    pub manifest: Option<Digest>,
    /// Its names, sorted.
    pub names: Vec<Reference>,
    /// When it was made, RFC 3339; the latest of several.
    pub created: Option<String>,
    /// Sum of its layers' uncompressed content, each layer once.
    pub size_bytes: u64,
    /// What it runs on; at least one.
    pub platforms: Vec<Platform>,
}

/// An image of one platform with all that is known of it.
#[derive(Debug, Clone)]
pub struct ImageDetails {
    /// As in a list.
    pub summary: ImageSummary,
    /// What it runs on.
    pub platform: Platform,
    /// Its config.
    pub config: ImageConfig,
    /// The config's bytes.
    pub config_bytes: Vec<u8>,
    /// Uncompressed content of each layer in bytes, lowest first.
    pub layer_sizes: Vec<u64>,
    pub(crate) layers: Vec<LayerId>,
}

impl ImageDetails {
    /// An image with this config; the row has its layers.
    pub(crate) fn new(
        config_bytes: Vec<u8>,
        row: &ImageRow,
        names: Vec<Reference>,
    ) -> Result<ImageDetails> {
        let config = ImageConfig::from_bytes(&config_bytes).map_err(BuildError::decode)?;
        let platform = config.platform();
        Ok(ImageDetails {
            summary: ImageSummary {
                id: Digest::sha256_of(&config_bytes),
                manifest: row.manifest.clone(),
                names,
                created: config.created.clone(),
                size_bytes: row.sizes.iter().sum(),
                platforms: vec![platform.clone()],
            },
            platform,
            config,
            config_bytes,
            layer_sizes: row.sizes.clone(),
            layers: row.layers.clone(),
        })
    }

    /// What the store keeps of it.
    fn row(&self) -> ImageRow {
        ImageRow {
            layers: self.layers.clone(),
            sizes: self.layer_sizes.clone(),
            manifest: self.summary.manifest.clone(),
        }
    }
}

/// What a name or id in the store stands for.
#[derive(Debug, Clone)]
pub struct StoredImage {
    /// As in a list.
    pub summary: ImageSummary,
    /// Its images, one for each platform; at least one.
    pub images: Vec<ImageDetails>,
    pub(crate) row: Row,
}

impl StoredImage {
    /// An image of one platform.
    pub(crate) fn single(image: ImageDetails) -> StoredImage {
        StoredImage {
            summary: image.summary.clone(),
            row: Row::Image(image.row()),
            images: vec![image],
        }
    }

    /// Images of several platforms.
    pub(crate) fn several(
        images: Vec<ImageDetails>,
        document: Option<Digest>,
        others: Vec<Descriptor>,
        names: Vec<Reference>,
    ) -> StoredImage {
        let entries = images.iter().map(|image| IndexEntry {
            id: image.summary.id.clone(),
            platform: image.platform.clone(),
            manifest: image.summary.manifest.clone(),
        });
        let row = IndexRow {
            images: entries.collect(),
            document,
            others,
        };
        StoredImage {
            summary: summary_of(&row.id(), &row, &images, names),
            images,
            row: Row::Index(row),
        }
    }

    /// Whether it is an image of several platforms by its making, even if it has only one.
    pub fn is_index(&self) -> bool {
        matches!(self.row, Row::Index(_))
    }

    /// The image for a platform; without one that for this machine, or the only one there is.
    ///
    /// Errors: there is none, with those that there are.
    pub fn pick(&self, what: &str, wanted: Option<&Platform>) -> Result<&ImageDetails> {
        match (self.images.as_slice(), wanted) {
            ([only], None) => Ok(only),
            (_, wanted) => {
                let platform = wanted.cloned().unwrap_or_else(Platform::host);
                self.serving(&platform).ok_or_else(|| {
                    BuildError::no_platform(what, &platform, &self.summary.platforms)
                })
            }
        }
    }

    /// The image that serves a platform best.
    pub(crate) fn serving(&self, platform: &Platform) -> Option<&ImageDetails> {
        let ranked = self
            .images
            .iter()
            .filter_map(|image| Some((platform.rank(&image.platform)?, image)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, image)| image)
    }

    /// The image to show where nobody asked for a platform: this machine's, else the first.
    pub fn shown(&self) -> &ImageDetails {
        let own = self.serving(&Platform::host());
        own.unwrap_or_else(|| self.images.first().expect("an image has at least one"))
    }
}

/// What removing an image did.
#[derive(Debug, Clone, Default)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<Reference>,
    /// Images that are gone.
    pub deleted: Vec<Digest>,
}

type Names = BTreeMap<String, Vec<Reference>>;

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

    /// Every image, newest first; parts of an image of several platforms only if they have a name.
    pub fn all(&self) -> Result<Vec<ImageSummary>> {
        let names = self.names()?;
        let rows = self.rows()?;
        let parts: BTreeSet<&Digest> = rows
            .iter()
            .flat_map(|(_, row)| row.parts())
            .map(|entry| &entry.id)
            .collect();
        let mut all = Vec::new();
        for (id, row) in &rows {
            if parts.contains(id) && !names.contains_key(id.as_str()) {
                continue;
            }
            match self.read(id, row, &names) {
                Ok(stored) => all.extend(stored.map(|stored| stored.summary)),
                // Removed since it was listed, row first.
                Err(_) if self.store.get(Table::Images, id.as_str())?.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        all.sort_by(|a, b| (&b.created, &a.id).cmp(&(&a.created, &b.id)));
        Ok(all)
    }

    /// What a name stands for, if the store has it.
    pub fn by_name(&self, name: &Reference) -> Result<Option<StoredImage>> {
        let Some(bytes) = self.store.get(Table::Tags, &canonical(name))? else {
            return Ok(None);
        };
        match std::str::from_utf8(&bytes)
            .ok()
            .and_then(|s| Digest::parse(s).ok())
        {
            Some(id) => self.load(&id),
            None => Ok(None),
        }
    }

    /// What came as the manifest or index of this digest, if the store has it.
    pub fn by_document(&self, digest: &Digest) -> Result<Option<StoredImage>> {
        let rows = self.rows()?;
        let found = rows.iter().find(|(_, row)| row.document() == Some(digest));
        match found {
            Some((id, row)) => self.read(id, row, &self.names()?),
            None => Ok(None),
        }
    }

    /// What a person means: a name, or the beginning of an id or of a manifest's or index's digest.
    pub fn stored(&self, what: &str) -> Result<StoredImage> {
        let missing = || BuildError::no_image(what);
        let reference = Reference::parse(what).ok();
        let digest = reference.as_ref().and_then(|name| name.digest().cloned());
        if let (Some(name), None) = (&reference, &digest)
            && let Some(found) = self.by_name(name)?
        {
            return Ok(found);
        }
        let hex = match &digest {
            Some(digest) => digest.hex(),
            None => what.strip_prefix("sha256:").unwrap_or(what),
        };
        if hex.len() < MIN_PREFIX || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let id = self.id_of(&format!("sha256:{hex}"), what)?;
        id.map_or(Ok(None), |id| self.load(&id))?
            .ok_or_else(missing)
    }

    /// The id that begins with `prefix`, or that of the image whose manifest or index does.
    fn id_of(&self, prefix: &str, what: &str) -> Result<Option<Digest>> {
        let rows = self.rows()?;
        let by_id = rows
            .iter()
            .filter(|(id, _)| id.as_str().starts_with(prefix));
        let mut found: Vec<&Digest> = by_id.map(|(id, _)| id).collect();
        if found.is_empty() {
            let begins = |digest: &Digest| digest.as_str().starts_with(prefix);
            let by_document = rows
                .iter()
                .filter(|(_, row)| row.document().is_some_and(begins));
            found = by_document.map(|(id, _)| id).collect();
        }
        match found.as_slice() {
            [] => Ok(None),
            [id] => Ok(Some((*id).clone())),
            several => Err(BuildError::ambiguous(what, several.len())),
        }
    }

    fn names(&self) -> Result<Names> {
        let mut names = Names::new();
        for (name, id) in self.store.list_all(Table::Tags, "")? {
            if let (Ok(name), Ok(id)) = (Reference::parse(&name), String::from_utf8(id)) {
                names.entry(id).or_default().push(name);
            }
        }
        Ok(names)
    }

    fn rows(&self) -> Result<Vec<(Digest, Row)>> {
        let rows = self.store.list_all(Table::Images, "")?;
        rows.iter()
            .filter_map(|(key, bytes)| Some((Digest::parse(key).ok()?, bytes)))
            .map(|(id, bytes)| Ok((id, Row::from_bytes(bytes)?)))
            .collect()
    }

    fn load(&self, id: &Digest) -> Result<Option<StoredImage>> {
        match self.store.get(Table::Images, id.as_str())? {
            Some(bytes) => self.read(id, &Row::from_bytes(&bytes)?, &self.names()?),
            None => Ok(None),
        }
    }

    fn read(&self, id: &Digest, row: &Row, names: &Names) -> Result<Option<StoredImage>> {
        let images = match row {
            Row::Image(image) => vec![self.details(id, image, names)?],
            Row::Index(index) => {
                let parts = index.images.iter();
                let parts = parts.map(|entry| self.part(entry, names));
                parts.collect::<Result<Vec<_>>>()?
            }
        };
        if images.is_empty() {
            return Ok(None);
        }
        let summary = match row {
            Row::Image(_) => images.first().map(|image| image.summary.clone()),
            Row::Index(index) => {
                let names = names.get(id.as_str()).cloned().unwrap_or_default();
                Some(summary_of(id, index, &images, names))
            }
        };
        Ok(summary.map(|summary| StoredImage {
            summary,
            images,
            row: row.clone(),
        }))
    }

    fn part(&self, entry: &IndexEntry, names: &Names) -> Result<ImageDetails> {
        let bytes = self.store.get(Table::Images, entry.id.as_str())?;
        let Some(Row::Image(row)) = bytes.map(|bytes| Row::from_bytes(&bytes)).transpose()? else {
            return Err(BuildError::no_image(entry.id.as_str()));
        };
        let mut details = self.details(&entry.id, &row, names)?;
        // The index knows better what it lists, and as what.
        details.platform = entry.platform.clone();
        details.summary.platforms = vec![entry.platform.clone()];
        details.summary.manifest = entry.manifest.clone().or(details.summary.manifest);
        Ok(details)
    }

    fn details(&self, id: &Digest, row: &ImageRow, names: &Names) -> Result<ImageDetails> {
        let config = self.store.read_blob(id, MAX_CONFIG_BYTES)?;
        let names = names.get(id.as_str()).cloned().unwrap_or_default();
        ImageDetails::new(config, row, names)
    }
}

impl Row {
    /// What an image of several platforms consists of.
    pub(crate) fn parts(&self) -> &[IndexEntry] {
        match self {
            Row::Image(_) => &[],
            Row::Index(row) => &row.images,
        }
    }
}

fn summary_of(
    id: &Digest,
    row: &IndexRow,
    images: &[ImageDetails],
    names: Vec<Reference>,
) -> ImageSummary {
    let layers: BTreeMap<&LayerId, u64> = images
        .iter()
        .flat_map(|image| image.layers.iter().zip(image.layer_sizes.iter().copied()))
        .collect();
    ImageSummary {
        id: id.clone(),
        manifest: row.document.clone(),
        names,
        created: images
            .iter()
            .filter_map(|image| image.summary.created.clone())
            .max(),
        size_bytes: layers.values().sum(),
        platforms: images.iter().map(|image| image.platform.clone()).collect(),
    }
}

/// The name under which a reference is kept: with its tag, without a digest.
fn canonical(name: &Reference) -> String {
    let tag = name.tag().unwrap_or("latest");
    format!("{}:{tag}", name.name())
}
