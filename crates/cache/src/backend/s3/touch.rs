//! Renewing the age of blobs that are used, for buckets that delete what is old.
//!
//! A blob is copied onto itself at the service, which only works with its metadata replaced; that is no
//! request of `object_store`'s, but signed by it. Source: S3 API reference, CopyObject.

use futures_util::{StreamExt, stream};
use object_store::HeaderValue;
use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpRequest, HttpRequestBody, HttpResponseBody, HttpService};
use object_store::path::Path;
use rbuild_oci::Descriptor;
use reqwest::Method;

use super::wire::Wire;
use super::{S3, Sighting};

/// Largest object that can be copied in one request.
const LARGEST: u64 = 5 << 30;
/// Copies at the same time.
const COPIES: usize = 8;
/// Most of an answer that is read, in bytes.
const ANSWER: u64 = 64 * 1024;

type Fault = Box<dyn std::error::Error + Send + Sync>;

impl S3 {
    /// Renews the age of those that were seen to be old. What cannot be renewed stays as it is.
    pub(super) async fn renew(&self, blobs: &[Descriptor]) {
        let old: Vec<&Descriptor> = {
            let seen = self.seen();
            let is_old = |blob: &&Descriptor| {
                blob.size < LARGEST && seen.get(&blob.digest) == Some(&Sighting::Stale)
            };
            blobs.iter().filter(is_old).collect()
        };
        let renewals = old.into_iter().map(|blob| async move {
            match self.copy_onto_itself(&self.layout.blob(&blob.digest)).await {
                Ok(()) => drop(self.seen().insert(blob.digest.clone(), Sighting::Fresh)),
                Err(error) => tracing::debug!(digest = %blob.digest, error, "its age stays"),
            }
        });
        let renewals = stream::iter(renewals).buffer_unordered(COPIES);
        renewals.for_each(|()| async {}).await;
    }

    async fn copy_onto_itself(&self, key: &Path) -> Result<(), Fault> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = format!("{}/{key}", self.place.bucket_url()).parse()?;
        let source = format!("{}/{key}", self.place.bucket);
        let headers = request.headers_mut();
        headers.insert("x-amz-copy-source", HeaderValue::try_from(source)?);
        let replace = HeaderValue::from_static("REPLACE");
        headers.insert("x-amz-metadata-directive", replace);
        let credential = self.bucket.credentials().get_credential().await?;
        AwsAuthorizer::new(&credential, "s3", &self.place.region)
            .try_authorize(&mut request, None)?;
        let answer = Wire::new(&self.client).call(request).await?;
        let status = answer.status();
        let body = text(answer.into_body()).await?;
        // An error may come behind a 200, which is sent before the copy is made.
        match status.is_success() && !body.contains("<Error>") {
            true => Ok(()),
            false => Err(format!("status {status}").into()),
        }
    }
}

/// The beginning of an answer's body.
async fn text(body: HttpResponseBody) -> Result<String, Fault> {
    let mut pieces = body.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece?);
        if bytes.len() as u64 > ANSWER {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
