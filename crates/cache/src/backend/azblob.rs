//! A container of Azure Blob Storage, or of anything that speaks its protocol.
//!
//! What lies where is as in a bucket of S3. A container that is not there is made when the first object is written.

mod credentials;
mod failure;
mod place;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use object_store::HeaderValue;
use object_store::azure::{AzureAuthorizer, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::list::PaginatedListStore;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore};
use rbuild_registry::Client;
use reqwest::header::{CONTENT_LENGTH, HeaderMap};
use reqwest::{Method, StatusCode};

pub use credentials::AzureIdentity;
pub use place::{AzblobEnv, AzblobPlace};

use super::Backend;
use super::objects::{self, Bucket, Fault, PARALLELISM, Wire, code, text_of};
use crate::{Error, Result};

/// A container.
struct Container {
    place: AzblobPlace,
    client: Client,
    objects: MicrosoftAzure,
}

/// Opens a place. Asks nothing yet; connections, proxies and authorities are those of `client`.
///
/// Errors: [`Error::Spec`].
pub fn open(place: AzblobPlace, client: &Client) -> Result<Arc<dyn Backend>> {
    let objects = build(&place, client).map_err(|error| Error::Spec(error.to_string()))?;
    let (name, folders) = (place.name(), place.folders.clone());
    let container = Container {
        place,
        client: client.clone(),
        objects,
    };
    objects::open((name, &folders), (Box::new(container), PARALLELISM), client)
}

fn build(place: &AzblobPlace, client: &Client) -> object_store::Result<MicrosoftAzure> {
    let options = ClientOptions::new().with_allow_http(place.is_plain());
    let builder = MicrosoftAzureBuilder::new()
        .with_account(&place.account)
        .with_container_name(&place.container)
        .with_endpoint(place.url().to_owned())
        .with_client_options(options)
        .with_retry(objects::retry(client, None))
        .with_http_connector(Wire::new(client));
    credentials::add(builder, place).build()
}

impl Container {
    /// Sends a request without a body that `object_store` has not, or makes in a way that trusts the answer; as often
    /// as other requests. `path` is what comes behind the container.
    async fn exchange(&self, method: Method, path: &str) -> Result<(StatusCode, String), Fault> {
        let policy = self.client.retry_policy();
        let mut failures = 1;
        loop {
            let answer = self.exchange_once(method.clone(), path).await;
            let pause = match &answer {
                Ok((status, _)) => policy.next(failures, *status, &HeaderMap::new()),
                Err(_) => policy.next_connection(failures),
            };
            let Some(pause) = pause else {
                return answer;
            };
            tokio::time::sleep(pause).await;
            failures += 1;
        }
    }

    async fn exchange_once(
        &self,
        method: Method,
        path: &str,
    ) -> Result<(StatusCode, String), Fault> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method;
        let place = &self.place;
        *request.uri_mut() = format!("{}/{}{path}", place.url(), place.container).parse()?;
        let none = HeaderValue::from_static("0");
        request.headers_mut().insert(CONTENT_LENGTH, none);
        let credential = self.objects.credentials().get_credential().await?;
        AzureAuthorizer::new(&credential, &place.account).try_authorize(&mut request)?;
        Wire::new(&self.client).exchange(request).await
    }

    /// Source: Azure Storage REST API, "Create Container".
    async fn create(&self) -> Result<(), Fault> {
        let (status, body) = self.exchange(Method::PUT, "?restype=container").await?;
        // Somebody else may have made it just now.
        match status.is_success() || body.contains("ContainerAlreadyExists") {
            true => Ok(()),
            false => Err(failure::not_made(&body, status, &self.place).into()),
        }
    }

    /// Source: Azure Storage REST API, "Delete Blob".
    async fn remove(&self, key: &Path) -> Result<(), Fault> {
        let (status, body) = self.exchange(Method::DELETE, &format!("/{key}")).await?;
        match status.is_success() || status == StatusCode::NOT_FOUND {
            true => Ok(()),
            false => Err(failure::answered(&body, status, &self.place).into()),
        }
    }
}

impl Bucket for Container {
    fn objects(&self) -> &dyn ObjectStore {
        &self.objects
    }

    fn pages(&self) -> &dyn PaginatedListStore {
        &self.objects
    }

    fn told(&self, error: &object_store::Error) -> String {
        failure::told(error, &self.place)
    }

    fn delete<'a>(&'a self, key: &'a Path) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.remove(key))
    }

    fn can_be_made(&self) -> bool {
        true
    }

    fn is_unmade(&self, error: &object_store::Error) -> bool {
        code(&text_of(error)).is_some_and(|code| code == "ContainerNotFound")
    }

    fn make(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(self.create())
    }
}
