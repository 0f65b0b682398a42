//! Changes of the table of images: keep, name, remove.

use std::collections::BTreeSet;

use rbuild_oci::{Digest, Reference};
use rbuild_store::{Change, Table};

use super::row::{ImageRow, IndexRow, Row};
use super::{Images, Removed, StoredImage, canonical};
use crate::{BuildError, Result};

impl Images<'_> {
    /// Keeps an image under its id and these names.
    pub fn put(&self, config: &[u8], row: ImageRow, names: &[Reference]) -> Result<Digest> {
        let id = self.store.put_blob(config)?;
        self.put_row(&id, &Row::Image(row), names)?;
        Ok(id)
    }

    /// Keeps an image of several platforms under its id and these names; its images are there already.
    pub fn put_index(&self, row: IndexRow, names: &[Reference]) -> Result<Digest> {
        let id = row.id();
        self.put_row(&id, &Row::Index(row), names)?;
        Ok(id)
    }

    /// Keeps what was opened elsewhere under these names as well; returns its id.
    pub fn keep(&self, opened: &StoredImage, names: &[Reference]) -> Result<Digest> {
        match &opened.row {
            Row::Image(row) => self.put(&opened.shown().config_bytes, row.clone(), names),
            Row::Index(row) => {
                for image in &opened.images {
                    self.put(&image.config_bytes, image.row(), &[])?;
                }
                self.put_index(row.clone(), names)
            }
        }
    }

    fn put_row(&self, id: &Digest, row: &Row, names: &[Reference]) -> Result<()> {
        let key = id.to_string();
        let bytes = row.to_bytes()?;
        let names: Vec<String> = names.iter().map(canonical).collect();
        let mut changes = vec![Change::Put(Table::Images, &key, &bytes)];
        changes.extend(
            names
                .iter()
                .map(|name| Change::Put(Table::Tags, name, key.as_bytes())),
        );
        self.store.without_collector(|| {
            self.check_whole(row)?;
            Ok(self.store.transact(&changes)?)
        })?
    }

    /// Refuses an image whose layers were collected before anything led to them.
    fn check_whole(&self, row: &Row) -> Result<()> {
        let Row::Image(image) = row else {
            return Ok(());
        };
        for layer in &image.layers {
            if self.layers.find(layer)?.is_none() {
                return Err(BuildError::pruned_meanwhile("a layer of the image"));
            }
        }
        Ok(())
    }

    /// Gives an image one more name.
    pub fn tag(&self, id: &Digest, name: &Reference) -> Result<()> {
        self.store.without_collector(|| {
            if self.store.get(Table::Images, id.as_str())?.is_none() {
                return Err(BuildError::pruned_meanwhile("the image"));
            }
            let id = id.to_string();
            Ok(self
                .store
                .put(Table::Tags, &canonical(name), id.as_bytes())?)
        })?
    }

    /// Removes the row of an image of several platforms that has got another id; its images stay.
    pub fn forget_unnamed(&self, id: &Digest) -> Result<()> {
        let stored = self.stored(id.as_str())?;
        match stored.is_index() && stored.summary.names.is_empty() {
            true => Ok(self.store.delete(Table::Images, id.as_str())?),
            false => Ok(()),
        }
    }

    /// Takes a name from an image, and the image with its last name.
    ///
    /// By id the image goes with all its names; with several names that has to be forced. What belongs to
    /// an image of several platforms stays as long as that does.
    pub fn remove(&self, what: &str, force: bool) -> Result<Removed> {
        let stored = self.stored(what)?;
        let summary = &stored.summary;
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
        let deleted = if untagged.len() == summary.names.len() {
            self.removable(&stored)?
        } else {
            Vec::new()
        };
        if untagged.is_empty() && deleted.is_empty() {
            return Err(BuildError::part_of_index(what));
        }
        let keys: Vec<String> = untagged.iter().map(canonical).collect();
        self.check_own(what, &keys, &deleted)?;
        let ids: Vec<String> = deleted.iter().map(ToString::to_string).collect();
        let tags = keys.iter().map(|key| Change::Delete(Table::Tags, key));
        let images = ids.iter().map(|id| Change::Delete(Table::Images, id));
        let changes: Vec<Change<'_>> = tags.chain(images).collect();
        self.store.transact(&changes)?;
        Ok(Removed { untagged, deleted })
    }

    /// Refuses to remove what only the store below has: it would still be there.
    fn check_own(&self, what: &str, names: &[String], images: &[Digest]) -> Result<()> {
        let Some(lower) = self.store.lower() else {
            return Ok(());
        };
        let is_own = |table, key: &str| Ok(self.store.get_own(table, key)?.is_some());
        let names = names.iter().map(|name| is_own(Table::Tags, name));
        let images = images.iter().map(|id| is_own(Table::Images, id.as_str()));
        let own: Result<Vec<bool>> = names.chain(images).collect();
        match own?.contains(&true) {
            true => Ok(()),
            false => Err(BuildError::of_lower(what, lower.root())),
        }
    }

    /// What goes with an image that has no name left: itself, and its parts that nothing else has.
    fn removable(&self, stored: &StoredImage) -> Result<Vec<Digest>> {
        let id = &stored.summary.id;
        let rows = self.rows()?;
        let kept: BTreeSet<&Digest> = rows
            .iter()
            .filter(|(other, _)| other != id)
            .flat_map(|(_, row)| row.parts())
            .map(|entry| &entry.id)
            .collect();
        let parts = stored.images.iter().map(|image| &image.summary);
        let unnamed = parts.filter(|part| part.id != *id && part.names.is_empty());
        let gone = std::iter::once(id).chain(unnamed.map(|part| &part.id));
        Ok(gone.filter(|id| !kept.contains(id)).cloned().collect())
    }
}
