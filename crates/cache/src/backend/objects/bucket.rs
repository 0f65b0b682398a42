//! What a service of objects has of its own.

use std::time::Duration;

use futures_util::future::BoxFuture;
use object_store::ObjectStore;
use object_store::list::PaginatedListStore;
use object_store::path::Path;

/// What went wrong with a request that is not one of `object_store`.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// A bucket, container or whatever a service calls where objects are.
pub(crate) trait Bucket: Send + Sync {
    /// Its objects.
    fn objects(&self) -> &dyn ObjectStore;

    /// Their list, a page at a time.
    fn pages(&self) -> &dyn PaginatedListStore;

    /// What people are told of an error.
    fn told(&self, error: &object_store::Error) -> String;

    /// Deletes an object, which may be gone by now.
    fn delete<'a>(&'a self, key: &'a Path) -> BoxFuture<'a, Result<(), Fault>>;

    /// Whether a bucket that is not there can be made.
    fn can_be_made(&self) -> bool {
        false
    }

    /// Whether an error says that the bucket itself is not there, and it can be made.
    fn is_unmade(&self, _error: &object_store::Error) -> bool {
        false
    }

    /// Makes the bucket, which may be there by now.
    fn make(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }

    /// How old an object that is used may become before its age is renewed; `None` for any age.
    fn oldest(&self) -> Option<Duration> {
        None
    }

    /// Renews the age of an object.
    fn renew<'a>(&'a self, _key: &'a Path) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }
}
