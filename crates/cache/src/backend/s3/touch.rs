//! Renewing the age of blobs that are used, for buckets that delete what is old.
//!
//! A blob is copied onto itself at the service, which only works with its metadata replaced; that is no
//! request of `object_store`'s, but signed by it. Source: S3 API reference, CopyObject.

use object_store::HeaderValue;
use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::path::Path;
use reqwest::Method;

use super::S3;
use crate::backend::objects::{Fault, Wire};

impl S3 {
    pub(super) async fn copy_onto_itself(&self, key: &Path) -> Result<(), Fault> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = Method::PUT;
        let key = encoded(key);
        *request.uri_mut() = format!("{}/{key}", self.place.bucket_url()).parse()?;
        let source = format!("{}/{key}", self.place.bucket);
        let headers = request.headers_mut();
        headers.insert("x-amz-copy-source", HeaderValue::try_from(source)?);
        let replace = HeaderValue::from_static("REPLACE");
        headers.insert("x-amz-metadata-directive", replace);
        let credential = self.bucket.credentials().get_credential().await?;
        AwsAuthorizer::new(&credential, "s3", &self.place.region)
            .try_authorize(&mut request, None)?;
        let (status, body) = Wire::new(&self.client).exchange(request).await?;
        // An error may come behind a 200, which is sent before the copy is made.
        match status.is_success() && !body.contains("<Error>") {
            true => Ok(()),
            false => Err(format!("status {status}").into()),
        }
    }
}

/// A key as it stands in addresses that are signed. Source: S3 API reference, "Create a signed request", UriEncode.
fn encoded(key: &Path) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    key.as_ref().bytes().map(encode).collect()
}
