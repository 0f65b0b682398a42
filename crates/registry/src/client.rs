//! The client: settings, runtime, and one authenticated request.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock};

use rbuild_oci::Reference;
use rbuild_progress::CancelToken;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use crate::auth::{Access, Authenticator};
use crate::cancel::until;
use crate::challenge::Challenge;
use crate::config::{ClientConfig, Scheme};
use crate::endpoint::Endpoint;
use crate::places::LazyRules;
use crate::transport::{Call, Transport};
use crate::{Error, Result};

/// A session with registries: connections, tokens, limits.
///
/// Cheap to clone and to make; the first request starts one network thread and the TLS stack. Calls
/// block, from any number of threads at once, but not from inside an async runtime.
#[derive(Clone)]
pub struct Client {
    // Apart from `inner`, which downloads hold: a runtime must not be dropped on its own thread.
    runtime: Arc<Network>,
    pub(crate) inner: Arc<Inner>,
}

/// What requests need.
pub(crate) struct Inner {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) transport: Transport,
    pub(crate) rules: Arc<LazyRules>,
    auth: Authenticator,
    /// Hosts found to answer without TLS only.
    pub(crate) plain: Mutex<BTreeSet<String>>,
    /// Permits for blobs on their way.
    pub(crate) transfers: Semaphore,
}

/// A repository at one of the places that serve it.
pub(crate) struct Place<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) reference: &'a Reference,
    pub(crate) access: Access<'a>,
    pub(crate) cancel: &'a CancelToken,
}

impl Place<'_> {
    /// What the repository is called at this place.
    pub(crate) fn repository(&self) -> &str {
        &self.endpoint.repository
    }
}

#[derive(Default)]
struct Network(OnceLock<Runtime>);

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // A name lookup that hangs in the system's resolver must not hold up the exit.
            runtime.shutdown_background();
        }
    }
}

impl Client {
    /// Makes a client. Opens nothing and starts nothing.
    pub fn new(config: ClientConfig) -> Self {
        let config = Arc::new(config);
        let rules = Arc::new(LazyRules::new(config.clone()));
        let inner = Inner {
            transport: Transport::new(config.clone(), rules.clone()),
            rules,
            auth: Authenticator::new(config.credentials.clone()),
            plain: Mutex::default(),
            transfers: Semaphore::new(config.parallel.clamp(1, 64)),
            config,
        };
        Self {
            runtime: Arc::default(),
            inner: Arc::new(inner),
        }
    }

    /// The same client, but the registry at `host` need not prove who it is, nor speak TLS.
    ///
    /// Shares nothing with this one: what is allowed here must not leak into other requests.
    pub fn with_insecure(&self, host: &str) -> Self {
        let mut config = ClientConfig::clone(&self.inner.config);
        config.hosts.entry(host.to_owned()).or_default().scheme = Scheme::Insecure;
        Self::new(config)
    }

    pub(crate) fn runtime(&self) -> Result<&Runtime> {
        let slot = &self.runtime.0;
        if let Some(runtime) = slot.get() {
            return Ok(runtime);
        }
        // Waiting only: one thread for it, and a few for name lookups and credential helpers.
        let built = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(8)
            .thread_name("rbuild-net")
            .enable_all()
            .build();
        let built = built.map_err(|source| Error::Setup {
            reason: "start the network thread",
            source: Box::new(source),
        })?;
        match slot.set(built) {
            Ok(()) => {}
            // Another thread was faster.
            Err(spare) => spare.shutdown_background(),
        }
        Ok(slot.get().expect("set above or by another thread"))
    }

    /// Runs `work` on the network thread's runtime and waits for it or for `cancel`.
    pub(crate) fn wait<T>(
        &self,
        cancel: &CancelToken,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        cancel.check()?;
        self.runtime()?.block_on(until(cancel, work))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Asks for something below the repository, logging in if that is asked for.
    ///
    /// The answer may have any status that is not a plea for patience.
    pub(crate) async fn request(
        &self,
        place: &Place<'_>,
        method: Method,
        path: &str,
        headers: HeaderMap,
    ) -> Result<Response> {
        let url = place
            .endpoint
            .url(&format!("{}/{path}", place.repository()))?;
        let call = Call {
            method,
            headers,
            ..Call::get(place.endpoint, url)
        };
        self.call(place, call).await
    }

    /// Sends a call, logging in if that is asked for.
    ///
    /// No credential goes to an address of another origin than the registry's.
    pub(crate) async fn call(&self, place: &Place<'_>, mut call: Call<'_>) -> Result<Response> {
        let at_home = place.endpoint.is_origin_of(&call.url);
        call.authorization = at_home.then(|| self.auth.known(place)).flatten();
        let response = self.transport.send(&call).await?;
        // Only the registry itself may ask for its credentials, not what it redirects to.
        if response.status() != StatusCode::UNAUTHORIZED
            || !at_home
            || !place.endpoint.is_origin_of(response.url())
        {
            return Ok(response);
        }
        let Some(challenge) = Challenge::of(response.headers()) else {
            return Ok(response);
        };
        match self.auth.answer(&self.transport, place, &challenge).await? {
            None => Ok(response),
            answer => {
                call.authorization = answer;
                self.transport.send(&call).await
            }
        }
    }
}
