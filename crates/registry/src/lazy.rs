//! A client that does not exist before somebody needs it.

use std::sync::{Arc, OnceLock};

use crate::client::Client;
use crate::config::ClientConfig;
use crate::credential::CredentialError;

/// The registry client: nothing of it exists before the first request.
pub struct LazyClient {
    client: OnceLock<Client>,
    config: Box<dyn Fn() -> Result<ClientConfig, CredentialError> + Send + Sync>,
}

impl LazyClient {
    /// `config` is called with the first request; it reads the files with credentials.
    pub fn new(
        config: impl Fn() -> Result<ClientConfig, CredentialError> + Send + Sync + 'static,
    ) -> Arc<LazyClient> {
        Arc::new(LazyClient {
            client: OnceLock::new(),
            config: Box::new(config),
        })
    }

    /// The client. Errors: the files with credentials cannot be read.
    pub fn get(&self) -> Result<&Client, CredentialError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let made = Client::new((self.config)()?);
        Ok(self.client.get_or_init(|| made))
    }
}
