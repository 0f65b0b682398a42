//! One image of a layout into the store, with all its platforms or some.

use std::collections::BTreeSet;
use std::path::Path;

use rayon::prelude::*;
use rbuild_oci::{Descriptor, Manifest, Platform};
use rbuild_progress::Meter;

use super::bring::bring;
use super::group::Group;
use super::layout::{Layout, best, is_image, is_index, names_of, parse_index};
use super::{Imported, ImportedImage, ImportedIndex, Platforms, take_in};
use crate::layout::blob_name;
use crate::{Context, Error, Result};

impl Layout {
    /// Takes in what a group of entries stands for.
    pub(super) fn import_group(
        &self,
        group: &Group,
        platforms: &Platforms,
        (meter, cx): (&Meter<'_>, &Context<'_>),
    ) -> Result<Imported> {
        let manifests = self.manifests(&group.entries)?;
        let chosen = self.chosen(&manifests, platforms)?;
        let images = chosen
            .iter()
            .map(|entry| self.import_image(entry, (meter, cx)))
            .collect::<Result<Vec<_>>>()?;
        let top = match group.entries.as_slice() {
            [top] if is_index(top) => Some(top),
            _ => None,
        };
        if top.is_none() {
            self.check_distinct(group, &images)?;
        }
        let index = match top {
            // An index of which a part is left out is not the one it came with.
            Some(top) if *platforms == Platforms::All => {
                self.import_index(top, chosen.len(), cx)?
            }
            _ => None,
        };
        Ok(Imported {
            names: group.names.clone(),
            images,
            index,
        })
    }

    /// The manifests that are wanted. Of all those only that are here: archives of one platform may
    /// have the index of many.
    fn chosen(&self, manifests: &[Descriptor], platforms: &Platforms) -> Result<Vec<Descriptor>> {
        let one = |wanted: &Platform| {
            let found = best(manifests, wanted).cloned();
            found.ok_or_else(|| self.no_platform(wanted))
        };
        match platforms {
            Platforms::Native => Ok(vec![one(&Platform::host())?]),
            Platforms::These(wanted) => {
                let mut found: Vec<Descriptor> = wanted.iter().map(one).collect::<Result<_>>()?;
                let mut seen = BTreeSet::new();
                found.retain(|entry| seen.insert(entry.digest.clone()));
                Ok(found)
            }
            Platforms::All => {
                let mut here = Vec::new();
                for entry in manifests.iter().filter(|entry| is_image(entry)) {
                    if self.has(entry)? {
                        here.push(entry.clone());
                    }
                }
                match (here.is_empty(), manifests.first()) {
                    (true, Some(first)) => Err(Error::MissingBlob {
                        path: self.path.clone(),
                        digest: first.digest.clone(),
                    }),
                    (true, None) => Err(Error::import(&self.path, "it has no images")),
                    _ => Ok(here),
                }
            }
        }
    }

    fn has(&self, entry: &Descriptor) -> Result<bool> {
        Ok(self.files.open(&blob_name(&entry.digest))?.is_some())
    }

    fn import_image(
        &self,
        entry: &Descriptor,
        (meter, cx): (&Meter<'_>, &Context<'_>),
    ) -> Result<ImportedImage> {
        let image = self.image(entry)?;
        image.layers.par_iter().try_for_each(|layer| {
            bring(self.files(), layer, (cx.store, &|_| {}, cx.cancel))?;
            meter.add(layer.size);
            Ok::<(), Error>(())
        })?;
        let config = crate::assemble::parse_config(&image.config)?;
        let layers = take_in(config.diff_ids(), &image.layers, super::ORIGIN, cx)?;
        bring(
            self.files(),
            &image.manifest,
            (cx.store, &|_| {}, cx.cancel),
        )?;
        let platform = entry.platform.as_ref().map(Platform::normalized);
        Ok(ImportedImage {
            config: image.config,
            layers,
            platform: platform.unwrap_or(image.platform),
            manifest: Some(image.manifest.digest),
        })
    }

    /// Keeps an index and what it names besides `images` images, if all of that is here.
    fn import_index(
        &self,
        top: &Descriptor,
        images: usize,
        cx: &Context<'_>,
    ) -> Result<Option<ImportedIndex>> {
        let listed = parse_index(&self.document(top)?)?.manifests;
        // Indexes within indexes are taken apart.
        if listed.iter().any(is_index) || listed.iter().filter(|e| is_image(e)).count() != images {
            return Ok(None);
        }
        let mut others = Vec::new();
        for entry in listed.iter().filter(|entry| !is_image(entry)) {
            if !self.has(entry)? {
                return Ok(None);
            }
            let manifest = Manifest::from_bytes(&self.document(entry)?);
            let manifest = manifest.map_err(|source| Error::Document {
                what: "manifest",
                source,
            })?;
            others.extend(manifest.layers);
            others.extend([manifest.config, entry.clone()]);
        }
        for blob in others.iter().chain([top]) {
            bring(self.files(), blob, (cx.store, &|_| {}, cx.cancel))?;
        }
        let others = others.into_iter();
        let plain = others.map(|it| Descriptor::new(it.media_type, it.digest, it.size));
        Ok(Some(ImportedIndex {
            document: top.digest.clone(),
            others: plain.collect(),
        }))
    }

    fn check_distinct(&self, group: &Group, images: &[ImportedImage]) -> Result<()> {
        for (at, image) in images.iter().enumerate() {
            let twin = images.iter().skip(at + 1);
            if twin.clone().any(|other| other.platform == image.platform) {
                let platform = &image.platform;
                let reason = match names_of(&group.entries).as_slice() {
                    [] => format!(
                        "two images of it are for {platform}, and both are without a name of their own"
                    ),
                    [name] => format!("two images of it are for {platform}, and both are {name}"),
                    names => format!(
                        "it has several images for {platform}, say which as in oci-archive:FILE:NAME or \
                         docker-archive:FILE:NAME: {}",
                        names.join(", ")
                    ),
                };
                return Err(Error::import(&self.path, reason));
            }
        }
        Ok(())
    }

    fn files(&self) -> (&dyn super::files::Files, &Path) {
        (&*self.files, &self.path)
    }
}
