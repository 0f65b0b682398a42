//! Images in an OCI image layout, in a directory or an archive.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rbuild_layer::{LayerId, LayerStore};
use rbuild_oci::{Descriptor, Digest, Index, Manifest, MediaType, Pick, Platform, Reference};
use rbuild_progress::{CancelToken, Meter};

use super::bring::{ORIGIN, document};
use super::files::{Files, read_document};
use super::group::{Group, groups};
use super::unpacked::DirFiles;
use super::{Imported, Selection, Which, checked_config, register};
use crate::layout::{IMAGE_NAME, INDEX, REF_NAME, blob_name};
use crate::{Context, Error, Result};

/// Most indexes within indexes.
const DEPTH_MAX: usize = 4;

/// Annotation of manifests that say something about another one and are no images.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// An image layout, open.
pub struct Layout {
    pub(super) files: Box<dyn Files>,
    pub(super) path: PathBuf,
    index: Index,
}

/// One image of a layout: what its manifest says. Its layers may not have been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedImage {
    /// The manifest.
    pub manifest: Descriptor,
    /// The config document, byte for byte.
    pub config: Vec<u8>,
    /// The layers, base first; as many as the config has diff ids.
    pub layers: Vec<Descriptor>,
    /// What it runs on, from the config.
    pub platform: Platform,
}

impl Layout {
    /// Opens the layout in a directory and reads its index.
    ///
    /// Errors: [`Error::Import`] when there is none.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::of(Box::new(DirFiles::open(dir)?), dir)
    }

    pub(super) fn of(files: Box<dyn Files>, path: &Path) -> Result<Self> {
        let bytes = read_document(&*files, INDEX, path)?;
        let bytes = bytes
            .ok_or_else(|| Error::import(path, "it is no image layout: index.json is missing"))?;
        Ok(Self {
            files,
            path: path.to_path_buf(),
            index: parse_index(&bytes)?,
        })
    }

    /// Finds the image that is meant and reads its manifest and config, verified.
    ///
    /// Without a pick: the only one, or that tagged `latest`. Among several platforms the one
    /// that serves the wanted platform best.
    ///
    /// Errors: [`Error::Import`] when there is none or it is not sound, [`Error::MissingBlob`].
    pub fn resolve(&self, pick: Option<&Pick>, platform: &Platform) -> Result<ResolvedImage> {
        let entries = self.entries(pick)?;
        let descriptor = self.manifest_of(&entries, platform)?;
        self.image(&descriptor)
    }

    /// Reads the manifest and config of an image.
    pub(super) fn image(&self, descriptor: &Descriptor) -> Result<ResolvedImage> {
        let manifest = Manifest::from_bytes(&self.document(descriptor)?);
        let manifest = manifest.map_err(|source| Error::Document {
            what: "manifest",
            source,
        })?;
        for layer in &manifest.layers {
            if !MediaType::of(&layer.media_type).is_layer() {
                let reason = format!(
                    "layer {} has the unknown media type {:?}",
                    layer.digest, layer.media_type
                );
                return Err(Error::import(&self.path, reason));
            }
        }
        let config = self.document(&manifest.config)?;
        let parsed = checked_config(&config, manifest.layers.len(), &self.path)?;
        Ok(ResolvedImage {
            manifest: descriptor.clone(),
            config,
            layers: manifest.layers,
            platform: parsed.platform().normalized(),
        })
    }

    /// Registers an image's layers with the store, base first, without reading any of them.
    ///
    /// Their bytes come through [`LayoutFetch`](super::LayoutFetch) when something needs them, and are
    /// verified then. Errors: the directory's path cannot be told, those of the store.
    pub fn register(
        &self,
        image: &ResolvedImage,
        (layers, cancel): (&LayerStore, &CancelToken),
    ) -> Result<Vec<LayerId>> {
        let config = crate::assemble::parse_config(&image.config)?;
        // Absolute: a later build may be started elsewhere.
        let path = std::fs::canonicalize(&self.path).map_err(Error::at("find", &self.path))?;
        let text = path.to_str();
        let text = text.ok_or_else(|| Error::import(&path, "its path is not UTF-8"))?;
        let origin = format!("{ORIGIN}{text}");
        register(config.diff_ids(), &image.layers, &origin, (layers, cancel))
    }

    pub(super) fn import(
        &self,
        wanted: &Selection,
        meter: &Meter<'_>,
        cx: &Context<'_>,
    ) -> Result<Vec<Imported>> {
        let groups = match &wanted.which {
            Which::All => groups(&self.index.manifests),
            Which::One(pick) => vec![Group::of(self.entries(pick.as_ref())?)],
        };
        if groups.is_empty() {
            return Err(Error::import(&self.path, "it has no images"));
        }
        let groups = groups.iter();
        groups
            .map(|group| self.import_group(group, &wanted.platforms, (meter, cx)))
            .collect()
    }

    /// The entries of the index that a choice can mean; at least one.
    fn entries(&self, pick: Option<&Pick>) -> Result<Vec<Descriptor>> {
        let all = &self.index.manifests;
        let only = |wanted: &dyn Fn(&Descriptor) -> bool| -> Vec<Descriptor> {
            all.iter().filter(|entry| wanted(entry)).cloned().collect()
        };
        let found = match pick {
            Some(Pick::Digest(digest)) => {
                let listed = only(&|entry| entry.digest == *digest);
                match listed.is_empty() {
                    true => self.unlisted(digest)?.into_iter().collect(),
                    false => listed,
                }
            }
            Some(Pick::Tag(tag)) => only(&|entry| has_name(entry, tag)),
            None => {
                let tagged = only(&|entry| has_name(entry, "latest"));
                let named = |entry: &Descriptor| entry.annotations.contains_key(REF_NAME);
                match tagged.is_empty() {
                    // Without names, or with one only, there is nothing to choose from.
                    true if only(&named).len() <= 1 => all.clone(),
                    _ => tagged,
                }
            }
        };
        if found.is_empty() {
            Err(self.not_found(pick))
        } else {
            Ok(found)
        }
    }

    /// A manifest or index that is in the layout without being listed.
    fn unlisted(&self, digest: &Digest) -> Result<Option<Descriptor>> {
        let Some(found) = self.files.open(&blob_name(digest))? else {
            return Ok(None);
        };
        let mut descriptor = Descriptor::new("", digest.clone(), found.size);
        let bytes = self.document(&descriptor)?;
        let is_index = Index::from_bytes(&bytes).is_ok_and(|index| !index.manifests.is_empty());
        descriptor.media_type = match is_index {
            true => rbuild_oci::media_type::OCI_INDEX,
            false => rbuild_oci::media_type::OCI_MANIFEST,
        }
        .to_owned();
        Ok(Some(descriptor))
    }

    fn not_found(&self, pick: Option<&Pick>) -> Error {
        let meant = match pick {
            Some(Pick::Digest(digest)) => digest.to_string(),
            Some(Pick::Tag(tag)) => format!("{tag:?}"),
            None => "\"latest\"".to_owned(),
        };
        let names = names_of(&self.index.manifests);
        let there = if names.is_empty() {
            "no tags".to_owned()
        } else {
            names.join(", ")
        };
        Error::import(
            &self.path,
            format!("could not find {meant}; there is {there}"),
        )
    }

    /// Picks by platform, down through indexes, until there is a manifest.
    fn manifest_of(&self, entries: &[Descriptor], wanted: &Platform) -> Result<Descriptor> {
        let mut entries = entries.to_vec();
        for _ in 0..DEPTH_MAX {
            let Some(best) = best(&entries, wanted) else {
                return Err(self.no_platform(wanted));
            };
            if !MediaType::of(&best.media_type).is_index() {
                return Ok(best.clone());
            }
            entries = parse_index(&self.document(best)?)?.manifests;
        }
        Err(self.endless())
    }

    pub(super) fn no_platform(&self, wanted: &Platform) -> Error {
        Error::import(&self.path, format!("it has no image for {wanted}"))
    }

    /// Every manifest under some entries, down through indexes.
    pub(super) fn manifests(&self, entries: &[Descriptor]) -> Result<Vec<Descriptor>> {
        let mut entries = entries.to_vec();
        for _ in 0..DEPTH_MAX {
            if !entries.iter().any(is_index) {
                return Ok(entries);
            }
            let mut below = Vec::new();
            for entry in entries {
                match is_index(&entry) {
                    true => below.extend(parse_index(&self.document(&entry)?)?.manifests),
                    false => below.push(entry),
                }
            }
            entries = below;
        }
        Err(self.endless())
    }

    fn endless(&self) -> Error {
        Error::import(&self.path, "it has indexes within indexes without end")
    }

    pub(super) fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        document((&*self.files, &self.path), descriptor)
    }
}

pub(super) fn parse_index(bytes: &[u8]) -> Result<Index> {
    Index::from_bytes(bytes).map_err(|source| Error::Document {
        what: "index",
        source,
    })
}

pub(super) fn is_index(entry: &Descriptor) -> bool {
    MediaType::of(&entry.media_type).is_index()
}

/// Whether an entry is an image, and no statement about another one.
pub(super) fn is_image(entry: &Descriptor) -> bool {
    !entry.annotations.contains_key(REFERENCE_TYPE)
}

/// The entry that serves a platform best, the first of equals. Entries that state none serve any.
pub(super) fn best<'a>(entries: &'a [Descriptor], wanted: &Platform) -> Option<&'a Descriptor> {
    let images = entries.iter().filter(|entry| is_image(entry));
    let ranked = images.filter_map(|entry| {
        let rank = match &entry.platform {
            Some(platform) => wanted.rank(platform)?,
            None => 0,
        };
        Some((rank, entry))
    });
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry)
}

/// The full name of an entry: containerd writes it apart, others put it where the tag belongs.
pub(super) fn name_of(entry: &Descriptor) -> Option<Reference> {
    let full = entry.annotations.get(IMAGE_NAME);
    let text = full.or_else(|| {
        entry
            .annotations
            .get(REF_NAME)
            .filter(|name| name.contains([':', '/']))
    })?;
    Reference::parse(text).ok()
}

/// What entries can be chosen by, each once: their tags, or where several have the same one their names.
pub(super) fn names_of(entries: &[Descriptor]) -> Vec<String> {
    let tags: Vec<&String> = entries
        .iter()
        .filter_map(|entry| entry.annotations.get(REF_NAME))
        .collect();
    let distinct: BTreeSet<&String> = tags.iter().copied().collect();
    if distinct.len() == tags.len() {
        return distinct.into_iter().cloned().collect();
    }
    let name = |entry: &Descriptor| match name_of(entry) {
        Some(name) => Some(name.familiar()),
        None => entry.annotations.get(REF_NAME).cloned(),
    };
    let names: BTreeSet<String> = entries.iter().filter_map(name).collect();
    names.into_iter().collect()
}

/// Tells whether an entry has a tag or name.
fn has_name(entry: &Descriptor, name: &str) -> bool {
    let texts = [
        entry.annotations.get(REF_NAME),
        entry.annotations.get(IMAGE_NAME),
    ];
    let same = |text: &str| match (Reference::parse(text), Reference::parse(name)) {
        (Ok(text), Ok(name)) => text == name,
        _ => false,
    };
    texts
        .into_iter()
        .flatten()
        .any(|text| text == name || (name.contains(['/', ':']) && same(text)))
}
