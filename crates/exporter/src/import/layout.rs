//! Images in an OCI image layout, in a directory or an archive.

use std::error::Error as StdError;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use rbuild_layer::{Fetch, LayerId, LayerStore};
use rbuild_oci::{Descriptor, Digest, Index, Manifest, MediaType, Platform, Reference};
use rbuild_progress::{CancelReader, CancelToken, Meter};
use rbuild_store::Store;

use super::files::{Files, read_document};
use super::unpacked::DirFiles;
use super::{Choice, ImportedImage, checked_config, register, take_in};
use crate::layout::{IMAGE_NAME, INDEX, REF_NAME, blob_name};
use crate::{Context, Error, Result};

/// Most indexes within indexes.
const DEPTH_MAX: usize = 4;

/// What the origin of a layer in a layout begins with; the directory follows.
const ORIGIN: &str = "oci-layout://";

/// Bytes copied before progress is told.
const PIECE: u64 = 4 << 20;

/// Annotation of manifests that say something about another one and are no images.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// An image layout, open.
pub struct Layout {
    files: Box<dyn Files>,
    path: PathBuf,
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
    /// Names it has in the layout.
    pub names: Vec<Reference>,
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
        let index = Index::from_bytes(&bytes).map_err(|source| Error::Document {
            what: "index",
            source,
        })?;
        Ok(Self {
            files,
            path: path.to_path_buf(),
            index,
        })
    }

    /// Finds the image that is meant and reads its manifest and config, verified.
    ///
    /// Without tag and digest: the only one, or that tagged `latest`. Among several platforms the one
    /// that serves the wanted platform best.
    ///
    /// Errors: [`Error::Import`] when there is none or it is not sound, [`Error::MissingBlob`].
    pub fn resolve(&self, choice: &Choice) -> Result<ResolvedImage> {
        let wanted = choice.platform.clone().unwrap_or_else(Platform::host);
        let entries = self.entries(choice)?;
        let names = entries.iter().filter_map(name_of).collect();
        let descriptor = self.manifest_of(&entries, &wanted)?;
        let bytes = self.document(&descriptor)?;
        let manifest = Manifest::from_bytes(&bytes).map_err(|source| Error::Document {
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
        let platform = parsed.platform().normalized();
        Ok(ResolvedImage {
            manifest: descriptor,
            config,
            layers: manifest.layers,
            platform,
            names,
        })
    }

    /// Registers an image's layers with the store, base first, without reading any of them.
    ///
    /// Their bytes come through [`LayoutFetch`] when something needs them, and are verified then.
    /// Errors: the directory's path cannot be told, those of the store.
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
        choice: &Choice,
        meter: &Meter<'_>,
        cx: &Context<'_>,
    ) -> Result<ImportedImage> {
        let image = self.resolve(choice)?;
        image.layers.par_iter().try_for_each(|layer| {
            let files = (&*self.files, self.path.as_path());
            bring(files, layer, (cx.store, &|_| {}, cx.cancel))?;
            meter.add(layer.size);
            Ok::<(), Error>(())
        })?;
        let config = crate::assemble::parse_config(&image.config)?;
        let layers = take_in(config.diff_ids(), &image.layers, super::ORIGIN, cx)?;
        Ok(ImportedImage {
            config: image.config,
            layers,
            platform: image.platform,
            manifest: Some(image.manifest.digest),
            names: image.names,
        })
    }

    /// The entries of the index that a choice can mean; at least one.
    fn entries(&self, choice: &Choice) -> Result<Vec<Descriptor>> {
        let all = &self.index.manifests;
        let found: Vec<Descriptor> = match (&choice.digest, &choice.tag) {
            (Some(digest), _) => {
                let listed: Vec<_> = all
                    .iter()
                    .filter(|entry| entry.digest == *digest)
                    .cloned()
                    .collect();
                if listed.is_empty() {
                    self.unlisted(digest)?.into_iter().collect()
                } else {
                    listed
                }
            }
            (None, Some(tag)) => all
                .iter()
                .filter(|entry| has_name(entry, tag))
                .cloned()
                .collect(),
            (None, None) => {
                let tagged: Vec<_> = all
                    .iter()
                    .filter(|entry| has_name(entry, "latest"))
                    .cloned()
                    .collect();
                let named = |entry: &Descriptor| entry.annotations.contains_key(REF_NAME);
                match tagged.is_empty() {
                    // Without names, or with one only, there is nothing to choose from.
                    true if all.iter().filter(|entry| named(entry)).count() <= 1 => all.clone(),
                    _ => tagged,
                }
            }
        };
        if found.is_empty() {
            Err(self.not_found(choice))
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

    fn not_found(&self, choice: &Choice) -> Error {
        let meant = match (&choice.digest, &choice.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => format!("{tag:?}"),
            (None, None) => "\"latest\"".to_owned(),
        };
        let mut tags: Vec<&str> = self
            .index
            .manifests
            .iter()
            .filter_map(|entry| entry.annotations.get(REF_NAME))
            .map(String::as_str)
            .collect();
        tags.sort_unstable();
        tags.dedup();
        let there = if tags.is_empty() {
            "no tags".to_owned()
        } else {
            tags.join(", ")
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
                return Err(Error::import(
                    &self.path,
                    format!("it has no image for {wanted}"),
                ));
            };
            if !MediaType::of(&best.media_type).is_index() {
                return Ok(best.clone());
            }
            let bytes = self.document(best)?;
            let index = Index::from_bytes(&bytes).map_err(|source| Error::Document {
                what: "index",
                source,
            })?;
            entries = index.manifests;
        }
        Err(Error::import(
            &self.path,
            "it has indexes within indexes without end",
        ))
    }

    /// Reads a document with the digest and size that its descriptor says.
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let missing = || Error::MissingBlob {
            path: self.path.clone(),
            digest: descriptor.digest.clone(),
        };
        let name = blob_name(&descriptor.digest);
        let bytes = read_document(&*self.files, &name, &self.path)?.ok_or_else(missing)?;
        if bytes.len() as u64 != descriptor.size {
            return Err(wrong_size(&self.path, descriptor, bytes.len() as u64));
        }
        let mut verified =
            rbuild_oci::VerifyReader::new(bytes.as_slice(), descriptor.digest.clone(), None);
        io::copy(&mut verified, &mut io::sink()).map_err(|_| {
            Error::import(
                &self.path,
                format!("blob {} has other content", descriptor.digest),
            )
        })?;
        Ok(bytes)
    }
}

/// Brings the blobs of layers that were registered by [`Layout::register`] from their layouts, and
/// leaves all others to somebody else.
pub struct LayoutFetch {
    store: Arc<Store>,
    others: Arc<dyn Fetch>,
}

impl LayoutFetch {
    /// Blobs go to `store`; those that lie in no layout are brought by `others`.
    pub fn new(store: Arc<Store>, others: Arc<dyn Fetch>) -> Self {
        Self { store, others }
    }
}

impl Fetch for LayoutFetch {
    fn fetch(
        &self,
        descriptor: &Descriptor,
        origin: &str,
        progress: &dyn Fn(u64),
        cancel: &CancelToken,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let Some(dir) = origin.strip_prefix(ORIGIN) else {
            return self.others.fetch(descriptor, origin, progress, cancel);
        };
        let dir = Path::new(dir);
        let files = DirFiles::open(dir)?;
        bring((&files, dir), descriptor, (&self.store, progress, cancel))?;
        Ok(())
    }
}

/// Brings a blob into the store, verified, unless it is there; `progress` hears how much came.
///
/// Errors: [`Error::MissingBlob`], [`Error::Import`] for another size, a store error for another digest.
fn bring(
    (files, path): (&dyn Files, &Path),
    blob: &Descriptor,
    (store, progress, cancel): (&Store, &dyn Fn(u64), &CancelToken),
) -> Result<()> {
    if store.has_blob(&blob.digest) {
        return Ok(());
    }
    let name = blob_name(&blob.digest);
    let found = files.open(&name)?.ok_or_else(|| Error::MissingBlob {
        path: path.to_path_buf(),
        digest: blob.digest.clone(),
    })?;
    if found.size != blob.size {
        return Err(wrong_size(path, blob, found.size));
    }
    let mut ingest = store.ingest()?;
    let mut input = CancelReader::new(found.bytes, cancel).take(blob.size);
    let mut current = 0;
    loop {
        let count = io::copy(&mut input.by_ref().take(PIECE), &mut ingest)
            .map_err(Error::at("copy", &path.join(&name)))?;
        current += count;
        progress(current);
        if count < PIECE {
            break;
        }
    }
    ingest.commit(Some(&blob.digest))?;
    Ok(())
}

fn wrong_size(path: &Path, blob: &Descriptor, found: u64) -> Error {
    let reason = format!(
        "blob {} has {found} bytes, expected {}",
        blob.digest, blob.size
    );
    Error::import(path, reason)
}

/// The entry that serves a platform best, the first of equals. Entries that state none serve any.
fn best<'a>(entries: &'a [Descriptor], wanted: &Platform) -> Option<&'a Descriptor> {
    let images = entries
        .iter()
        .filter(|entry| !entry.annotations.contains_key(REFERENCE_TYPE));
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
fn name_of(entry: &Descriptor) -> Option<Reference> {
    let full = entry.annotations.get(IMAGE_NAME);
    let text = full.or_else(|| {
        entry
            .annotations
            .get(REF_NAME)
            .filter(|name| name.contains([':', '/']))
    })?;
    Reference::parse(text).ok()
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
