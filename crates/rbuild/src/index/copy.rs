//! An index and all that it lists into the repositories of its names.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::sync::{Mutex, PoisonError};

use rbuild_oci::{Descriptor, Digest, Reference};
use rbuild_progress::{CancelToken, Sink, VertexKey};
use rbuild_registry::{Client, FetchContext, PushBlob, PushContext, Supply};

use super::IndexMade;
use super::list::List;
use super::source::{Origin, Part, parse_manifest};
use crate::engine::Engine;
use crate::step::{announced, status};
use crate::{BuildError, Result};

/// Longest manifest that is read back, in bytes.
const MANIFEST_MAX: u64 = 4 << 20;

/// Sends a list: content and manifests to every repository first, then the document under each name.
///
/// `fetched` gets the blobs that are in the store only because they had to be copied through it.
pub(super) fn send(
    engine: &Engine,
    (list, names): (&List, &[Reference]),
    fetched: &Mutex<Vec<Digest>>,
    (sink, cancel): (&dyn Sink, &CancelToken),
) -> Result<IndexMade> {
    let shown: Vec<String> = names.iter().map(Reference::familiar).collect();
    announced(
        sink,
        &format!("creating index {}", shown.join(", ")),
        |key| {
            let copying = Copying {
                engine,
                client: engine.client()?,
                fetched,
                sink,
                key,
                cancel,
            };
            let mut seen = BTreeSet::new();
            for repository in names.iter().filter(|name| seen.insert(name.name())) {
                for part in &list.parts {
                    copying.part(part, repository)?;
                }
            }
            for name in names {
                let shown = format!(
                    "pushing manifest for {}",
                    name.with_digest(list.document.digest.clone())
                );
                let push = || {
                    copying
                        .client
                        .push_manifest(name, &list.document, &list.bytes, cancel)
                };
                status(sink, key, &shown, push).map_err(|error| BuildError::push(name, error))?;
            }
            Ok::<_, BuildError>(())
        },
    )?;
    Ok(IndexMade {
        descriptor: list.document.clone(),
        bytes: list.bytes.clone(),
        names: names.to_vec(),
    })
}

struct Copying<'a> {
    engine: &'a Engine,
    client: &'a Client,
    fetched: &'a Mutex<Vec<Digest>>,
    sink: &'a dyn Sink,
    key: &'a VertexKey,
    cancel: &'a CancelToken,
}

impl Copying<'_> {
    /// Gives a repository a manifest and its blobs, unless it has come from there.
    fn part(&self, part: &Part, target: &Reference) -> Result<()> {
        let digest = &part.entry.digest;
        let source = match &part.origin {
            Origin::Registry(source) if source.name() == target.name() => return Ok(()),
            Origin::Registry(source) => Some(source),
            Origin::Store => None,
        };
        let bytes = match source {
            Some(source) => {
                let reference = source.with_digest(digest.clone());
                self.client.resolve(&reference, self.cancel)?.bytes
            }
            None => self.engine.store().read_blob(digest, MANIFEST_MAX)?,
        };
        let manifest = parse_manifest(&bytes, digest.as_str())?;
        let mount_from = source.filter(|source| source.domain() == target.domain());
        let mount_from: Vec<String> = mount_from.iter().map(|it| it.path().to_owned()).collect();
        let mut seen = BTreeSet::new();
        let blobs: Vec<PushBlob> = manifest
            .layers
            .iter()
            .chain([&manifest.config])
            .filter(|blob| seen.insert(blob.digest.clone()))
            .map(|blob| PushBlob {
                descriptor: blob.clone(),
                mount_from: mount_from.clone(),
            })
            .collect();
        let supply = Through {
            copying: self,
            source,
        };
        let cx = PushContext {
            store: self.engine.store(),
            supply: &supply,
            sink: self.sink,
            vertex: self.key,
            cancel: self.cancel,
        };
        let refused = |error| BuildError::push(target, error);
        self.client
            .push_blobs(target, &blobs, &cx)
            .map_err(refused)?;
        let place = target.with_digest(digest.clone());
        let entry = Descriptor::new(&*part.entry.media_type, digest.clone(), part.entry.size);
        status(
            self.sink,
            self.key,
            &format!("pushing manifest {digest}"),
            || {
                self.client
                    .push_manifest(&place, &entry, &bytes, self.cancel)
            },
        )
        .map_err(refused)
    }
}

/// Brings blobs from one registry on their way to another.
struct Through<'a> {
    copying: &'a Copying<'a>,
    source: Option<&'a Reference>,
}

impl Supply for Through<'_> {
    fn provide(
        &self,
        blob: &Descriptor,
        cancel: &CancelToken,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let Copying {
            engine,
            client,
            fetched,
            ..
        } = self.copying;
        let store = engine.store();
        if store.has_blob(&blob.digest) {
            return Ok(());
        }
        let Some(source) = self.source else {
            // The push says which blob the store lacks.
            return Ok(());
        };
        let cx = FetchContext {
            store,
            sink: self.copying.sink,
            vertex: self.copying.key,
            cancel,
        };
        client.fetch_blob(source, blob, &cx)?;
        let mut fetched = fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.push(blob.digest.clone());
        Ok(())
    }
}
