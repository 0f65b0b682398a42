//! What the service said.

use std::fmt;

use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use crate::backend::content::one_line;

/// Most of an error's body that is read, in bytes.
const BODY: usize = 32 * 1024;

/// Why a request did not do what it was for. Holds no address but host and port, and no token.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) status: Option<StatusCode>,
    /// Whether the key is taken.
    pub(super) is_taken: bool,
    text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The bodies of errors, of both versions.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    code: String,
    #[serde(rename = "typeKey")]
    type_key: String,
    #[serde(alias = "msg")]
    message: String,
}

impl Fault {
    /// Something else than an answer.
    pub(super) fn said(text: impl Into<String>) -> Self {
        Self {
            status: None,
            is_taken: false,
            text: text.into(),
        }
    }

    /// An answer that is no success.
    pub(super) async fn of(response: Response) -> Self {
        let status = response.status();
        let host = host(response.url());
        let body = beginning(response).await;
        let (said, words) = words(&body);
        let is_taken = status == StatusCode::CONFLICT
            || said.code == "already_exists"
            || said.type_key.contains("AlreadyExists")
            || words.to_ascii_lowercase().contains("already exists");
        let words = match words.is_empty() {
            true => String::new(),
            false => format!(" (the service says: {words})"),
        };
        Self {
            status: Some(status),
            is_taken,
            text: format!("{}{words}", meaning(status, &host)),
        }
    }

    /// Whether there is no such thing.
    pub(super) fn is_missing(&self) -> bool {
        self.status == Some(StatusCode::NOT_FOUND)
    }
}

fn meaning(status: StatusCode, host: &str) -> String {
    match status.as_u16() {
        401 => format!("{host} does not accept the token, or it has expired"),
        403 => format!("{host} denies access"),
        404 => format!("{host} has no such thing"),
        413 | 507 => format!("{host} takes no more"),
        429 => format!("{host} limits requests"),
        300..=399 => format!("{host} leads elsewhere, where the token does not go"),
        status => format!("status {status} from {host}"),
    }
}

async fn beginning(mut response: Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What cannot be read of an error only makes the message shorter.
    while let Ok(Some(piece)) = response.chunk().await {
        bytes.extend_from_slice(&piece);
        if bytes.len() > BODY {
            break;
        }
    }
    bytes
}

/// What an error's body says: JSON of the service, XML of the storage behind it, or nothing that helps.
fn words(body: &[u8]) -> (Said, String) {
    // Some write a mark of the byte order before it.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if let Ok(said) = serde_json::from_slice::<Said>(body) {
        let parts = [said.code.as_str(), said.message.as_str()];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let text = one_line(&parts.join(": "));
        return (said, text);
    }
    let text = String::from_utf8_lossy(body);
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"));
    let words = match code {
        Some((code, _)) => one_line(code),
        None if text.contains('<') => String::new(),
        None => one_line(&text),
    };
    (Said::default(), words)
}

/// Host and port of an address: what a message may show of it.
pub(super) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_both_versions_and_of_the_storage_are_read() {
        let check = |body: &str, wanted: &str| assert_eq!(words(body.as_bytes()).1, wanted);
        check(
            r#"{"code":"not_found","msg":"no\nsuch"}"#,
            "not_found: no such",
        );
        check(
            r#"{"typeKey":"X","message":"Cache already exists"}"#,
            "Cache already exists",
        );
        check("\u{feff}{\"message\":\"m\"}", "m");
        check(
            "<?xml?><Error><Code>AuthenticationFailed</Code>...",
            "AuthenticationFailed",
        );
        check("<html>Bad Gateway</html>", "");
        check("slow down", "slow down");
        check("", "");
    }
}
