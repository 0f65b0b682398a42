//! What the store keeps of a build: its images, their names, and by which id they go.

use rbuild_exporter::{Export, ImageToExport, Keep};
use rbuild_oci::{Digest, Reference};
use rbuild_progress::{Sink, VertexKey};

use crate::engine::Engine;
use crate::images::{ImageRow, IndexEntry, IndexRow};
use crate::step::status;
use crate::{BuildError, BuildRequest, Result};

/// What is in the store after a build.
#[derive(Default)]
pub(crate) struct Kept {
    /// The image of the only platform.
    pub config: Option<Digest>,
    /// The images of several.
    pub index: Option<IndexRow>,
    /// The names of either.
    pub names: Vec<Reference>,
}

/// The names under which the store keeps the image; `None` if it keeps none, as `store=false` asks.
pub(crate) fn names(request: &BuildRequest) -> Option<Vec<Reference>> {
    let images = request
        .outputs
        .iter()
        .filter_map(|spec| match &spec.export {
            Export::Image(image) => Some((image.keep, &spec.image.names)),
            _ => None,
        });
    let images: Vec<_> = images.collect();
    let is_dropped = |(keep, _): &(Keep, _)| *keep == Keep::Dropped;
    if !images.is_empty() && images.iter().all(is_dropped) {
        return None;
    }
    let own = images.iter().flat_map(|(_, names)| names.iter());
    Some(request.tags.iter().chain(own).cloned().collect())
}

/// Puts the images into the store: the only one under the names, or all of them together.
///
/// `manifests` are those that they are pushed with, in the same order; empty if they are not pushed.
pub(crate) fn keep(
    engine: &Engine,
    (images, manifests): (&[ImageToExport], &[Digest]),
    names: Vec<Reference>,
    (sink, key): (&dyn Sink, &VertexKey),
) -> Result<Kept> {
    let table = engine.image_table();
    let only = images.len() == 1;
    let mut entries = Vec::new();
    for (at, image) in images.iter().enumerate() {
        let row = ImageRow {
            sizes: table.sizes(&image.layers)?,
            layers: image.layers.clone(),
            manifest: manifests.get(at).cloned(),
        };
        let id = Digest::sha256_of(&image.config);
        status(sink, key, &format!("writing image {id}"), || {
            table.put(&image.config, row, if only { &names } else { &[] })
        })?;
        entries.push(IndexEntry {
            id,
            platform: image.platform.clone(),
            manifest: manifests.get(at).cloned(),
        });
    }
    let mut kept = Kept::default();
    if only {
        kept.config = entries.pop().map(|entry| entry.id);
    } else {
        let row = IndexRow {
            images: entries,
            document: None,
            others: Vec::new(),
        };
        table.put_index(row.clone(), &names)?;
        kept.index = Some(row);
    }
    for name in &names {
        status(sink, key, &format!("naming to {name}"), || {
            Ok::<_, BuildError>(())
        })?;
    }
    kept.names = names;
    Ok(kept)
}

impl Kept {
    /// The id of what was kept, or else that of the index that was written.
    ///
    /// Images of several platforms that were written as an index have its digest as their id from now on.
    pub fn id(&mut self, engine: &Engine, written: Option<&Digest>) -> Result<Option<Digest>> {
        let id = match (self.index.take(), written) {
            (Some(row), Some(document)) => Some(name_exported(engine, row, document, &self.names)?),
            (Some(row), None) => Some(row.id()),
            (None, written) => self.config.clone().or(written.cloned()),
        };
        Ok(id)
    }
}

/// Gives the images of several platforms the digest of the index that they were exported as.
fn name_exported(
    engine: &Engine,
    row: IndexRow,
    document: &Digest,
    names: &[Reference],
) -> Result<Digest> {
    let table = engine.image_table();
    let before = row.id();
    let row = IndexRow {
        document: Some(document.clone()),
        ..row
    };
    let id = table.put_index(row, names)?;
    table.forget_unnamed(&before)?;
    Ok(id)
}
