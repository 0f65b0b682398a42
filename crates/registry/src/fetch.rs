//! Blobs into the store or into memory, verified while they stream.

use std::io::Write;

use rbuild_oci::{Descriptor, Digest, Reference};
use rbuild_progress::{CancelToken, Meter, Sink, VertexKey};
use rbuild_store::Store;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::download::Download;
use crate::hosts::Wanted;
use crate::parallel::each;
use crate::{Error, Result};

/// Largest config that is read, in bytes.
const CONFIG_LIMIT: u64 = 8 * 1024 * 1024;
/// Pieces (of some 16 KiB) that may wait for the disk before the network is held up.
const QUEUE: usize = 64;

/// Where blobs go and who hears of it.
#[derive(Clone, Copy)]
pub struct FetchContext<'a> {
    /// The store that takes them.
    pub store: &'a Store,
    /// Hears of the bytes as they come, one status for each blob.
    pub sink: &'a dyn Sink,
    /// The vertex that the blobs are for.
    pub vertex: &'a VertexKey,
    /// Ends the fetch within moments.
    pub cancel: &'a CancelToken,
}

/// A transfer that ends with the value.
pub(crate) struct Guard(pub(crate) JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// Brings a blob into the store, unless it is there.
    ///
    /// Hashed while it streams; nothing enters the store unless digest and size are right. One of
    /// several processes or threads that want the same blob fetches it, the others wait for it.
    ///
    /// Errors: [`Error::WrongDigest`], [`Error::TooLong`], [`Error::Truncated`],
    /// [`Error::UnknownBlob`], [`Error::Store`], [`Error::Write`], those of the connection,
    /// [`Error::Cancelled`].
    pub fn fetch_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        cx: &FetchContext<'_>,
    ) -> Result<()> {
        self.fetch((reference, descriptor), cx)
    }

    /// Brings several blobs into the store, as many at once as the configuration allows.
    ///
    /// The first failure ends the others. Errors: as [`Client::fetch_blob`].
    pub fn fetch_many(
        &self,
        reference: &Reference,
        descriptors: &[Descriptor],
        cx: &FetchContext<'_>,
    ) -> Result<()> {
        let limit = self.inner.config.parallel;
        each(descriptors, (limit, cx.cancel), |one, stop| {
            let cancel = stop;
            self.fetch((reference, one), &FetchContext { cancel, ..*cx })
        })?;
        Ok(())
    }

    /// Gets an image config's bytes, verified.
    ///
    /// Errors: [`Error::TooLarge`] above 8 MiB; else as [`Client::fetch_blob`].
    pub fn config_bytes(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        cancel: &CancelToken,
    ) -> Result<Vec<u8>> {
        self.document_bytes(
            (reference, descriptor),
            ("the config", CONFIG_LIMIT),
            cancel,
        )
    }

    /// Gets a blob's bytes, verified; `limit` is the most that is read, and what it is of is named for
    /// the error.
    ///
    /// Errors: [`Error::TooLarge`]; else as [`Client::fetch_blob`].
    pub fn document_bytes(
        &self,
        what: (&Reference, &Descriptor),
        (named, limit): (&'static str, u64),
        cancel: &CancelToken,
    ) -> Result<Vec<u8>> {
        let (reference, descriptor) = what;
        if descriptor.size > limit {
            return Err(Error::TooLarge {
                what: named,
                name: reference.name(),
                limit,
            });
        }
        match self.document_from(what, Wanted::Digest, cancel) {
            Err(Error::WrongDigest { .. }) if self.has_mirrors(reference, cancel) => {
                self.document_from(what, Wanted::Registry, cancel)
            }
            outcome => outcome,
        }
    }

    fn document_from(
        &self,
        (reference, descriptor): (&Reference, &Descriptor),
        wanted: Wanted,
        cancel: &CancelToken,
    ) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let download = self.download((reference, descriptor), wanted, cancel);
        self.receive(download, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        let found = Digest::of(descriptor.digest.algorithm(), &bytes);
        if found != descriptor.digest {
            return Err(wrong_digest(reference, &descriptor.digest, found));
        }
        Ok(bytes)
    }

    fn fetch(&self, what: (&Reference, &Descriptor), cx: &FetchContext<'_>) -> Result<()> {
        let digest = &what.1.digest;
        if cx.store.has_blob(digest) {
            return Ok(());
        }
        let _lock = cx
            .store
            .work_lock(&format!("fetch-{}", digest.hex()), cx.cancel)
            .map_err(|source| refused(digest, source))?;
        if cx.store.has_blob(digest) {
            return Ok(());
        }
        match self.fetch_from(what, Wanted::Digest, cx) {
            // What a mirror brings is not the registry's fault, nor the user's.
            Err(Error::WrongDigest { .. }) if self.has_mirrors(what.0, cx.cancel) => {
                tracing::debug!(%digest, "a mirror brought something else");
                self.fetch_from(what, Wanted::Registry, cx)
            }
            outcome => outcome,
        }
    }

    /// Whether more than the registry itself may be asked for a blob.
    fn has_mirrors(&self, reference: &Reference, cancel: &CancelToken) -> bool {
        let endpoints = self.inner.endpoints(reference, Wanted::Digest);
        let found = self.wait(cancel, endpoints);
        found.is_ok_and(|all| all.iter().any(|one| one.host != all[all.len() - 1].host))
    }

    fn fetch_from(
        &self,
        (reference, descriptor): (&Reference, &Descriptor),
        wanted: Wanted,
        cx: &FetchContext<'_>,
    ) -> Result<()> {
        let digest = &descriptor.digest;
        let meter = Meter::new(cx.sink, cx.vertex, digest.as_str(), Some(descriptor.size));
        let mut ingest = cx.store.ingest().map_err(|e| refused(digest, e))?;
        let download = self.download((reference, descriptor), wanted, cx.cancel);
        self.receive(download, |piece| {
            ingest.write_all(piece).map_err(|source| Error::Write {
                digest: digest.clone(),
                source,
            })?;
            meter.add(piece.len() as u64);
            Ok(())
        })?;
        match ingest.commit(Some(digest)) {
            Ok(_) => Ok(()),
            Err(rbuild_store::Error::DigestMismatch { expected, found }) => {
                Err(wrong_digest(reference, &expected, found))
            }
            Err(source) => Err(refused(digest, source)),
        }
    }

    /// Describes a download, and gives the end that its pieces come out of.
    fn download(
        &self,
        (reference, descriptor): (&Reference, &Descriptor),
        wanted: Wanted,
        cancel: &CancelToken,
    ) -> (Download, mpsc::Receiver<Result<bytes::Bytes>>) {
        let (pieces, receiver) = mpsc::channel(QUEUE);
        let download = Download {
            inner: self.inner.clone(),
            reference: reference.clone(),
            descriptor: descriptor.clone(),
            wanted,
            cancel: cancel.clone(),
            pieces,
        };
        (download, receiver)
    }

    /// Runs a download on the network thread and hands its pieces out on this one, where hashing
    /// and writing do not hold up other connections.
    fn receive(
        &self,
        (download, mut pieces): (Download, mpsc::Receiver<Result<bytes::Bytes>>),
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let expected = download.descriptor.size;
        let (name, digest) = (
            download.reference.name(),
            download.descriptor.digest.clone(),
        );
        download.cancel.check()?;
        let _guard = Guard(self.runtime()?.spawn(download.run()));
        let mut found = 0;
        while let Some(piece) = pieces.blocking_recv() {
            let piece = piece?;
            found += piece.len() as u64;
            take(&piece)?;
        }
        // The task sends an error before it ends early; this is for one that died without.
        if found == expected {
            return Ok(());
        }
        Err(Error::Truncated {
            name,
            digest,
            expected,
            found,
            source: None,
        })
    }
}

fn refused(digest: &Digest, source: rbuild_store::Error) -> Error {
    Error::Store {
        digest: digest.clone(),
        source,
    }
}

fn wrong_digest(reference: &Reference, expected: &Digest, found: Digest) -> Error {
    Error::WrongDigest {
        name: reference.name(),
        expected: expected.clone(),
        found,
    }
}
