//! What `type=s3` says: which bucket, where in it, and how to get there.

use std::fmt;
use std::time::Duration;

use rbuild_registry::Secret;
use reqwest::Url;

use super::credentials::{Keys, RoleFiles};
use crate::backend::address::address;
use crate::backend::duration::duration;
use crate::backend::objects::{Folders, PARALLELISM};
use crate::{Attrs, Error, Result};

/// How old a blob may grow before its age is renewed, unless the attributes say otherwise.
const TOUCH_REFRESH: Duration = Duration::from_secs(24 * 60 * 60);
const MOST_PARALLELISM: usize = 64;

/// What the environment of the command line says; this crate reads none itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Env {
    /// `AWS_BUCKET`.
    pub bucket: Option<String>,
    /// `AWS_REGION`, or else `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// `AWS_ENDPOINT_URL_S3`, or else `AWS_ENDPOINT_URL`.
    pub endpoint_url: Option<String>,
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: Option<String>,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Option<Secret>,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<Secret>,
    /// Where else credentials come from, if there are no keys.
    pub role: RoleFiles,
}

/// A place in a bucket.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Place {
    pub(super) bucket: String,
    pub(super) region: String,
    pub(super) folders: Folders,
    pub(super) endpoint_url: Option<Url>,
    /// Whether the bucket is in the path of addresses, not in the host.
    pub(super) path_style: bool,
    pub(super) keys: Option<Keys>,
    pub(super) role: RoleFiles,
    pub(super) touch_refresh: Duration,
    pub(super) upload_parallelism: usize,
    /// Attempts at each request; the client's if absent.
    pub(super) attempts: Option<u32>,
}

impl fmt::Debug for S3Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Place")
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("folders", &self.folders)
            .field("endpoint", &self.endpoint())
            .finish_non_exhaustive()
    }
}

impl S3Place {
    /// Takes the attributes of `type=s3`: those of BuildKit, with the same meaning.
    ///
    /// What is not given comes from `env`. Errors: [`Error::Spec`], which never holds a key.
    pub fn parse(attrs: &mut Attrs, env: &S3Env) -> Result<Self> {
        let bucket = attrs.take("bucket").or_else(|| env.bucket.clone());
        let bucket = checked_bucket(bucket)?;
        let endpoint = attrs
            .take("endpoint_url")
            .or_else(|| env.endpoint_url.clone());
        let endpoint_url = endpoint.as_deref();
        let endpoint_url = endpoint_url
            .map(|text| address("endpoint_url", text))
            .transpose()?;
        let region = attrs.take("region").or_else(|| env.region.clone());
        let region = checked_region(region, endpoint_url.is_some())?;
        let path_style = attrs.switch("use_path_style", false)?;
        // Takes what only says how requests are to be made that are never made here.
        attrs.switch("disable_accept_encoding", false)?;
        retry_mode(attrs)?;
        Ok(Self {
            path_style: path_style || needs_path_style(&bucket, endpoint_url.as_ref()),
            bucket,
            region,
            endpoint_url,
            folders: Folders::parse(attrs, None)?,
            keys: keys(attrs, env)?,
            role: env.role.clone(),
            touch_refresh: touch_refresh(attrs)?,
            upload_parallelism: parallelism(attrs)?,
            attempts: attempts(attrs)?,
        })
    }

    /// What people call it, without credentials.
    pub fn name(&self) -> String {
        self.folders.named(&format!("s3 {}", self.bucket))
    }

    /// What may come from the environment and tells this place from others, as attributes; no keys.
    pub(crate) fn settled(&self) -> Vec<(&'static str, String)> {
        let mut settled = vec![
            ("bucket", self.bucket.clone()),
            ("region", self.region.clone()),
        ];
        if let Some(url) = &self.endpoint_url {
            settled.push(("endpoint_url", url.to_string()));
        }
        settled
    }

    /// Whether the user asks for connections without TLS.
    pub(super) fn is_plain(&self) -> bool {
        let url = self.endpoint_url.as_ref();
        url.is_some_and(|url| url.scheme() == "http")
    }

    /// The address of the service, with the bucket before the host if that is the style.
    pub(super) fn endpoint(&self) -> String {
        let bucket = match self.path_style {
            true => String::new(),
            false => format!("{}.", self.bucket),
        };
        match &self.endpoint_url {
            None => format!(
                "https://{bucket}s3.{}.{}",
                self.region,
                domain(&self.region)
            ),
            Some(url) => {
                let host = url.host_str().unwrap_or_default();
                let port = url.port().map(|port| format!(":{port}"));
                let path = url.path().trim_end_matches('/');
                format!(
                    "{}://{bucket}{host}{}{path}",
                    url.scheme(),
                    port.unwrap_or_default()
                )
            }
        }
    }

    /// The address of the bucket.
    pub(super) fn bucket_url(&self) -> String {
        match self.path_style {
            true => format!("{}/{}", self.endpoint(), self.bucket),
            false => self.endpoint(),
        }
    }
}

/// The domain of a region's services. Source: AWS, "Partitions".
fn domain(region: &str) -> &'static str {
    match region.starts_with("cn-") {
        true => "amazonaws.com.cn",
        false => "amazonaws.com",
    }
}

fn spec(text: impl Into<String>) -> Error {
    Error::Spec(text.into())
}

fn checked_bucket(bucket: Option<String>) -> Result<String> {
    let Some(bucket) = bucket.filter(|bucket| !bucket.is_empty()) else {
        return Err(spec("type=s3 needs bucket= (or AWS_BUCKET)"));
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    match bucket.bytes().all(plain) && !bucket.starts_with('.') {
        true => Ok(bucket),
        false => Err(spec(format!(
            "bucket={bucket}: it must be a bucket's name, of letters, digits, `-` and `.`"
        ))),
    }
}

fn checked_region(region: Option<String>, is_elsewhere: bool) -> Result<String> {
    match region.filter(|region| !region.is_empty()) {
        Some(region) => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            match region.bytes().all(plain) {
                true => Ok(region),
                false => Err(spec(format!("region={region}: it must be like eu-west-1"))),
            }
        }
        // Stores that are not Amazon's have no regions, but sign with one.
        None if is_elsewhere => Ok("us-east-1".to_owned()),
        None => Err(spec("type=s3 needs region= (or AWS_REGION)")),
    }
}

/// Whether the bucket cannot be part of a host name: the host is a number or this machine, or a
/// certificate would not cover it.
fn needs_path_style(bucket: &str, endpoint: Option<&Url>) -> bool {
    let host = endpoint.and_then(Url::host_str);
    let is_number = host.is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok()
    });
    is_number || bucket.contains(['.', '_']) || bucket.bytes().any(|b| b.is_ascii_uppercase())
}

/// The attributes' keys, or else those of the environment: never half of each.
fn keys(attrs: &mut Attrs, env: &S3Env) -> Result<Option<Keys>> {
    let id = attrs.take("access_key_id");
    let secret = attrs.take("secret_access_key").map(Secret::new);
    let token = attrs.take("session_token").map(Secret::new);
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(Some(Keys { id, secret, token })),
        (None, None) if token.is_some() => Err(spec(
            "session_token= needs access_key_id= and secret_access_key=",
        )),
        (None, None) => Ok(env_keys(env)),
        (Some(_), None) => Err(spec("access_key_id= needs secret_access_key=")),
        (None, Some(_)) => Err(spec("secret_access_key= needs access_key_id=")),
    }
}

fn env_keys(env: &S3Env) -> Option<Keys> {
    let id = env.access_key_id.clone().filter(|id| !id.is_empty())?;
    let full = |secret: &Option<Secret>| secret.clone().filter(|secret| !secret.is_empty());
    Some(Keys {
        id,
        secret: full(&env.secret_access_key)?,
        token: full(&env.session_token),
    })
}

/// Both modes of Amazon's tools are one here: attempts with growing pauses.
fn retry_mode(attrs: &mut Attrs) -> Result<()> {
    let known = |text: &str| matches!(text, "standard" | "adaptive").then_some(());
    attrs
        .parsed("retry_mode", "standard or adaptive", known)
        .map(drop)
}

fn attempts(attrs: &mut Attrs) -> Result<Option<u32>> {
    let read = |text: &str| text.parse().ok().filter(|count| (1..=100).contains(count));
    attrs.parsed("retry_max_attempts", "a number from 1 to 100", read)
}

fn parallelism(attrs: &mut Attrs) -> Result<usize> {
    let read = |text: &str| {
        let count = text.parse().ok().filter(|count| *count > 0);
        count.map(|count: usize| count.min(MOST_PARALLELISM))
    };
    let count = attrs.parsed("upload_parallelism", "a positive number", read)?;
    Ok(count.unwrap_or(PARALLELISM))
}

fn touch_refresh(attrs: &mut Attrs) -> Result<Duration> {
    let age = attrs.parsed("touch_refresh", "a time like 24h or 30m", duration)?;
    Ok(age.unwrap_or(TOUCH_REFRESH))
}

#[cfg(test)]
mod tests;
