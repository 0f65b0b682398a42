//! Where credentials come from: an account's key, a registered application, a token of the platform, or the machine.

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use rbuild_registry::Secret;

use super::AzblobPlace;

/// What the environment says of who this is, where there is no key of the account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AzureIdentity {
    /// `AZURE_TENANT_ID`.
    pub tenant_id: Option<String>,
    /// `AZURE_CLIENT_ID`: of an application, or of one of the machine's identities.
    pub client_id: Option<String>,
    /// `AZURE_CLIENT_SECRET`.
    pub client_secret: Option<Secret>,
    /// `AZURE_FEDERATED_TOKEN_FILE`.
    pub federated_token_file: Option<String>,
    /// `AZURE_AUTHORITY_HOST`; with `https:`, since secrets go there.
    pub authority_host: Option<String>,
    /// `IDENTITY_ENDPOINT`: where the platform hands out tokens, instead of the machine's metadata service.
    pub identity_endpoint: Option<String>,
}

/// Gives a builder the place's credentials; without any it asks the machine's metadata service.
pub(super) fn add(
    mut builder: MicrosoftAzureBuilder,
    place: &AzblobPlace,
) -> MicrosoftAzureBuilder {
    if let Some(key) = &place.key {
        return builder.with_access_key(key.expose());
    }
    let identity = &place.identity;
    let secret = identity.client_secret.as_ref();
    let authority = identity.authority_host.as_deref();
    for (key, value) in [
        (AzureConfigKey::AuthorityId, identity.tenant_id.as_deref()),
        (AzureConfigKey::ClientId, identity.client_id.as_deref()),
        (AzureConfigKey::ClientSecret, secret.map(Secret::expose)),
        (
            AzureConfigKey::FederatedTokenFile,
            identity.federated_token_file.as_deref(),
        ),
        (
            AzureConfigKey::AuthorityHost,
            authority.map(|host| host.trim_end_matches('/')),
        ),
        (
            AzureConfigKey::MsiEndpoint,
            identity.identity_endpoint.as_deref(),
        ),
    ] {
        if let Some(value) = value {
            builder = builder.with_config(key, value);
        }
    }
    builder
}
