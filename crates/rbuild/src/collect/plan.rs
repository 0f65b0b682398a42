//! What follows from removing entries: which rows and objects go, and which stay. Pure.

use std::collections::BTreeSet;

use rbuild_layer::LayerId;
use rbuild_oci::Digest;
use rbuild_store::{Object, Table};

use super::entry::EntryKey;
use super::inventory::{Inventory, Layer};
use crate::images::Row;

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Rows to delete.
    pub rows: Vec<(Table, String)>,
    /// Objects that something leads to; all others may go.
    pub kept: BTreeSet<Object>,
    /// Entries that were asked for and stay, being in use by now.
    pub spared: BTreeSet<EntryKey>,
}

/// Works out what removing `victims` means, with these objects in use.
///
/// A layer of which anything is in use stays whole, with its row: a running build may be about to write
/// what leads to it. What a name leads to stays in any case.
pub(super) fn plan(
    all: &Inventory,
    victims: &BTreeSet<EntryKey>,
    leased: &BTreeSet<Object>,
) -> Plan {
    let look = Look {
        all,
        victims,
        leased,
    };
    let images = look.surviving_images();
    let layers = look.surviving_layers(&images);
    let mut plan = Plan::default();
    look.rows(&mut plan, &images, &layers);
    plan.kept.extend(
        layers
            .iter()
            .filter_map(|layer| all.layers.get(layer))
            .flat_map(|layer| layer.objects.iter().cloned()),
    );
    look.keep_documents(&mut plan, &images);
    plan.kept.extend(leased.iter().cloned());
    let in_use = |key: &&EntryKey| match key {
        EntryKey::Layer(layer) => look.is_layer_in_use(layer),
        EntryKey::File(blob) => leased.contains(&Object::Blob(blob.clone())),
        // Seen to by its lock.
        EntryKey::Mount(_) => false,
    };
    plan.spared = victims.iter().filter(in_use).cloned().collect();
    plan
}

/// The layers that names and unfinished pushes lead to.
pub(super) fn layers_of_names(all: &Inventory) -> BTreeSet<LayerId> {
    let images = all.named_images();
    let of_images = images.iter().filter_map(|id| all.images.get(*id));
    let of_images = of_images.flat_map(|row| match row {
        Row::Image(image) => image.layers.as_slice(),
        Row::Index(_) => &[],
    });
    let of_pushes = all.pushes.iter().flat_map(|(layers, _)| layers);
    of_images.chain(of_pushes).copied().collect()
}

/// The layers that images lead to, with a name or without, and pushes; with later times and without.
pub(super) fn layers_of_images(all: &Inventory) -> BTreeSet<LayerId> {
    let rows = all.images.values();
    let of_images = rows.flat_map(|row| match row {
        Row::Image(image) => image.layers.as_slice(),
        Row::Index(_) => &[],
    });
    let of_pushes = all.pushes.iter().flat_map(|(layers, _)| layers);
    let capped = all.layers.values().filter_map(|layer| layer.capped);
    of_images.chain(of_pushes).copied().chain(capped).collect()
}

impl Inventory {
    /// Images with a name, and what those of several platforms consist of.
    fn named_images(&self) -> BTreeSet<&Digest> {
        let mut named: BTreeSet<&Digest> = self.named.iter().collect();
        let parts = self.named.iter().filter_map(|id| self.images.get(id));
        let parts = parts.flat_map(|row| row.parts()).map(|part| &part.id);
        named.extend(parts);
        named
    }
}

/// Whether some object of a layer is in use.
pub(super) fn is_in_use(layer: &Layer, leased: &BTreeSet<Object>) -> bool {
    layer.objects.iter().any(|object| leased.contains(object))
}

struct Look<'a> {
    all: &'a Inventory,
    victims: &'a BTreeSet<EntryKey>,
    leased: &'a BTreeSet<Object>,
}

impl<'a> Look<'a> {
    fn is_layer_in_use(&self, layer: &LayerId) -> bool {
        let layer = self.all.layers.get(layer);
        layer.is_some_and(|layer| is_in_use(layer, self.leased))
    }

    /// Whether a layer is to go. One that is not there is as good as gone.
    fn is_victim(&self, layer: &LayerId) -> bool {
        let wanted = self.victims.contains(&EntryKey::Layer(*layer));
        !self.all.layers.contains_key(layer) || (wanted && !self.is_layer_in_use(layer))
    }

    /// Images with a name; others as long as all of their layers stay or are in use. One layer in use tells
    /// nothing: most images here stand on one base.
    fn surviving_images(&self) -> BTreeSet<&'a Digest> {
        let mut images = self.all.named_images();
        let is_whole = |row: &Row| match row {
            Row::Image(image) => !image.layers.iter().any(|layer| self.is_victim(layer)),
            Row::Index(_) => true,
        };
        let in_use = |row: &Row| match row {
            Row::Image(image) => image.layers.iter().all(|it| self.is_layer_in_use(it)),
            Row::Index(_) => false,
        };
        let stays = |row: &Row| is_whole(row) || in_use(row);
        let single = self.all.images.iter().filter(|(_, row)| stays(row));
        images.extend(single.map(|(id, _)| id));
        // An image of several platforms without a name goes with any of its parts.
        let there = images.clone();
        let named = self.all.named_images();
        images.retain(|id| {
            let parts = self.all.images.get(*id).map_or(&[][..], Row::parts);
            named.contains(id) || parts.iter().all(|part| there.contains(&part.id))
        });
        images
    }

    fn surviving_layers(&self, images: &BTreeSet<&Digest>) -> BTreeSet<LayerId> {
        let mut layers = layers_of_names(self.all);
        for id in images {
            if let Some(Row::Image(image)) = self.all.images.get(*id) {
                layers.extend(&image.layers);
            }
        }
        let led = self.all.leads.iter().map(|lead| &lead.layer);
        let pulled = self.all.layers.iter();
        let pulled = pulled.filter(|(_, layer)| layer.pulled.is_some());
        let led = led.chain(pulled.map(|(id, _)| id));
        layers.extend(led.filter(|layer| !self.is_victim(layer)));
        let ids = self.all.layers.keys();
        layers.extend(ids.filter(|layer| self.is_layer_in_use(layer)));
        let capped = layers.iter().filter_map(|id| self.all.layers.get(id));
        let capped: Vec<LayerId> = capped.filter_map(|layer| layer.capped).collect();
        layers.extend(capped.iter().filter(|layer| !self.is_victim(layer)));
        layers.retain(|layer| self.all.layers.contains_key(layer));
        layers
    }

    fn rows(&self, plan: &mut Plan, images: &BTreeSet<&Digest>, layers: &BTreeSet<LayerId>) {
        let mut drop = |table, key: &str| plan.rows.push((table, key.to_owned()));
        for lead in &self.all.leads {
            if self.is_victim(&lead.layer) {
                drop(lead.how.table(), &lead.key);
                if lead.how.table() == Table::Records {
                    drop(Table::Steps, &lead.key);
                }
            }
        }
        for (key, blob) in &self.all.files {
            if self.is_file_victim(blob) {
                drop(Table::Remotes, key);
            }
        }
        for memo in self.all.memos.iter().filter(|memo| !self.stays(memo)) {
            drop(Table::Remotes, &memo.key);
        }
        let gone = self.all.images.keys().filter(|id| !images.contains(id));
        gone.for_each(|id| drop(Table::Images, id.as_str()));
        for (table, key, layer) in &self.all.names {
            if !layers.contains(layer) {
                drop(*table, key);
            }
        }
        let gone = self.all.layers.keys().filter(|id| !layers.contains(id));
        gone.for_each(|id| drop(Table::Layers, &id.to_string()));
        for key in self.victims {
            let stays = match key {
                EntryKey::Layer(layer) => layers.contains(layer),
                EntryKey::File(blob) => !self.is_file_victim(blob),
                EntryKey::Mount(_) => true,
            };
            if !stays {
                drop(Table::Uses, &key.use_name());
            }
        }
    }

    fn is_file_victim(&self, blob: &Digest) -> bool {
        let wanted = self.victims.contains(&EntryKey::File(blob.clone()));
        wanted && !self.leased.contains(&Object::Blob(blob.clone()))
    }

    /// What was said of an image is forgotten with the last of its layers.
    fn stays(&self, memo: &super::inventory::Memo) -> bool {
        let is_here = |blob: &&Digest| {
            self.all.layers.iter().any(|(id, layer)| {
                let pulled = layer.pulled.as_ref().map(|(digest, _)| digest);
                pulled == Some(*blob) && !self.is_victim(id)
            })
        };
        memo.layers.is_empty() || memo.layers.iter().any(|blob| is_here(&blob))
    }

    fn keep_documents(&self, plan: &mut Plan, images: &BTreeSet<&Digest>) {
        let mut keep = |digest: &Digest| {
            plan.kept.insert(Object::Blob(digest.clone()));
        };
        for id in images {
            keep(id);
            let Some(row) = self.all.images.get(*id) else {
                continue;
            };
            row.documents().for_each(&mut keep);
        }
        let memos = self.all.memos.iter().filter(|memo| self.stays(memo));
        memos.flat_map(|memo| &memo.documents).for_each(&mut keep);
        let files = self.all.files.iter().map(|(_, blob)| blob);
        files
            .filter(|blob| !self.is_file_victim(blob))
            .for_each(&mut keep);
        let pushes = self.all.pushes.iter();
        pushes
            .flat_map(|(_, documents)| documents)
            .for_each(&mut keep);
    }
}

#[cfg(test)]
mod tests;
