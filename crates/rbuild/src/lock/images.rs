//! Images as entries of a lock in the making.

use std::collections::BTreeMap;

use rbuild_oci::{Digest, Platform, Reference};
use rbuild_source::Freshness;

use super::entries::{Making, NeededImage};
use super::report::{LockChange, LockEntry, What};
use super::{LockedImage, LockedPlace, Pinned};
use crate::Result;

impl Making<'_> {
    /// Notes the platforms that are not there.
    pub(super) fn look_for(&mut self, reference: &Reference, images: &[&NeededImage]) {
        for image in images {
            let there = self.lock.images.get(reference);
            if there.is_none_or(|there| there.pin(&image.platform).is_none()) {
                self.changes.insert(LockChange {
                    what: What::Image,
                    name: reference.familiar(),
                    platform: Some(image.platform.clone()),
                    entry: self.missing(&image.spans),
                });
            }
        }
    }

    /// Enters an image for the platforms that are needed, and keeps it for others.
    pub(super) fn take_image(
        &mut self,
        reference: &Reference,
        images: &[&NeededImage],
    ) -> Result<()> {
        let old = self.lock.images.get(reference).cloned();
        let Some(place) = self.place_of(reference, images, old.as_ref())? else {
            return Ok(());
        };
        let shown = |place: &LockedPlace| match place {
            LockedPlace::Registry { root, .. } => root.to_string(),
            LockedPlace::Store(ids) => {
                let ids: Vec<String> = ids.values().map(ToString::to_string).collect();
                format!("{} (of the store)", ids.join(", "))
            }
        };
        let entry = match &old {
            None => Some(LockEntry::Added { to: shown(&place) }),
            Some(old) if shown(&old.place) != shown(&place) => Some(LockEntry::Moved {
                from: shown(&old.place),
                to: shown(&place),
            }),
            Some(_) => None,
        };
        match entry {
            Some(entry) => self.note(What::Image, reference.familiar(), entry),
            None => self.added_platforms(reference, old.as_ref(), &place),
        }
        let indirect = old.is_some_and(|old| old.indirect);
        let image = LockedImage { place, indirect };
        self.lock.images.insert(reference.clone(), image);
        Ok(())
    }

    fn added_platforms(
        &mut self,
        reference: &Reference,
        old: Option<&LockedImage>,
        place: &LockedPlace,
    ) {
        let (LockedPlace::Registry { platforms, .. } | LockedPlace::Store(platforms)) = place;
        for (platform, digest) in platforms {
            if old.is_none_or(|old| !old.platforms().contains(&platform)) {
                self.changes.insert(LockChange {
                    what: What::Image,
                    name: reference.familiar(),
                    platform: Some(platform.clone()),
                    entry: LockEntry::Added {
                        to: digest.to_string(),
                    },
                });
            }
        }
    }

    /// What an image is entered as; all manifests are of one index.
    fn place_of(
        &self,
        reference: &Reference,
        images: &[&NeededImage],
        old: Option<&LockedImage>,
    ) -> Result<Option<LockedPlace>> {
        let mut ids = BTreeMap::new();
        let mut root = None;
        let mut platforms = BTreeMap::new();
        for image in images {
            match &image.pin {
                Pinned::Store(id) => {
                    ids.insert(image.platform.clone(), id.clone());
                }
                Pinned::Registry(pin) => {
                    let root = root.get_or_insert_with(|| pin.root.clone());
                    let manifest = match pin.root == *root {
                        true => pin.manifest.clone(),
                        // The name went on between two questions.
                        false => self.manifest(reference, (&image.platform, root))?,
                    };
                    platforms.insert(image.platform.clone(), manifest);
                }
            }
        }
        let Some(root) = root else {
            if let Some(LockedPlace::Store(before)) = old.map(|old| &old.place) {
                for (platform, id) in before {
                    ids.entry(platform.clone()).or_insert_with(|| id.clone());
                }
            }
            return Ok((!ids.is_empty()).then_some(LockedPlace::Store(ids)));
        };
        if let Some(LockedPlace::Registry {
            root: old_root,
            platforms: before,
        }) = old.map(|old| &old.place)
        {
            for (platform, manifest) in before {
                if platforms.contains_key(platform) {
                    continue;
                }
                let manifest = match *old_root == root {
                    true => Some(manifest.clone()),
                    false => self.manifest_if_there(reference, (platform, &root))?,
                };
                platforms.extend(manifest.map(|manifest| (platform.clone(), manifest)));
            }
        }
        Ok(Some(LockedPlace::Registry { root, platforms }))
    }

    fn manifest(&self, reference: &Reference, of: (&Platform, &Digest)) -> Result<Digest> {
        let found = self.filling.by_root(reference, of, self.fetching.cancel)?;
        Ok(found.manifest)
    }

    /// The manifest for a platform that another build needed; the index may not have it any more.
    fn manifest_if_there(
        &self,
        reference: &Reference,
        (platform, root): (&Platform, &Digest),
    ) -> Result<Option<Digest>> {
        let engine = self.filling.engine;
        let found = engine.registry_images().find(
            engine.layers(),
            &reference.with_digest(root.clone()),
            platform,
            (Freshness::Remembered, self.fetching.cancel),
        );
        match found {
            Ok(found) => Ok(Some(found.manifest)),
            Err(rbuild_source::Error::Registry { source, .. })
                if matches!(*source, rbuild_registry::Error::NoPlatform { .. }) =>
            {
                Ok(None)
            }
            Err(other) => Err(other.into()),
        }
    }
}
