//! A cache under a tag of a repository.
//!
//! The tag stands for a manifest that names everything that the index needs, so that a registry which
//! collects what nothing names keeps it. Blobs come and go as those of images do: verified, resumed, taken
//! over from other repositories of the same registry.
//!
//! Two writers may read the same tag and write one after the other. The second is told if it can be seen;
//! between the last look and the writing nothing stops it, so whoever wrote reads again.

mod buildkit;
mod found;
mod manifest;
mod place;
mod root;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rbuild_oci::{Descriptor, Digest, Reference};
use rbuild_progress::{CancelToken, NullSink, VertexKey};
use rbuild_registry::{
    Client, Error as RegistryError, InStore, LazyClient, PushBlob, PushContext, note_blob_homes,
};
use rbuild_store::Store;

use super::{Backend, IndexDocument, NewIndex};
use crate::index::Index;
use crate::{Error, Result};

use found::Found;
use manifest::Document;
pub use place::{Form, RegistryPlace};
use root::{Failure, Root};

/// What documents of a registry are called in errors.
const INDEX: &str = "index";

/// How long to wait after writing for those who were about to write, at least and at most; in between it
/// is so many times as long as the last look and the writing took.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const PAUSE_FACTOR: u32 = 3;

/// A cache in a registry.
pub struct RegistryBackend {
    place: RegistryPlace,
    name: String,
    client: Arc<LazyClient>,
    insecure: OnceLock<Client>,
    state: Mutex<State>,
}

/// What is known of the repository.
#[derive(Default)]
struct State {
    /// What the tag names, when it was last looked at or written.
    listed: Option<BTreeMap<Digest, u64>>,
    /// Blobs that it names and that are not there.
    gone: BTreeSet<Digest>,
    /// Indexes that are not there any more, or are something else: there is nothing to merge.
    unreadable: BTreeSet<Digest>,
    /// Why nothing can be sent here.
    denied: Option<String>,
}

impl RegistryBackend {
    /// The cache at `place`. Does no I/O.
    pub fn new(place: RegistryPlace, client: Arc<LazyClient>) -> Self {
        Self {
            name: format!("registry {}", place.reference.familiar()),
            place,
            client,
            insecure: OnceLock::new(),
            state: Mutex::default(),
        }
    }

    fn client(&self) -> Result<&Client> {
        let client = self.client.get();
        let client = client.map_err(|error| Error::place(&self.name, "log in", error))?;
        if !self.place.insecure {
            return Ok(client);
        }
        let domain = self.place.reference.domain();
        Ok(self.insecure.get_or_init(|| client.with_insecure(domain)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the tag stands for now; `None` if there is no such tag.
    ///
    /// The registry itself is asked: what a mirror keeps of a tag is old, and this one changes often.
    fn root(&self, cancel: &CancelToken) -> Result<Option<(Digest, Root)>> {
        let client = self.client()?;
        let reference = &self.place.reference;
        let document = |descriptor: &Descriptor| {
            let pinned = reference.with_digest(descriptor.digest.clone());
            Ok(client.resolve(&pinned, cancel)?.bytes)
        };
        let found = match client.resolve_at_home(reference, cancel) {
            Ok(found) => root::read(&found.bytes, found.media_type(), document)
                .map(|root| (found.descriptor.digest, root)),
            Err(error) if is_unknown(&error) => {
                self.state().listed = Some(BTreeMap::new());
                return Ok(None);
            }
            Err(error) => Err(error.into()),
        };
        let found = found.map_err(|failure| self.unclear(failure))?;
        self.state().listed = Some(found.1.listed());
        Ok(Some(found))
    }

    /// What lies here, looked into; `None` if there is no such tag.
    fn look(&self, cancel: &CancelToken) -> Result<Option<Found>> {
        let Some(root) = self.root(cancel)? else {
            return Ok(None);
        };
        let found = found::look((self.client()?, &self.place), root, cancel);
        found.map(Some).map_err(|failure| self.unclear(failure))
    }

    /// Says what lies here, for people. Errors: the registry cannot be asked, or makes no sense.
    pub fn describe(&self, cancel: &CancelToken) -> Result<String> {
        let found = self.look(cancel)?;
        Ok(found.map_or_else(|| "nothing yet".to_owned(), |found| found.to_string()))
    }

    fn unclear(&self, failure: Failure) -> Error {
        match failure {
            Failure::Registry(error) => self.failed("read the tag", error),
            Failure::Document(reason) => Error::Document {
                place: self.name.clone(),
                what: "manifest",
                reason,
            },
        }
    }

    fn foreign(&self, what: String) -> Error {
        Error::Foreign {
            place: self.name.clone(),
            what,
        }
    }

    /// Gets an index of ours.
    fn index(&self, index: &Descriptor, cancel: &CancelToken) -> Result<IndexDocument> {
        if index.size > IndexDocument::MAX_BYTES {
            return Err(Error::TooLarge {
                place: self.name.clone(),
                what: INDEX,
                limit: IndexDocument::MAX_BYTES,
            });
        }
        let limit = ("the index", IndexDocument::MAX_BYTES);
        let bytes = self
            .client()?
            .document_bytes((&self.place.reference, index), limit, cancel)
            .map_err(|error| self.unread(index, error))?;
        Ok(IndexDocument {
            name: index.digest.to_string(),
            bytes,
        })
    }

    /// Why an index cannot be had; one that is gone or damaged can be replaced.
    fn unread(&self, index: &Descriptor, error: RegistryError) -> Error {
        match self.failed("read the index", error) {
            error @ (Error::Gone { .. } | Error::Corrupt { .. }) => {
                self.state().unreadable.insert(index.digest.clone());
                Error::Document {
                    place: self.name.clone(),
                    what: INDEX,
                    reason: error.to_string(),
                }
            }
            other => other,
        }
    }

    /// What the registry said, as callers tell it apart.
    fn failed(&self, action: &'static str, error: RegistryError) -> Error {
        let place = self.name.clone();
        match error {
            error if error.is_cancelled() => Error::Cancelled,
            RegistryError::Store { source, .. } => Error::Store(source),
            RegistryError::UnknownBlob { digest, .. } => Error::Gone { place, digest },
            RegistryError::WrongDigest {
                expected, found, ..
            } => Error::Corrupt {
                place,
                digest: expected,
                reason: format!("it is {found}"),
            },
            RegistryError::TooLong {
                digest, expected, ..
            } => Error::Corrupt {
                place,
                digest,
                reason: format!("it has more than {expected} bytes"),
            },
            // It ended where it ends: that is all there is of it.
            RegistryError::Truncated {
                digest,
                expected,
                found,
                source: None,
                ..
            } => Error::Corrupt {
                place,
                digest,
                reason: format!("it has {found} bytes instead of {expected}"),
            },
            error => Error::place(&place, action, error),
        }
    }

    /// Errors: sending was refused before, and would be again.
    fn may_send(&self) -> Result<()> {
        match &self.state().denied {
            None => Ok(()),
            Some(said) => Err(Error::place(&self.name, "write", said.clone())),
        }
    }

    /// What sending came to; remembers a refusal.
    fn sent<T>(&self, outcome: Result<T, RegistryError>) -> Result<T> {
        if let Err(error @ RegistryError::PushDenied { .. }) = &outcome {
            self.state().denied = Some(error.to_string());
        }
        outcome.map_err(|error| self.failed("write", error))
    }

    /// Errors: what lies under the tag must not be written over, or has to be merged first.
    fn may_replace(&self, index: &NewIndex<'_>, cancel: &CancelToken) -> Result<()> {
        let is_merged = |there: &Digest| {
            index.merged.contains(&there.to_string()) || self.state().unreadable.contains(there)
        };
        match self.root(cancel) {
            Ok(Some((_, Root::Cache { index: there, .. }))) if !is_merged(&there.digest) => {
                let place = self.name.clone();
                Err(Error::Moved { place })
            }
            // What nobody can read is replaced.
            Ok(None | Some((_, Root::Cache { .. }))) | Err(Error::Document { .. }) => Ok(()),
            // Somebody else's: an image under the tag must not turn into a cache.
            Ok(Some((_, other))) => {
                Err(self.foreign(format!("{other}; give the cache a tag of its own")))
            }
            Err(error) => Err(error),
        }
    }

    /// Stores a manifest.
    fn put(
        &self,
        (name, document): (&Reference, &Document),
        index: &NewIndex<'_>,
        cancel: &CancelToken,
    ) -> Result<()> {
        let (descriptor, bytes) = document;
        match self
            .client()?
            .push_manifest(name, descriptor, bytes, cancel)
        {
            Err(error @ RegistryError::Refused { .. }) => Err(self.refused(index, error, cancel)),
            other => self.sent(other),
        }
    }

    /// What a registry may mean that does not take a manifest: a blob is not there that should be, or it
    /// knows only images.
    fn refused(&self, index: &NewIndex<'_>, error: RegistryError, cancel: &CancelToken) -> Error {
        let there = self
            .client()
            .map(|client| client.present(&self.place.reference, index.blobs, cancel));
        if let Ok(Ok(there)) = there {
            let named = index.blobs.iter().map(|blob| &blob.digest);
            let gone: Vec<Digest> = named.filter(|one| !there.contains(one)).cloned().collect();
            self.state().gone.extend(gone.iter().cloned());
            if let Some(digest) = gone.into_iter().next() {
                let place = self.name.clone();
                return Error::Gone { place, digest };
            }
        }
        match self.place.form {
            Form::Manifest => {
                let advice = "image-manifest=false writes the cache in another form";
                Error::place(&self.name, "write", format!("{error}; {advice}"))
            }
            Form::OciIndex | Form::DockerIndex => self.failed("write", error),
        }
    }
}

impl Backend for RegistryBackend {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_indexes(&self, cancel: &CancelToken) -> Result<Vec<IndexDocument>> {
        match self.look(cancel)? {
            None => Ok(Vec::new()),
            Some(Found::Cache { index, .. }) => Ok(vec![self.index(&index, cancel)?]),
            // Records in images are an index like any other from here on.
            Some(Found::Inline { name, entries }) => Ok(vec![IndexDocument {
                name: name.to_string(),
                bytes: Index::of_steps(entries).encode()?,
            }]),
            Some(other) => Err(self.foreign(other.to_string())),
        }
    }

    fn write_index(&self, index: &NewIndex<'_>, cancel: &CancelToken) -> Result<()> {
        self.may_send()?;
        self.may_replace(index, cancel)?;
        let reference = &self.place.reference;
        let documents = manifest::documents(self.place.form, index)
            .map_err(|reason| Error::place(&self.name, "name blobs", reason))?;
        for (descriptor, bytes) in &documents.blobs {
            let pushed = self
                .client()?
                .push_bytes(reference, (descriptor, bytes), cancel);
            self.sent(pushed)?;
        }
        for part in &documents.parts {
            let pinned = reference.with_digest(part.0.digest.clone());
            self.put((&pinned, part), index, cancel)?;
        }
        // The last look, as late as can be.
        let looked = Instant::now();
        self.may_replace(index, cancel)?;
        self.put((reference, &documents.tagged), index, cancel)?;
        let named = index.blobs.iter();
        let named = named.map(|blob| (blob.digest.clone(), blob.size)).collect();
        self.state().listed = Some(named);
        // Whoever looked before we wrote has written soon: the caller, who reads again, is to see it.
        let pause = looked.elapsed().saturating_mul(PAUSE_FACTOR);
        cancel.wait(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE))?;
        Ok(())
    }

    fn present(&self, blobs: &[Descriptor], cancel: &CancelToken) -> Result<BTreeSet<Digest>> {
        cancel.check()?;
        if blobs.is_empty() {
            return Ok(BTreeSet::new());
        }
        if self.state().listed.is_none() {
            self.root(cancel)?;
        }
        let is_listed = |blob: &&Descriptor| {
            let state = self.state();
            let size = state.listed.as_ref().and_then(|all| all.get(&blob.digest));
            size == Some(&blob.size) && !state.gone.contains(&blob.digest)
        };
        let (listed, others): (Vec<&Descriptor>, Vec<&Descriptor>) =
            blobs.iter().partition(is_listed);
        let others: Vec<Descriptor> = others.into_iter().cloned().collect();
        let found = self
            .client()?
            .present(&self.place.reference, &others, cancel);
        let mut found = found.map_err(|error| self.failed("look for blobs", error))?;
        found.extend(listed.into_iter().map(|blob| blob.digest.clone()));
        Ok(found)
    }

    fn fetch(
        &self,
        blob: &Descriptor,
        store: &Store,
        progress: &dyn Fn(u64),
        cancel: &CancelToken,
    ) -> Result<()> {
        let reference = &self.place.reference;
        let fetched = self
            .client()?
            .fetch_telling((reference, blob), store, progress, cancel);
        match fetched.map_err(|error| self.failed("fetch", error)) {
            Ok(()) => Ok(note_blob_homes(
                store,
                reference,
                [&blob.digest].into_iter(),
            )?),
            Err(error) => {
                if let Error::Gone { digest, .. } = &error {
                    self.state().gone.insert(digest.clone());
                }
                Err(error)
            }
        }
    }

    fn send(&self, blob: &Descriptor, store: &Store, cancel: &CancelToken) -> Result<()> {
        self.may_send()?;
        let reference = &self.place.reference;
        let blob = PushBlob {
            descriptor: blob.clone(),
            mount_from: Vec::new(),
        };
        let cx = PushContext {
            store,
            supply: &InStore,
            sink: &NullSink,
            vertex: &VertexKey::new("cache"),
            cancel,
        };
        self.sent(self.client()?.push_blob(reference, &blob, &cx))?;
        self.state().gone.remove(&blob.descriptor.digest);
        Ok(())
    }
}

/// Whether nobody has written under the tag yet, or into the repository.
fn is_unknown(error: &RegistryError) -> bool {
    matches!(
        error,
        RegistryError::UnknownManifest { .. } | RegistryError::UnknownRepository { .. }
    )
}
