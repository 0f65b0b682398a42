//! From a name to a manifest.

use rbuild_oci::media_type::{
    DOCKER_INDEX, DOCKER_MANIFEST, DOCKER_MANIFEST_V1, DOCKER_MANIFEST_V1_SIGNED, OCI_INDEX,
    OCI_MANIFEST,
};
use rbuild_oci::{Descriptor, Digest, Index, Manifest, MediaType, Platform, Reference};
use rbuild_progress::CancelToken;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::auth::Access;
use crate::body::{BodyError, read_limited};
use crate::client::{Client, Inner, Place};
use crate::document;
use crate::failure::{Subject, failure};
use crate::hosts::Wanted;
use crate::network::reason;
use crate::retry::STALLS;
use crate::{Error, Result};

/// Largest manifest or index that is read, in bytes. Registries refuse larger ones as well.
const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;
/// Indexes may lie within indexes; more than this deep is a joke at our expense.
const INDEX_DEPTH: usize = 3;
/// Header with the digest of a manifest. Source: distribution-spec, "Pulling manifests".
const DIGEST_HEADER: &str = "docker-content-digest";

/// What a name stands for right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Media type, digest and size of the document.
    pub descriptor: Descriptor,
    /// The document's bytes, verified against the digest.
    pub bytes: Vec<u8>,
}

impl Resolved {
    /// What the document is: an index or a manifest.
    pub fn media_type(&self) -> MediaType {
        self.descriptor.kind()
    }
}

/// One image, chosen by platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformManifest {
    /// What the name stands for: the index if there is one, else the manifest itself.
    pub root: Descriptor,
    /// The manifest; its platform is that of the index's entry, absent without an index.
    pub descriptor: Descriptor,
    /// The manifest's bytes, verified.
    pub bytes: Vec<u8>,
    /// The manifest, read.
    pub manifest: Manifest,
}

impl Client {
    /// Finds out what a name stands for, and gets the document.
    ///
    /// A digest in the reference wins over the tag, and the bytes are verified against it; without
    /// one they are verified against the digest that the registry states.
    ///
    /// Errors: [`Error::UnknownManifest`], [`Error::UnknownRepository`], [`Error::Denied`],
    /// [`Error::WrongDigest`], [`Error::TooLarge`], [`Error::NotAnImage`], those of the connection,
    /// [`Error::Cancelled`].
    pub fn resolve(&self, reference: &Reference, cancel: &CancelToken) -> Result<Resolved> {
        self.wait(cancel, self.inner.resolve(reference, cancel))
    }

    /// As [`Client::resolve`], but asks the registry itself and no mirror: what was just written counts.
    ///
    /// Errors: as there.
    pub fn resolve_at_home(&self, reference: &Reference, cancel: &CancelToken) -> Result<Resolved> {
        self.wait(cancel, async {
            let endpoint = self.inner.registry(reference).await?;
            let place = Place {
                endpoint: &endpoint,
                reference,
                access: Access::Pull,
                cancel,
            };
            self.inner.get_manifest(&place).await
        })
    }

    /// Finds out what a name stands for without getting the document, where the registry lets us.
    ///
    /// Cheaper than [`Client::resolve`], and not counted by registries that limit pulls. The answer
    /// is the registry's word: what is fetched by this digest later is verified then.
    /// Errors: as [`Client::resolve`].
    pub fn resolve_descriptor(
        &self,
        reference: &Reference,
        cancel: &CancelToken,
    ) -> Result<Descriptor> {
        self.wait(cancel, async {
            let head = self.inner.over_places(reference, cancel, async |place| {
                self.inner.head(&place).await
            });
            match head.await? {
                Some(descriptor) => Ok(descriptor),
                // No such answer, or an error whose text only a GET brings.
                None => Ok(self.inner.resolve(reference, cancel).await?.descriptor),
            }
        })
    }

    /// Gets the manifest of the image for a platform.
    ///
    /// Of an index the best entry is taken, by [`Platform::rank`], the first of equals. A name that
    /// stands for a single manifest gives that one whatever its platform, which only its config tells.
    ///
    /// Errors: [`Error::NoPlatform`] with all that the index offers; else as [`Client::resolve`].
    pub fn manifest_for(
        &self,
        reference: &Reference,
        platform: &Platform,
        cancel: &CancelToken,
    ) -> Result<PlatformManifest> {
        self.wait(cancel, self.inner.manifest_for(reference, platform, cancel))
    }
}

impl Inner {
    async fn resolve(&self, reference: &Reference, cancel: &CancelToken) -> Result<Resolved> {
        let get = async |place: Place<'_>| self.get_manifest(&place).await;
        self.over_places(reference, cancel, get).await
    }

    async fn manifest_for(
        &self,
        reference: &Reference,
        platform: &Platform,
        cancel: &CancelToken,
    ) -> Result<PlatformManifest> {
        let mut resolved = self.resolve(reference, cancel).await?;
        let root = resolved.descriptor.clone();
        let unreadable = |source| Error::Document {
            name: reference.name(),
            source,
        };
        for _ in 0..=INDEX_DEPTH {
            if resolved.media_type() != MediaType::Index {
                let manifest = Manifest::from_bytes(&resolved.bytes).map_err(unreadable)?;
                let Resolved { descriptor, bytes } = resolved;
                return Ok(PlatformManifest {
                    root,
                    descriptor,
                    bytes,
                    manifest,
                });
            }
            let index = Index::from_bytes(&resolved.bytes).map_err(unreadable)?;
            let chosen = choose(&index, platform).ok_or_else(|| Error::NoPlatform {
                reference: reference.to_string(),
                wanted: Box::new(platform.clone()),
                offered: offered(&index),
            })?;
            let pinned = reference.with_digest(chosen.digest.clone());
            resolved = self.resolve(&pinned, cancel).await?;
            resolved.descriptor.platform = chosen.platform.clone();
        }
        let reason = format!("its indexes are nested more than {INDEX_DEPTH} deep");
        Err(Error::NotAnImage {
            reference: reference.to_string(),
            reason,
        })
    }

    /// Tries `work` at each place in turn; the last one's error counts.
    pub(crate) async fn over_places<T>(
        &self,
        reference: &Reference,
        cancel: &CancelToken,
        work: impl AsyncFn(Place<'_>) -> Result<T>,
    ) -> Result<T> {
        let wanted = match reference.digest() {
            Some(_) => Wanted::Digest,
            None => Wanted::Tag,
        };
        let endpoints = self.endpoints(reference, wanted).await?;
        let mut turns = self.turns(&endpoints);
        while let Some(endpoint) = turns.next() {
            let outcome = work(Place {
                endpoint,
                reference,
                access: Access::Pull,
                cancel,
            })
            .await;
            if let Some(outcome) = turns.settle(endpoint, outcome) {
                return outcome;
            }
        }
        Err(turns.failure())
    }

    /// The descriptor from a HEAD answer, if it holds one.
    async fn head(&self, place: &Place<'_>) -> Result<Option<Descriptor>> {
        let path = manifest_path(place.reference);
        let response = self.request(place, Method::HEAD, &path, accept()).await?;
        if !response.status().is_success() {
            return Ok(None);
        }
        let text = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let digest = text(DIGEST_HEADER).and_then(|text| Digest::parse(text).ok());
        let size = text(CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok());
        let media_type = text(CONTENT_TYPE.as_str()).unwrap_or_default();
        let known = matches!(
            MediaType::of(media_type),
            MediaType::Index | MediaType::Manifest
        );
        let agrees = place
            .reference
            .digest()
            .is_none_or(|wanted| Some(wanted) == digest.as_ref());
        Ok(match (digest, size) {
            (Some(digest), Some(size)) if known && agrees => {
                Some(Descriptor::new(media_type, digest, size))
            }
            _ => None,
        })
    }

    /// The digest of the document that a name stands for, taken of its bytes.
    pub(crate) async fn document_digest(&self, place: &Place<'_>) -> Result<Digest> {
        let (_, bytes) = self.get_document(place).await?;
        Ok(Digest::sha256_of(&bytes))
    }

    pub(crate) async fn get_manifest(&self, place: &Place<'_>) -> Result<Resolved> {
        let reference = place.reference;
        let (headers, bytes) = self.get_document(place).await?;
        let stated = headers
            .get(DIGEST_HEADER)
            .and_then(|value| value.to_str().ok());
        let stated = stated.and_then(|text| Digest::parse(text).ok());
        let expected = reference.digest().cloned().or(stated);
        let digest =
            verified(&bytes, expected).map_err(|(expected, found)| Error::WrongDigest {
                name: reference.name(),
                expected,
                found,
            })?;
        let header = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let media_type =
            document::media_type(header, &bytes).map_err(|reason| Error::NotAnImage {
                reference: reference.to_string(),
                reason,
            })?;
        let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
        Ok(Resolved { descriptor, bytes })
    }

    /// Gets a manifest's bytes, again if the connection breaks on the way.
    async fn get_document(&self, place: &Place<'_>) -> Result<(HeaderMap, Vec<u8>)> {
        let path = manifest_path(place.reference);
        let mut failures = 0;
        loop {
            let mut response = self.request(place, Method::GET, &path, accept()).await?;
            if !response.status().is_success() {
                return Err(failure(response, Subject::Manifest(place.reference)).await);
            }
            match read_limited(&mut response, MANIFEST_LIMIT).await {
                Ok(bytes) => return Ok((response.headers().clone(), bytes)),
                Err(BodyError::TooLarge) => {
                    return Err(Error::TooLarge {
                        what: "the manifest",
                        name: place.reference.name(),
                        limit: MANIFEST_LIMIT,
                    });
                }
                Err(BodyError::Broken(source)) => {
                    failures += 1;
                    let host = place.endpoint.host.clone();
                    if source.is_timeout() && failures >= STALLS {
                        let limit = self.config.read_timeout;
                        return Err(Error::Stalled { host, limit });
                    }
                    if failures >= self.config.retry.attempts {
                        return Err(Error::Unreachable {
                            host,
                            source: reason(source),
                        });
                    }
                    tokio::time::sleep(self.config.retry.pause(failures, None)).await;
                }
            }
        }
    }
}

/// The digest of `bytes`, with the algorithm of the expected one; both digests if they differ.
fn verified(bytes: &[u8], expected: Option<Digest>) -> Result<Digest, (Digest, Digest)> {
    let Some(expected) = expected else {
        return Ok(Digest::sha256_of(bytes));
    };
    let found = Digest::of(expected.algorithm(), bytes);
    if found == expected {
        Ok(found)
    } else {
        Err((expected, found))
    }
}

pub(crate) fn manifest_path(reference: &Reference) -> String {
    let name = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.as_str(),
        (None, tag) => tag.unwrap_or("latest"),
    };
    format!("manifests/{name}")
}

fn accept() -> HeaderMap {
    let types = [
        OCI_INDEX,
        OCI_MANIFEST,
        DOCKER_INDEX,
        DOCKER_MANIFEST,
        // Named so that old registries send them, and the error can say what they are.
        DOCKER_MANIFEST_V1_SIGNED,
        DOCKER_MANIFEST_V1,
    ];
    let values = types
        .into_iter()
        .map(|name| (ACCEPT, HeaderValue::from_static(name)));
    let mut headers = HeaderMap::new();
    for (name, value) in values {
        headers.append(name, value);
    }
    headers
}

/// The entry that serves the platform best; entries without a platform serve any, but badly.
fn choose<'a>(index: &'a Index, wanted: &Platform) -> Option<&'a Descriptor> {
    let candidates = index.manifests.iter().filter_map(|entry| {
        let is_image = matches!(entry.kind(), MediaType::Index | MediaType::Manifest);
        let rank = match &entry.platform {
            Some(platform) => wanted.rank(platform)?,
            None => u32::MAX,
        };
        is_image.then_some((rank, entry))
    });
    candidates
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, entry)| entry)
}

/// The platforms of an index, without the entries that hold attestations.
fn offered(index: &Index) -> Vec<Platform> {
    let platforms = index
        .manifests
        .iter()
        .filter_map(|entry| entry.platform.clone());
    platforms
        .filter(|platform| platform.os != "unknown")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(platform: Option<&str>) -> Descriptor {
        let name = platform.unwrap_or("none");
        let platform = platform.map(|text| match text {
            "unknown/unknown" => Platform {
                os: "unknown".into(),
                architecture: "unknown".into(),
                ..Platform::default()
            },
            text => Platform::parse(text).unwrap(),
        });
        Descriptor {
            platform,
            ..Descriptor::of(OCI_MANIFEST, name.as_bytes())
        }
    }

    fn check(entries: &[Option<&str>], wanted: &str, chosen: Option<usize>) {
        let index = Index::new(OCI_INDEX, entries.iter().map(|p| entry(*p)).collect());
        let found = choose(&index, &Platform::parse(wanted).unwrap());
        assert_eq!(found, chosen.map(|at| &index.manifests[at]), "{wanted}");
    }

    #[test]
    fn the_best_entry_is_chosen() {
        let arm = [
            Some("linux/arm/v6"),
            Some("linux/arm/v7"),
            Some("linux/arm64"),
        ];
        check(&arm, "linux/arm/v7", Some(1));
        check(&arm, "linux/arm/v6", Some(0));
        check(&arm, "linux/arm64/v8", Some(2));
        check(&arm, "linux/amd64", None);
        check(&arm[..2], "linux/arm64", Some(1));
        check(&[None, Some("linux/amd64")], "linux/amd64", Some(1));
        check(&[None, Some("linux/amd64")], "linux/s390x", Some(0));
        check(&[Some("unknown/unknown")], "linux/amd64", None);
        check(
            &[Some("linux/amd64"), Some("linux/amd64")],
            "linux/amd64",
            Some(0),
        );
    }

    #[test]
    fn attestations_are_not_offered() {
        let entries = vec![
            entry(Some("linux/arm64")),
            entry(Some("unknown/unknown")),
            entry(None),
        ];
        assert_eq!(
            offered(&Index::new(OCI_INDEX, entries)),
            [Platform::new("linux", "arm64")]
        );
    }
}
