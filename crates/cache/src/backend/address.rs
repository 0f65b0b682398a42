//! Addresses of services, as attributes and the environment say them.

use reqwest::Url;

use crate::{Error, Result};

/// The address of a service as an attribute says it.
pub(super) fn address(key: &str, text: &str) -> Result<Url> {
    let wanted = "it must be an http: or https: address without user, query and fragment";
    let url = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    // The text is not repeated: it may hold a password.
    url.ok_or_else(|| Error::Spec(format!("{key}: {wanted}")))
}
