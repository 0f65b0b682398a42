//! Renewing the age of blobs that are used, for buckets that delete what is old.
//!
//! A blob is copied onto itself at the service, which only works with its metadata replaced; that is no
//! request of `object_store`'s, but signed by it. Source: S3 API reference, CopyObject.

use futures_util::StreamExt;
use object_store::HeaderValue;
use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpRequest, HttpRequestBody, HttpResponseBody, HttpService};
use object_store::path::Path;
use reqwest::Method;

use super::S3;
use crate::backend::objects::{Fault, Wire};

/// Most of an answer that is read, in bytes.
const ANSWER: u64 = 64 * 1024;

impl S3 {
    pub(super) async fn copy_onto_itself(&self, key: &Path) -> Result<(), Fault> {
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
