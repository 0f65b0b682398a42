//! Who we are to the service: keys, or what the machine that runs us has been given.

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use rbuild_registry::Secret;

use super::S3Place;

/// A pair of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) token: Option<Secret>,
}

/// Where credentials come from when there are no keys; all of it as Amazon's tools name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleFiles {
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`.
    pub web_identity_token_file: Option<String>,
    /// `AWS_ROLE_ARN`.
    pub role_arn: Option<String>,
    /// `AWS_ROLE_SESSION_NAME`.
    pub role_session_name: Option<String>,
    /// `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`.
    pub container_relative_uri: Option<String>,
    /// `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    pub container_full_uri: Option<String>,
    /// `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`.
    pub container_token_file: Option<String>,
}

/// Tells the builder who we are. Without any of it, the machine's metadata service is asked.
pub(super) fn add(mut builder: AmazonS3Builder, place: &S3Place) -> AmazonS3Builder {
    if let Some(keys) = &place.keys {
        builder = builder
            .with_access_key_id(&keys.id)
            .with_secret_access_key(keys.secret.expose());
        return match &keys.token {
            Some(token) => builder.with_token(token.expose()),
            None => builder,
        };
    }
    let role = &place.role;
    for (key, value) in [
        (
            AmazonS3ConfigKey::WebIdentityTokenFile,
            &role.web_identity_token_file,
        ),
        (AmazonS3ConfigKey::RoleArn, &role.role_arn),
        (AmazonS3ConfigKey::RoleSessionName, &role.role_session_name),
        (
            AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
            &role.container_relative_uri,
        ),
        (
            AmazonS3ConfigKey::ContainerCredentialsFullUri,
            &role.container_full_uri,
        ),
        (
            AmazonS3ConfigKey::ContainerAuthorizationTokenFile,
            &role.container_token_file,
        ),
    ] {
        if let Some(value) = value {
            builder = builder.with_config(key, value);
        }
    }
    builder
}
