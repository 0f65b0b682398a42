//! Where a registry is reached: address of the API, and how it is spoken to.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use reqwest::Url;
use reqwest::header::HeaderMap;

use crate::hosts::{Role, Rules, Site, Speech, Tls};
use crate::{Error, Result};

/// A registry or mirror at an address.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The host as references and credentials name it.
    pub(crate) host: String,
    /// What the repository is called there.
    pub(crate) repository: String,
    /// How TLS is spoken.
    pub(crate) tls: Arc<Tls>,
    /// Headers of every request to it.
    pub(crate) headers: HeaderMap,
    /// What it is to the registry.
    pub(crate) role: Role,
    /// The settings that led to it.
    pub(crate) told_by: Vec<PathBuf>,
    /// Whether the same host is asked with TLS before, and this only if that cannot be had.
    pub(crate) standby: Standby,
    /// Whether the next endpoint is the same host without TLS.
    pub(crate) has_standby: bool,
    /// Address of the API, ending in a slash.
    base: Url,
    namespace: Option<String>,
}

/// Whether an endpoint is asked only if the one before it cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standby {
    /// No.
    No,
    /// Yes.
    Yes,
}

impl Endpoint {
    /// The addresses of a place: one, or two if TLS may be left out.
    ///
    /// Errors: [`Error::Protocol`] if it is not an address.
    pub(crate) fn of(site: &Site) -> Result<Vec<Self>> {
        let make = |scheme, standby| Self::at(site, scheme, standby);
        match site.speech {
            Speech::Tls => Ok(vec![make("https", Standby::No)?]),
            Speech::Plain => Ok(vec![make("http", Standby::No)?]),
            Speech::Either => Ok(vec![
                make("https", Standby::No)?,
                make("http", Standby::Yes)?,
            ]),
        }
    }

    fn at(site: &Site, scheme: &str, standby: Standby) -> Result<Self> {
        let api_host = match site.host.as_str() {
            // The name in references is that of a web site; the registry answers here.
            "docker.io" => "registry-1.docker.io",
            host => host,
        };
        let base = Url::parse(&format!("{scheme}://{api_host}{}/", site.api));
        let base = base.map_err(|source| Error::Protocol {
            host: site.host.clone(),
            reason: format!("not an address: {source}"),
        })?;
        Ok(Self {
            host: site.host.clone(),
            repository: site.repository.clone(),
            tls: Arc::clone(&site.tls),
            headers: site.headers.clone(),
            role: site.role,
            told_by: site.told_by.clone(),
            namespace: site.namespace.clone(),
            standby,
            has_standby: site.speech == Speech::Either && standby == Standby::No,
            base,
        })
    }

    /// Address of something in the API; `path` is made of checked names only.
    pub(crate) fn url(&self, path: &str) -> Result<Url> {
        let url = self.base.join(path);
        let mut url = url.map_err(|source| Error::Protocol {
            host: self.host.clone(),
            reason: format!("{path:?} is not an address: {source}"),
        })?;
        if let Some(namespace) = &self.namespace {
            // So that one mirror can stand in for several registries (containerd, docs/hosts.md).
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        Ok(url)
    }

    /// Whether TLS is spoken.
    pub(crate) fn is_secure(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// Whether credentials of this registry may go to `url`: same scheme, host and port.
    pub(crate) fn is_origin_of(&self, url: &Url) -> bool {
        self.base.origin() == url.origin()
    }

    /// The address as it was meant, if it is this registry's own with `http` in place of `https`.
    ///
    /// A registry behind a proxy that ends TLS writes such ones when nobody told it of the proxy. The
    /// bytes go where they would have gone, only not in the clear.
    pub(crate) fn with_own_scheme(&self, mut url: Url) -> Url {
        let is_downgraded = self.base.scheme() == "https" && url.scheme() == "http";
        let ports = (url.port(), self.base.port());
        let same_port = ports.0 == ports.1 || (ports == (Some(443), None));
        if is_downgraded && same_port && url.host() == self.base.host() {
            // Between these two it cannot fail.
            url.set_scheme("https").ok();
        }
        url
    }

    /// Refuses plain HTTP to where it is not allowed.
    ///
    /// Allowed are hosts configured for it, and loopback hosts if this endpoint itself is one and spoken
    /// to in plain HTTP: a registry elsewhere, or whoever answers for one without TLS, has no business
    /// with our loopback.
    pub(crate) fn check(&self, rules: &Rules, url: &Url) -> Result<()> {
        let host = authority(url);
        let allowed = match url.scheme() {
            "https" => true,
            "http" => {
                let stays_here = [url, &self.base]
                    .iter()
                    .all(|url| url.host_str().is_some_and(is_loopback));
                self.is_origin_of(url)
                    || (stays_here && self.base.scheme() == "http")
                    || rules.allows_plain(&host)
            }
            _ => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(Error::PlainHttp { host })
        }
    }
}

/// Host and port of an address, as messages show them.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether a host, without port, is this machine: 127/8, ::1 or `localhost`.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests;
