//! Indexes over images that exist already: put together, looked at, annotated.
//!
//! What `docker buildx imagetools` does, for builds that are spread over machines.

mod copy;
mod list;
mod source;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use rbuild_exporter::Annotation;
use rbuild_oci::{Address, Descriptor, Digest, Platform, Reference};
use rbuild_progress::{CancelToken, Sink};
use rbuild_store::{Lease, Store, Table};

use crate::engine::Engine;
use crate::step::announced;
use crate::{BuildError, ErrorKind, Result};

use list::{List, combined};
use source::Opened;

/// An index to be made.
#[derive(Debug, Clone)]
pub struct IndexRequest {
    /// Names it gets, each in its registry.
    pub names: Vec<Reference>,
    /// What is listed in it, in order.
    pub sources: Vec<IndexSource>,
    /// What becomes of an index that the name has already.
    pub standing: Standing,
    /// What becomes of a single source.
    pub single: Single,
    /// Which platforms are taken over; empty is all.
    pub platforms: Vec<Platform>,
    /// Annotations of the index, and of the descriptors in it.
    pub annotations: Vec<Annotation>,
}

/// What is to be listed in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexSource {
    /// An image or index. A bare name is looked for in its registry, then in the store.
    Address(Address),
    /// What a descriptor names, in a repository.
    Descriptor {
        /// Media type, digest and size.
        descriptor: Box<Descriptor>,
        /// The repository; `None` is that of the first name.
        repository: Option<Reference>,
    },
}

/// What becomes of an index that a name has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The new one takes its place.
    Replaced,
    /// It is added to; a platform that it has already gets the new image.
    Extended,
}

/// What becomes of a source that is the only one, and a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Single {
    /// It is put under an index.
    Indexed,
    /// It is copied as it is.
    Copied,
}

/// An index, or what was copied in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexMade {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Vec<u8>,
    /// The names that it has now.
    pub names: Vec<Reference>,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedIndex {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Vec<u8>,
    /// What an index lists; the image itself where there is none.
    pub entries: Vec<Descriptor>,
    /// The name, if that is one.
    pub name: Option<Reference>,
    /// Whether the store has it, or a file, and not a registry.
    pub is_local: bool,
}

impl Engine {
    /// Puts an index together without sending anything; it has no names.
    ///
    /// Errors: a source cannot be read, or nothing is left of all of them.
    pub fn plan_index(
        &self,
        request: &IndexRequest,
        (sink, cancel): (&dyn Sink, &CancelToken),
    ) -> Result<IndexMade> {
        let _running = self.running();
        let (list, _) = self.list(request, (sink, cancel))?;
        Ok(IndexMade {
            descriptor: list.document.clone(),
            bytes: list.bytes,
            names: Vec::new(),
        })
    }

    /// Puts an index together and sends it under its names, with all that it lists: blobs are mounted where
    /// the registry has them in another repository, else copied. The tags are set last.
    ///
    /// Errors: as [`Engine::plan_index`], and what a registry refuses.
    pub fn create_index(
        &self,
        request: &IndexRequest,
        (sink, cancel): (&dyn Sink, &CancelToken),
    ) -> Result<IndexMade> {
        if let Some(name) = request.names.iter().find(|name| name.digest().is_some()) {
            let message = format!("{name} names a digest, which only the index itself decides");
            return Err(BuildError::new(ErrorKind::Usage, message).help("leave the digest out"));
        }
        let fetched = Mutex::default();
        let made = {
            let _running = self.running();
            let (list, _leases) = self.list(request, (sink, cancel))?;
            copy::send(self, (&list, &request.names), &fetched, (sink, cancel))
        };
        // Nobody holds them any more, also where something went wrong, which counts first.
        let fetched = fetched.into_inner().unwrap_or_else(PoisonError::into_inner);
        let removed = self.remove_unneeded(&fetched, cancel);
        made.and_then(|made| removed.map(|()| made))
    }

    /// What a name or address stands for: in its registry, else in the store.
    ///
    /// Errors: there is no such thing.
    pub fn inspect_index(
        &self,
        address: &Address,
        (sink, cancel): (&dyn Sink, &CancelToken),
    ) -> Result<InspectedIndex> {
        let _running = self.running();
        let opened = source::open(self, address, (sink, cancel))?;
        let name = match address {
            Address::Name(text) => Reference::parse(text).ok(),
            Address::Registry(reference) => Some(reference.clone()),
            _ => None,
        };
        let is_local = opened
            .parts
            .iter()
            .any(|part| part.origin == source::Origin::Store);
        Ok(InspectedIndex {
            is_local,
            descriptor: opened.document,
            bytes: opened.bytes,
            entries: opened.parts.into_iter().map(|part| part.entry).collect(),
            name,
        })
    }

    /// The list, and what keeps the parts of it that are in the store from collection.
    fn list(
        &self,
        request: &IndexRequest,
        (sink, cancel): (&dyn Sink, &CancelToken),
    ) -> Result<(List, Vec<Arc<Lease>>)> {
        let standing = match (request.standing, request.names.as_slice()) {
            (Standing::Replaced, _) => None,
            (Standing::Extended, [name]) => Some(
                source::in_registry(self, name, cancel)
                    .map_err(|e| e.help("without --append an index is made where there is none"))?,
            ),
            (Standing::Extended, _) => {
                let message = "an index is added to under one name";
                return Err(BuildError::new(ErrorKind::Usage, message));
            }
        };
        let sources = request.sources.iter();
        let sources = sources
            .map(|source| self.source(source, &request.names, (sink, cancel)))
            .collect::<Result<Vec<Opened>>>()?;
        let leases = sources.iter().filter_map(|source| source.lease.clone());
        let leases = leases.collect();
        Ok((combined(standing, sources, request)?, leases))
    }

    fn source(
        &self,
        source: &IndexSource,
        names: &[Reference],
        (sink, cancel): (&dyn Sink, &CancelToken),
    ) -> Result<Opened> {
        match source {
            IndexSource::Address(address) => {
                let name = format!("[internal] load {address}");
                announced(sink, &name, |_| source::open(self, address, (sink, cancel)))
            }
            IndexSource::Descriptor {
                descriptor,
                repository,
            } => {
                let Some(repository) = repository.as_ref().or(names.first()) else {
                    let message = "a descriptor needs a name, whose repository has it";
                    return Err(BuildError::new(ErrorKind::Usage, message));
                };
                let reference = repository.with_digest(descriptor.digest.clone());
                source::in_registry(self, &reference, cancel)
            }
        }
    }

    /// Removes blobs that were fetched for a copy, unless something else uses them by now: another process may
    /// have found them here, and have no other place to get them from.
    fn remove_unneeded(&self, blobs: &[Digest], cancel: &CancelToken) -> Result<()> {
        if blobs.is_empty() {
            return Ok(());
        }
        let store = self.store();
        let lock = store.gc_lock(cancel)?;
        let named = named(store, blobs)?;
        for digest in blobs.iter().filter(|digest| !named.contains(digest)) {
            store.remove_blob(&lock, digest)?;
        }
        Ok(())
    }
}

/// Those of some blobs that a layer, an image, a push or a memory of a registry names.
fn named<'b>(store: &Store, blobs: &'b [Digest]) -> Result<BTreeSet<&'b Digest>> {
    let mut named = BTreeSet::new();
    for table in [Table::Layers, Table::Images, Table::Remotes] {
        for (key, row) in store.list(table, "")? {
            // Names stand in full in all of these rows, which are JSON.
            let row = String::from_utf8_lossy(&row);
            let names = |digest: &&Digest| key == digest.as_str() || row.contains(digest.as_str());
            named.extend(blobs.iter().filter(names));
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_that_records_name_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let blobs: Vec<Digest> = (0u8..5).map(|n| Digest::sha256_of(&[n])).collect();
        let [config, manifest, layer, pushed, spare] = blobs.as_slice() else {
            panic!("five blobs");
        };
        let row = |digest: &Digest| format!("{{\"some\":[\"{digest}\"]}}");
        let put = |table, key: &str, row: String| store.put(table, key, row.as_bytes()).unwrap();
        put(Table::Images, config.as_str(), row(manifest));
        put(Table::Layers, "an id", row(layer));
        put(Table::Remotes, "push h.io/a", row(pushed));
        // Where the upload of a copy goes on is no use of the blob.
        put(
            Table::Remotes,
            &format!("upload h.io/a {spare}"),
            "http://h.io/u".to_owned(),
        );
        let expected = BTreeSet::from([config, manifest, layer, pushed]);
        assert_eq!(named(&store, &blobs).unwrap(), expected);
    }
}
