//! A bucket of S3, or of anything that speaks its protocol.
//!
//! Below the prefix: `blobs/sha256/HEX`, and `manifests/NAME/TIME-RANDOM.idx`, an object for each index that
//! was written. Nobody ever writes to an index that is there, so that no condition on a write is needed:
//! some stores ignore them.

mod credentials;
mod failure;
mod place;
mod touch;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::list::PaginatedListStore;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt};
use rbuild_registry::Client;

pub use credentials::RoleFiles;
pub use place::{S3Env, S3Place};

use super::Backend;
use super::objects::{self, Bucket, Fault, Wire};
use crate::{Error, Result};

/// A bucket of S3.
struct S3 {
    place: S3Place,
    client: Client,
    bucket: AmazonS3,
}

/// Opens a place. Asks nothing yet; connections, proxies and authorities are those of `client`.
///
/// Errors: [`Error::Spec`].
pub fn open(place: S3Place, client: &Client) -> Result<Arc<dyn Backend>> {
    let bucket = build(&place, client).map_err(|error| Error::Spec(error.to_string()))?;
    let (name, folders) = (place.name(), place.folders.clone());
    let parallelism = place.upload_parallelism;
    let s3 = S3 {
        place,
        client: client.clone(),
        bucket,
    };
    objects::open((name, &folders), (Box::new(s3), parallelism), client)
}

fn build(place: &S3Place, client: &Client) -> object_store::Result<AmazonS3> {
    let options = ClientOptions::new().with_allow_http(place.is_plain());
    let builder = AmazonS3Builder::new()
        .with_bucket_name(&place.bucket)
        .with_region(&place.region)
        .with_endpoint(place.endpoint())
        .with_virtual_hosted_style_request(!place.path_style)
        .with_client_options(options)
        .with_retry(objects::retry(client, place.attempts))
        // Not every store has it, and there is never much to delete.
        .with_disable_bulk_delete(true)
        .with_http_connector(Wire::new(client));
    credentials::add(builder, place).build()
}

impl Bucket for S3 {
    fn objects(&self) -> &dyn ObjectStore {
        &self.bucket
    }

    fn pages(&self) -> &dyn PaginatedListStore {
        &self.bucket
    }

    fn told(&self, error: &object_store::Error) -> String {
        failure::told(error, &self.place)
    }

    fn delete<'a>(&'a self, key: &'a Path) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async {
            Ok(self
                .bucket
                .delete(key)
                .await
                .map_err(|error| self.told(&error))?)
        })
    }

    fn oldest(&self) -> Option<Duration> {
        Some(self.place.touch_refresh)
    }

    fn renew<'a>(&'a self, key: &'a Path) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.copy_onto_itself(key))
    }
}
