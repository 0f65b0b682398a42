//! The places that serve a repository, tried one after the other.

use std::sync::{Arc, OnceLock, PoisonError};

use rbuild_oci::Reference;

use crate::client::Inner;
use crate::config::ClientConfig;
use crate::endpoint::{Endpoint, Standby};
use crate::hosts::{HostFiles, Rules, Wanted};
use crate::transport::Call;
use crate::{Error, Result};

/// The settings for registries, read when they are first needed.
pub(crate) struct LazyRules {
    config: Arc<ClientConfig>,
    rules: OnceLock<Rules>,
}

impl LazyRules {
    pub(crate) fn new(config: Arc<ClientConfig>) -> Self {
        Self {
            config,
            rules: OnceLock::new(),
        }
    }

    /// Finds something in the settings, on a thread that may read files and look names up: the network
    /// thread must not wait for that.
    ///
    /// Errors: [`Error::HostFile`], those of `find`.
    pub(crate) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        find: impl FnOnce(&Rules) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.config.host_files == HostFiles::default() {
            return find(self.get()?);
        }
        let rules = Arc::clone(self);
        let found = tokio::task::spawn_blocking(move || find(rules.get()?));
        found.await.map_err(|source| Error::Setup {
            reason: "read the settings for registries",
            source: Box::new(source),
        })?
    }

    fn get(&self) -> Result<&Rules> {
        if let Some(rules) = self.rules.get() {
            return Ok(rules);
        }
        let read = Rules::read(Arc::clone(&self.config))?;
        Ok(self.rules.get_or_init(|| read))
    }
}

impl Inner {
    /// Where a repository is to be had, in the order to ask in. Not empty.
    ///
    /// Errors: [`Error::HostFile`], [`Error::Blocked`], [`Error::Protocol`] if there is no place.
    pub(crate) async fn endpoints(
        &self,
        reference: &Reference,
        wanted: Wanted,
    ) -> Result<Vec<Endpoint>> {
        let name = (reference.domain(), reference.path());
        self.endpoints_of(name, wanted).await
    }

    /// As [`Inner::endpoints`], for a registry and a path in it, which may be empty.
    pub(crate) async fn endpoints_of(
        &self,
        (domain, path): (&str, &str),
        wanted: Wanted,
    ) -> Result<Vec<Endpoint>> {
        let (registry, path) = (domain, path.to_owned());
        let domain = domain.to_owned();
        let find = move |rules: &Rules| rules.sites(&domain, &path, wanted);
        let sites = self.rules.ask(find).await?;
        let mut endpoints = Vec::new();
        for site in &sites {
            endpoints.extend(Endpoint::of(site)?);
        }
        if endpoints.is_empty() {
            return Err(no_place(registry));
        }
        Ok(endpoints)
    }

    /// The registry itself, which takes what is sent; found out whether TLS can be had, if that is open.
    pub(crate) async fn registry(&self, reference: &Reference) -> Result<Endpoint> {
        let endpoints = self.endpoints(reference, Wanted::Registry).await?;
        let mut turns = self.turns(&endpoints);
        while let Some(endpoint) = turns.next() {
            if !endpoint.has_standby {
                return Ok(endpoint.clone());
            }
            let probe = Call::get(endpoint, endpoint.url("")?);
            let outcome = self.transport.send(&probe).await.map(|_| endpoint.clone());
            if let Some(outcome) = turns.settle(endpoint, outcome) {
                return outcome;
            }
        }
        Err(turns.failure())
    }

    /// Begins to go through endpoints.
    pub(crate) fn turns<'a>(&'a self, endpoints: &'a [Endpoint]) -> Turns<'a> {
        Turns {
            inner: self,
            endpoints: endpoints.iter(),
            failure: None,
        }
    }

    fn is_plain(&self, host: &str) -> bool {
        let plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        plain.contains(host)
    }
}

/// Endpoints, tried one after the other until one is no failure; the last failure counts.
pub(crate) struct Turns<'a> {
    inner: &'a Inner,
    endpoints: std::slice::Iter<'a, Endpoint>,
    failure: Option<Error>,
}

impl<'a> Turns<'a> {
    /// The endpoint to ask now; `None` when all have failed.
    pub(crate) fn next(&mut self) -> Option<&'a Endpoint> {
        loop {
            let endpoint = self.endpoints.next()?;
            let is_plain = self.inner.is_plain(&endpoint.host);
            let is_turn = match endpoint.standby {
                Standby::No => !(endpoint.has_standby && is_plain),
                Standby::Yes => is_plain || self.failure.as_ref().is_some_and(is_no_tls),
            };
            if is_turn {
                return Some(endpoint);
            }
        }
    }

    /// What came of asking; `None` if the next one is to be asked.
    pub(crate) fn settle<T>(
        &mut self,
        endpoint: &Endpoint,
        outcome: Result<T>,
    ) -> Option<Result<T>> {
        if endpoint.standby == Standby::Yes && !outcome.as_ref().is_err_and(is_no_tls) {
            // It answers without TLS: no further attempts with it.
            let plain = &self.inner.plain;
            let mut plain = plain.lock().unwrap_or_else(PoisonError::into_inner);
            plain.insert(endpoint.host.clone());
        }
        match outcome {
            Err(error) if !error.is_cancelled() => {
                tracing::debug!(host = endpoint.host, %error, "place passed over");
                self.failure = Some(error);
                None
            }
            outcome => Some(outcome),
        }
    }

    /// Why the last one failed.
    pub(crate) fn failure(self) -> Error {
        self.failure.unwrap_or_else(|| no_place("the registry"))
    }
}

fn no_place(host: &str) -> Error {
    Error::Protocol {
        host: host.to_owned(),
        reason: "settings leave no host that may be asked".to_owned(),
    }
}

/// Whether it may go better without TLS.
fn is_no_tls(error: &Error) -> bool {
    matches!(error, Error::Tls { .. } | Error::Unreachable { .. })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn files_are_read_off_the_network_thread() {
        let asked_on = |host_files| {
            let config = ClientConfig {
                host_files,
                ..ClientConfig::default()
            };
            let rules = Arc::new(LazyRules::new(Arc::new(config)));
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let asked = rules.ask(|_| Ok(thread::current().id()));
            runtime.unwrap().block_on(asked).unwrap()
        };
        assert_eq!(asked_on(HostFiles::default()), thread::current().id());
        let some = HostFiles {
            containerd: vec!["/none".into()],
            ..HostFiles::default()
        };
        assert_ne!(asked_on(some), thread::current().id());
    }
}
