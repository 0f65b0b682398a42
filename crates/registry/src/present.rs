//! Which of many blobs a repository has.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use rbuild_oci::{Descriptor, Digest, Reference};
use rbuild_progress::CancelToken;
use reqwest::header::{CONTENT_LENGTH, HeaderMap};
use reqwest::{Method, StatusCode};

use crate::Result;
use crate::auth::Access;
use crate::client::{Client, Inner, Place};
use crate::failure::{Subject, failure};

/// Questions that are on their way at the same time: they are small, and their answers as well.
const AT_ONCE: usize = 16;

impl Client {
    /// Finds out which blobs a repository has, asking the registry itself about each.
    ///
    /// Only a clear yes counts. Errors: [`crate::Error::Denied`], an answer that is neither yes nor no,
    /// those of the connection, `Cancelled`.
    pub fn present(
        &self,
        reference: &Reference,
        blobs: &[Descriptor],
        cancel: &CancelToken,
    ) -> Result<BTreeSet<Digest>> {
        if blobs.is_empty() {
            return Ok(BTreeSet::new());
        }
        self.wait(cancel, async {
            let endpoint = self.inner.registry(reference).await?;
            let place = Place {
                endpoint: &endpoint,
                reference,
                access: Access::Pull,
                cancel,
            };
            let asked = blobs.iter().map(|blob| self.inner.is_present(&place, blob));
            let found = stream::iter(asked).buffer_unordered(AT_ONCE);
            let found: Vec<Option<Digest>> = found.try_collect().await?;
            Ok(found.into_iter().flatten().collect())
        })
    }
}

impl Inner {
    async fn is_present(&self, place: &Place<'_>, blob: &Descriptor) -> Result<Option<Digest>> {
        let path = format!("blobs/{}", blob.digest);
        let response = self
            .request(place, Method::HEAD, &path, HeaderMap::new())
            .await?;
        let status = response.status();
        let is_unclear = matches!(status.as_u16(), 401 | 403 | 429) || status.is_server_error();
        if is_unclear {
            return Err(failure(response, Subject::Blob(place.reference, &blob.digest)).await);
        }
        let length = response.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let is_there = status == StatusCode::OK && length.is_none_or(|length| length == blob.size);
        Ok(is_there.then(|| blob.digest.clone()))
    }
}
