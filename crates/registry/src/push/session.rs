//! An upload session at a registry: where it goes on, how much of the blob is there.

use reqwest::header::{HeaderMap, LOCATION, RANGE};
use reqwest::{Response, Url};

use crate::endpoint::Endpoint;
use crate::{Error, Result};

/// Header with the shortest chunk that a registry takes, in bytes. Source: distribution-spec,
/// "Pushing a blob in chunks".
const SHORTEST_CHUNK: &str = "oci-chunk-min-length";

/// A session that the registry has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// Where it goes on; changes with each answer.
    pub location: Url,
    /// Shortest chunk that the registry takes, in bytes.
    pub shortest_chunk: u64,
}

impl Session {
    /// The session that an answer begins. Errors: [`Error::Protocol`] without a usable address.
    pub fn begun(response: &Response, endpoint: &Endpoint) -> Result<Self> {
        let location = location(response, endpoint)?.ok_or_else(|| Error::Protocol {
            host: endpoint.host.clone(),
            reason: "it begins an upload and does not say where".to_owned(),
        })?;
        let shortest = response.headers().get(SHORTEST_CHUNK);
        let shortest = shortest.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Ok(Self {
            location,
            shortest_chunk: shortest.unwrap_or(0),
        })
    }

    /// Goes on where an answer says; an answer that says nothing changes nothing.
    pub fn follow(&mut self, response: &Response, endpoint: &Endpoint) -> Result<()> {
        if let Some(next) = location(response, endpoint)? {
            self.location = next;
        }
        Ok(())
    }

    /// The address that ends the upload.
    pub fn end(&self, digest: &str) -> Url {
        let mut url = self.location.clone();
        url.query_pairs_mut().append_pair("digest", digest);
        url
    }
}

/// The address in an answer, absolute or relative to where it came from.
fn location(response: &Response, endpoint: &Endpoint) -> Result<Option<Url>> {
    let Some(value) = response.headers().get(LOCATION) else {
        return Ok(None);
    };
    let url = value
        .to_str()
        .ok()
        .and_then(|text| response.url().join(text).ok());
    let url = url.ok_or_else(|| Error::Protocol {
        host: endpoint.host.clone(),
        reason: "its address for the upload makes no sense".to_owned(),
    })?;
    Ok(Some(endpoint.with_own_scheme(url)))
}

/// How many bytes the registry has; `None` if it does not say.
///
/// `0-0` is no byte: registries write it for a session that has just begun.
pub(super) fn received(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?;
    let text = text.strip_prefix("bytes=").unwrap_or(text);
    let (_, last) = text.split_once('-')?;
    match last.trim().parse::<u64>().ok()? {
        0 => Some(0),
        last => last.checked_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_inclusive_and_nothing_is_zero() {
        let check = |text: &'static str, wanted| {
            let headers = [(RANGE, text.parse().unwrap())].into_iter().collect();
            assert_eq!(received(&headers), wanted, "{text}");
        };
        check("0-0", Some(0));
        check("0-1023", Some(1024));
        check("bytes=0-7", Some(8));
        check("0-18446744073709551615", None);
        check("nonsense", None);
        assert_eq!(received(&HeaderMap::new()), None);
    }
}
