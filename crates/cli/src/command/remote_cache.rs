//! `rbuild cache`, and what the command line says of caches elsewhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild::azblob::{AzblobEnv, AzureIdentity};
use rbuild::gha::GhaEnv;
use rbuild::s3::{RoleFiles, S3Env};
use rbuild::{
    CacheFrom, CacheRequest, CacheTo, PlaceEnv, PublicKey, Secret, SigningKey, Trust, Writer,
};

use super::{CommandError, CommandResult, print, variable};
use crate::args::{CacheCommand, RemoteCacheArgs};
use crate::exit::Exit;

/// The variable with the file of the signing key.
const KEY: &str = "RBUILD_CACHE_KEY";
/// The variable with trusted keys, separated by blanks or commas.
const TRUST: &str = "RBUILD_CACHE_TRUST";
/// The variable with what this machine or job is called in what it writes.
const WRITER: &str = "RBUILD_CACHE_WRITER";

/// Carries out `rbuild cache`.
pub fn run(command: CacheCommand) -> CommandResult {
    match command {
        CacheCommand::Key(args) => key(&args.file),
    }
}

fn key(file: &Path) -> CommandResult {
    let key = match file.exists() {
        true => SigningKey::read(file),
        false => SigningKey::create(file),
    };
    let key = key.map_err(usage)?;
    print(&format!("{}\n", key.public()))?;
    Ok(Exit::Success)
}

/// What the options ask for, with what the environment adds.
pub fn request(args: RemoteCacheArgs) -> Result<CacheRequest, CommandError> {
    let key = args.cache_key.or_else(|| variable(KEY).map(PathBuf::from));
    let key = key.map(|file| SigningKey::read(&file).map(Arc::new));
    let mut trusted = args.cache_trust;
    if trusted.is_empty() {
        let words = variable(TRUST).unwrap_or_default();
        let words = words
            .split([' ', ',', '\n'])
            .filter(|word| !word.is_empty());
        trusted = words.map(str::to_owned).collect();
    }
    let mut keys = Vec::new();
    for word in &trusted {
        keys.extend(public_keys(word)?);
    }
    let env = place_env();
    let from = args.cache_from.iter().map(|text| {
        let parsed = text.pairs().map(|pairs| CacheFrom::parse(pairs, &env));
        meant("--cache-from", parsed)
    });
    let to = args.cache_to.iter().map(|text| {
        let parsed = text.pairs().map(|pairs| CacheTo::parse(pairs, &env));
        meant("--cache-to", parsed)
    });
    Ok(CacheRequest {
        from: from.collect::<Result<_, _>>()?,
        to: to.collect::<Result<_, _>>()?,
        trust: Trust {
            keys,
            max_age: args.cache_max_age,
        },
        writer: Writer {
            name: variable(WRITER).unwrap_or_else(writer),
            key: key.transpose().map_err(usage)?,
        },
        budget: args.cache_budget,
    })
}

/// What an option means, or what is wrong with it.
fn meant<T>(
    option: &str,
    parsed: Result<Result<T, rbuild::CacheError>, String>,
) -> Result<T, CommandError> {
    let usage = |reason: &dyn std::fmt::Display| CommandError::Usage(format!("{option}: {reason}"));
    match parsed {
        Ok(parsed) => parsed.map_err(|error| usage(&error)),
        Err(reason) => Err(usage(&reason)),
    }
}

/// What the environment says of places for caches.
pub fn place_env() -> PlaceEnv {
    let secret = |name: &str| variable(name).map(Secret::new);
    PlaceEnv {
        s3: S3Env {
            bucket: variable("AWS_BUCKET"),
            region: variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")),
            endpoint_url: variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL")),
            access_key_id: variable("AWS_ACCESS_KEY_ID"),
            secret_access_key: secret("AWS_SECRET_ACCESS_KEY"),
            session_token: secret("AWS_SESSION_TOKEN"),
            role: RoleFiles {
                web_identity_token_file: variable("AWS_WEB_IDENTITY_TOKEN_FILE"),
                role_arn: variable("AWS_ROLE_ARN"),
                role_session_name: variable("AWS_ROLE_SESSION_NAME"),
                container_relative_uri: variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
                container_full_uri: variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
                container_token_file: variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
            },
        },
        azblob: AzblobEnv {
            account_url: variable("BUILDKIT_AZURE_STORAGE_ACCOUNT_URL"),
            account_name: variable("BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME"),
            container: variable("BUILDKIT_AZURE_STORAGE_CONTAINER"),
            prefix: variable("BUILDKIT_AZURE_STORAGE_PREFIX"),
            key: secret("AZURE_STORAGE_KEY"),
            identity: AzureIdentity {
                tenant_id: variable("AZURE_TENANT_ID"),
                client_id: variable("AZURE_CLIENT_ID"),
                client_secret: secret("AZURE_CLIENT_SECRET"),
                federated_token_file: variable("AZURE_FEDERATED_TOKEN_FILE"),
                authority_host: variable("AZURE_AUTHORITY_HOST"),
                identity_endpoint: variable("IDENTITY_ENDPOINT"),
            },
        },
        gha: GhaEnv {
            cache_url: variable("ACTIONS_CACHE_URL"),
            results_url: variable("ACTIONS_RESULTS_URL"),
            token: secret("ACTIONS_RUNTIME_TOKEN"),
            service_v2: variable("ACTIONS_CACHE_SERVICE_V2"),
            repository: variable("GITHUB_REPOSITORY"),
            api_url: variable("GITHUB_API_URL"),
        },
    }
}

/// A key as it is printed, or the keys in a file, one on a line.
fn public_keys(word: &str) -> Result<Vec<PublicKey>, CommandError> {
    if let Ok(key) = word.parse() {
        return Ok(vec![key]);
    }
    let text = std::fs::read_to_string(word).map_err(|error| {
        CommandError::Usage(format!(
            "--cache-trust {word}: it is no public key, and no file that can be read: {error}"
        ))
    })?;
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Result<Vec<PublicKey>, _> = lines.map(str::parse).collect();
    let keys =
        keys.map_err(|error| CommandError::Usage(format!("--cache-trust {word}: {error}")))?;
    if keys.is_empty() {
        let message = format!("--cache-trust {word}: there is no key in it");
        return Err(CommandError::Usage(message));
    }
    Ok(keys)
}

/// User and machine, as far as they are known.
fn writer() -> String {
    let user = variable("USER").unwrap_or_else(|| "unknown".to_owned());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", host.trim())
}

fn usage(error: rbuild::CacheError) -> CommandError {
    CommandError::Usage(error.to_string())
}
