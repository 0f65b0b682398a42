//! Manifests and indexes to a registry, and whether it would take any.

use bytes::Bytes;
use rbuild_oci::{Descriptor, Digest, Reference};
use rbuild_progress::CancelToken;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};

use super::session::Session;
use super::upload::DIGEST_HEADER;
use crate::auth::Access;
use crate::client::{Client, Inner, Place};
use crate::failure::{Subject, failure};
use crate::resolve::manifest_path;
use crate::transport::{Attempts, Call, Payload};
use crate::{Error, Result};

impl Client {
    /// Stores a manifest or index: under the digest if `reference` has one, else under its tag.
    ///
    /// Everything that it names must be in the repository. What the registry says that it took is
    /// compared with what was sent; one that says nothing is asked for the document again.
    ///
    /// Errors: `PushDenied`, `Refused`, `TookOther`, those of the connection, `Cancelled`.
    pub fn push_manifest(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        bytes: &[u8],
        cancel: &CancelToken,
    ) -> Result<()> {
        let bytes = Bytes::copy_from_slice(bytes);
        self.wait_at_home(reference, cancel, async |place| {
            self.inner.put_manifest(place, descriptor, bytes).await
        })
    }

    /// Finds out whether the registry would let us push to a repository, by beginning an upload and
    /// giving it up at once.
    ///
    /// Errors: as [`Client::push_blob`].
    pub fn check_push(&self, reference: &Reference, cancel: &CancelToken) -> Result<()> {
        self.wait_at_home(reference, cancel, async |place| {
            self.inner.check_push(place).await
        })
    }

    /// Runs `work` at the registry itself, where it may push, and waits for it or for `cancel`.
    fn wait_at_home<T>(
        &self,
        reference: &Reference,
        cancel: &CancelToken,
        work: impl AsyncFnOnce(&Place<'_>) -> Result<T>,
    ) -> Result<T> {
        self.wait(cancel, async {
            let endpoint = self.inner.registry(reference).await?;
            let place = Place {
                endpoint: &endpoint,
                reference,
                access: Access::Push,
                cancel,
            };
            work(&place).await
        })
    }
}

impl Inner {
    async fn put_manifest(
        &self,
        place: &Place<'_>,
        descriptor: &Descriptor,
        bytes: Bytes,
    ) -> Result<()> {
        let reference = place.reference;
        let path = format!("{}/{}", place.repository(), manifest_path(reference));
        let media_type =
            HeaderValue::try_from(&descriptor.media_type).map_err(|_| Error::NotAnImage {
                reference: reference.to_string(),
                reason: format!("{:?} is no media type", descriptor.media_type),
            })?;
        let headers: HeaderMap = [(CONTENT_TYPE, media_type)].into_iter().collect();
        let call = Call {
            method: Method::PUT,
            headers,
            payload: Payload::Bytes(bytes),
            ..Call::get(place.endpoint, place.endpoint.url(&path)?)
        };
        let response = self.call(place, call).await?;
        if !response.status().is_success() {
            return Err(failure(response, Subject::PushManifest(reference)).await);
        }
        let found = match stated(&response) {
            Some(found) => found,
            None => self.document_digest(place).await?,
        };
        if found == descriptor.digest {
            return Ok(());
        }
        Err(Error::TookOther {
            name: reference.name(),
            expected: descriptor.digest.clone(),
            found,
        })
    }

    async fn check_push(&self, place: &Place<'_>) -> Result<()> {
        let path = format!("{}/blobs/uploads/", place.repository());
        let call = Call {
            method: Method::POST,
            ..Call::get(place.endpoint, place.endpoint.url(&path)?)
        };
        let response = self.call(place, call).await?;
        if response.status() != StatusCode::ACCEPTED {
            // The digest is that of nothing: there is no blob to name.
            let nothing = Digest::sha256_of(b"");
            return Err(failure(response, Subject::Upload(place.reference, &nothing)).await);
        }
        let call = Call {
            method: Method::DELETE,
            attempts: Attempts::One,
            ..Call::get(
                place.endpoint,
                Session::begun(&response, place.endpoint)?.location,
            )
        };
        // Sessions that nobody ends are swept by the registry in time.
        self.call(place, call).await.ok();
        Ok(())
    }
}

fn stated(response: &Response) -> Option<Digest> {
    let value = response.headers().get(DIGEST_HEADER)?;
    Digest::parse(value.to_str().ok()?).ok()
}
